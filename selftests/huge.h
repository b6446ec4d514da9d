/* SPDX-License-Identifier: GPL-2.0 */
/* What the suites of huge pages on the device share. */
#ifndef DMIRROR_SELFTESTS_HUGE_H
#define DMIRROR_SELFTESTS_HUGE_H

#include "onewalk.h"

#define SEED	1000
#define OTHER	900000

#define PART_AT	40	/* a part of a huge page */
#define PART	24

/* Brings a huge page to the device, whole, filled from @seed. */
static inline bool put_huge(int fd, char *mem, uint64_t seed)
{
	if (madvise(mem, HUGE, MADV_DONTNEED))
		return false;
	fill(mem, HUGE_PAGES, seed);
	return all_at(fd, mem, HUGE_PAGES, AT_HUGE) &&
	       dev_take(fd, mem, HUGE_PAGES, scratch) == HUGE_PAGES &&
	       holds(scratch, HUGE_PAGES, seed) &&
	       all_at(fd, mem, HUGE_PAGES, AT_DEVICE_HUGE);
}

/* The next huge page that a request of @fd asks for, there is not. */
static inline bool fail_next_huge(int fd)
{
	return !dev_request(fd, HMM_DMIRROR_FLAGS, NULL, HMM_DMIRROR_FLAG_FAIL_ALLOC, NULL, NULL);
}

#endif
