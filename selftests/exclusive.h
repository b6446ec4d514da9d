/* SPDX-License-Identifier: GPL-2.0 */
/* What the suites of exclusive access share: memory, devices, and who holds what. */
#ifndef DMIRROR_SELFTESTS_EXCLUSIVE_H
#define DMIRROR_SELFTESTS_EXCLUSIVE_H

#include <kselftest_harness.h>

#include "onewalk.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(exclusive)
{
	int fd;
	int second;	/* another file of the same device */
	int other;	/* the other device */
	char *mem;	/* NPAGES, untouched */
};

FIXTURE_SETUP(exclusive)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->second = dev_open(0);
	ASSERT_GE(self->second, 0);
	self->other = dev_open(1);
	ASSERT_GE(self->other, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(exclusive)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->second), 0);
	ASSERT_EQ(close(self->other), 0);
}

/* Does the device of @fd hold each of the pages exclusively, or none? */
static inline bool all_held(int fd, char *mem, size_t npages, bool held)
{
	for (size_t i = 0; i < npages; i++) {
		long got = dev_check(fd, mem + i * PAGE, 1);

		if (got == (held ? -EPERM : 0))
			continue;
		printf("# page %zu is %sheld (%ld)\n", i, held ? "not " : "", got);
		return false;
	}
	return true;
}

/* The device takes the pages, and reads @seed's data. No CPU can reach them then. */
static inline bool takes_hold(int fd, char *mem, size_t npages, uint64_t seed)
{
	uint64_t faults = ~0ULL;

	return dev_request(fd, HMM_DMIRROR_EXCLUSIVE, mem, npages, scratch,
			   &faults) == (long)npages &&
	       !faults && holds(scratch, npages, seed) && all_held(fd, mem, npages, true) &&
	       all_marked(mem, npages, PM_SWAP | PM_PRESENT, PM_SWAP);
}

/* The device accesses the pages without a miss. */
static inline bool knows(int fd, char *mem, size_t npages, bool write)
{
	uint64_t faults = ~0ULL;
	long got = dev_request(fd, write ? HMM_DMIRROR_WRITE : HMM_DMIRROR_READ, mem, npages,
			       scratch, &faults);

	if (got == (long)npages && !faults)
		return true;
	printf("# %ld pages, %lld misses\n", got, (long long)faults);
	return false;
}

/* The device writes @seed's data, whether it holds the pages or not. */
static inline bool writes(int fd, char *mem, size_t npages, uint64_t seed)
{
	fill(scratch, npages, seed);
	return dev_write(fd, mem, npages, scratch) == (long)npages;
}

/* --- A fork ------------------------------------------------------------------------ */

struct share {
	char *mem;
	uint64_t seed;
};

static inline bool still_holds(void *arg)
{
	struct share *share = arg;

	return holds(share->mem, NPAGES, share->seed);
}

#endif
