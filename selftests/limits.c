// SPDX-License-Identifier: GPL-2.0
/*
 * Requests of any size take no time for what is not there, and no memory of the
 * kernel in proportion to them.
 */
#include <kselftest_harness.h>

#include <signal.h>
#include <sys/wait.h>

#include "large.h"

#define NPAGES		16384	/* 64 MiB */
#define SEED		1000
#define SAMPLES		3
/* For a block on its way, 2 MiB, small pages and a huge one; and the counters lag. */
#define MOST_KIB	16384
#define STILL_KIB	1024
#define TIMEOUT		240	/* for a slow guest */

/* The first page decides; the size costs nothing. */
TEST(large_over_hole)
{
	char *hole = reserve_hole(TIB_PAGES), *buf = map_pages(1);
	int fd = dev_open(0);

	ASSERT_NE(hole, MAP_FAILED);
	ASSERT_NE(buf, MAP_FAILED);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(dev_read(fd, hole, TIB_PAGES, buf), -EFAULT);
	EXPECT_EQ(dev_write(fd, hole, TIB_PAGES, buf), -EFAULT);
	EXPECT_EQ(dev_take(fd, hole, TIB_PAGES, buf), -EINVAL);
	EXPECT_EQ(dev_give(fd, hole, TIB_PAGES), -EINVAL);
	EXPECT_EQ(dev_hold(fd, hole, TIB_PAGES, buf), -EFAULT);
	EXPECT_EQ(dev_check(fd, hole, TIB_PAGES), 0);
	close(fd);
}

/* --- Memory ------------------------------------------------------------------------ */

/* Shared with the child. */
struct marks {
	bool ready, go, over, failed;
};

FIXTURE(limits)
{
	struct request request;
	struct marks *marks;
};

FIXTURE_VARIANT(limits)
{
	unsigned long number;
	size_t npages;	/* NPAGES, if it does not say */
	uint64_t flags;
	bool on_device;	/* the pages are, to begin with */
};

FIXTURE_VARIANT_ADD(limits, read)
{
	.number = HMM_DMIRROR_READ,
};

FIXTURE_VARIANT_ADD(limits, read_unlocked)
{
	.number = HMM_DMIRROR_READ_UNLOCKED,
};

FIXTURE_VARIANT_ADD(limits, write)
{
	.number = HMM_DMIRROR_WRITE,
};

FIXTURE_VARIANT_ADD(limits, read_migrating)
{
	.number = HMM_DMIRROR_READ,
	.flags = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT,
};

FIXTURE_VARIANT_ADD(limits, write_migrating)
{
	.number = HMM_DMIRROR_WRITE,
	.flags = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT,
};

FIXTURE_VARIANT_ADD(limits, to_device)
{
	.number = HMM_DMIRROR_MIGRATE_TO_DEV,
};

FIXTURE_VARIANT_ADD(limits, to_system)
{
	.number = HMM_DMIRROR_MIGRATE_TO_SYS,
	.on_device = true,
};

FIXTURE_VARIANT_ADD(limits, read_fault)
{
	.number = HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV,
};

FIXTURE_VARIANT_ADD(limits, write_fault)
{
	.number = HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
};

FIXTURE_VARIANT_ADD(limits, snapshot)
{
	.number = HMM_DMIRROR_SNAPSHOT,
	.npages = GIB_PAGES * 16,
};

FIXTURE_VARIANT_ADD(limits, exclusive)
{
	.number = HMM_DMIRROR_EXCLUSIVE,
};

FIXTURE_VARIANT_ADD(limits, release)
{
	.number = HMM_DMIRROR_RELEASE,
	.on_device = true,
};

FIXTURE_SETUP(limits)
{
	const size_t npages = variant->npages ?: NPAGES;

	self->marks = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->marks, MAP_FAILED);
	self->request = (struct request){
		.number = variant->number,
		.addr = reserve(npages),
		.ptr = reserve(npages),
		.npages = npages,
		.flags = variant->flags,
	};
	ASSERT_NE(self->request.addr, MAP_FAILED);
	ASSERT_NE(self->request.ptr, MAP_FAILED);
	ASSERT_EQ(madvise(self->request.addr, npages * PAGE, MADV_NOHUGEPAGE), 0);
	ASSERT_EQ(madvise(self->request.ptr, npages * PAGE, MADV_NOHUGEPAGE), 0);
}

FIXTURE_TEARDOWN(limits)
{
	munmap(self->marks, PAGE);
}

/*
 * What a file says, all at one moment. It stays open in @fd, or each look would take
 * memory of the kernel, and with KASAN not give it back at once.
 */
static void read_text(const char *path, int *fd, char *text, size_t size)
{
	ssize_t done = 0, count;

	if (!*fd)
		*fd = open(path, O_RDONLY | O_CLOEXEC);
	while ((count = pread(*fd, text + done, size - 1 - done, done)) > 0)
		done += count;
	text[done] = 0;
}

/* The sum of the numbers that follow @name. */
static long sum_of(const char *text, const char *name)
{
	long sum = 0;

	while ((text = strstr(text, name))) {
		text += strlen(name);
		sum += strtol(text, NULL, 10);
	}
	return sum;
}

static long listed_kib(void)
{
	static char zones[65536];
	static int fd;

	read_text("/proc/zoneinfo", &fd, zones, sizeof(zones));
	return sum_of(zones, " count:") * (long)PAGE / 1024;
}

/*
 * What the kernel has taken for itself: all that is neither free, be it on the list
 * of a CPU, nor a process's, or a page table of one. Of a page on the device, which is
 * a process's by name, it has the contents. Looks until the lists keep still.
 */
static long kernel_kib(void)
{
	static char memory[8192];
	long listed, change;
	static int fd;

	do {
		listed = listed_kib();
		read_text("/proc/meminfo", &fd, memory, sizeof(memory));
		change = listed_kib() - listed;
	} while (labs(change) > STILL_KIB);
	return sum_of(memory, "MemTotal:") - sum_of(memory, "MemFree:") - listed -
	       sum_of(memory, "AnonPages:") - sum_of(memory, "\nCached:") -
	       sum_of(memory, "Buffers:") - sum_of(memory, "SwapCached:") -
	       sum_of(memory, "\nPageTables:");
}

/* The child's: waits for the end, as all that it has is counted. */
static void ask(const struct request *request, bool on_device, struct marks *marks)
{
	int fd = open_for(request);
	long ret;

	if (fd < 0 || (on_device && !put_on_device(fd, request->addr, request->npages)))
		_exit(1);
	set(&marks->ready);
	while (!is_set(&marks->go))
		sleep_for_ms(1);
	ret = send_request(fd, request);
	marks->failed = ret != (long)request->npages;
	if (ret < 0)
		say("%s", strerror(-ret));
	set(&marks->over);
	for (;;)
		pause();
}

/* Watched from outside, while a child asks for it. */
TEST_F_TIMEOUT(limits, kernel_memory, TIMEOUT)
{
	struct marks *marks = self->marks;
	long before, most;
	int samples = 0;
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child)
		ask(&self->request, variant->on_device, marks);
	while (!is_set(&marks->ready)) {
		ASSERT_EQ(waitpid(child, NULL, WNOHANG), 0);
		sleep_for_ms(1);
	}
	before = kernel_kib();
	most = before;
	set(&marks->go);
	for (; !is_set(&marks->over); samples++) {
		long kib = kernel_kib();

		if (kib > most)
			most = kib;
	}
	kill(child, SIGKILL);
	ASSERT_EQ(waitpid(child, NULL, 0), child);
	EXPECT_FALSE(marks->failed);
	TH_LOG("%ld KiB more than before, looked %d times", most - before, samples);
	EXPECT_GE(samples, SAMPLES);
	EXPECT_LT(most - before, MOST_KIB);
}

/*
 * When parts of huge pages come home, the kernel gets back what held them, not only
 * with the last part of each.
 */
TEST(parts_give_their_memory_back)
{
	const size_t blocks = 16, npages = blocks * HUGE_PAGES, half = HUGE_PAGES / 2;
	char *mem = map_huge(blocks);
	int fd = dev_open(0);
	long before, after;

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	fill(mem, npages, SEED);
	ASSERT_TRUE(put_on_device(fd, mem, npages));
	ASSERT_TRUE(all_at(fd, mem, npages, AT_DEVICE_HUGE));

	before = kernel_kib();
	for (size_t page = 0; page < npages; page += HUGE_PAGES)
		EXPECT_EQ(dev_give(fd, mem + page * PAGE, half), half);
	after = kernel_kib();
	TH_LOG("%ld KiB more than before", after - before);
	/* In place of what held them there are the pages themselves. */
	EXPECT_LT(after - before, (long)(blocks * half * PAGE / 1024 / 2));
	EXPECT_TRUE(holds(mem, npages, SEED));
	ASSERT_EQ(munmap(mem, blocks * HUGE), 0);
	close(fd);
}

/*
 * A page that comes to a block of pages that are on the device takes a page there, and
 * not another block with memory for 512.
 */
TEST(one_page_takes_no_block)
{
	enum { ROUNDS = 32, MOST = 4096 };	/* KiB */
	static char buf[HUGE];
	char *mem = map_huge(1);
	int fd = dev_open(0);
	long before, after;

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(madvise(mem, HUGE, MADV_NOHUGEPAGE), 0);
	ASSERT_TRUE(alone(mem, HUGE_PAGES));
	fill(mem, HUGE_PAGES, SEED);
	ASSERT_EQ(dev_take(fd, mem, HUGE_PAGES, buf), HUGE_PAGES);

	before = kernel_kib();
	for (size_t i = 0; i < ROUNDS; i++) {
		/* Which knows nothing, and so asks for the whole block. */
		int other = dev_open(0);

		ASSERT_GE(other, 0);
		EXPECT_TRUE(holds(mem + i * PAGE, 1, SEED + i));
		EXPECT_EQ(dev_take(other, mem, HUGE_PAGES, buf), HUGE_PAGES);
		close(other);
	}
	after = kernel_kib();
	TH_LOG("%ld KiB more than before", after - before);
	EXPECT_LT(after - before, MOST);
	EXPECT_TRUE(holds(buf, HUGE_PAGES, SEED));
	ASSERT_EQ(munmap(mem, HUGE), 0);
	close(fd);
}

TEST_HARNESS_MAIN
