// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on pages that processes share since a fork. A device that
 * reads moves the shared page, and all go on seeing it; one that writes gets a
 * copy, and nobody else sees that.
 */
#include "onewalk-fixture.h"

struct share {
	bool write;
	char *mem;
	size_t npages;
	uint64_t seed;		/* what the pages hold */
	uint64_t pages, faults;	/* what the child's fault must answer */
};

static bool still_holds(void *arg)
{
	struct share *share = arg;

	return holds(share->mem, share->npages, share->seed);
}

/* The child's device takes the pages, and what it writes is seen by the child. */
static bool takes_and_changes(void *arg)
{
	struct share *share = arg;
	int fd = dev_open(0);

	return takes(fd, share->write, share->mem, share->npages, share->pages, share->faults) &&
	       all_at(fd, share->mem, share->npages, share->write ? AT_DEVICE : AT_DEVICE_RO) &&
	       dev_sees(fd, share->mem, share->npages, share->seed) &&
	       dev_changes(fd, share->mem, share->npages, OTHER);
}

static struct share share_of(char *mem, bool write)
{
	return (struct share){
		.write = write,
		.mem = mem,
		.npages = NPAGES,
		.seed = SEED,
		.pages = NPAGES,
		.faults = write ? NPAGES : 0,
	};
}

/* The parent's fault: the child's data is as it was, whatever the parent's device writes. */
TEST_F(onewalk, by_the_parent)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, share.faults));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_DEVICE_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/* As before, but the child looks first: that fetches the shared page home for both. */
TEST_F(onewalk, by_the_parent_child_first)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, share.faults));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_SYSTEM_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(onewalk, by_the_child)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, takes_and_changes, &share));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Not shared any more, but still read-only: no copy is made, the page goes. */
TEST_F(onewalk, child_gone)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	ASSERT_TRUE(end_child(&child));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, share.faults));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/*
 * The fault is for some of the pages: the others stay shared, the same pages at
 * the same place. A fault for the rest of the block would copy them all.
 */
TEST_F(onewalk, neighbours_stay_shared)
{
	const size_t first = 2, count = 3;
	struct share share = share_of(self->mem, variant->write);
	uint64_t before[NPAGES], after[NPAGES];
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, before));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem + first * PAGE, count,
			  count, variant->write ? count : 0));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, after));
	for (size_t i = 0; i < NPAGES; i++) {
		if (i < first || i >= first + count)
			EXPECT_EQ(before[i], after[i]);
	}
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * Every other page is the parent's own again, by a write of its own. A write
 * fault has to copy the rest only: copies of the others would be wasted.
 */
TEST_F(onewalk, half_of_them_shared)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	for (size_t i = 0; i < NPAGES; i += 2)
		fill(self->mem + i * PAGE, 1, OTHER + i);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  share.faults / 2));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_TRUE(dev_sees(self->fd, self->mem + i * PAGE, 1,
				     (i % 2 ? SEED : OTHER) + i));
	EXPECT_TRUE(end_child(&child));
}

/*
 * On the device when the fork came: shared there, read-only. Reading is no work.
 * To write, the page comes home by one fault and is copied by another.
 */
TEST_F(onewalk, own_device_page)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	ASSERT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  2 * share.faults));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_DEVICE_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
}

TEST_F(onewalk, own_device_page_by_the_child)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	share.faults *= 2;
	ASSERT_TRUE(start_child(&child, takes_and_changes, &share));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Read-only on the device by mprotect(), and by then nobody's but the parent's. */
TEST_F(onewalk, own_device_page_protected)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	ASSERT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? 2 * NPAGES : 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/* On the other device when the fork came: home by a fault, and as from there. */
TEST_F(onewalk, other_device_page)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->other, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? 2 * NPAGES : NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_DEVICE_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * In swap when the fork came. A read fault brings the page into the swap cache,
 * where the child's entry keeps it: mm does not move such a page to a device. A
 * write fault makes a copy, and that goes.
 */
TEST_F(onewalk, swapped_out)
{
	struct share share = share_of(self->mem, variant->write);
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES,
			  variant->write ? NPAGES : 0, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_DEVICE : AT_SYSTEM_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

TEST_HARNESS_MAIN
