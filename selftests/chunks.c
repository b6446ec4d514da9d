// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory grows by chunks, of 256 MiB: pages of two of them are not alike,
 * though they come one after the other.
 */
#include <kselftest_harness.h>

#include "huge.h"

#define CHUNK		128	/* huge pages */
#define FEW		100	/* small ones */

FIXTURE(chunks)
{
	int fd;
};

FIXTURE_SETUP(chunks)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(chunks)
{
	ASSERT_EQ(close(self->fd), 0);
}

/*
 * Huge pages take the first chunk but for one block. Small pages that follow take
 * that block, and then one of the next chunk, in the midst of what one call moves.
 */
TEST_F_TIMEOUT(chunks, pages_of_two, TIMEOUT)
{
	char *huge = map_huge(CHUNK - 1), *few = map_pages(FEW);
	char *mem = map_huge(1);

	ASSERT_NE(huge, MAP_FAILED);
	ASSERT_NE(few, MAP_FAILED);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(madvise(mem, HUGE, MADV_NOHUGEPAGE), 0);
	for (size_t i = 0; i < CHUNK - 1; i++) {
		char *block = huge + i * HUGE;

		fill(block, 1, SEED + i);
		ASSERT_EQ(dev_take(self->fd, block, HUGE_PAGES, scratch), HUGE_PAGES);
	}
	fill(few, FEW, SEED);
	ASSERT_EQ(dev_take(self->fd, few, FEW, scratch), FEW);

	fill(mem, HUGE_PAGES, OTHER);
	EXPECT_EQ(dev_take(self->fd, mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(scratch, HUGE_PAGES, OTHER));
	EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_DEVICE));
	fill(scratch, HUGE_PAGES, SEED);
	EXPECT_EQ(dev_write(self->fd, mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(mem, HUGE_PAGES, SEED));

	EXPECT_TRUE(holds(few, FEW, SEED));
	for (size_t i = 0; i < CHUNK - 1; i++)
		EXPECT_TRUE(holds(huge + i * HUGE, 1, SEED + i));
}

TEST_HARNESS_MAIN
