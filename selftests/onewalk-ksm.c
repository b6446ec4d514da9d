// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on pages that KSM has merged: one page, mapped many times in
 * the range, which has to stay where KSM can read it.
 */
#include "onewalk-fixture.h"

#include <time.h>

#define KSM		"/sys/kernel/mm/ksm/"
#define KPF_KSM		(1ULL << 21)
#define SECONDS		60	/* to merge, at most */

/* Has KSM merged the page? */
static bool is_ksm(const char *page)
{
	uint64_t flags = 0, entry = entry_of(page);
	int fd;

	if (!(entry & PM_PRESENT))
		return false;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pread(fd, &flags, sizeof(flags), (entry & PM_FRAME) * sizeof(flags)) !=
	    sizeof(flags))
		printf("# no kpageflags: %s\n", strerror(errno));
	close(fd);
	return flags & KPF_KSM;
}

/* Makes all pages the same, and waits until KSM has seen it. */
static bool merge(char *mem, size_t npages)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	time_t end = time(NULL) + SECONDS;
	size_t merged = 0;

	for (size_t i = 0; i < npages; i++)
		fill(mem + i * PAGE, 1, SEED);
	if (madvise(mem, npages * PAGE, MADV_MERGEABLE) ||
	    !write_file(KSM "sleep_millisecs", "1") ||
	    !write_file(KSM "pages_to_scan", "1000") ||
	    !write_file(KSM "run", "1"))
		return false;
	while (merged < npages && time(NULL) < end) {
		nanosleep(&pause, NULL);
		merged = 0;
		for (size_t i = 0; i < npages; i++)
			merged += is_ksm(mem + i * PAGE);
	}
	if (merged < npages)
		printf("# %zu of %zu pages merged\n", merged, npages);
	return merged == npages;
}

/* All pages hold the same. */
static bool hold(const void *mem, size_t npages, uint64_t seed)
{
	for (size_t i = 0; i < npages; i++) {
		if (!holds((const char *)mem + i * PAGE, 1, seed))
			return false;
	}
	return true;
}

static bool dev_sees_merged(int fd, const char *mem, size_t npages)
{
	return dev_read(fd, mem, npages, scratch) == (long)npages &&
	       hold(scratch, npages, SEED);
}

static bool write_to_one(void *arg)
{
	char *mem = arg;

	fill(mem, 1, OTHER);
	return hold(mem + PAGE, NPAGES - 1, SEED);
}

/* Read in place; a device that writes gets its copies. */
TEST_F_TIMEOUT(onewalk, merged, TIMEOUT)
{
	const size_t copies = variant->write ? NPAGES : 0;

	ASSERT_TRUE(merge(self->mem, NPAGES));
	ASSERT_TRUE(write_file(KSM "run", "0"));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, copies, copies));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_SYSTEM_RO));
	EXPECT_TRUE(dev_sees_merged(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(hold(self->mem, NPAGES, SEED));
	/* What is written to one page is not seen in the others. */
	EXPECT_TRUE(write_to_one(self->mem));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/* Some of the pages that are one: the others are read as before. */
TEST_F_TIMEOUT(onewalk, part_of_merged, TIMEOUT)
{
	const size_t part = NPAGES / 2, copies = variant->write ? part : 0;

	ASSERT_TRUE(merge(self->mem, NPAGES));
	ASSERT_TRUE(write_file(KSM "run", "0"));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, part, copies, copies));
	EXPECT_TRUE(all_at(self->fd, self->mem + part * PAGE, NPAGES - part, AT_SYSTEM_RO));
	EXPECT_TRUE(hold(self->mem + part * PAGE, NPAGES - part, SEED));
	EXPECT_TRUE(dev_sees_merged(self->fd, self->mem, NPAGES));
}

/*
 * KSM goes on, and compares a new page of the same contents with the one in its
 * tree: were that on the device by now, it could not be read.
 */
TEST_F_TIMEOUT(onewalk, merging_goes_on, TIMEOUT)
{
	char *more = map_pages(NPAGES);

	ASSERT_NE(more, MAP_FAILED);
	ASSERT_TRUE(merge(self->mem, NPAGES));
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, NPAGES).error, 0);
	EXPECT_TRUE(merge(more, NPAGES));
	EXPECT_TRUE(dev_sees_merged(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(hold(self->mem, NPAGES, SEED));
	EXPECT_TRUE(hold(more, NPAGES, SEED));
	EXPECT_TRUE(write_file(KSM "run", "0"));
}

TEST_HARNESS_MAIN
