// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on private memory of one process: whatever state a page is
 * in, it arrives with what it holds, and only what has to be faulted is.
 */
#include "onewalk-fixture.h"

/* All of @mem is on the device, holds @seed's data there, and after that at home. */
static bool arrived(int fd, void *mem, size_t npages, uint64_t seed)
{
	return dev_sees(fd, mem, npages, seed) && all_at(fd, mem, npages, AT_DEVICE) &&
	       holds(mem, npages, seed) && all_at(fd, mem, npages, AT_SYSTEM);
}

TEST_F(onewalk, populated)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/* The device brings its own page: one made by the CPU would be moved for nothing. */
TEST_F(onewalk, hole)
{
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
}

/* What the device wrote to the page that it brought is as good as the CPU's. */
TEST_F(onewalk, hole_written_by_device)
{
	ASSERT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	fill(scratch, NPAGES, SEED);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* Nothing is mapped for miles: no page table either. */
TEST_F_TIMEOUT(onewalk, hole_without_page_table, TIMEOUT)
{
	const size_t npages = 3 * HUGE_PAGES;
	char *mem = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, npages, npages, 0));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem + HUGE, HUGE_PAGES));
	EXPECT_EQ(count_on_device(self->fd, mem, npages), npages);
	EXPECT_TRUE(is_zero(mem, npages));
}

TEST_F(onewalk, zero_page)
{
	touch(self->mem, NPAGES);
	ASSERT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_ZERO));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/* A page that is where it shall be stays, the very page. */
TEST_F(onewalk, own_device_page)
{
	uint64_t before[NPAGES], after[NPAGES];

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, before));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, after));
	EXPECT_EQ(memcmp(before, after, sizeof(before)), 0);
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

TEST_F(onewalk, other_device_page)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->other, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(all_at(self->other, self->mem, NPAGES, AT_NOWHERE));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

/* One page of each device in turn: only the other's come by way of a fault. */
TEST_F(onewalk, pages_of_both_devices)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	for (size_t i = 0; i < NPAGES; i++) {
		int fd = i % 2 ? self->other : self->fd;

		ASSERT_EQ(dev_take(fd, self->mem + i * PAGE, 1, scratch), 1);
	}
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES / 2));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

/* Pages that a device has for itself, this one or the other: taken back, then moved. */
TEST_F(onewalk, held_exclusively)
{
	fill(self->mem, NPAGES, SEED);
	for (int i = 0; i < 2; i++) {
		int holder = i ? self->other : self->fd;

		ASSERT_EQ(dev_hold(holder, self->mem, NPAGES, scratch), NPAGES);
		ASSERT_EQ(dev_check(holder, self->mem, NPAGES), -EPERM);
		EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
		EXPECT_EQ(dev_check(holder, self->mem, NPAGES), 0);
		EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	}
}

/* What the device wrote while it had them comes along, and is dirty. */
TEST_F(onewalk, written_exclusively)
{
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), NPAGES);
	fill(scratch, NPAGES, SEED);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

TEST_F(onewalk, swapped_out)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	/* The copy in swap is gone: the page must know that it is the only one. */
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* The fault is for the page that is missing, not for the holes around it. */
TEST_F(onewalk, swapped_out_between_holes)
{
	const size_t at = NPAGES / 2;

	fill(self->mem + at * PAGE, 1, SEED);
	ASSERT_TRUE(swap_out(self->mem + at * PAGE, 1));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 1));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(is_zero(self->mem, at));
	EXPECT_TRUE(holds(self->mem + at * PAGE, 1, SEED));
	EXPECT_TRUE(is_zero(self->mem + (at + 1) * PAGE, NPAGES - at - 1));
}

/* Nothing outside of the range is touched, in the same page table or the next. */
TEST_F(onewalk, neighbours)
{
	uint64_t before[NPAGES], after[NPAGES];
	const size_t first = 2, count = 3;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	madvise(self->mem, PAGE, MADV_DONTNEED);
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, before));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem + first * PAGE, count,
			  count, count));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, after));
	for (size_t i = 0; i < NPAGES; i++) {
		if (i < first || i >= first + count)
			EXPECT_EQ(before[i], after[i]);
	}
	EXPECT_TRUE(arrived(self->fd, self->mem + first * PAGE, count, SEED + first));
	EXPECT_TRUE(holds(self->mem + PAGE, NPAGES - 1, SEED + 1));
}

/* In the swap cache: nothing to be read, but a fault all the same. */
TEST_F(onewalk, swap_cache)
{
	unsigned char cached[NPAGES] = { 0 };
	size_t count = 0;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_WILLNEED), 0);
	ASSERT_TRUE(all_marked(self->mem, NPAGES, PM_SWAP | PM_PRESENT, PM_SWAP));
	ASSERT_EQ(mincore(self->mem, NPAGES * PAGE, cached), 0);
	for (size_t i = 0; i < NPAGES; i++)
		count += cached[i] & 1;
	ASSERT_EQ(count, NPAGES);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* Half of it is there, half is not. */
TEST_F(onewalk, mlocked)
{
	fill(self->mem, NPAGES / 2, SEED);
	ASSERT_EQ(mlock2(self->mem, NPAGES * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES / 2, SEED));
	EXPECT_TRUE(is_zero(self->mem + NPAGES / 2 * PAGE, NPAGES / 2));
	/* At home they are locked again, and stay. */
	EXPECT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT), -1);
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_PRESENT, PM_PRESENT));
	EXPECT_EQ(munlock(self->mem, NPAGES * PAGE), 0);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES / 2, SEED));
}

/*
 * A page that mm may drop as long as nobody writes to it. The device writes, on
 * the device: from then on it must not be dropped any more.
 */
TEST_F(onewalk, lazily_freed)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	fill(scratch, NPAGES, SEED);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* Many pages in all these states, over four page tables. */
TEST_F_TIMEOUT(onewalk, many_pages, TIMEOUT)
{
	const size_t npages = 2 * HUGE_PAGES + 96, first = HUGE_PAGES - 48;
	char *area = map_huge(4), *mem = area + first * PAGE;
	size_t missing = 0;

	ASSERT_NE(area, MAP_FAILED);
	ASSERT_EQ(madvise(area, 4 * HUGE, MADV_NOHUGEPAGE), 0);
	ASSERT_TRUE(alone(area, 4 * HUGE_PAGES));
	fill(mem, npages, SEED);
	for (size_t i = 0; i < npages; i += 16) {
		/* 3 pages in swap, 3 on the other device, 2 on this one. */
		ASSERT_TRUE(swap_out(mem + i * PAGE, 3));
		ASSERT_EQ(dev_take(self->other, mem + (i + 5) * PAGE, 3, scratch), 3);
		ASSERT_EQ(dev_take(self->fd, mem + (i + 10) * PAGE, 2, scratch), 2);
		missing += 6;
	}
	EXPECT_TRUE(takes(self->fd, variant->write, mem, npages, npages, missing));
	EXPECT_EQ(count_on_device(self->fd, mem, npages), npages);
	for (size_t i = 0; i < npages; i += HUGE_PAGES) {
		size_t part = npages - i < HUGE_PAGES ? npages - i : HUGE_PAGES;

		EXPECT_TRUE(dev_sees(self->fd, mem + i * PAGE, part, SEED + i));
	}
	EXPECT_TRUE(holds(mem, npages, SEED));
}

/* The same twice in a row is the same as once. */
TEST_F(onewalk, again)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(takes(self->fd, !variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

/* What a fault is for: the access that follows finds the pages, whatever they were. */
TEST_F(onewalk, no_miss_after_it)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, 6, SEED);
	ASSERT_TRUE(swap_out(self->mem, 2));
	ASSERT_EQ(dev_take(self->other, self->mem + 2 * PAGE, 2, scratch), 2);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 4));
	EXPECT_TRUE(dev_knows(self->fd, self->mem, NPAGES, variant->write));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, 6, SEED));
}

/* Other files know where the pages were, and must learn that they are there no more. */
TEST_F(onewalk, known_to_others)
{
	int second = dev_open(0);

	ASSERT_GE(second, 0);
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(second, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_sees(self->other, self->mem, NPAGES, SEED));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(dev_sees(second, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees(self->other, self->mem, NPAGES, OTHER));
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(second, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	close(second);
}

TEST_HARNESS_MAIN
