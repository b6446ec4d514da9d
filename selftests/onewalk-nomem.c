// SPDX-License-Identifier: GPL-2.0
/*
 * A migrating fault for which memory runs out: at its first allocation, at the
 * second and so on until it has no further one, for pages in each state that has
 * allocations of its own. It may fail, or move less; but all data stay, it works the
 * next time, and no page is lost, which is told by what a memory control group is
 * still charged for when its only process has gone.
 *
 * Needs fault injection: the strict kernel has it.
 */
#include <kselftest_harness.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "onewalk-hazards.h"

#define NPAGES		16
#define SEED		1000
#define MOST		4000	/* injected failures that a request can have */
#define INJECTION	"/sys/kernel/debug/"
#define CGROUPS		"/tmp/onewalk-cgroups/"
#define GROUP		CGROUPS "nomem/"

struct stage {
	int fd, other;
	char *mem;		/* 2 MiB, aligned */
	char *buf;
	int file;		/* filled from SEED */
	bool write;
	int nth;		/* /proc/thread-self/fail-nth */
};

FIXTURE(nomem)
{
	struct stage stage;
};

/* Each case is one of these states, before each fault. */
FIXTURE_VARIANT(nomem)
{
	bool (*prepare)(struct stage *stage);
	bool zero;	/* The pages are full of zeroes, not filled from SEED. */
	long reads, writes;	/* pages that move by a fault for reading or writing */
};

static bool map_at(struct stage *stage, int flags, int file)
{
	return mmap(stage->mem, HUGE, PROT_READ | PROT_WRITE, MAP_FIXED | flags, file, 0) ==
	       stage->mem;
}

static bool map_afresh(struct stage *stage)
{
	return map_at(stage, MAP_PRIVATE | MAP_ANONYMOUS, -1) &&
	       !madvise(stage->mem, HUGE, MADV_NOHUGEPAGE);
}

/* The page table is missing, too. */
FIXTURE_VARIANT_ADD(nomem, hole)
{
	.prepare = map_afresh,
	.zero = true,
	.reads = NPAGES,
	.writes = NPAGES,
};

static bool populate(struct stage *stage)
{
	if (!map_afresh(stage))
		return false;
	fill(stage->mem, NPAGES, SEED);
	return true;
}

FIXTURE_VARIANT_ADD(nomem, populated)
{
	.prepare = populate,
	.reads = NPAGES,
	.writes = NPAGES,
};

static bool populate_swap(struct stage *stage)
{
	return populate(stage) && swap_out(stage->mem, NPAGES);
}

FIXTURE_VARIANT_ADD(nomem, swapped_out)
{
	.prepare = populate_swap,
	.reads = NPAGES,
	.writes = NPAGES,
};

/* Shared with a child that has gone, by when the pages are exclusive no longer. */
static bool share(struct stage *stage)
{
	pid_t child;

	if (!populate(stage))
		return false;
	child = fork();
	if (!child)
		_exit(0);
	return waitpid(child, NULL, 0) == child;
}

FIXTURE_VARIANT_ADD(nomem, forked)
{
	.prepare = share,
	.reads = NPAGES,
	.writes = NPAGES,
};

static bool map_private_file(struct stage *stage)
{
	return map_at(stage, MAP_PRIVATE, stage->file) && holds(stage->mem, NPAGES, SEED);
}

/* A write fault copies the pages; else they stay. */
FIXTURE_VARIANT_ADD(nomem, private_file)
{
	.prepare = map_private_file,
	.writes = NPAGES,
};

static bool map_empty_file(struct stage *stage)
{
	int file = memfd_create("onewalk", MFD_CLOEXEC);
	bool done = !ftruncate(file, HUGE) && map_at(stage, MAP_SHARED, file);

	close(file);
	return done;
}

FIXTURE_VARIANT_ADD(nomem, shared_file)
{
	.prepare = map_empty_file,
	.zero = true,
};

/* Of which the range is a part, so that it has to be split. */
static bool populate_huge(struct stage *stage)
{
	if (!map_afresh(stage) || madvise(stage->mem, HUGE, MADV_HUGEPAGE))
		return false;
	fill(stage->mem, NPAGES, SEED);
	return true;
}

FIXTURE_VARIANT_ADD(nomem, huge)
{
	.prepare = populate_huge,
	.reads = NPAGES,
	.writes = NPAGES,
};

static bool put_on_other(struct stage *stage)
{
	return populate(stage) && dev_faults(stage->other, true, stage->mem, NPAGES) == NPAGES;
}

FIXTURE_VARIANT_ADD(nomem, second_device)
{
	.prepare = put_on_other,
	.reads = NPAGES,
	.writes = NPAGES,
};

/* Read-only on the device: for a write fault they have to come home first. */
static bool put_on_device_shared(struct stage *stage)
{
	return share(stage) && dev_faults(stage->fd, false, stage->mem, NPAGES) == NPAGES;
}

FIXTURE_VARIANT_ADD(nomem, own_read_only)
{
	.prepare = put_on_device_shared,
	.reads = NPAGES,
	.writes = NPAGES,
};

FIXTURE_SETUP(nomem)
{
	static const struct {
		const char *path, *value;
	} settings[] = {
		{ INJECTION "failslab/ignore-gfp-wait", "N" },
		{ INJECTION "failslab/verbose", "0" },
		{ INJECTION "fail_page_alloc/ignore-gfp-wait", "N" },
		{ INJECTION "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ INJECTION "fail_page_alloc/min-order", "0" },
		{ INJECTION "fail_page_alloc/verbose", "0" },
	};
	struct stage *stage = &self->stage;

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!write_file(settings[i].path, settings[i].value))
			SKIP(return, "no %s: this kernel has no fault injection",
			     settings[i].path);
	mkdir(CGROUPS, 0755);
	ASSERT_TRUE(!mount("none", CGROUPS, "cgroup2", 0, NULL) || errno == EBUSY);
	ASSERT_TRUE(write_file(CGROUPS "cgroup.subtree_control", "+memory"));

	stage->mem = map_huge(1);
	ASSERT_NE(stage->mem, MAP_FAILED);
	stage->buf = map_pages(NPAGES);
	ASSERT_NE(stage->buf, MAP_FAILED);
	fill(stage->buf, NPAGES, SEED);
	stage->file = memfd_create("onewalk", MFD_CLOEXEC);
	ASSERT_GE(stage->file, 0);
	ASSERT_EQ(pwrite(stage->file, stage->buf, NPAGES * PAGE, 0), NPAGES * PAGE);
}

FIXTURE_TEARDOWN(nomem)
{
	umount2(CGROUPS, MNT_DETACH);
}

static bool set_nth(struct stage *stage, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(stage->nth, text, len, 0) == len;
}

/* The fault, whose allocation number @nth fails. Has it come to that? */
static bool fault_without_memory(struct stage *stage, unsigned int nth, long *ret)
{
	char left[16] = "";
	bool injected;

	if (!set_nth(stage, nth))
		return false;
	*ret = dev_faults(stage->fd, stage->write, stage->mem, NPAGES);
	injected = pread(stage->nth, left, sizeof(left) - 1, 0) > 0 && atoi(left) == 0;
	set_nth(stage, 0);
	return injected;
}

static bool data_are_right(struct stage *stage, bool zero)
{
	if (dev_read(stage->fd, stage->mem, NPAGES, stage->buf) != NPAGES)
		return false;
	return zero ? is_zero(stage->buf, NPAGES) && is_zero(stage->mem, NPAGES) :
	       holds(stage->buf, NPAGES, SEED) && holds(stage->mem, NPAGES, SEED);
}

/*
 * All failures of one kind of fault. The device reads after some of them without a
 * second fault, and after others what a fault that works made of it.
 */
static unsigned int fail_at_each(struct stage *stage, bool zero,
				 bool (*prepare)(struct stage *stage), long moves)
{
	unsigned int nth, wrong = 0, failed = 0, fewer = 0;
	bool injected = true;

	for (nth = 1; injected && nth < MOST && wrong < 10; nth++) {
		long ret = 0, again = moves;
		bool right;

		if (!prepare(stage)) {
			printf("# allocation %u: not prepared: %m\n", nth);
			return 1;
		}
		injected = fault_without_memory(stage, nth, &ret);
		failed += ret < 0;
		fewer += ret >= 0 && ret < moves;
		if (nth % 2)
			again = dev_faults(stage->fd, stage->write, stage->mem, NPAGES);
		right = data_are_right(stage, zero);
		if (!right || again != moves || ret > moves ||
		    (ret < 0 && ret != -ENOMEM && ret != -EFAULT) ||
		    (!injected && ret != moves) || vm_counter("nr_isolated_anon")) {
			printf("# allocation %u%s: returned %ld, then %ld, data %s, %ld isolated\n",
			       nth, injected ? "" : " (none)", ret, again,
			       right ? "right" : "wrong", vm_counter("nr_isolated_anon"));
			wrong++;
		}
	}
	printf("# %s fault: %u allocations, failed for %u, moved less for %u\n",
	       stage->write ? "write" : "read", nth - 2, failed, fewer);
	return wrong + (nth == MOST);
}

/* A process in a control group of its own, until nobody is in it any more. */
static pid_t fork_into_group(void)
{
	pid_t child;

	if (mkdir(GROUP, 0755) && errno != EEXIST)
		return -1;
	child = fork();
	if (!child && !write_file(GROUP "cgroup.procs", "0"))
		_exit(1);
	return child;
}

/* What of the charge is for the kernel's own, where kmemleak looks for leaks. */
static long kernel_memory(void)
{
	FILE *file = fopen(GROUP "memory.stat", "re");
	char kind[64];
	long value, kernel = 0;

	while (file && fscanf(file, "%63s %ld", kind, &value) == 2)
		if (!strcmp(kind, "kernel"))
			kernel = value;
	if (file)
		fclose(file);
	return kernel;
}

/*
 * The bytes of user memory that the group is charged for when no process is in it.
 * The limit of 0 makes it give back what it only has in stock, compaction empties
 * the lists of pages that are on their way to the LRU, and RCU takes a while.
 */
static long charged_still(void)
{
	long left = -1;

	for (int tries = 0; tries < 50 && left; tries++) {
		write_file("/proc/sys/vm/compact_memory", "1");
		write_file(GROUP "memory.max", "0");
		left = get_value(GROUP "memory.current") - kernel_memory();
		if (left)
			sleep_ms(100);
	}
	rmdir(GROUP);
	return left;
}

TEST_F_TIMEOUT(nomem, fault, TIMEOUT)
{
	uint64_t end = race_end();
	struct stage *stage = &self->stage;

	do {
		pid_t child = fork_into_group();
		int status;

		ASSERT_GE(child, 0);
		if (!child) {
			unsigned int wrong = 0;

			/* What is open belongs to this process's memory. */
			stage->fd = dev_open(0);
			stage->other = dev_open(1);
			stage->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
			if (stage->fd < 0 || stage->other < 0 || stage->nth < 0)
				_exit(1);
			for (int write = 0; write <= 1; write++) {
				stage->write = write;
				wrong += fail_at_each(stage, variant->zero, variant->prepare,
						      write ? variant->writes : variant->reads);
			}
			fflush(stdout);
			_exit(wrong ? 1 : 0);
		}
		ASSERT_EQ(waitpid(child, &status, 0), child);
		EXPECT_EQ(status, 0);
		EXPECT_EQ(charged_still(), 0);
	} while (now_ns() < end && !_metadata->exit_code);
}

TEST_HARNESS_MAIN
