// SPDX-License-Identifier: GPL-2.0
/*
 * One walk is one walk: counted by probes in the kernel, not argued. On the way to
 * the device, how often is a page table visited before its pages are collected?
 * Once by a migrating fault; more often by a fault and a migration. Neither looks
 * afterwards where the pages are now, nor, for pages of one process, what maps them.
 *
 * Needs probes in mm: the strict kernel has them. (What these counts are for all
 * states of a page, on the fast kernel, make bench tells.)
 */
#include <kselftest_harness.h>

#include "onewalk.h"
#include "probes.h"

#define NPAGES		HUGE_PAGES	/* one page table, full */
#define SEED		1000
#define TRACE		TRACING "instances/onewalk/"

/*
 * The walks of migrate_vma and of hmm_range_fault() see a page table, or none.
 * (hmm_vma_walk_hole() is called by hmm_vma_walk_pmd(), too, with a depth of -1.)
 */
static const char probes[] =
	"p:onewalk/collect migrate_collect_pmd\n"
	"p:onewalk/collect_hole migrate_collect_hole\n"
	"p:onewalk/look hmm_vma_walk_pmd\n"
	"p:onewalk/look_hole hmm_vma_walk_hole depth=%dx:s32\n"
	"p:onewalk/flush flush_tlb_mm_range\n"
	"p:onewalk/notify __mmu_notifier_invalidate_range_start\n"
	"p:onewalk/rmap rmap_walk_anon\n";

struct counts {
	int before;	/* visits before the last that collects */
	int collecting;	/* visits that collect, or find out that they cannot */
	int after;	/* visits after the last that collects */
	int flushes, notifications;
	int rmap_walks;	/* from a page to what maps it */
};

FIXTURE(count)
{
	int fd;
	char *mem;	/* NPAGES, one page table */
	pid_t sharer;	/* shares them, if any */
};

FIXTURE_VARIANT(count)
{
	void (*prepare)(char *mem);
	bool shared;		/* with a child? */
	bool zeroes;
	bool write;		/* does the device fault to write? */
	int flushes;		/* of the TLB, by one walk */
	int notifications;	/* of others, by one walk */
	int rmap_walks;		/* by one walk */
};

static void populate(char *mem)
{
	fill(mem, NPAGES, SEED);
}

FIXTURE_VARIANT_ADD(count, populated_read)
{
	.prepare = populate,
	.flushes = 1,
	.notifications = 1,
};

FIXTURE_VARIANT_ADD(count, populated_write)
{
	.prepare = populate,
	.write = true,
	.flushes = 1,
	.notifications = 1,
};

/* All for each page, too, to unmap it from the child, and two rmap walks. */
FIXTURE_VARIANT_ADD(count, shared_read)
{
	.prepare = populate,
	.shared = true,
	.flushes = NPAGES + 1,
	.notifications = NPAGES + 1,
	.rmap_walks = 2 * NPAGES,
};

static void do_nothing(char *mem)
{
}

/* Others are told when the device's pages are put in. */
FIXTURE_VARIANT_ADD(count, hole_read)
{
	.prepare = do_nothing,
	.zeroes = true,
	.flushes = 0,
	.notifications = 1,
};

FIXTURE_VARIANT_ADD(count, hole_write)
{
	.prepare = do_nothing,
	.zeroes = true,
	.write = true,
	.flushes = 0,
	.notifications = 1,
};

static void map_zeroes(char *mem)
{
	touch(mem, NPAGES);
}

/* Here also when the pages are collected. */
FIXTURE_VARIANT_ADD(count, zero_page_read)
{
	.prepare = map_zeroes,
	.zeroes = true,
	.flushes = 1,
	.notifications = 2,
};

FIXTURE_VARIANT_ADD(count, zero_page_write)
{
	.prepare = map_zeroes,
	.zeroes = true,
	.write = true,
	.flushes = 1,
	.notifications = 2,
};

FIXTURE_SETUP(count)
{
	if (!have_probes())
		SKIP(return, "this kernel has no probes");
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->mem = map_huge(1);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_NOHUGEPAGE), 0);
	ASSERT_TRUE(place_probes(TRACE, probes));
	ASSERT_TRUE(write_file(TRACE "tracing_on", "0"));
	ASSERT_TRUE(write_file(TRACE "events/onewalk/look_hole/filter", "depth != -1"));
	ASSERT_TRUE(write_file(TRACE "events/onewalk/enable", "1"));
	variant->prepare(self->mem);
	self->sharer = variant->shared ? fork() : -1;
	if (!self->sharer)
		for (;;)
			pause();
	memset(scratch, 0, sizeof(scratch));
	if (!variant->zeroes)
		fill(scratch, NPAGES, SEED);
}

FIXTURE_TEARDOWN(count)
{
	EXPECT_EQ(close(self->fd), 0);
	if (self->sharer > 0) {
		kill(self->sharer, SIGKILL);
		waitpid(self->sharer, NULL, 0);
	}
}

/* Only this process counts. */
static bool begin_counting(void)
{
	return clear_trace(TRACE "trace") && watch_this_process(TRACE "set_event_pid") &&
	       write_file(TRACE "tracing_on", "1");
}

static bool end_counting(struct counts *counts)
{
	char line[512];
	int visits = 0;
	FILE *trace;

	memset(counts, 0, sizeof(*counts));
	if (!write_file(TRACE "tracing_on", "0"))
		return false;
	trace = fopen(TRACE "trace", "r");
	if (!trace)
		return false;
	while (fgets(line, sizeof(line), trace)) {
		if (strstr(line, " collect: ") || strstr(line, " collect_hole: ")) {
			counts->before = visits++;
			counts->collecting++;
			counts->after = 0;
		} else if (strstr(line, " look: ") || strstr(line, " look_hole: ")) {
			visits++;
			counts->after++;
		} else if (strstr(line, " flush: ")) {
			counts->flushes++;
		} else if (strstr(line, " notify: ")) {
			counts->notifications++;
		} else if (strstr(line, " rmap: ")) {
			counts->rmap_walks++;
		}
	}
	fclose(trace);
	printf("# visits before the collecting one: %d, to collect: %d, after: %d\n",
	       counts->before, counts->collecting - 1, counts->after);
	printf("# flushes %d, notifies %d, rmap walks %d\n", counts->flushes,
	       counts->notifications, counts->rmap_walks);
	return true;
}

static bool is_there(int fd, const char *mem, bool zeroes, bool shared)
{
	/* What is shared stays read-only. */
	return all_at(fd, mem, NPAGES, shared ? AT_DEVICE_RO : AT_DEVICE) &&
	       (zeroes ? dev_sees_zeroes(fd, mem, NPAGES) :
			 dev_sees(fd, mem, NPAGES, SEED));
}

/* A fault in place; what the device writes is what is there. */
static long dev_access(int fd, bool write, char *mem)
{
	return write ? dev_write(fd, mem, NPAGES, scratch) : dev_read(fd, mem, NPAGES, scratch);
}

TEST_F(count, one_walk)
{
	struct counts counts;

	ASSERT_TRUE(begin_counting());
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	ASSERT_TRUE(end_counting(&counts));
	EXPECT_EQ(counts.collecting, 1);
	EXPECT_EQ(counts.before, 0);
	EXPECT_EQ(counts.after, 0);
	EXPECT_EQ(counts.flushes, variant->flushes);
	EXPECT_EQ(counts.notifications, variant->notifications);
	EXPECT_EQ(counts.rmap_walks, variant->rmap_walks);
	EXPECT_TRUE(is_there(self->fd, self->mem, variant->zeroes, variant->shared));
}

TEST_F(count, fault_then_migrate)
{
	struct counts counts;

	ASSERT_TRUE(begin_counting());
	EXPECT_EQ(dev_access(self->fd, variant->write, self->mem), NPAGES);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(end_counting(&counts));
	EXPECT_EQ(counts.collecting, 1);
	EXPECT_GE(counts.before, 1);
	EXPECT_TRUE(is_there(self->fd, self->mem, variant->zeroes, variant->shared));
}

/* What has moved the device has learned of: neither an access nor a second try walks. */
TEST_F(count, migrate_then_access)
{
	struct counts counts;

	ASSERT_TRUE(begin_counting());
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_EQ(dev_access(self->fd, variant->write, self->mem), NPAGES);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(end_counting(&counts));
	EXPECT_EQ(counts.collecting, 1);
	EXPECT_EQ(counts.before, 0);
	EXPECT_EQ(counts.after, 0);
	EXPECT_TRUE(is_there(self->fd, self->mem, variant->zeroes, variant->shared));
}

TEST_HARNESS_MAIN
