// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages on the device of which parts go their own way: the kernel cuts
 * them, or what maps them, and no part is lost or mistaken for another.
 */
#include "huge-fixture.h"

#define TAIL_AT	(PART_AT + PART)	/* behind the part */
#define TAIL	(HUGE_PAGES - TAIL_AT)

static char *at(char *mem, size_t page)
{
	return mem + page * PAGE;
}

/* All but the part: for the device, then for the CPU, which brings it home. */
static bool rest_holds(int fd, char *mem)
{
	return dev_sees(fd, mem, PART_AT, SEED) &&
	       dev_sees(fd, at(mem, TAIL_AT), TAIL, SEED + TAIL_AT) &&
	       holds(mem, PART_AT, SEED) && holds(at(mem, TAIL_AT), TAIL, SEED + TAIL_AT);
}

/* All but the part is on the device, in whatever pieces. */
static bool rest_is_there(int fd, char *mem)
{
	return count_on_device(fd, mem, PART_AT) == PART_AT &&
	       count_on_device(fd, at(mem, TAIL_AT), TAIL) == TAIL;
}

TEST_F(huge, part_comes_home)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_EQ(dev_give(self->fd, at(self->mem, PART_AT), PART), PART);
	EXPECT_TRUE(all_at(self->fd, at(self->mem, PART_AT), PART, AT_SYSTEM));
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	EXPECT_TRUE(holds(at(self->mem, PART_AT), PART, SEED + PART_AT));
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	/* Together again, in small pieces. */
	EXPECT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(scratch, HUGE_PAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

TEST_F(huge, part_dropped)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(madvise(at(self->mem, PART_AT), PART * PAGE, MADV_DONTNEED), 0);
	EXPECT_TRUE(all_at(self->fd, at(self->mem, PART_AT), PART, AT_NOWHERE));
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	EXPECT_TRUE(dev_changes(self->fd, at(self->mem, PART_AT), PART, OTHER));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
	EXPECT_TRUE(holds(at(self->mem, PART_AT), PART, OTHER));
}

/* One page of what is left of it: it is still one folio, and cut only then. */
TEST_F(huge, page_touched_of_a_half)
{
	const size_t half = HUGE_PAGES / 2;

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(madvise(at(self->mem, half), half * PAGE, MADV_DONTNEED), 0);
	ASSERT_TRUE(holds(at(self->mem, 5), 1, SEED + 5));
	EXPECT_EQ(count_on_device(self->fd, self->mem, half), half - 1);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, half, SEED));
	EXPECT_TRUE(holds(self->mem, half, SEED));
}

/* The device takes it for a huge page, for which it has no small ones but leftovers. */
TEST_F(huge, half_comes_home)
{
	const size_t half = HUGE_PAGES / 2, few = HUGE_PAGES - 100;
	char *small = self->mem, *huge = self->mem + HUGE;

	ASSERT_EQ(madvise(small, HUGE, MADV_NOHUGEPAGE), 0);
	fill(small, few, OTHER);
	ASSERT_EQ(dev_take(self->fd, small, few, scratch), few);
	ASSERT_TRUE(put_huge(self->fd, huge, SEED));
	ASSERT_EQ(madvise(at(huge, half), half * PAGE, MADV_DONTNEED), 0);
	ASSERT_TRUE(dev_sees(self->fd, huge, half, SEED));
	EXPECT_EQ(dev_give(self->fd, small, 2 * HUGE_PAGES), few + half);
	EXPECT_TRUE(all_at(self->fd, small, few, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, huge, half, AT_SYSTEM));
	EXPECT_TRUE(holds(small, few, OTHER));
	EXPECT_TRUE(holds(huge, half, SEED));
}

TEST_F(huge, part_freed_lazily)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(madvise(at(self->mem, PART_AT), PART * PAGE, MADV_FREE), 0);
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, HUGE_PAGES, OTHER));
}

TEST_F(huge, part_unmapped)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(munmap(at(self->mem, PART_AT), PART * PAGE), 0);
	EXPECT_TRUE(all_at(self->fd, at(self->mem, PART_AT), PART, AT_ERROR));
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
}

/* The first page is the one that stands for the whole. */
TEST_F(huge, head_unmapped)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(munmap(self->mem, PART_AT * PAGE), 0);
	EXPECT_EQ(count_on_device(self->fd, at(self->mem, PART_AT), HUGE_PAGES - PART_AT),
		  HUGE_PAGES - PART_AT);
	EXPECT_EQ(dev_give(self->fd, at(self->mem, TAIL_AT), TAIL), TAIL);
	EXPECT_TRUE(dev_sees(self->fd, at(self->mem, PART_AT), HUGE_PAGES - PART_AT,
			     SEED + PART_AT));
	EXPECT_TRUE(holds(at(self->mem, PART_AT), HUGE_PAGES - PART_AT, SEED + PART_AT));
}

TEST_F(huge, part_moved_elsewhere)
{
	char *to = map_pages(PART);

	ASSERT_NE(to, MAP_FAILED);
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(mremap(at(self->mem, PART_AT), PART * PAGE, PART * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(count_on_device(self->fd, to, PART), PART);
	EXPECT_TRUE(rest_is_there(self->fd, self->mem));
	EXPECT_TRUE(dev_sees(self->fd, to, PART, SEED + PART_AT));
	EXPECT_TRUE(dev_changes(self->fd, to, PART, OTHER));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
}

/* To where a huge page fits, and to where none does. */
TEST_F(huge, moved_elsewhere)
{
	char *to = at(self->mem, HUGE_PAGES + PART_AT), *from = self->mem + 2 * HUGE;

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(mremap(self->mem, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, from), from);
	EXPECT_TRUE(all_at(self->fd, from, HUGE_PAGES, AT_DEVICE_HUGE));
	EXPECT_TRUE(dev_sees(self->fd, from, HUGE_PAGES, SEED));

	ASSERT_EQ(mremap(from, HUGE / 2, HUGE / 2, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(count_on_device(self->fd, to, HUGE_PAGES / 2), HUGE_PAGES / 2);
	EXPECT_TRUE(dev_sees(self->fd, to, HUGE_PAGES / 2, SEED));
	EXPECT_TRUE(dev_sees(self->fd, at(from, HUGE_PAGES / 2), HUGE_PAGES / 2,
			     SEED + HUGE_PAGES / 2));
	EXPECT_TRUE(holds(to, HUGE_PAGES / 2, SEED));
	EXPECT_TRUE(holds(at(from, HUGE_PAGES / 2), HUGE_PAGES / 2, SEED + HUGE_PAGES / 2));
}

TEST_F(huge, protected)
{
	char *part = at(self->mem, PART_AT);

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(mprotect(self->mem, HUGE, PROT_READ), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE_RO));
	EXPECT_EQ(dev_write(self->fd, part, PART, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
	ASSERT_EQ(mprotect(self->mem, HUGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(dev_changes(self->fd, part, PART, OTHER));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
}

TEST_F(huge, part_protected)
{
	char *part = at(self->mem, PART_AT);

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_EQ(mprotect(part, PART * PAGE, PROT_READ), 0);
	EXPECT_TRUE(all_at(self->fd, part, PART, AT_DEVICE_RO));
	EXPECT_TRUE(all_at(self->fd, self->mem, PART_AT, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, at(part, PART), TAIL, AT_DEVICE));
	EXPECT_EQ(dev_write(self->fd, part, PART, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, part, PART, SEED + PART_AT));
	EXPECT_TRUE(rest_holds(self->fd, self->mem));
	EXPECT_TRUE(holds(part, PART, SEED + PART_AT));
}

/* --- Shared after a fork ------------------------------------------------------------ */

static bool still_holds(void *mem)
{
	return holds(mem, HUGE_PAGES, SEED);
}

static bool writes_a_page(void *mem)
{
	fill(at(mem, PART_AT), PART, OTHER);
	return holds(mem, PART_AT, SEED) && holds(at(mem, PART_AT), PART, OTHER) &&
	       holds(at(mem, TAIL_AT), TAIL, SEED + TAIL_AT);
}

static bool drops_a_part(void *mem)
{
	return !munmap(at(mem, PART_AT), PART * PAGE) && holds(mem, PART_AT, SEED) &&
	       holds(at(mem, TAIL_AT), TAIL, SEED + TAIL_AT);
}

static bool just_ends(void *mem)
{
	(void)mem;
	return true;
}

TEST_F(huge, shared_with_child)
{
	static bool (*const acts[])(void *mem) = {
		still_holds, writes_a_page, drops_a_part, just_ends,
	};

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		struct child child;

		ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
		ASSERT_TRUE(start_child(&child, acts[i], self->mem));
		EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE_RO));
		EXPECT_TRUE(end_child(&child));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
		EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
	}
}

/* The parent changes its own pages only: by CPU, by the device, by moving them. */
TEST_F(huge, changed_by_parent)
{
	for (int i = 0; i < 4; i++) {
		char *part = at(self->mem, PART_AT);
		struct child child;

		ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
		ASSERT_TRUE(start_child(&child, still_holds, self->mem));
		if (i == 0) {
			fill(part, PART, OTHER);
		} else if (i == 1) {
			EXPECT_TRUE(dev_changes(self->fd, part, PART, OTHER));
		} else if (i == 2) {
			EXPECT_EQ(madvise(part, PART * PAGE, MADV_DONTNEED), 0);
		} else {
			EXPECT_EQ(dev_give(self->fd, part, PART), PART);
		}
		EXPECT_TRUE(rest_holds(self->fd, self->mem));
		EXPECT_TRUE(end_child(&child));
	}
}

/*
 * It is shared when it has to be cut on its way, as there is no huge page for it:
 * what maps it in the child must follow.
 */
TEST_F(huge, cut_on_the_way)
{
	struct child child;

	fill(self->mem, HUGE_PAGES, SEED);
	ASSERT_TRUE(start_child(&child, writes_a_page, self->mem));
	ASSERT_TRUE(fail_next_huge(self->fd));
	EXPECT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_RO));
	EXPECT_TRUE(holds(scratch, HUGE_PAGES, SEED));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));

	ASSERT_EQ(madvise(self->mem, HUGE, MADV_DONTNEED), 0);
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(start_child(&child, writes_a_page, self->mem));
	ASSERT_TRUE(fail_next_huge(self->fd));
	EXPECT_EQ(dev_give(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_SYSTEM_RO));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

TEST_HARNESS_MAIN
