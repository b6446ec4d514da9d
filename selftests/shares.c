// SPDX-License-Identifier: GPL-2.0
/*
 * Small pages that fill most of a block of the device share the memory for what they
 * hold. Here such a block is one mapping or two, pages leave it in any order, and pages
 * with memory of their own come among those that stay.
 */
#include <kselftest_harness.h>

#include "lib.h"

#define BLOCK	(HUGE / PAGE)
#define STEP	37	/* from a page to the one that is next, round and round */
#define SEED	1000
#define OTHER	5000

static char scratch[HUGE];

FIXTURE(shares)
{
	int fd;
	char *mem;	/* a block of small pages */
};

FIXTURE_VARIANT(shares)
{
	size_t first;	/* pages of the first mapping */
};

FIXTURE_VARIANT_ADD(shares, one_mapping) { .first = BLOCK };
FIXTURE_VARIANT_ADD(shares, one_page_first) { .first = 1 };
FIXTURE_VARIANT_ADD(shares, less_than_half_first) { .first = 100 };
FIXTURE_VARIANT_ADD(shares, most_first) { .first = 300 };
FIXTURE_VARIANT_ADD(shares, one_page_last) { .first = BLOCK - 1 };

FIXTURE_SETUP(shares)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->mem = map_huge(1);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_NOHUGEPAGE), 0);
	/* Makes two mappings of it. */
	if (variant->first < BLOCK)
		ASSERT_EQ(madvise(self->mem + variant->first * PAGE,
				  HUGE - variant->first * PAGE, MADV_DONTDUMP), 0);
	fill(self->mem, BLOCK, SEED);
}

FIXTURE_TEARDOWN(shares)
{
	ASSERT_EQ(munmap(self->mem, HUGE), 0);
	ASSERT_EQ(close(self->fd), 0);
}

static bool is_taken(int fd, char *mem)
{
	return dev_take(fd, mem, BLOCK, scratch) == (long)BLOCK &&
	       holds(scratch, BLOCK, SEED) && all_at(fd, mem, BLOCK, AT_DEVICE);
}

/* All of them, in another order. */
static bool holds_each(char *mem, size_t npages, uint64_t seed)
{
	for (size_t n = 0, i = 0; n < npages; n++, i = (i + STEP) % npages)
		if (!holds(mem + i * PAGE, 1, seed + i))
			return false;
	return true;
}

TEST_F(shares, come_home_by_one_call)
{
	ASSERT_TRUE(is_taken(self->fd, self->mem));
	EXPECT_EQ(dev_give(self->fd, self->mem, BLOCK), BLOCK);
	EXPECT_TRUE(all_at(self->fd, self->mem, BLOCK, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, BLOCK, SEED));
}

TEST_F(shares, come_home_by_faults)
{
	ASSERT_TRUE(alone(self->mem, BLOCK));
	ASSERT_TRUE(is_taken(self->fd, self->mem));
	EXPECT_TRUE(holds_each(self->mem, BLOCK, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, BLOCK, AT_SYSTEM));
}

TEST_F(shares, are_read_and_written_by_the_device)
{
	ASSERT_TRUE(is_taken(self->fd, self->mem));
	EXPECT_EQ(dev_read(self->fd, self->mem, BLOCK, scratch), BLOCK);
	EXPECT_TRUE(holds(scratch, BLOCK, SEED));

	fill(scratch, BLOCK, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, BLOCK, scratch), BLOCK);
	EXPECT_TRUE(holds(self->mem, BLOCK, OTHER));
}

/* Nothing, and pages of zeroes, have a part as well. */
TEST_F(shares, with_holes_between_them)
{
	for (size_t i = 0; i < BLOCK; i++) {
		char *page = self->mem + i * PAGE;

		if (i % 3)
			ASSERT_EQ(madvise(page, PAGE, MADV_DONTNEED), 0);
		if (i % 3 == 1)
			ASSERT_TRUE(is_zero(page, 1));
	}
	ASSERT_EQ(dev_take(self->fd, self->mem, BLOCK, scratch), BLOCK);
	for (size_t i = 0; i < BLOCK; i++) {
		char *page = self->mem + i * PAGE, *copy = scratch + i * PAGE;

		EXPECT_TRUE(i % 3 ? is_zero(copy, 1) : holds(copy, 1, SEED + i));
		EXPECT_TRUE(i % 3 ? is_zero(page, 1) : holds(page, 1, SEED + i));
	}
}

/* Where some have left, pages of another mapping come, each by itself. */
TEST_F(shares, others_come_among_them)
{
	enum { LEAVE = 40, COME = 200 };	/* the first to leave, and how many come */
	char *others = map_pages(COME);

	ASSERT_NE(others, MAP_FAILED);
	fill(others, COME, OTHER);
	ASSERT_TRUE(alone(self->mem, BLOCK));
	ASSERT_TRUE(is_taken(self->fd, self->mem));
	for (size_t i = LEAVE; i < BLOCK; i += 2)
		ASSERT_EQ(dev_give(self->fd, self->mem + i * PAGE, 1), 1);
	for (size_t i = 0; i < COME; i++)
		ASSERT_EQ(dev_take(self->fd, others + i * PAGE, 1, scratch), 1);

	EXPECT_EQ(dev_read(self->fd, self->mem, BLOCK, scratch), BLOCK);
	EXPECT_TRUE(holds(scratch, BLOCK, SEED));
	EXPECT_EQ(dev_read(self->fd, others, COME, scratch), COME);
	EXPECT_TRUE(holds(scratch, COME, OTHER));
	EXPECT_TRUE(holds_each(self->mem, BLOCK, SEED));
	EXPECT_TRUE(holds_each(others, COME, OTHER));
	ASSERT_EQ(munmap(others, COME * PAGE), 0);
}

TEST_HARNESS_MAIN
