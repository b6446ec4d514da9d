/* SPDX-License-Identifier: GPL-2.0 */
/* What operations.c measures: calls, and the state in which they find the pages. */
#ifndef DMIRROR_BENCH_OPERATIONS_H
#define DMIRROR_BENCH_OPERATIONS_H

#include "calls.h"

/* --- More states ------------------------------------------------------------------ */

static void make_huge_zero(void)
{
	map_anonymous(MADV_HUGEPAGE);
	for (size_t page = 0; page < npages; page += BLOCK_PAGES)
		touch(mem + page * PAGE, 1);
}

static void make_huge_hole(void)
{
	map_anonymous(MADV_HUGEPAGE);
}

static void make_huge_there(void)
{
	make_huge();
	must(dev_take(fd, mem, npages, in) == (long)npages, "MIGRATE_TO_DEV");
}

static void make_known(void)
{
	make_populated();
	must(dev_write(fd, mem, npages, out) == (long)npages, "WRITE");
	must(dev_write(fd, mem, npages, out) == (long)npages, "WRITE");
}

static void make_exclusive(void)
{
	make_populated();
	must(dev_hold(fd, mem, npages, in) == (long)npages, "EXCLUSIVE");
}

/* --- The table -------------------------------------------------------------------- */

enum sizes { ANY, BLOCKS, PARTS };	/* of pages: all, multiples of a block, less than one */

static const struct operation {
	const char *name;
	void (*make)(void);
	long (*call)(void);
	unsigned int copies;
	enum sizes sizes;
	void (*undo)(void);
	bool own;		/* the C driver has no such request */
} operations[] = {
	{ "to-device/populated", make_populated, take, 2 },
	{ "to-device/empty", make_empty, take, 2 },
	{ "to-device/hole", make_hole, take, 2 },
	{ "to-device/huge-hole", make_huge_hole, take, 2, BLOCKS },
	{ "to-device/zero", make_zero, take, 2 },
	{ "to-device/huge-zero", make_huge_zero, take, 2, BLOCKS },
	{ "to-device/huge", make_huge, take, 2, BLOCKS },
	{ "to-device/part-of-huge", make_huge, take, 2, PARTS },
	{ "to-device/shared", make_shared, take, 2, .undo = end_sharer },
	{ "to-device/there", make_there, take, 1 },
	{ "to-system/small", make_there, give_back, 1 },
	{ "to-system/huge", make_huge_there, give_back, 1, BLOCKS },
	{ "cpu-fault/in-order", make_there, write_in_order, 1 },
	{ "cpu-fault/random", make_there, write_at_random, 1 },
	{ "cpu-fault/huge", make_huge_there, write_in_order, 1, BLOCKS },
	{ "cpu-fault/exclusive", make_exclusive, write_in_order, 0 },
	{ "migrating-fault/hole", make_hole, fault_and_migrate, 1, .own = true },
	{ "migrating-fault/populated", make_populated, fault_and_migrate, 1, .own = true },
	{ "read/cold", make_populated, read_by_device, 1 },
	{ "read/warm", make_known, read_by_device, 1 },
	{ "read/hole", make_hole, read_by_device, 1 },
	{ "read/huge", make_huge, read_by_device, 1, BLOCKS },
	{ "read/on-device", make_there, read_by_device, 1 },
	{ "read-unlocked/cold", make_populated, read_unlocked, 1 },
	{ "read-unlocked/warm", make_known, read_unlocked, 1 },
	{ "write/cold", make_populated, write_by_device, 1 },
	{ "write/warm", make_known, write_by_device, 1 },
	{ "write/hole", make_hole, write_by_device, 2 },
	{ "write/on-device", make_there, write_by_device, 1 },
	{ "snapshot/populated", make_populated, take_snapshot, 0 },
	{ "snapshot/huge", make_huge, take_snapshot, 0, BLOCKS },
	{ "snapshot/on-device", make_there, take_snapshot, 0 },
	{ "exclusive/populated", make_populated, hold, 1 },
	{ "unmap/unknown", make_populated, unmap, 0 },
	{ "unmap/known", make_known, unmap, 0 },
	{ "unmap/on-device", make_there, unmap, 0 },
};

#endif
