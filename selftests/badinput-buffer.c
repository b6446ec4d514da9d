// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers of the caller that are not there, not for this, or end before the data do.
 * Requests that have no use for a buffer do not care.
 */
#include "badinput-fixture.h"

/* No data go there or come from there. */
static const struct answer no_buffer[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { EFAULT },
	[TO_DEV] = { EFAULT }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { EFAULT },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { 0, NPAGES }, [WRITE_FAULT] = { 0, NPAGES },
};

static bool buffer_null(struct stage *stage)
{
	stage->cmd.ptr = 0;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_null)
{
	.spoil = buffer_null,
	.answers = no_buffer,
};

static bool buffer_in_kernel(struct stage *stage)
{
	stage->cmd.ptr = KERNEL_ADDRESS;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_in_kernel)
{
	.spoil = buffer_in_kernel,
	.answers = no_buffer,
};

static bool buffer_at_the_end_of_kernel(struct stage *stage)
{
	stage->cmd.ptr = -NPAGES * PAGE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_at_the_end_of_kernel)
{
	.spoil = buffer_at_the_end_of_kernel,
	.answers = no_buffer,
};

static bool buffer_not_canonical(struct stage *stage)
{
	stage->cmd.ptr = NOT_CANONICAL;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_not_canonical)
{
	.spoil = buffer_not_canonical,
	.answers = no_buffer,
};

static bool buffer_wraps(struct stage *stage)
{
	stage->cmd.ptr = -1UL;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_wraps)
{
	.spoil = buffer_wraps,
	.answers = no_buffer,
};

static bool buffer_unmapped(struct stage *stage)
{
	stage->cmd.ptr = (uintptr_t)NOWHERE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_unmapped)
{
	.spoil = buffer_unmapped,
	.answers = no_buffer,
};

static bool buffer_behind_user_addresses(struct stage *stage)
{
	stage->cmd.ptr = last_page() + PAGE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_behind_user_addresses)
{
	.spoil = buffer_behind_user_addresses,
	.answers = no_buffer,
};

static bool buffer_no_access(struct stage *stage)
{
	return !mprotect(stage->buf, NPAGES * PAGE, PROT_NONE);
}

FIXTURE_VARIANT_ADD(badinput, buffer_no_access)
{
	.spoil = buffer_no_access,
	.answers = no_buffer,
};

static bool buffer_read_only(struct stage *stage)
{
	return !mprotect(stage->buf, NPAGES * PAGE, PROT_READ);
}

static const struct answer buffer_read_only_answers[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { 0, NPAGES },
	[TO_DEV] = { EFAULT }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { EFAULT },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { 0, NPAGES }, [WRITE_FAULT] = { 0, NPAGES },
};

FIXTURE_VARIANT_ADD(badinput, buffer_read_only)
{
	.spoil = buffer_read_only,
	.answers = buffer_read_only_answers,
};

/* After two pages of data, in the middle of a third. */
static bool buffer_ends(struct stage *stage)
{
	stage->cmd.ptr += PAGE + PAGE / 2;
	memmove(stage->buf + PAGE + PAGE / 2, stage->buf, 2 * PAGE + PAGE / 2);
	return true;
}

static const struct answer buffer_ends_answers[KINDS] = {
	[READ] = { EFAULT, 2 }, [WRITE] = { EFAULT, 2 },
	[TO_DEV] = { EFAULT }, [TO_SYS] = { 0, 2 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { 0, NPAGES }, [WRITE_FAULT] = { 0, NPAGES },
};

FIXTURE_VARIANT_ADD(badinput, buffer_ends)
{
	.spoil = buffer_ends,
	.answers = buffer_ends_answers,
};

static bool buffer_ends_after_two_bytes(struct stage *stage)
{
	stage->cmd.ptr += NPAGES * PAGE - 2;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, buffer_ends_after_two_bytes)
{
	.spoil = buffer_ends_after_two_bytes,
	.answers = no_buffer,
};

/* The buffer has room for two pages of a huge one that is @on_device, and no more. */
static void expect_two_pages(struct __test_metadata *_metadata, bool on_device, char *buffer)
{
	static const unsigned long requests[] = { HMM_DMIRROR_WRITE, HMM_DMIRROR_READ };
	int fd = dev_open(0);
	char *mem = map_huge(1);

	ASSERT_GE(fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	if (on_device)
		ASSERT_EQ(dev_take(fd, mem, HUGE_PAGES, scratch), HUGE_PAGES);
	ASSERT_TRUE(all_at(fd, mem, HUGE_PAGES, on_device ? AT_DEVICE_HUGE : AT_HUGE));
	fill(buffer, 2, SEED);

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct hmm_dmirror_cmd cmd = {
			.addr = (uintptr_t)mem,
			.ptr = (uintptr_t)buffer,
			.npages = NPAGES,
		};

		EXPECT_EQ(raw(fd, requests[i], &cmd), EFAULT);
		EXPECT_EQ(cmd.cpages, 2);
		EXPECT_TRUE(holds(buffer, 2, SEED));
	}
	EXPECT_TRUE(holds(mem, HUGE_PAGES, SEED));
	EXPECT_EQ(munmap(mem, HUGE), 0);
	EXPECT_EQ(close(fd), 0);
}

TEST(buffer_ends_amid_a_huge_page)
{
	char *end = (char *)last_page() + PAGE;
	char *last = end - 2 * PAGE, *before_hole = map_pages(NPAGES);

	ASSERT_EQ(map_at(last, 2), last);
	ASSERT_NE(before_hole, MAP_FAILED);
	ASSERT_EQ(munmap(before_hole + 2 * PAGE, (NPAGES - 2) * PAGE), 0);

	for (int on_device = 0; on_device <= 1; on_device++) {
		expect_two_pages(_metadata, on_device, last);
		expect_two_pages(_metadata, on_device, before_hole);
	}
	EXPECT_EQ(munmap(last, 2 * PAGE), 0);
	EXPECT_EQ(munmap(before_hole, 2 * PAGE), 0);
}

TEST_HARNESS_MAIN
