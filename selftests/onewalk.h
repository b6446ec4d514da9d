/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the suites of the migrating device faults share: the two requests and
 * what they must answer, a look at the page tables, and means to bring a page
 * into a state.
 *
 * Suites run each case with a read and with a write fault: the two take other
 * paths through mm, and what one must leave alone the other must break.
 */
#ifndef DMIRROR_SELFTESTS_ONEWALK_H
#define DMIRROR_SELFTESTS_ONEWALK_H

#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dmirror_uapi.h>

#include "lib.h"

#define TIMEOUT		240	/* for a slow guest */

/* Where the device reads to and writes from: no part of any case's memory. */
static uint64_t scratch[HUGE_PAGES * WORDS];

/* --- The requests ------------------------------------------------------------- */

struct outcome {
	int error;		/* 0, or an errno */
	uint64_t pages;		/* of the range, on the device now */
	uint64_t faults;	/* of the CPU's, that it took */
};

/* A device fault on each page; the outputs count on failure too. */
static inline struct outcome dev_fault(int fd, bool write, const void *addr, uint64_t npages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.npages = npages,
		.cpages = ~0ULL,
		.faults = ~0ULL,
	};
	unsigned long request = write ? HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV :
					HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV;
	int error = ioctl(fd, request, &cmd) ? errno : 0;

	return (struct outcome){ error, cmd.cpages, cmd.faults };
}

static inline bool is_outcome(struct outcome got, int error, uint64_t pages, uint64_t faults)
{
	if (got.error == error && got.pages == pages && got.faults == faults)
		return true;
	printf("# error %d, %lld pages, %lld faults; expected error %d, %lld pages, %lld faults\n",
	       got.error, (long long)got.pages, (long long)got.faults,
	       error, (long long)pages, (long long)faults);
	return false;
}

/* A device fault that succeeds, moves so many pages and takes so many CPU faults. */
static inline bool takes(int fd, bool write, const void *addr, uint64_t npages,
			 uint64_t pages, uint64_t faults)
{
	return is_outcome(dev_fault(fd, write, addr, npages), 0, pages, faults);
}

/* A device fault that ends with an error, after so much has been done. */
static inline bool refuses(int fd, bool write, const void *addr, uint64_t npages,
			   int error, uint64_t pages, uint64_t faults)
{
	return is_outcome(dev_fault(fd, write, addr, npages), error, pages, faults);
}

static inline bool dev_sees(int fd, const void *addr, size_t npages, uint64_t seed)
{
	return dev_read(fd, addr, npages, scratch) == (long)npages &&
	       holds(scratch, npages, seed);
}

static inline bool dev_sees_zeroes(int fd, const void *addr, size_t npages)
{
	return dev_read(fd, addr, npages, scratch) == (long)npages && is_zero(scratch, npages);
}

/* The device writes other data, which the CPU must then see. */
static inline bool dev_changes(int fd, void *addr, size_t npages, uint64_t seed)
{
	fill(scratch, npages, seed);
	return dev_write(fd, addr, npages, scratch) == (long)npages && holds(addr, npages, seed);
}

/* After its fault the device has the pages in its page table: no access misses them. */
static inline bool dev_knows(int fd, void *addr, size_t npages, bool write)
{
	uint64_t faults = ~0ULL;
	bool ok = dev_request(fd, HMM_DMIRROR_READ, addr, npages, scratch,
			      &faults) == (long)npages && !faults;

	if (ok && write)
		ok = dev_request(fd, HMM_DMIRROR_WRITE, addr, npages, scratch,
				 &faults) == (long)npages && !faults;
	if (!ok)
		printf("# the device misses what it has faulted for, %lld times\n",
		       (long long)faults);
	return ok;
}

/* How many pages are in the memory of the device whose file is @fd? */
static inline size_t count_on_device(int fd, const void *addr, size_t npages)
{
	unsigned char map[npages];
	size_t count = 0;

	if (dev_snapshot(fd, addr, npages, map) != (long)npages)
		return SIZE_MAX;
	for (size_t i = 0; i < npages; i++)
		count += map[i] != AT_ERROR && (map[i] & HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL);
	return count;
}

/* --- The page tables ------------------------------------------------------------ */

#define PM_FRAME	((1ULL << 55) - 1)
#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_UFFD		(1ULL << 57)
#define PM_SWAP		(1ULL << 62)	/* not present: swapped, on a device, a marker */
#define PM_PRESENT	(1ULL << 63)

/* What /proc says of @npages pages from @addr on. */
static inline bool read_pagemap(const void *addr, size_t npages, uint64_t *entries)
{
	ssize_t size = npages * sizeof(*entries);
	off_t offset = (uintptr_t)addr / PAGE * sizeof(*entries);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, entries, size, offset) == size;

	if (!ok)
		printf("# no pagemap of %p: %s\n", addr, strerror(errno));
	close(fd);
	return ok;
}

/* Do all entries have just these of the bits in @mask? Shows the first that does not. */
static inline bool all_marked(const void *addr, size_t npages, uint64_t mask, uint64_t want)
{
	uint64_t entries[npages];

	if (!read_pagemap(addr, npages, entries))
		return false;
	for (size_t i = 0; i < npages; i++) {
		if ((entries[i] & mask) == want)
			continue;
		printf("# page %zu: %#llx in pagemap, expected %#llx of %#llx\n", i,
		       (unsigned long long)entries[i], (unsigned long long)want,
		       (unsigned long long)mask);
		return false;
	}
	return true;
}

/* The entry of one page: equal as long as nothing happens to the page. */
static inline uint64_t entry_of(const void *addr)
{
	uint64_t entry = 0;

	read_pagemap(addr, 1, &entry);
	return entry;
}

/* --- States --------------------------------------------------------------------- */

/*
 * Of all pages of the process. With DEBUG_VM 7.3 warns of a huge page that goes
 * to a device as one if it is shared and soft-dirty: remove_migration_pmd() takes
 * that bit of a device-private entry for a writable one.
 */
static inline bool clear_soft_dirty(void)
{
	return write_file("/proc/self/clear_refs", "4");
}

/* The CPU reads the pages, whatever they hold. */
static inline void touch(const void *mem, size_t npages)
{
	for (size_t i = 0; i < npages; i++)
		(void)*((volatile const char *)mem + i * PAGE);
}

/*
 * Reclaim passes over pages that wait in a list of some CPU to be put on the
 * LRU. It empties the list of the CPU that it runs on: so it runs on each.
 */
static inline bool swap_out(void *mem, size_t npages)
{
	uint64_t entries[npages];
	cpu_set_t before, one;
	size_t left = npages;

	sched_getaffinity(0, sizeof(before), &before);
	for (int round = 0; left && round < 20 * CPU_SETSIZE; round++) {
		int cpu = round % CPU_SETSIZE;

		if (!CPU_ISSET(cpu, &before))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		if (madvise(mem, npages * PAGE, MADV_PAGEOUT) ||
		    !read_pagemap(mem, npages, entries))
			break;
		left = 0;
		for (size_t i = 0; i < npages; i++)
			left += (entries[i] & (PM_SWAP | PM_PRESENT)) != PM_SWAP;
	}
	sched_setaffinity(0, sizeof(before), &before);
	if (left)
		printf("# %zu of %zu pages are not swapped out\n", left, npages);
	return !left;
}

/* A page that is clean but is nowhere else loses its contents here. */
static inline bool survives_reclaim(void *mem, size_t npages, uint64_t seed)
{
	return holds(mem, npages, seed) && swap_out(mem, npages) && holds(mem, npages, seed);
}

/* --- Another process ------------------------------------------------------------ */

struct child {
	pid_t pid;
	int go;		/* closed to let it begin */
};

/*
 * Forks a child that waits for end_child() and then calls @act, whose result is
 * that of end_child(). From here on they share their pages.
 */
static inline bool start_child(struct child *child, bool (*act)(void *), void *arg)
{
	int go[2];
	char c;

	if (pipe(go))
		return false;
	child->pid = fork();
	if (!child->pid) {
		close(go[1]);
		_exit(read(go[0], &c, 1) || !act(arg));
	}
	close(go[0]);
	child->go = go[1];
	return child->pid > 0;
}

static inline bool end_child(struct child *child)
{
	int status = -1;

	close(child->go);
	return waitpid(child->pid, &status, 0) == child->pid && !status;
}

#endif
