/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of requests of any size share: such requests, addresses for them,
 * and flags between those who send and those who watch.
 */
#ifndef DMIRROR_SELFTESTS_LARGE_H
#define DMIRROR_SELFTESTS_LARGE_H

#include <dmirror_uapi.h>

#include "chance.h"

#define BLOCK		512UL		/* pages */
#define GIB_PAGES	(1UL << 18)
#define TIB_PAGES	(1UL << 28)

struct request {
	unsigned long number;
	char *addr, *ptr;
	size_t npages;
	uint64_t flags;		/* of the file */
};

/* Addresses; memory for those only that are touched. */
static inline char *reserve(size_t npages)
{
	return mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Addresses at which nothing is mapped. */
static inline char *reserve_hole(size_t npages)
{
	char *hole = reserve(npages);

	return hole == MAP_FAILED || munmap(hole, npages * PAGE) ? MAP_FAILED : hole;
}

static inline int open_for(const struct request *request)
{
	int fd = dev_open(0);

	if (fd >= 0 && request->flags &&
	    dev_request(fd, HMM_DMIRROR_FLAGS, NULL, request->flags, NULL, NULL))
		return -1;
	return fd;
}

static inline long send_request(int fd, const struct request *request)
{
	return dev_request(fd, request->number, request->addr, request->npages, request->ptr,
			   NULL);
}

/* Brings those pages to the device that are not there. */
static inline bool put_on_device(int fd, char *mem, size_t npages)
{
	return dev_request(fd, HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV, mem, npages, NULL,
			   NULL) == (long)npages;
}

static inline bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

#endif
