/* SPDX-License-Identifier: GPL-2.0 */
/* The calls that are measured, all for @npages at @mem; each returns the pages done. */
#ifndef DMIRROR_BENCH_CALLS_H
#define DMIRROR_BENCH_CALLS_H

#include "memory.h"

static inline long take(void)
{
	return dev_take(fd, mem, npages, in);
}

static inline long give_back(void)
{
	return dev_give(fd, mem, npages);
}

static inline long read_by_device(void)
{
	return dev_read(fd, mem, npages, in);
}

static inline long read_unlocked(void)
{
	return dev_request(fd, HMM_DMIRROR_READ_UNLOCKED, mem, npages, in, NULL);
}

static inline long write_by_device(void)
{
	return dev_write(fd, mem, npages, out);
}

static inline long take_snapshot(void)
{
	return dev_snapshot(fd, mem, npages, in);
}

static inline long hold(void)
{
	return dev_hold(fd, mem, npages, in);
}

static inline long fault_and_migrate(void)
{
	struct outcome got = dev_fault(fd, true, mem, npages);

	return got.error ? -got.error : (long)got.pages;
}

/* Writes a word of each page. */
static inline long write_in_order(void)
{
	for (size_t i = 0; i < npages; i++)
		*(volatile uint64_t *)(mem + i * PAGE) = OTHER;
	return npages;
}

/* The same, far apart from one to the next: any odd number goes through all of 2^n. */
static inline long write_at_random(void)
{
	for (size_t i = 0; i < npages; i++)
		*(volatile uint64_t *)(mem + (i * 0x9e3779b1 & (npages - 1)) * PAGE) = OTHER;
	return npages;
}

static inline long unmap(void)
{
	return munmap(mem, npages * PAGE) ? -errno : (long)npages;
}

#endif
