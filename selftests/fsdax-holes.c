// SPDX-License-Identifier: GPL-2.0
/*
 * Files of fsdax that have holes, get holes, or end. The blocks of a hole belong to
 * nobody, and soon to another file: a device that does not hear of it reads and writes
 * that one.
 */
#include "fsdax.h"

#include <linux/fs.h>

/* What is punched out of the data, in pages. */
#define GONE	2
#define BACK	5

static bool punch(int file, size_t first, size_t npages)
{
	return !fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  DATA + first * PAGE, npages * PAGE);
}

/* Do pages hold what a file of @seed does, but for the hole that was punched? */
static bool has_hole(const void *mem, size_t npages, uint64_t seed)
{
	return holds(mem, GONE, seed) && is_zero(mem + GONE * PAGE, BACK - GONE) &&
	       holds(mem + BACK * PAGE, npages - BACK, seed + BACK);
}

/* What was never there: zeroes, for which nobody allocates a block until they are written. */
TEST_F(fsdax, hole)
{
	char *mem = map_file(self->file, HOLE, self->npages, PROT_READ | PROT_WRITE,
			     variant->flags);
	bool huge = self->npages == HUGE_PAGES;
	size_t rest = (GONE + 1) * PAGE;

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem, self->npages));
	EXPECT_TRUE(all_at(self->fd, mem, self->npages, huge ? AT_HUGE_RO : AT_ZERO));
	EXPECT_EQ(lseek(self->file, 0, SEEK_DATA), DATA);

	/* Its neighbours stay what they are. */
	EXPECT_TRUE(dev_changes(self->fd, mem + GONE * PAGE, 1, OTHER));
	EXPECT_EQ(lseek(self->file, HOLE + GONE * PAGE, SEEK_DATA),
		  IS_SHARED ? HOLE + GONE * PAGE : DATA);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem, GONE));
	EXPECT_TRUE(dev_sees(self->fd, mem + GONE * PAGE, 1, OTHER));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem + rest, self->npages - GONE - 1));
	EXPECT_TRUE(is_zero(mem + rest, self->npages - GONE - 1));

	/* All of it. */
	EXPECT_TRUE(dev_changes(self->fd, mem, self->npages, THIRD));
	ASSERT_EQ(pread(self->file, scratch, self->npages * PAGE, HOLE), self->npages * PAGE);
	EXPECT_TRUE(IS_SHARED ? holds(scratch, self->npages, THIRD) :
				is_zero(scratch, self->npages));
	EXPECT_TRUE(file_holds(self->file, self->npages, SEED));
}

TEST_F(fsdax, hole_does_not_move)
{
	char *mem = map_file(self->file, HOLE, self->npages, PROT_READ | PROT_WRITE,
			     variant->flags);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(stays(self->fd, mem, self->npages));
	EXPECT_TRUE(all_at(self->fd, mem, self->npages, AT_NOWHERE));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem, self->npages));
	EXPECT_TRUE(stays(self->fd, mem, self->npages));
	EXPECT_EQ(lseek(self->file, 0, SEEK_DATA), DATA);
}

/* The device has read the data when they go. */
TEST_F(fsdax, punched_after_a_read)
{
	ASSERT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	ASSERT_TRUE(punch(self->file, GONE, BACK - GONE));
	EXPECT_EQ(dev_read(self->fd, self->mem, self->npages, scratch), self->npages);
	EXPECT_TRUE(has_hole(scratch, self->npages, SEED));
	EXPECT_TRUE(has_hole(self->mem, self->npages, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	if (IS_SHARED)
		EXPECT_TRUE(file_holds(self->file, self->npages, OTHER));
}

/* The device has written them. Copies are not of the file, and stay. */
TEST_F(fsdax, punched_after_a_write)
{
	ASSERT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	ASSERT_TRUE(punch(self->file, GONE, BACK - GONE));
	EXPECT_EQ(dev_read(self->fd, self->mem, self->npages, scratch), self->npages);
	EXPECT_TRUE(IS_SHARED ? has_hole(scratch, self->npages, OTHER) :
				holds(scratch, self->npages, OTHER));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, THIRD));
	if (IS_SHARED)
		EXPECT_TRUE(file_holds(self->file, self->npages, THIRD));
}

/* Writes pages to the end of @file until the disk is full. Returns how many. */
static size_t fill_disk(int file)
{
	for (size_t done = 0; ; done++) {
		fill(scratch, 1, THIRD + done);
		if (write(file, scratch, PAGE) != (ssize_t)PAGE)
			return errno == ENOSPC ? done : 0;
	}
}

/* The number of the block of the disk where the page of the file is; 0 if there is none. */
static int block_of(int file, size_t page)
{
	int block = page;

	return ioctl(file, FIBMAP, &block) ? 0 : block;
}

/* Does @file hold what fill_disk() wrote? Tells whether one page of it is at @block. */
static bool is_intact(int file, size_t npages, int block, bool *found)
{
	*found = false;
	for (size_t i = 0; i < npages; i++) {
		if (pread(file, scratch, PAGE, i * PAGE) != (ssize_t)PAGE ||
		    !holds(scratch, 1, THIRD + i))
			return false;
		*found |= block_of(file, i) == block;
	}
	return true;
}

/* What the device has written to is given to another file. */
TEST_F(fsdax, given_away)
{
	int block = block_of(self->file, DATA / PAGE), other;
	bool found = false;
	size_t npages;

	ASSERT_GT(block, 0);
	ASSERT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	if (IS_SHARED)
		ASSERT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	ASSERT_TRUE(punch(self->file, 0, self->npages));
	other = open_file(ROOT "/other");
	ASSERT_GE(other, 0);
	npages = fill_disk(other);
	ASSERT_TRUE(is_intact(other, npages, block, &found));
	ASSERT_TRUE(found);

	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, self->npages));
	/* There is no block left for it; a copy needs none. */
	fill(scratch, self->npages, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, self->npages, scratch),
		  IS_SHARED ? -EFAULT : self->npages);
	EXPECT_TRUE(is_intact(other, npages, block, &found));
	ASSERT_EQ(close(other), 0);
}

/* A file that ends before its mapping does, be it from the beginning or from now on. */
static void ends(struct __test_metadata *_metadata, int fd, int file, char *mem, size_t npages,
		 uint64_t seed)
{
	ASSERT_EQ(ftruncate(file, DATA + GONE * PAGE), 0);
	EXPECT_TRUE(is_outcome(ask(fd, HMM_DMIRROR_READ, mem + GONE * PAGE, 1), EFAULT, 0, 1));
	EXPECT_EQ(ask(fd, HMM_DMIRROR_READ, mem, npages).error, EFAULT);
	EXPECT_EQ(ask(fd, HMM_DMIRROR_WRITE, mem + GONE * PAGE, 1).error, EFAULT);
	EXPECT_EQ(ask(fd, HMM_DMIRROR_EXCLUSIVE, mem + GONE * PAGE, 1).error, EFAULT);
	EXPECT_TRUE(stays(fd, mem, npages));
	EXPECT_TRUE(all_at(fd, mem + GONE * PAGE, npages - GONE, AT_NOWHERE));
	EXPECT_TRUE(dev_sees(fd, mem, GONE, seed));

	/* It grows again, by a hole. */
	ASSERT_EQ(ftruncate(file, DATA + npages * PAGE), 0);
	EXPECT_TRUE(dev_sees(fd, mem, GONE, seed));
	EXPECT_TRUE(dev_sees_zeroes(fd, mem + GONE * PAGE, npages - GONE));
	EXPECT_TRUE(holds(mem, GONE, seed));
	EXPECT_TRUE(is_zero(mem + GONE * PAGE, npages - GONE));
}

TEST_F(fsdax, end_of_file)
{
	ends(_metadata, self->fd, self->file, self->mem, self->npages, SEED);
}

TEST_F(fsdax, cut_off_after_a_read)
{
	ASSERT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	ends(_metadata, self->fd, self->file, self->mem, self->npages, SEED);
}

/* Copies go with what they are copies of. */
TEST_F(fsdax, cut_off_after_a_write)
{
	ASSERT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	ends(_metadata, self->fd, self->file, self->mem, self->npages, OTHER);
}

TEST_HARNESS_MAIN
