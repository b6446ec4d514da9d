// SPDX-License-Identifier: GPL-2.0
/*
 * What the device has written stays written, whatever the kernel then does with
 * the pages: for pages in system memory, which it must know to be dirty, and for
 * pages of the device, which it knows only by name.
 */
#include <kselftest_harness.h>

#include "ksm.h"

#define NPAGES	16
#define SEED	1000	/* what the device writes */
#define OTHER	2000	/* what was there before */

FIXTURE(writes)
{
	int fd;
	char *mem;	/* NPAGES, filled from OTHER, in place */
	char *buf;	/* as large, filled from SEED */
};

FIXTURE_VARIANT(writes)
{
	bool on_device;
};

FIXTURE_VARIANT_ADD(writes, in_system)
{
	.on_device = false,
};

FIXTURE_VARIANT_ADD(writes, on_device)
{
	.on_device = true,
};

FIXTURE_SETUP(writes)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	fill(self->mem, NPAGES, OTHER);
	if (variant->on_device)
		ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	fill(self->buf, NPAGES, SEED);
}

FIXTURE_TEARDOWN(writes)
{
	ASSERT_EQ(close(self->fd), 0);
}

#define DEVICE_WRITES()	\
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES)

/* The device first: the CPU brings pages home, and makes them dirty itself. */
#define IS_WRITTEN() do {						\
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));	\
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));			\
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));	\
} while (0)

/* Pages of the device are passed over by reclaim. */
#define RECLAIM()							\
	ASSERT_TRUE(variant->on_device ?				\
		    !madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT) :	\
		    swap_out(self->mem, NPAGES))

TEST_F_TIMEOUT(writes, swapped_out, TIMEOUT)
{
	DEVICE_WRITES();
	RECLAIM();
	IS_WRITTEN();
}

/* Written pages are free to be dropped until somebody writes to them: the device. */
TEST_F_TIMEOUT(writes, lazily_freed, TIMEOUT)
{
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	DEVICE_WRITES();
	RECLAIM();
	IS_WRITTEN();
}

/*
 * The same, written on the device: where mm does not see it, and cannot drop the page.
 * All on one CPU, whose list the pages leave, to be lazily freed, when they move.
 */
TEST_F_TIMEOUT(writes, lazily_freed_and_moved, TIMEOUT)
{
	char *scratch = map_pages(NPAGES);
	cpu_set_t one;

	ASSERT_NE(scratch, MAP_FAILED);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	DEVICE_WRITES();
	if (variant->on_device)
		touch(self->mem, NPAGES);
	else
		ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	IS_WRITTEN();
}

/* The pages come back from swap clean, and with a copy there that is out of date soon. */
TEST_F_TIMEOUT(writes, clean_since_swap, TIMEOUT)
{
	RECLAIM();
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	DEVICE_WRITES();
	RECLAIM();
	IS_WRITTEN();
}

/* What was there at the fork is the child's for ever; what comes after is not. */
TEST_F_TIMEOUT(writes, forked, TIMEOUT)
{
	int written[2], status;
	pid_t child;
	char c;

	DEVICE_WRITES();
	ASSERT_EQ(pipe(written), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		close(written[1]);
		if (!holds(self->mem, NPAGES, SEED) || read(written[0], &c, 1))
			_exit(1);
		_exit(!holds(self->mem, NPAGES, SEED));
	}
	fill(self->buf, NPAGES, OTHER);
	DEVICE_WRITES();
	close(written[1]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

TEST_F_TIMEOUT(writes, mprotect, TIMEOUT)
{
	DEVICE_WRITES();
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	fill(self->buf, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), -EPERM);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), -EFAULT);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	RECLAIM();
	IS_WRITTEN();
}

TEST_F_TIMEOUT(writes, mremap, TIMEOUT)
{
	char *target = map_pages(NPAGES);

	ASSERT_NE(target, MAP_FAILED);
	DEVICE_WRITES();
	ASSERT_EQ(mremap(self->mem, NPAGES * PAGE, NPAGES * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, target), target);
	self->mem = target;
	RECLAIM();
	IS_WRITTEN();
}

/* The exit status of a child that sees whether the range is mapped, and full of zeroes. */
static int look_from_child(char *mem)
{
	pid_t child = fork();
	int status = -1;

	if (!child) {
		if (msync(mem, NPAGES * PAGE, MS_ASYNC))
			_exit(errno);
		_exit(is_zero(mem, NPAGES) ? 0 : -1);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F_TIMEOUT(writes, kept_from_children, TIMEOUT)
{
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTFORK), 0);
	DEVICE_WRITES();
	EXPECT_EQ(look_from_child(self->mem), ENOMEM);
	/* Not shared, and so still writable in place. */
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->on_device ? AT_DEVICE : AT_SYSTEM));
	RECLAIM();
	IS_WRITTEN();
}

TEST_F_TIMEOUT(writes, wiped_for_children, TIMEOUT)
{
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_WIPEONFORK), 0);
	DEVICE_WRITES();
	EXPECT_EQ(look_from_child(self->mem), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES,
			   variant->on_device ? AT_DEVICE : AT_SYSTEM));
	RECLAIM();
	IS_WRITTEN();
}

/*
 * KSM merges pages with equal ones, also such that the device has written, and
 * what the device then writes to one is not to be seen in another.
 */
TEST_F_TIMEOUT(writes, merged, TIMEOUT)
{
	char *twin = map_pages(NPAGES);

	ASSERT_NE(twin, MAP_FAILED);
	for (size_t i = 0; i < NPAGES; i++)
		fill(self->buf + i * PAGE, 1, SEED);
	DEVICE_WRITES();
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_MERGEABLE), 0);
	ASSERT_TRUE(merge(twin, NPAGES, SEED));
	if (!variant->on_device)
		ASSERT_TRUE(merge(self->mem, NPAGES, SEED));
	ASSERT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(hold(scratch, NPAGES, SEED));

	fill(self->buf, NPAGES, SEED);
	DEVICE_WRITES();
	EXPECT_TRUE(hold(twin, NPAGES, SEED));
	EXPECT_EQ(dev_write(self->fd, twin, 1, self->buf + PAGE), 1);
	EXPECT_TRUE(holds(twin, 1, SEED + 1));
	EXPECT_TRUE(hold(twin + PAGE, NPAGES - 1, SEED));
	ASSERT_TRUE(write_file(KSM "run", "0"));
	IS_WRITTEN();
}

TEST_HARNESS_MAIN
