// SPDX-License-Identifier: GPL-2.0
/*
 * What mm does to memory that a device holds exclusively: the device keeps nothing
 * that it was not left, and what it wrote there is never lost.
 */
#include "exclusive.h"

TEST_F(exclusive, becomes_read_only)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(exclusive, dropped)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(madvise(self->mem, PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, 1), 0);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, 1));
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, true));

	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), -EFAULT);
}

TEST_F(exclusive, moved)
{
	char *to = map_pages(NPAGES);

	ASSERT_NE(to, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(mremap(self->mem, NPAGES * PAGE, NPAGES * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_check(self->fd, to, NPAGES), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), -EFAULT);
	EXPECT_TRUE(dev_sees(self->fd, to, NPAGES, OTHER));
	EXPECT_TRUE(holds(to, NPAGES, OTHER));
}

/* A fork takes the pages back, to share them: what the device writes then is a copy's. */
TEST_F(exclusive, forked)
{
	struct share share = { self->mem, SEED };
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Pages move to a device, this one or another: nobody holds them then. */
TEST_F(exclusive, migrated)
{
	fill(self->mem, NPAGES, SEED);
	for (int i = 0; i < 2; i++) {
		int fd = i ? self->other : self->fd;

		ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
		EXPECT_TRUE(takes(fd, i, self->mem, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, false));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	}
}

/* MIGRATE_TO_DEV does not fault, and so finds nothing there to move. */
TEST_F(exclusive, not_migrated)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), -ENOENT);
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_release(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The kernel moves pages to make room; a page that moves is held no more. */
TEST_F_TIMEOUT(exclusive, compacted, TIMEOUT)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* --- What the device writes is there to stay -------------------------------------- */

/* As if nobody had written since, mm may drop the pages; but the device has. */
TEST_F(exclusive, lazily_freed)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(writes(self->fd, self->mem, NPAGES, SEED));
	/* A CPU reads, or reclaim would pass over them. */
	touch(self->mem, NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* They have been read from swap, where the old data still are. */
TEST_F(exclusive, clean)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	touch(self->mem, NPAGES);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_TRUE(writes(self->fd, self->mem, NPAGES, SEED));
	touch(self->mem, NPAGES);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
