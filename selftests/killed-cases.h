/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The requests that are killed. Included by killed.c, after the functions that bring
 * memory into a state.
 */
#ifndef DMIRROR_SELFTESTS_KILLED_CASES_H
#define DMIRROR_SELFTESTS_KILLED_CASES_H

FIXTURE(killed)
{
	struct victim *victim;
	char *room;	/* 1 TiB of untouched memory */
	char *hole;	/* 1 TiB of addresses at which nothing is mapped */
	char *stack;
};

FIXTURE_VARIANT(killed)
{
	unsigned long number;
	size_t npages;		/* RANGE, if it does not say */
	uint64_t flags;
	bool (*prepare)(int fd, char *room);
	bool in_hole, huge, beside_forks;
	unsigned int step_us;	/* each try is given so much more time than the last */
};

FIXTURE_VARIANT_ADD(killed, read)
{
	.number = HMM_DMIRROR_READ,
};

FIXTURE_VARIANT_ADD(killed, read_unlocked)
{
	.number = HMM_DMIRROR_READ_UNLOCKED,
};

FIXTURE_VARIANT_ADD(killed, write)
{
	.number = HMM_DMIRROR_WRITE,
};

FIXTURE_VARIANT_ADD(killed, read_migrating)
{
	.number = HMM_DMIRROR_READ,
	.flags = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT,
};

FIXTURE_VARIANT_ADD(killed, write_migrating)
{
	.number = HMM_DMIRROR_WRITE,
	.flags = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT,
};

FIXTURE_VARIANT_ADD(killed, to_device)
{
	.number = HMM_DMIRROR_MIGRATE_TO_DEV,
};

FIXTURE_VARIANT_ADD(killed, to_device_huge)
{
	.number = HMM_DMIRROR_MIGRATE_TO_DEV,
	.huge = true,
};

FIXTURE_VARIANT_ADD(killed, read_fault)
{
	.number = HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV,
};

FIXTURE_VARIANT_ADD(killed, write_fault)
{
	.number = HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
};

FIXTURE_VARIANT_ADD(killed, write_fault_huge)
{
	.number = HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
	.huge = true,
};

FIXTURE_VARIANT_ADD(killed, to_system)
{
	.number = HMM_DMIRROR_MIGRATE_TO_SYS,
	.npages = STORED,
	.prepare = is_on_device,
	.step_us = 2500,
};

FIXTURE_VARIANT_ADD(killed, snapshot)
{
	.number = HMM_DMIRROR_SNAPSHOT,
	.npages = TIB_PAGES,
	.in_hole = true,
};

FIXTURE_VARIANT_ADD(killed, exclusive)
{
	.number = HMM_DMIRROR_EXCLUSIVE,
};

FIXTURE_VARIANT_ADD(killed, check_exclusive)
{
	.number = HMM_DMIRROR_CHECK_EXCLUSIVE,
	.npages = TIB_PAGES,
	.prepare = is_known,
	.step_us = 500,
};

FIXTURE_VARIANT_ADD(killed, release)
{
	.number = HMM_DMIRROR_RELEASE,
	.prepare = is_on_device,
	.step_us = 2500,
};

FIXTURE_VARIANT_ADD(killed, release_beside_forks)
{
	.number = HMM_DMIRROR_RELEASE,
	.prepare = is_mostly_on_device,
	.beside_forks = true,
	.step_us = 2500,
};

FIXTURE_VARIANT_ADD(killed, release_areas)
{
	.number = HMM_DMIRROR_RELEASE,
	.prepare = is_in_areas,
	.step_us = 2500,
};

#endif
