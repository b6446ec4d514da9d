// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages go to the device and back in one piece; in small ones where that
 * is not wanted or cannot be had. The data are right in either case.
 */
#include "huge-fixture.h"

#include <sys/prctl.h>

static bool by_cpu_read(int fd, char *mem)
{
	(void)fd;
	touch(mem + PART_AT * PAGE, 1);
	return true;
}

static bool by_cpu_write(int fd, char *mem)
{
	(void)fd;
	fill(mem + PART_AT * PAGE, 1, SEED + PART_AT);
	return true;
}

static bool by_request(int fd, char *mem)
{
	return dev_give(fd, mem, HUGE_PAGES) == HUGE_PAGES;
}

static bool by_release(int fd, char *mem)
{
	(void)mem;
	return dev_request(fd, HMM_DMIRROR_RELEASE, NULL, 0, NULL, NULL) == HUGE_PAGES;
}

TEST_F(huge, there_and_back)
{
	static bool (*const ways[])(int fd, char *mem) = {
		by_cpu_read, by_cpu_write, by_request, by_release,
	};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
		EXPECT_TRUE(ways[i](self->fd, self->mem));
		EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_HUGE));
		EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
	}
}

/* It stays where it is, and is there for all. */
TEST_F(huge, again)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(scratch, HUGE_PAGES, SEED));
	EXPECT_TRUE(takes(self->fd, true, self->mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE));
}

TEST_F(huge, after_close)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(close(self->fd), 0);
	EXPECT_TRUE(all_marked(self->mem, HUGE_PAGES, PM_SWAP | PM_PRESENT, PM_SWAP));
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

TEST_F(huge, accessed_in_parts)
{
	char *part = self->mem + PART_AT * PAGE;

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_TRUE(dev_sees(self->fd, part, PART, SEED + PART_AT));
	fill(scratch, PART, OTHER);
	EXPECT_EQ(dev_write(self->fd, part, PART, scratch), PART);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(holds(part, PART, OTHER));
	EXPECT_TRUE(holds(self->mem, PART_AT, SEED));
	EXPECT_TRUE(holds(part + PART * PAGE, HUGE_PAGES - PART_AT - PART,
			  SEED + PART_AT + PART));
}

/* Nothing there, the zero page, and the same where the CPU may only read. */
TEST_F(huge, zeroes)
{
	for (int i = 0; i < 4; i++) {
		bool touched = i & 1, read_only = i & 2;

		if (read_only)
			ASSERT_EQ(mprotect(self->mem, HUGE, PROT_READ), 0);
		if (touched) {
			touch(self->mem, 1);
			ASSERT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_HUGE_RO));
		}
		memset(scratch, 1, sizeof(scratch));
		EXPECT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
		EXPECT_TRUE(is_zero(scratch, HUGE_PAGES));
		EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES,
				   read_only ? AT_DEVICE_HUGE_RO : AT_DEVICE_HUGE));
		EXPECT_TRUE(is_zero(self->mem, HUGE_PAGES));
		ASSERT_EQ(mprotect(self->mem, HUGE, PROT_READ | PROT_WRITE), 0);
		EXPECT_TRUE(dev_changes(self->fd, self->mem, HUGE_PAGES, OTHER));
		ASSERT_EQ(madvise(self->mem, HUGE, MADV_DONTNEED), 0);
	}
}

/* Small pages, a huge one, an empty area; from the middle of one to that of the next. */
TEST_F(huge, mixed)
{
	const size_t first = HUGE_PAGES - PART, npages = HUGE_PAGES + 2 * PART;
	char *mem = self->mem, *part = mem + first * PAGE;

	ASSERT_EQ(madvise(mem, HUGE, MADV_NOHUGEPAGE), 0);
	fill(mem, 2 * HUGE_PAGES, SEED);
	EXPECT_EQ(dev_take(self->fd, part, npages, buffer), npages);
	EXPECT_TRUE(holds(buffer, npages - PART, SEED + first));
	EXPECT_TRUE(is_zero(buffer + (npages - PART) * WORDS, PART));
	EXPECT_TRUE(all_at(self->fd, mem, first, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, part, PART, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, mem + HUGE, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(all_at(self->fd, mem + 2 * HUGE, PART, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, mem + 2 * HUGE + PART * PAGE, HUGE_PAGES - PART,
			   AT_NOWHERE));
	/* Up to the last small one. */
	EXPECT_EQ(dev_give(self->fd, part, npages - 1), npages - 1);
	EXPECT_TRUE(all_at(self->fd, mem + HUGE, HUGE_PAGES, AT_HUGE));
	EXPECT_EQ(count_on_device(self->fd, mem, COUNT * HUGE_PAGES), 1);
	EXPECT_TRUE(holds(mem, 2 * HUGE_PAGES, SEED));
	EXPECT_TRUE(is_zero(mem + 2 * HUGE, HUGE_PAGES));
}

/* A request does not fetch it from there, a fault does. */
TEST_F(huge, on_other_device)
{
	ASSERT_TRUE(put_huge(self->other, self->mem, SEED));
	EXPECT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), -ENOENT);
	EXPECT_TRUE(all_at(self->other, self->mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_EQ(count_on_device(self->fd, self->mem, HUGE_PAGES), 0);
	/* HMM says no more of it, nor of a part. */
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_ERROR));
	EXPECT_TRUE(all_at(self->fd, self->mem + PART_AT * PAGE, 6, AT_ERROR));
	EXPECT_TRUE(takes(self->fd, true, self->mem, HUGE_PAGES, HUGE_PAGES, 1));
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

TEST_F(huge, second_file)
{
	int fd = dev_open(0);

	ASSERT_GE(fd, 0);
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_TRUE(dev_sees(fd, self->mem, HUGE_PAGES, SEED));
	EXPECT_EQ(dev_give(fd, self->mem, HUGE_PAGES), HUGE_PAGES);
	EXPECT_TRUE(dev_changes(self->fd, self->mem, HUGE_PAGES, OTHER));
	close(fd);
}

/* --- Where huge pages are not wanted ------------------------------------------ */

static bool takes_small(int fd, char *mem, uint64_t seed)
{
	return dev_take(fd, mem, HUGE_PAGES, scratch) == HUGE_PAGES &&
	       (seed ? holds(scratch, HUGE_PAGES, seed) : is_zero(scratch, HUGE_PAGES)) &&
	       all_at(fd, mem, HUGE_PAGES, AT_DEVICE);
}

TEST_F(huge, not_in_this_area)
{
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_NOHUGEPAGE), 0);
	EXPECT_TRUE(takes_small(self->fd, self->mem, 0));

	/* It was huge when it came to be. */
	fill(self->mem + HUGE, HUGE_PAGES, SEED);
	ASSERT_TRUE(all_at(self->fd, self->mem + HUGE, HUGE_PAGES, AT_HUGE));
	ASSERT_EQ(madvise(self->mem + HUGE, HUGE, MADV_NOHUGEPAGE), 0);
	EXPECT_TRUE(takes_small(self->fd, self->mem + HUGE, SEED));
	EXPECT_TRUE(holds(self->mem + HUGE, HUGE_PAGES, SEED));

	/* It was huge when it went to the device. */
	ASSERT_TRUE(put_huge(self->fd, self->mem + 2 * HUGE, SEED));
	ASSERT_EQ(madvise(self->mem + 2 * HUGE, HUGE, MADV_NOHUGEPAGE), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem + 2 * HUGE, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(holds(self->mem + 2 * HUGE, HUGE_PAGES, SEED));
}

TEST_F(huge, not_in_this_process)
{
	ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	EXPECT_TRUE(takes_small(self->fd, self->mem, 0));
	EXPECT_TRUE(takes(self->fd, true, self->mem + HUGE, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem + HUGE, HUGE_PAGES, AT_DEVICE));
	ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
}

/* --- Where there is none -------------------------------------------------------- */

TEST_F(huge, none_on_device)
{
	/* A huge page, nothing, the zero page. */
	fill(self->mem, HUGE_PAGES, SEED);
	touch(self->mem + 2 * HUGE, 1);
	for (size_t i = 0; i < COUNT; i++) {
		ASSERT_TRUE(fail_next_huge(self->fd));
		EXPECT_TRUE(takes_small(self->fd, self->mem + i * HUGE, i ? 0 : SEED));
	}
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(is_zero(self->mem + HUGE, 2 * HUGE_PAGES));
	/* Once each. */
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_DONTNEED), 0);
	EXPECT_TRUE(put_huge(self->fd, self->mem, SEED));
}

TEST_F(huge, none_in_system)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(put_huge(self->fd, self->mem + HUGE, OTHER));
	ASSERT_TRUE(fail_next_huge(self->fd));
	EXPECT_EQ(dev_give(self->fd, self->mem, 2 * HUGE_PAGES), 2 * HUGE_PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, self->mem + HUGE, HUGE_PAGES, AT_HUGE));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(self->mem + HUGE, HUGE_PAGES, OTHER));
}

/* Only what asks for a huge page uses the failure up, and FLAGS takes it back. */
TEST_F(huge, failure_waits)
{
	char *small = self->mem + HUGE;

	ASSERT_TRUE(fail_next_huge(self->fd));
	fill(small, PART, OTHER);
	EXPECT_EQ(dev_take(self->fd, small, PART, scratch), PART);
	EXPECT_EQ(dev_give(self->fd, small, PART), PART);
	EXPECT_TRUE(takes_small(self->fd, self->mem, 0));
	EXPECT_TRUE(is_zero(self->mem, HUGE_PAGES));
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_DONTNEED), 0);

	ASSERT_TRUE(fail_next_huge(self->fd));
	ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_FLAGS, NULL, 0, NULL, NULL), 0);
	EXPECT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_TRUE(holds(small, PART, OTHER));

	/* Another file has its own. */
	ASSERT_TRUE(fail_next_huge(self->other));
	ASSERT_EQ(dev_give(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_HUGE));
}

TEST_HARNESS_MAIN
