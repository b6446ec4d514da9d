/* SPDX-License-Identifier: GPL-2.0 */
/* The cases of nomem.c: what is done to pages of which state, and what may come of it. */
#ifndef DMIRROR_SELFTESTS_NOMEM_CASES_H
#define DMIRROR_SELFTESTS_NOMEM_CASES_H

#include <kselftest_harness.h>

#include "nomem-acts.h"
#include "nomem-fixture.h"

/* Each case is one of these. */
struct deed {
	bool (*prepare)(struct stage *stage);
	int (*act)(struct stage *stage);
	int error;		/* with which it may fail, beside ENOMEM */
	bool zero;		/* The pages are full of zeroes, not filled from SEED. */
	bool writes;		/* OTHER to them */
};

FIXTURE_VARIANT(nomem)
{
	struct deed deed;
};

FIXTURE_VARIANT_ADD(nomem, open)
{
	.deed = { populate, open_device },
};

FIXTURE_VARIANT_ADD(nomem, read_hole)
{
	.deed = { map_afresh, read_pages, EFAULT, .zero = true },
};

FIXTURE_VARIANT_ADD(nomem, read_populated)
{
	.deed = { populate, read_pages, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, read_swapped)
{
	.deed = { populate_swap, read_pages, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, read_of_second_file)
{
	.deed = { put_on_device_by_second, read_pages },
};

FIXTURE_VARIANT_ADD(nomem, read_from_other_device)
{
	.deed = { put_on_other, read_pages, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, read_file)
{
	.deed = { map_private_file, read_pages, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, read_migrating_hole)
{
	.deed = { map_afresh, read_migrating, EFAULT, .zero = true },
};

FIXTURE_VARIANT_ADD(nomem, read_migrating_swapped)
{
	.deed = { populate_swap, read_migrating, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, write_hole)
{
	.deed = { map_afresh, write_pages, EFAULT, .zero = true, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, write_shared)
{
	.deed = { populate_and_share, write_pages, EFAULT, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, write_shared_on_device)
{
	.deed = { put_on_device_and_share, write_pages, EFAULT, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, write_file)
{
	.deed = { map_private_file, write_pages, EFAULT, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, write_migrating)
{
	.deed = { populate, write_migrating, EFAULT, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, take_hole)
{
	.deed = { map_afresh, take, ENOENT, .zero = true },
};

FIXTURE_VARIANT_ADD(nomem, take_populated)
{
	.deed = { populate, take, ENOENT },
};

FIXTURE_VARIANT_ADD(nomem, take_part_of_huge)
{
	.deed = { populate_huge, take, ENOENT },
};

FIXTURE_VARIANT_ADD(nomem, take_shared)
{
	.deed = { populate_and_share, take, ENOENT },
};

FIXTURE_VARIANT_ADD(nomem, give)
{
	.deed = { put_on_device, give, ENOENT },
};

FIXTURE_VARIANT_ADD(nomem, release)
{
	.deed = { put_on_device, release, ENOENT },
};

FIXTURE_VARIANT_ADD(nomem, snapshot)
{
	.deed = { put_on_device_by_second, snapshot },
};

FIXTURE_VARIANT_ADD(nomem, exclusive)
{
	.deed = { populate, make_exclusive, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, check_exclusive)
{
	.deed = { populate, check_exclusive },
};

FIXTURE_VARIANT_ADD(nomem, device_mapping)
{
	.deed = { populate, map_device },
};

FIXTURE_VARIANT_ADD(nomem, cpu_read)
{
	.deed = { put_on_device, touch_pages },
};

FIXTURE_VARIANT_ADD(nomem, cpu_write)
{
	.deed = { put_on_device, overwrite_pages, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, cpu_write_shared)
{
	.deed = { put_on_device_and_share, overwrite_pages, .writes = true },
};

FIXTURE_VARIANT_ADD(nomem, pin)
{
	.deed = { put_on_device, pin_pages, EFAULT },
};

FIXTURE_VARIANT_ADD(nomem, fork)
{
	.deed = { put_on_device, have_child },
};

FIXTURE_VARIANT_ADD(nomem, mremap)
{
	.deed = { put_on_device, move_elsewhere },
};

FIXTURE_VARIANT_ADD(nomem, mprotect)
{
	.deed = { put_on_device, protect_part },
};

#endif
