// SPDX-License-Identifier: GPL-2.0
/*
 * A fault of the CPU on a page of the device brings its neighbours home, too: those
 * of the same 16 pages that are on the same device and in the same mapping, and
 * nothing else.
 */
#include <kselftest_harness.h>

#include <sys/wait.h>

#include "lib.h"

#define AROUND	16
#define NPAGES	(4 * AROUND)
#define AT	(AROUND + 4)	/* the page that the CPU touches */
#define SEED	1000
#define OTHER	2000

FIXTURE(around)
{
	int fd, second, other;	/* two files of a device, one of another */
	char *mem;		/* NPAGES, aligned to AROUND of them, filled from SEED */
	char *buf;		/* as large */
};

FIXTURE_SETUP(around)
{
	char *area = map_pages(NPAGES + AROUND);

	ASSERT_NE(area, MAP_FAILED);
	self->fd = dev_open(0);
	self->second = dev_open(0);
	self->other = dev_open(1);
	ASSERT_TRUE(self->fd >= 0 && self->second >= 0 && self->other >= 0);
	self->mem = (char *)(((uintptr_t)area + AROUND * PAGE - 1) & -(AROUND * PAGE));
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
}

FIXTURE_TEARDOWN(around)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->second), 0);
	ASSERT_EQ(close(self->other), 0);
}

/* Are the @count pages from @first on in system memory, and the others still at @place? */
static bool home(int fd, const char *mem, size_t first, size_t count, unsigned char place)
{
	size_t end = first + count;

	return (!first || all_at(fd, mem, first, place)) &&
	       all_at(fd, mem + first * PAGE, count, AT_SYSTEM) &&
	       (end == NPAGES || all_at(fd, mem + end * PAGE, NPAGES - end, place));
}

/* Touches a page as the CPU does that finds SEED's data there. */
static bool touch_it(const char *mem)
{
	return holds(mem + AT * PAGE, 1, SEED + AT);
}

TEST_F(around, neighbours_come_along)
{
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(touch_it(self->mem));
	EXPECT_TRUE(home(self->fd, self->mem, AROUND, AROUND, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* What the device has written since they went there comes along, too. */
TEST_F(around, with_their_data)
{
	char *fresh = self->buf;

	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	fill(fresh, NPAGES, OTHER);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, fresh), NPAGES);
	ASSERT_TRUE(holds(self->mem + AT * PAGE, 1, OTHER + AT));
	EXPECT_TRUE(home(self->fd, self->mem, AROUND, AROUND, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Each file of the device must learn of it, of the neighbours as well. */
TEST_F(around, devices_see_what_the_cpu_writes_then)
{
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_read(self->second, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(touch_it(self->mem));
	fill(self->mem + AROUND * PAGE, AROUND, OTHER);
	for (int i = 0; i < 2; i++) {
		int fd = i ? self->second : self->fd;

		/* First some that come after the page that was touched. */
		ASSERT_EQ(dev_read(fd, self->mem + (AROUND + 8) * PAGE, 8, self->buf), 8);
		EXPECT_TRUE(holds(self->buf, 8, OTHER + 8));
		ASSERT_EQ(dev_read(fd, self->mem, NPAGES, self->buf), NPAGES);
		EXPECT_TRUE(holds(self->buf, AROUND, SEED));
		EXPECT_TRUE(holds(self->buf + AROUND * PAGE, AROUND, OTHER));
		EXPECT_TRUE(holds(self->buf + 2 * AROUND * PAGE, NPAGES - 2 * AROUND,
				  SEED + 2 * AROUND));
	}
}

TEST_F(around, no_further_than_the_mapping)
{
	/* From the third page of the 16 up to the sixth it is a mapping of its own. */
	ASSERT_EQ(mprotect(self->mem + (AROUND + 2) * PAGE, 4 * PAGE, PROT_READ), 0);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(touch_it(self->mem));
	EXPECT_TRUE(all_at(self->fd, self->mem, AROUND + 2, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, self->mem + (AROUND + 2) * PAGE, 4, AT_SYSTEM_RO));
	EXPECT_TRUE(all_at(self->fd, self->mem + (AROUND + 6) * PAGE, NPAGES - AROUND - 6,
			   AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Who goes here and there has no use for neighbours. */
TEST_F(around, alone_where_access_is_random)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(touch_it(self->mem));
	EXPECT_TRUE(home(self->fd, self->mem, AT, 1, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Pages of another device, one in system memory, and one that is not there. */
TEST_F(around, others_stay_as_they_are)
{
	char *mem = self->mem + AROUND * PAGE;
	unsigned char map[AROUND];

	ASSERT_EQ(dev_take(self->fd, mem, AROUND, self->buf), AROUND);
	ASSERT_EQ(dev_give(self->fd, mem + 6 * PAGE, 3), 3);
	ASSERT_EQ(madvise(mem + 9 * PAGE, PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(dev_take(self->other, mem + 6 * PAGE, 2, self->buf), 2);
	ASSERT_TRUE(touch_it(self->mem));

	ASSERT_TRUE(all_at(self->other, mem + 6 * PAGE, 2, AT_DEVICE));
	ASSERT_EQ(dev_snapshot(self->fd, mem, AROUND, map), AROUND);
	for (size_t i = 0; i < AROUND; i++)
		EXPECT_EQ(map[i], i == 6 || i == 7 || i == 9 ? AT_NOWHERE : AT_SYSTEM);
	EXPECT_TRUE(is_zero(mem + 9 * PAGE, 1));
	EXPECT_TRUE(holds(mem, 9, SEED + AROUND));
	EXPECT_TRUE(holds(mem + 10 * PAGE, 6, SEED + AROUND + 10));
}

/* Neighbours that two processes share come home for both, and stay shared. */
TEST_F(around, shared_with_a_child)
{
	int status;
	pid_t child;

	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		bool ok = touch_it(self->mem) && holds(self->mem, NPAGES, SEED);

		fill(self->mem, NPAGES, OTHER);
		_exit(!ok || !holds(self->mem, NPAGES, OTHER));
	}
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	ASSERT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
}

TEST_HARNESS_MAIN
