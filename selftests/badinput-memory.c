// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges in which something is not mapped, or not to be accessed. Each request refuses
 * with the right error, having served as much as is documented, and changes nothing
 * else.
 */
#include "badinput-fixture.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

/* Nothing is mapped at the first page. */
static const struct answer nothing_at_first[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { EFAULT },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT }, [WRITE_FAULT] = { EFAULT },
};

static bool unmap(struct stage *stage, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		stage->lost[i] = true;
	return !munmap(stage->mem + from * PAGE, (to - from) * PAGE);
}

static bool unmapped(struct stage *stage)
{
	return unmap(stage, 0, NPAGES);
}

FIXTURE_VARIANT_ADD(badinput, unmapped)
{
	.spoil = unmapped,
	.answers = nothing_at_first,
	.frozen = true,
};

static bool first_half_unmapped(struct stage *stage)
{
	return unmap(stage, 0, NPAGES / 2);
}

FIXTURE_VARIANT_ADD(badinput, first_half_unmapped)
{
	.spoil = first_half_unmapped,
	.answers = nothing_at_first,
	.frozen = true,
};

static bool address_zero(struct stage *stage)
{
	stage->cmd.addr = 0;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, address_zero)
{
	.spoil = address_zero,
	.answers = nothing_at_first,
	.frozen = true,
};

static bool far_from_everything(struct stage *stage)
{
	stage->cmd.addr = (uintptr_t)NOWHERE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, far_from_everything)
{
	.spoil = far_from_everything,
	.answers = nothing_at_first,
	.frozen = true,
};

static bool end_of_user_addresses(struct stage *stage)
{
	stage->cmd.addr = last_page() - (NPAGES - 1) * PAGE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, end_of_user_addresses)
{
	.spoil = end_of_user_addresses,
	.answers = nothing_at_first,
	.frozen = true,
};

static bool second_half_unmapped(struct stage *stage)
{
	return unmap(stage, NPAGES / 2, NPAGES);
}

static const struct answer nothing_further_on[KINDS] = {
	[READ] = { EFAULT, ANY }, [WRITE] = { EFAULT, ANY },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL, 1 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT, 2 }, [WRITE_FAULT] = { EFAULT, 2 },
};

FIXTURE_VARIANT_ADD(badinput, second_half_unmapped)
{
	.spoil = second_half_unmapped,
	.answers = nothing_further_on,
};

static bool hole_in_the_middle(struct stage *stage)
{
	return unmap(stage, 2, 3);
}

FIXTURE_VARIANT_ADD(badinput, hole_in_the_middle)
{
	.spoil = hole_in_the_middle,
	.answers = nothing_further_on,
};

/* The way home is open to pages that nobody may access now. */
static const struct answer unreadable[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { EFAULT },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT }, [WRITE_FAULT] = { EFAULT },
};

static bool no_access(struct stage *stage)
{
	return !mprotect(stage->mem, NPAGES * PAGE, PROT_NONE);
}

FIXTURE_VARIANT_ADD(badinput, no_access)
{
	.spoil = no_access,
	.answers = unreadable,
};

/* HMM knows no memory that can be written but not read. */
static bool write_only(struct stage *stage)
{
	return !mprotect(stage->mem, NPAGES * PAGE, PROT_WRITE);
}

FIXTURE_VARIANT_ADD(badinput, write_only)
{
	.spoil = write_only,
	.answers = unreadable,
};

static bool execute_only(struct stage *stage)
{
	return !mprotect(stage->mem, NPAGES * PAGE, PROT_EXEC);
}

FIXTURE_VARIANT_ADD(badinput, execute_only)
{
	.spoil = execute_only,
	.answers = unreadable,
};

static bool second_half_no_access(struct stage *stage)
{
	return !mprotect(stage->mem + 2 * PAGE, 2 * PAGE, PROT_NONE);
}

static const struct answer second_half_no_access_answers[KINDS] = {
	[READ] = { EFAULT, ANY }, [WRITE] = { EFAULT, ANY },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT, 2 }, [WRITE_FAULT] = { EFAULT, 2 },
};

FIXTURE_VARIANT_ADD(badinput, second_half_no_access)
{
	.spoil = second_half_no_access,
	.answers = second_half_no_access_answers,
};

/* Whatever is said to a device that writes, it does not. */
static bool read_only(struct stage *stage)
{
	return !mprotect(stage->mem, NPAGES * PAGE, PROT_READ);
}

static const struct answer read_only_answers[KINDS] = {
	[READ] = { 0, NPAGES }, [WRITE] = { EPERM },
	[TO_DEV] = { 0, NPAGES }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EPERM }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { 0, NPAGES }, [WRITE_FAULT] = { EPERM },
};

FIXTURE_VARIANT_ADD(badinput, read_only)
{
	.spoil = read_only,
	.answers = read_only_answers,
};

static bool second_half_read_only(struct stage *stage)
{
	return !mprotect(stage->mem + 2 * PAGE, 2 * PAGE, PROT_READ);
}

static const struct answer second_half_read_only_answers[KINDS] = {
	[READ] = { 0, NPAGES }, [WRITE] = { EPERM, ANY },
	[TO_DEV] = { 0, NPAGES }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EPERM, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { 0, NPAGES }, [WRITE_FAULT] = { EPERM, 2 },
};

FIXTURE_VARIANT_ADD(badinput, second_half_read_only)
{
	.spoil = second_half_read_only,
	.answers = second_half_read_only_answers,
};

/* One page whose contents are gone, and which nothing can be faulted to. */
static bool guard_region(struct stage *stage)
{
	stage->lost[2] = true;
	return !madvise(stage->mem + 2 * PAGE, PAGE, MADV_GUARD_INSTALL);
}

static const struct answer guard_region_answers[KINDS] = {
	[READ] = { EFAULT, ANY }, [WRITE] = { EFAULT, ANY },
	[TO_DEV] = { ENOENT, 2 }, [TO_SYS] = { 0, 1 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT, 2 }, [WRITE_FAULT] = { EFAULT, 2 },
};

FIXTURE_VARIANT_ADD(badinput, guard_region)
{
	.spoil = guard_region,
	.answers = guard_region_answers,
};

TEST_HARNESS_MAIN
