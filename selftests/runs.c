// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that are alike go to the device and home several at a time. Here the pages of
 * one call are not: holes lie among them, they have been taken in another order than
 * they lie in, or some are not on the device.
 */
#include <kselftest_harness.h>

#include "huge.h"

#define PAGES	500	/* fewer than a block, for which there is memory in pieces */

FIXTURE(runs)
{
	int fd;
	char *mem;
};

FIXTURE_VARIANT(runs)
{
	size_t step;	/* from a page to the one that is taken next, round and round */
};

FIXTURE_VARIANT_ADD(runs, in_order) { .step = 1 };
FIXTURE_VARIANT_ADD(runs, backwards) { .step = PAGES - 1 };
FIXTURE_VARIANT_ADD(runs, here_and_there) { .step = 37 };
FIXTURE_VARIANT_ADD(runs, by_halves) { .step = PAGES / 2 + 1 };

FIXTURE_SETUP(runs)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->mem = map_pages(PAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(runs)
{
	ASSERT_EQ(munmap(self->mem, PAGES * PAGE), 0);
	ASSERT_EQ(close(self->fd), 0);
}

/* Runs of one page, of two, of three, and so on: is page @i in every other of them? */
static bool in_other_run(size_t i)
{
	size_t length = 1;

	while (i >= length)
		i -= length++;
	return length % 2;
}

/* Has each page in another run what it was filled with, and the rest zeroes? */
static bool is_other(const void *mem)
{
	for (size_t i = 0; i < PAGES; i++) {
		const void *page = (const char *)mem + i * PAGE;

		if (in_other_run(i) ? !holds(page, 1, SEED + i) : !is_zero(page, 1))
			return false;
	}
	return true;
}

static bool take_one_by_one(int fd, char *mem, size_t step, bool (*wanted)(size_t i))
{
	for (size_t n = 0, i = 0; n < PAGES; n++, i = (i + step) % PAGES)
		if ((!wanted || wanted(i)) && dev_take(fd, mem + i * PAGE, 1, scratch) != 1)
			return false;
	return true;
}

/* Frees memory that the device has used: the next to use it must not see what it held. */
static bool leave_used_memory(int fd)
{
	char *mem = map_pages(PAGES);

	if (mem == MAP_FAILED)
		return false;
	fill(mem, PAGES, OTHER);
	return dev_take(fd, mem, PAGES, scratch) == PAGES &&
	       !munmap(mem, PAGES * PAGE);
}

TEST_F(runs, come_home_by_one_call)
{
	fill(self->mem, PAGES, SEED);
	ASSERT_TRUE(take_one_by_one(self->fd, self->mem, variant->step, NULL));
	ASSERT_TRUE(all_at(self->fd, self->mem, PAGES, AT_DEVICE));

	EXPECT_EQ(dev_give(self->fd, self->mem, PAGES), PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, PAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, PAGES, SEED));
}

TEST_F(runs, come_home_by_faults)
{
	fill(self->mem, PAGES, SEED);
	ASSERT_TRUE(take_one_by_one(self->fd, self->mem, variant->step, NULL));

	EXPECT_TRUE(holds(self->mem, PAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, PAGES, AT_SYSTEM));
}

/* What the device has written to each comes along. */
TEST_F(runs, are_read_and_written_by_the_device)
{
	fill(self->mem, PAGES, SEED);
	ASSERT_TRUE(take_one_by_one(self->fd, self->mem, variant->step, NULL));
	EXPECT_EQ(dev_read(self->fd, self->mem, PAGES, scratch), PAGES);
	EXPECT_TRUE(holds(scratch, PAGES, SEED));

	fill(scratch, PAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, PAGES, scratch), PAGES);
	EXPECT_TRUE(holds(self->mem, PAGES, OTHER));
}

/* Those between them are in system memory. */
TEST_F(runs, with_others_between_them)
{
	size_t on_device = 0;

	fill(self->mem, PAGES, SEED);
	ASSERT_TRUE(take_one_by_one(self->fd, self->mem, variant->step, in_other_run));
	for (size_t i = 0; i < PAGES; i++)
		on_device += in_other_run(i);
	ASSERT_EQ(count_on_device(self->fd, self->mem, PAGES), on_device);

	EXPECT_EQ(dev_give(self->fd, self->mem, PAGES), (long)on_device);
	EXPECT_TRUE(all_at(self->fd, self->mem, PAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, PAGES, SEED));
}

/* Free pages of the device that lie here and there are used, by pages and by holes. */
TEST_F(runs, among_holes)
{
	char *others = map_pages(PAGES);

	ASSERT_NE(others, MAP_FAILED);
	fill(others, PAGES, OTHER);
	ASSERT_TRUE(take_one_by_one(self->fd, others, variant->step, NULL));
	for (size_t i = 0; i < PAGES; i++) {
		if (in_other_run(i))
			fill(self->mem + i * PAGE, 1, SEED + i);
		else
			ASSERT_EQ(dev_give(self->fd, others + i * PAGE, 1), 1);
	}
	ASSERT_TRUE(leave_used_memory(self->fd));

	EXPECT_EQ(dev_take(self->fd, self->mem, PAGES, scratch), PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, PAGES, AT_DEVICE));
	EXPECT_TRUE(is_other(scratch));
	EXPECT_TRUE(is_other(self->mem));
	EXPECT_TRUE(holds(others, PAGES, OTHER));
	EXPECT_EQ(munmap(others, PAGES * PAGE), 0);
}

TEST_HARNESS_MAIN
