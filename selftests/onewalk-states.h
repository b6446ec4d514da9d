/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The states that a page can be in: how to bring one there, and what a migrating
 * fault makes of it. For onewalk-mixed.c, which puts pages of all kinds side by
 * side.
 */
#ifndef DMIRROR_SELFTESTS_ONEWALK_STATES_H
#define DMIRROR_SELFTESTS_ONEWALK_STATES_H

#include <sys/uio.h>

#include "uffd.h"

#define SMALL	48			/* pages in states of their own, on each side ... */
#define HUGE_AT	SMALL			/* ... of a huge page's worth in one state */
#define NPAGES	(2 * SMALL + HUGE_PAGES)
#define FOREIGN	(1ULL << 32)		/* added to the contents of what is not in @seeds */
#define IS_ZERO	0

struct mix {
	uint64_t seed;		/* of the round */
	bool write;
	int fd, other, coherent; /* the devices */
	char *area, *mem;	/* @mem is NPAGES, its huge page's worth aligned */
	int file;		/* a page for each small one, k with the contents FOREIGN + k */
	int pipe[2];		/* takes the pages in use */
	struct uffd uffd;
	struct child child;
	unsigned char kinds[NPAGES];
	unsigned char huge;
	uint64_t seeds[NPAGES];	/* what each page holds: a number for fill(), or IS_ZERO */
	bool read_only[NPAGES];
	size_t first, end;	/* the range */
};

/* --- One page ------------------------------------------------------------------ */

static char *page_of(struct mix *mix, size_t i)
{
	return mix->mem + i * PAGE;
}

static bool fill_page(struct mix *mix, size_t i)
{
	mix->seeds[i] = 1 + i;
	fill(page_of(mix, i), 1, mix->seeds[i]);
	return true;
}

static bool leave_empty(struct mix *mix, size_t i)
{
	(void)mix;
	(void)i;
	return true;
}

static bool map_zero(struct mix *mix, size_t i)
{
	touch(page_of(mix, i), 1);
	return true;
}

static bool put_on_device(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && dev_take(mix->fd, page_of(mix, i), 1, scratch) == 1;
}

static bool put_on_other(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && dev_take(mix->other, page_of(mix, i), 1, scratch) == 1;
}

static bool hold(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && dev_hold(mix->fd, page_of(mix, i), 1, scratch) == 1;
}

static bool hold_by_other(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && dev_hold(mix->other, page_of(mix, i), 1, scratch) == 1;
}

static bool put_on_coherent(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && dev_take(mix->coherent, page_of(mix, i), 1, scratch) == 1;
}

static bool put_in_swap(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && swap_out(page_of(mix, i), 1);
}

static bool put_in_swap_cache(struct mix *mix, size_t i)
{
	return put_in_swap(mix, i) && !madvise(page_of(mix, i), PAGE, MADV_WILLNEED);
}

static bool use(struct mix *mix, size_t i)
{
	struct iovec iov = { .iov_base = page_of(mix, i), .iov_len = PAGE };

	return fill_page(mix, i) && vmsplice(mix->pipe[1], &iov, 1, 0) == PAGE;
}

static bool lock(struct mix *mix, size_t i)
{
	return fill_page(mix, i) && !mlock(page_of(mix, i), PAGE);
}

static bool make_read_only(struct mix *mix, size_t i)
{
	mix->read_only[i] = true;
	return fill_page(mix, i) && !mprotect(page_of(mix, i), PAGE, PROT_READ);
}

/* Backwards, or two would become one mapping, in which a fault maps both. */
static size_t file_page(size_t i)
{
	return NPAGES - 1 - i;
}

static bool map_file(struct mix *mix, size_t i, int how)
{
	mix->seeds[i] = FOREIGN + file_page(i);
	return mmap(page_of(mix, i), PAGE, PROT_READ | PROT_WRITE, how | MAP_FIXED, mix->file,
		    file_page(i) * PAGE) == page_of(mix, i);
}

static bool map_private(struct mix *mix, size_t i)
{
	return map_file(mix, i, MAP_PRIVATE);
}

static bool map_private_and_read(struct mix *mix, size_t i)
{
	bool ok = map_file(mix, i, MAP_PRIVATE);

	touch(page_of(mix, i), 1);
	return ok;
}

static bool map_private_and_write(struct mix *mix, size_t i)
{
	return map_file(mix, i, MAP_PRIVATE) && fill_page(mix, i);
}

static bool map_shared(struct mix *mix, size_t i)
{
	return map_file(mix, i, MAP_SHARED);
}

static bool map_shared_and_write(struct mix *mix, size_t i)
{
	return map_file(mix, i, MAP_SHARED) && fill_page(mix, i);
}

/* The handler fills it from the same number as fill_page(). */
static bool leave_to_handler(struct mix *mix, size_t i)
{
	mix->seeds[i] = 1 + i;
	return uffd_register(&mix->uffd, page_of(mix, i), 1, UFFDIO_REGISTER_MODE_MISSING);
}

static bool write_protect(struct mix *mix, size_t i)
{
	return fill_page(mix, i) &&
	       uffd_register(&mix->uffd, page_of(mix, i), 1, UFFDIO_REGISTER_MODE_WP) &&
	       uffd_protect(&mix->uffd, page_of(mix, i), 1, true);
}

static bool access_protect(struct mix *mix, size_t i)
{
	return fill_page(mix, i) &&
	       uffd_register(&mix->uffd, page_of(mix, i), 1, UFFDIO_REGISTER_MODE_RWP) &&
	       uffd_hide(&mix->uffd, page_of(mix, i), 1, true);
}

/* What a fault makes of a page: how many CPU faults it takes, and where it is then. */
struct fate {
	unsigned char faults, at;
};

static const struct kind {
	const char *name;
	bool (*make)(struct mix *mix, size_t i);
	bool shared;	/* made before the fork */
	struct fate read, write;
} kinds[] = {
	{ "hole", leave_empty, false, { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "populated", fill_page, false, { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "zero page", map_zero, false, { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "own", put_on_device, false, { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "other device's", put_on_other, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "exclusive", hold, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "exclusive to the other", hold_by_other, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "coherent", put_on_coherent, false, { 0, AT_REMOTE }, { 0, AT_REMOTE } },
	{ "swapped", put_in_swap, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "swap cache", put_in_swap_cache, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "in use", use, false, { 0, AT_SYSTEM }, { 0, AT_SYSTEM } },
	{ "locked", lock, false, { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "private file", map_private, false, { 1, AT_SYSTEM_RO }, { 1, AT_DEVICE } },
	{ "private file, read", map_private_and_read, false,
	  { 0, AT_SYSTEM_RO }, { 1, AT_DEVICE } },
	{ "private file, written", map_private_and_write, false,
	  { 0, AT_DEVICE }, { 0, AT_DEVICE } },
	{ "shared file", map_shared, false, { 1, AT_SYSTEM }, { 1, AT_SYSTEM } },
	{ "shared file, written", map_shared_and_write, false,
	  { 0, AT_SYSTEM }, { 0, AT_SYSTEM } },
	{ "uffd, missing", leave_to_handler, false, { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "uffd, write-protected", write_protect, false,
	  { 0, AT_DEVICE_RO }, { 1, AT_DEVICE } },
	{ "uffd, access-protected", access_protect, false,
	  { 1, AT_DEVICE }, { 1, AT_DEVICE } },
	{ "forked", fill_page, true, { 0, AT_DEVICE_RO }, { 1, AT_DEVICE } },
	{ "forked, own", put_on_device, true, { 0, AT_DEVICE_RO }, { 2, AT_DEVICE } },
	{ "forked, other device's", put_on_other, true,
	  { 1, AT_DEVICE_RO }, { 2, AT_DEVICE } },
	{ "forked, coherent", put_on_coherent, true, { 0, AT_REMOTE_RO }, { 1, AT_DEVICE } },
	{ "forked, swapped", put_in_swap, true, { 1, AT_SYSTEM_RO }, { 1, AT_DEVICE } },
	/* Last, as it is none for a device that writes. */
	{ "read-only", make_read_only, false, { 0, AT_DEVICE_RO }, { 0, 0 } },
};

/* --- A huge page's worth of them ----------------------------------------------- */

static bool fill_huge(struct mix *mix)
{
	for (size_t i = HUGE_AT; i < HUGE_AT + HUGE_PAGES; i++)
		fill_page(mix, i);
	return all_at(mix->fd, page_of(mix, HUGE_AT), HUGE_PAGES, AT_HUGE);
}

static bool leave_huge_empty(struct mix *mix)
{
	(void)mix;
	return true;
}

static bool map_huge_zero(struct mix *mix)
{
	return map_zero(mix, HUGE_AT);
}

static bool fill_huge_and_punch(struct mix *mix)
{
	if (!fill_huge(mix))
		return false;
	for (size_t i = HUGE_AT; i < HUGE_AT + HUGE_PAGES; i += 100) {
		mix->seeds[i] = IS_ZERO;
		if (madvise(page_of(mix, i), PAGE, MADV_DONTNEED))
			return false;
	}
	return true;
}

/* A part was on the device already, and came back. */
static bool fill_huge_and_take_part(struct mix *mix)
{
	return fill_huge(mix) &&
	       dev_take(mix->fd, page_of(mix, HUGE_AT + 7), 5, scratch) == 5 &&
	       dev_give(mix->fd, page_of(mix, HUGE_AT + 9), 2) == 2;
}

static bool use_huge(struct mix *mix)
{
	return fill_huge(mix) && use(mix, HUGE_AT + 3);
}

static const struct huge_kind {
	const char *name;
	bool (*make)(struct mix *mix);
	unsigned char at;	/* no faults; AT_SYSTEM stands for all that is not the device's */
} huge_kinds[] = {
	{ "hole", leave_huge_empty, AT_DEVICE_HUGE },
	{ "huge page", fill_huge, AT_DEVICE_HUGE },
	{ "huge zero page", map_huge_zero, AT_DEVICE_HUGE },
	{ "with holes", fill_huge_and_punch, AT_DEVICE },
	{ "in part on the device", fill_huge_and_take_part, AT_DEVICE },
	{ "in use", use_huge, AT_SYSTEM },
};

#endif
