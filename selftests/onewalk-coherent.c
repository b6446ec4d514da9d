// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults of a device with coherent memory, and of others on pages that
 * are in such memory. They can be used from everywhere, so that those of another
 * device stay where they are; all else is as for private memory.
 */
#include <sys/uio.h>

#include "kinds.h"
#include "onewalk.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(onewalk)
{
	int fd;
	int other;	/* the other device with coherent memory */
	int private;	/* a device with private memory */
	char *mem;	/* NPAGES, untouched */
};

FIXTURE_VARIANT(onewalk)
{
	bool write;
};

FIXTURE_VARIANT_ADD(onewalk, read)
{
	.write = false,
};

FIXTURE_VARIANT_ADD(onewalk, write)
{
	.write = true,
};

FIXTURE_SETUP(onewalk)
{
	SKIP_WITHOUT_DEVICE(2);
	SKIP_WITHOUT_DEVICE(3);
	self->fd = dev_open(2);
	self->other = dev_open(3);
	self->private = dev_open(0);
	ASSERT_TRUE(self->fd >= 0 && self->other >= 0 && self->private >= 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(onewalk)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->other), 0);
	ASSERT_EQ(close(self->private), 0);
}

/* All of @mem is on the device, and stays there whoever uses it. */
static bool arrived(int fd, void *mem, size_t npages, uint64_t seed)
{
	return all_at(fd, mem, npages, AT_COHERENT) && dev_sees(fd, mem, npages, seed) &&
	       holds(mem, npages, seed) && dev_changes(fd, mem, npages, OTHER) &&
	       all_at(fd, mem, npages, AT_COHERENT);
}

/* Nothing is done to the pages: the very same are mapped after the fault. */
static bool leaves(int fd, bool write, const void *mem, size_t npages, size_t pages)
{
	uint64_t before[npages], after[npages];

	return read_pagemap(mem, npages, before) && takes(fd, write, mem, npages, pages, 0) &&
	       read_pagemap(mem, npages, after) && !memcmp(before, after, sizeof(before));
}

static bool still_holds(void *mem)
{
	return holds(mem, NPAGES, SEED);
}

/* --- What comes ------------------------------------------------------------------ */

TEST_F(onewalk, populated)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(dev_knows(self->fd, self->mem, NPAGES, variant->write));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

/* The memory held something before, of which nothing must be seen. */
TEST_F(onewalk, hole)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTNEED), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

TEST_F(onewalk, zero_page)
{
	touch(self->mem, NPAGES);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

TEST_F(onewalk, swapped_out)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
	/* The copy in swap is gone: the page must know that it is the only one. */
	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, OTHER));
}

/* A page that no CPU can use has to come, by way of system memory. */
TEST_F(onewalk, private_page_of_another_device)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->private, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

TEST_F_TIMEOUT(onewalk, huge_page, TIMEOUT)
{
	char *mem = map_huge(1);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	ASSERT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_HUGE));
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(arrived(self->fd, mem, HUGE_PAGES, SEED));
}

TEST_F(onewalk, shared_since_a_fork)
{
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, self->mem));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? NPAGES : 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_COHERENT : AT_COHERENT_RO));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* --- What is there ---------------------------------------------------------------- */

TEST_F(onewalk, own_page)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(leaves(self->fd, variant->write, self->mem, NPAGES, NPAGES));
	EXPECT_TRUE(dev_knows(self->fd, self->mem, NPAGES, variant->write));
	EXPECT_TRUE(arrived(self->fd, self->mem, NPAGES, SEED));
}

/* Shared since a fork: to write to it the device gets a copy, in its own memory. */
TEST_F(onewalk, own_page_shared)
{
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(start_child(&child, still_holds, self->mem));
	if (variant->write) {
		EXPECT_TRUE(takes(self->fd, true, self->mem, NPAGES, NPAGES, NPAGES));
	} else {
		EXPECT_TRUE(leaves(self->fd, false, self->mem, NPAGES, NPAGES));
	}
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_COHERENT : AT_COHERENT_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Not shared any more, but still read-only: made writable where it is. */
TEST_F(onewalk, own_page_child_gone)
{
	uint64_t before[NPAGES], after[NPAGES];
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(start_child(&child, still_holds, self->mem));
	ASSERT_TRUE(end_child(&child));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, before));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? NPAGES : 0));
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, after));
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(before[i] & PM_FRAME, after[i] & PM_FRAME);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->write ? AT_COHERENT : AT_COHERENT_RO));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(onewalk, own_page_in_a_pipe)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	int pipes[2];

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	EXPECT_TRUE(leaves(self->fd, variant->write, self->mem, NPAGES, NPAGES));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(read(pipes[0], scratch, PAGE), PAGE);
	EXPECT_TRUE(holds(scratch, 1, OTHER));
	close(pipes[0]);
	close(pipes[1]);
}

/* --- What stays where it is -------------------------------------------------------- */

/* Neither the other device with such memory nor one with private memory moves the page. */
TEST_F(onewalk, page_of_another_device)
{
	const int others[] = { self->other, self->private };

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		EXPECT_TRUE(leaves(others[i], variant->write, self->mem, NPAGES, 0));
		EXPECT_TRUE(dev_knows(others[i], self->mem, NPAGES, variant->write));
		EXPECT_TRUE(all_at(others[i], self->mem, NPAGES, AT_REMOTE));
		EXPECT_TRUE(dev_changes(others[i], self->mem, NPAGES, OTHER + i));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER + i));
	}
}

/* Shared: to write to it a device gets a copy, which is nobody's and moves. */
TEST_F(onewalk, page_of_another_device_shared)
{
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(start_child(&child, still_holds, self->mem));
	if (variant->write) {
		EXPECT_TRUE(takes(self->other, true, self->mem, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_at(self->other, self->mem, NPAGES, AT_COHERENT));
		EXPECT_TRUE(dev_changes(self->other, self->mem, NPAGES, OTHER));
	} else {
		EXPECT_TRUE(leaves(self->other, false, self->mem, NPAGES, 0));
		EXPECT_TRUE(all_at(self->other, self->mem, NPAGES, AT_REMOTE_RO));
	}
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, variant->write ? OTHER : SEED));
}

TEST_F(onewalk, shared_memory)
{
	char *mem = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NPAGES, SEED);
	EXPECT_TRUE(leaves(self->fd, variant->write, mem, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(dev_changes(self->fd, mem, NPAGES, OTHER));
}

/* All at once, page by page, each as it would be alone. */
TEST_F(onewalk, mixed)
{
	struct iovec iov = { .iov_base = self->mem + 4 * PAGE, .iov_len = PAGE };
	unsigned char map[NPAGES];
	int pipes[2];

	/* 0: hole, 1: system, 2: own, 3: the other's, 4: in a pipe, 5: private, 6: swap */
	fill(self->mem + PAGE, NPAGES - 2, SEED + 1);
	ASSERT_EQ(dev_take(self->fd, self->mem + 2 * PAGE, 1, scratch), 1);
	ASSERT_EQ(dev_take(self->other, self->mem + 3 * PAGE, 1, scratch), 1);
	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	ASSERT_EQ(dev_take(self->private, self->mem + 5 * PAGE, 1, scratch), 1);
	ASSERT_TRUE(swap_out(self->mem + 6 * PAGE, 1));

	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES - 2, 2));
	ASSERT_EQ(dev_snapshot(self->fd, self->mem, NPAGES, map), NPAGES);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(map[i], i == 3 ? AT_REMOTE : i == 4 ? AT_SYSTEM : AT_COHERENT);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, 1));
	EXPECT_TRUE(dev_sees(self->fd, self->mem + PAGE, NPAGES - 2, SEED + 1));
	EXPECT_TRUE(holds(self->mem + PAGE, NPAGES - 2, SEED + 1));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	close(pipes[0]);
	close(pipes[1]);
}

TEST_HARNESS_MAIN
