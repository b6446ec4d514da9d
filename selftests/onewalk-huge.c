// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on huge and other large pages. A huge page arrives as one, if
 * all of it is faulted on and nothing else is in its place; a part of one goes
 * alone, in small pages.
 */
#include "onewalk-fixture.h"

#include <sys/uio.h>

#define PART_AT	24	/* a part of a huge page */
#define PART	16

/* A huge page that is one, filled. */
static char *make_huge(int fd, size_t count)
{
	char *mem = map_huge(count);

	if (mem == MAP_FAILED)
		return NULL;
	fill(mem, count * HUGE_PAGES, SEED);
	for (size_t i = 0; i < count; i++) {
		if (!all_at(fd, mem + i * HUGE, HUGE_PAGES, AT_HUGE))
			return NULL;
	}
	return mem;
}

static bool arrived(int fd, void *mem, size_t npages, uint64_t seed)
{
	return all_at(fd, mem, npages, AT_DEVICE) && dev_sees(fd, mem, npages, seed) &&
	       holds(mem, npages, seed);
}

/* As one, and as one it comes home. */
static bool arrived_whole(int fd, bool write, char *mem, uint64_t seed)
{
	return all_at(fd, mem, HUGE_PAGES, AT_DEVICE_HUGE) &&
	       dev_knows(fd, mem, HUGE_PAGES, write) && dev_sees(fd, mem, HUGE_PAGES, seed) &&
	       holds(mem, HUGE_PAGES, seed) && all_at(fd, mem, HUGE_PAGES, AT_HUGE);
}

TEST_F_TIMEOUT(onewalk, whole, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);

	ASSERT_NE(mem, NULL);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(arrived_whole(self->fd, variant->write, mem, SEED));
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
}

/* The device has no huge page for it. */
TEST_F_TIMEOUT(onewalk, whole_in_pieces, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);

	ASSERT_NE(mem, NULL);
	ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_FLAGS, NULL, HMM_DMIRROR_FLAG_FAIL_ALLOC,
			      NULL, NULL), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(arrived(self->fd, mem, HUGE_PAGES, SEED));
}

TEST_F_TIMEOUT(onewalk, part, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1), *part = mem + PART_AT * PAGE;

	ASSERT_NE(mem, NULL);
	EXPECT_TRUE(takes(self->fd, variant->write, part, PART, PART, 0));
	EXPECT_EQ(count_on_device(self->fd, mem, HUGE_PAGES), PART);
	EXPECT_TRUE(all_at(self->fd, mem, PART_AT, AT_SYSTEM));
	EXPECT_TRUE(arrived(self->fd, part, PART, SEED + PART_AT));
	EXPECT_TRUE(holds(mem, HUGE_PAGES, SEED));
	/* The rest, and the part again, that has been at home in between. */
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(arrived(self->fd, mem, HUGE_PAGES, SEED));
}

/* From the middle of one to the middle of the next but one. */
TEST_F_TIMEOUT(onewalk, parts_and_whole, TIMEOUT)
{
	char *mem = make_huge(self->fd, 3), *part = mem + HUGE - PART * PAGE;
	const size_t npages = HUGE_PAGES + 2 * PART;

	ASSERT_NE(mem, NULL);
	EXPECT_TRUE(takes(self->fd, variant->write, part, npages, npages, 0));
	EXPECT_EQ(count_on_device(self->fd, mem, 3 * HUGE_PAGES), npages);
	EXPECT_TRUE(all_at(self->fd, mem + HUGE, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(dev_sees(self->fd, part, PART, SEED + HUGE_PAGES - PART));
	EXPECT_TRUE(dev_sees(self->fd, mem + HUGE, HUGE_PAGES, SEED + HUGE_PAGES));
	EXPECT_TRUE(holds(mem, 3 * HUGE_PAGES, SEED));
}

/* Mapped by small entries, with a hole and a page of its own in it. */
TEST_F_TIMEOUT(onewalk, mapped_in_pieces, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);

	ASSERT_NE(mem, NULL);
	ASSERT_EQ(madvise(mem + PAGE, 2 * PAGE, MADV_DONTNEED), 0);
	fill(mem + PAGE, 1, SEED + 1);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem + 2 * PAGE, 1));
	EXPECT_TRUE(arrived(self->fd, mem + 3 * PAGE, HUGE_PAGES - 3, SEED + 3));
	EXPECT_TRUE(holds(mem, 2, SEED));
}

/* Shared since a fork: with a write fault come copies, small ones. */
TEST_F_TIMEOUT(onewalk, shared_after_fork, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);
	pid_t child;
	int status;

	ASSERT_NE(mem, NULL);
	ASSERT_TRUE(clear_soft_dirty());
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		pause();
		_exit(0);
	}
	if (variant->write) {
		struct outcome got = dev_fault(self->fd, true, mem, HUGE_PAGES);

		EXPECT_EQ(got.error, 0);
		EXPECT_EQ(got.pages, HUGE_PAGES);
		EXPECT_GE(got.faults, 1);
		EXPECT_LE(got.faults, HUGE_PAGES + 1);
		EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_DEVICE));
	} else {
		EXPECT_TRUE(takes(self->fd, false, mem, HUGE_PAGES, HUGE_PAGES, 0));
		EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_DEVICE_HUGE_RO));
	}
	EXPECT_TRUE(dev_sees(self->fd, mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(mem, HUGE_PAGES, SEED));
	kill(child, SIGKILL);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
}

/* A page in use keeps the huge page from being split, and where it is; all of it works. */
TEST_F_TIMEOUT(onewalk, with_a_page_in_use, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);
	struct iovec iov = { .iov_base = mem + PART_AT * PAGE, .iov_len = PAGE };
	int pins[2];

	ASSERT_NE(mem, NULL);
	ASSERT_EQ(pipe(pins), 0);
	ASSERT_EQ(vmsplice(pins[1], &iov, 1, 0), PAGE);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, 0, 0));
	EXPECT_EQ(count_on_device(self->fd, mem, HUGE_PAGES), 0);
	EXPECT_TRUE(dev_sees(self->fd, mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
	close(pins[0]);
	close(pins[1]);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(arrived_whole(self->fd, variant->write, mem, OTHER));
}

/* Went to swap as a whole. */
TEST_F_TIMEOUT(onewalk, swapped_out, TIMEOUT)
{
	char *mem = make_huge(self->fd, 1);
	struct outcome got;

	ASSERT_NE(mem, NULL);
	ASSERT_TRUE(swap_out(mem, HUGE_PAGES));
	got = dev_fault(self->fd, variant->write, mem, HUGE_PAGES);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, HUGE_PAGES);
	/* One fault may bring more than a page. */
	EXPECT_GE(got.faults, 1);
	EXPECT_LE(got.faults, HUGE_PAGES);
	EXPECT_TRUE(arrived(self->fd, mem, HUGE_PAGES, SEED));
}

/* An empty area where a huge page would fit. */
TEST_F_TIMEOUT(onewalk, hole, TIMEOUT)
{
	char *mem = map_huge(2);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(dev_knows(self->fd, mem, HUGE_PAGES, false));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem, HUGE_PAGES));
	EXPECT_TRUE(is_zero(mem, HUGE_PAGES));
	/* A part of the next. */
	EXPECT_TRUE(takes(self->fd, variant->write, mem + HUGE, PART, PART, 0));
	EXPECT_TRUE(all_at(self->fd, mem + HUGE, PART, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, mem + HUGE + PART * PAGE, HUGE_PAGES - PART, AT_NOWHERE));
}

TEST_F_TIMEOUT(onewalk, huge_zero_page, TIMEOUT)
{
	char *mem = map_huge(1);

	ASSERT_NE(mem, MAP_FAILED);
	touch(mem, 1);
	ASSERT_TRUE(all_at(self->fd, mem, HUGE_PAGES, HMM_DMIRROR_PROT_READ |
			   HMM_DMIRROR_PROT_PMD));
	EXPECT_TRUE(takes(self->fd, variant->write, mem, HUGE_PAGES, HUGE_PAGES, 0));
	EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(dev_knows(self->fd, mem, HUGE_PAGES, false));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, mem, HUGE_PAGES));
	EXPECT_TRUE(is_zero(mem, HUGE_PAGES));
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
}

/* The rest stays the zero page, now in small pieces. */
TEST_F_TIMEOUT(onewalk, huge_zero_page_in_part, TIMEOUT)
{
	char *mem = map_huge(1), *part = mem + PART_AT * PAGE;

	ASSERT_NE(mem, MAP_FAILED);
	touch(mem, 1);
	EXPECT_TRUE(takes(self->fd, variant->write, part, PART, PART, 0));
	EXPECT_TRUE(all_at(self->fd, mem, PART_AT, AT_ZERO));
	EXPECT_TRUE(all_at(self->fd, part, PART, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, part + PART * PAGE, HUGE_PAGES - PART_AT - PART, AT_ZERO));
	EXPECT_TRUE(dev_changes(self->fd, part, PART, OTHER));
	EXPECT_TRUE(is_zero(mem, PART_AT));
	EXPECT_TRUE(is_zero(part + PART * PAGE, HUGE_PAGES - PART_AT - PART));
}

#define SIZES	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
#define LARGE	16UL

/* A large page that no page table entry shows: 64 KiB, and a part of it. */
TEST_F(onewalk, smaller_than_huge)
{
	char *area = map_huge(1), *mem = area + LARGE * PAGE;

	ASSERT_NE(area, MAP_FAILED);
	ASSERT_TRUE(write_file(SIZES, "madvise"));
	/* So small that no larger one fits. */
	ASSERT_EQ(madvise(area, HUGE, MADV_NOHUGEPAGE), 0);
	ASSERT_EQ(madvise(mem, LARGE * PAGE, MADV_HUGEPAGE), 0);
	fill(mem, 1, SEED);
	ASSERT_TRUE(write_file(SIZES, "never"));
	ASSERT_TRUE(all_marked(mem, LARGE, PM_PRESENT, PM_PRESENT));
	fill(mem, LARGE, SEED);

	EXPECT_TRUE(takes(self->fd, variant->write, mem + 4 * PAGE, 4, 4, 0));
	EXPECT_TRUE(all_at(self->fd, mem, 4, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, mem + 8 * PAGE, LARGE - 8, AT_SYSTEM));
	EXPECT_TRUE(arrived(self->fd, mem + 4 * PAGE, 4, SEED + 4));
	EXPECT_TRUE(takes(self->fd, variant->write, mem, LARGE, LARGE, 0));
	EXPECT_TRUE(arrived(self->fd, mem, LARGE, SEED));
}

TEST_HARNESS_MAIN
