// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on pages that KSM has merged: one page, mapped many times in
 * the range, which has to stay where KSM can read it.
 */
#include "onewalk-fixture.h"

#include "ksm.h"

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

	ASSERT_TRUE(merge(self->mem, NPAGES, SEED));
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

	ASSERT_TRUE(merge(self->mem, NPAGES, SEED));
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
	ASSERT_TRUE(merge(self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, NPAGES).error, 0);
	EXPECT_TRUE(merge(more, NPAGES, SEED));
	EXPECT_TRUE(dev_sees_merged(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(hold(self->mem, NPAGES, SEED));
	EXPECT_TRUE(hold(more, NPAGES, SEED));
	EXPECT_TRUE(write_file(KSM "run", "0"));
}

TEST_HARNESS_MAIN
