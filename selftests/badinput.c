// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges that no request can have: each is sent with each request, which refuses it
 * before it has looked at anything. And what is no request, or has no range.
 */
#include "badinput-fixture.h"

static const struct answer refused[KINDS] = { [0 ... KINDS - 1] = { EINVAL } };

static bool unaligned(struct stage *stage)
{
	stage->cmd.addr += 1;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, unaligned)
{
	.spoil = unaligned,
	.answers = refused,
	.frozen = true,
};

static bool unaligned_to_the_next_page(struct stage *stage)
{
	stage->cmd.addr += PAGE - 1;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, unaligned_to_the_next_page)
{
	.spoil = unaligned_to_the_next_page,
	.answers = refused,
	.frozen = true,
};

static bool no_pages(struct stage *stage)
{
	stage->cmd.npages = 0;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, no_pages)
{
	.spoil = no_pages,
	.answers = refused,
	.frozen = true,
};

/* Sizes in bytes that do not fit into 64 bits, the second as small as one page. */
static bool size_of_zero_bytes(struct stage *stage)
{
	stage->cmd.npages = 1ULL << 52;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, size_of_zero_bytes)
{
	.spoil = size_of_zero_bytes,
	.answers = refused,
	.frozen = true,
};

static bool size_of_one_page(struct stage *stage)
{
	stage->cmd.npages = (1ULL << 52) + 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, size_of_one_page)
{
	.spoil = size_of_one_page,
	.answers = refused,
	.frozen = true,
};

static bool most_pages(struct stage *stage)
{
	stage->cmd.npages = ~0ULL;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, most_pages)
{
	.spoil = most_pages,
	.answers = refused,
	.frozen = true,
};

/* The size fits, the end does not. */
static bool end_wraps(struct stage *stage)
{
	stage->cmd.npages = ~0ULL >> 12;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, end_wraps)
{
	.spoil = end_wraps,
	.answers = refused,
	.frozen = true,
};

static bool end_is_zero(struct stage *stage)
{
	stage->cmd.npages = -stage->cmd.addr / PAGE;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, end_is_zero)
{
	.spoil = end_is_zero,
	.answers = refused,
	.frozen = true,
};

static bool kernel_address(struct stage *stage)
{
	stage->cmd.addr = KERNEL_ADDRESS;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, kernel_address)
{
	.spoil = kernel_address,
	.answers = refused,
	.frozen = true,
};

static bool kernel_code(struct stage *stage)
{
	stage->cmd.addr = 0xffffffff81000000UL;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, kernel_code)
{
	.spoil = kernel_code,
	.answers = refused,
	.frozen = true,
};

static bool not_canonical(struct stage *stage)
{
	stage->cmd.addr = NOT_CANONICAL;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, not_canonical)
{
	.spoil = not_canonical,
	.answers = refused,
	.frozen = true,
};

/* A page that every process sees, and that is no part of its address space. */
static bool vsyscall(struct stage *stage)
{
	stage->cmd.addr = 0xffffffffff600000UL;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, vsyscall)
{
	.spoil = vsyscall,
	.answers = refused,
	.frozen = true,
};

static bool last_page_of_all(struct stage *stage)
{
	stage->cmd.addr = -PAGE;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, last_page_of_all)
{
	.spoil = last_page_of_all,
	.answers = refused,
	.frozen = true,
};

static bool over_the_end_of_user_addresses(struct stage *stage)
{
	stage->cmd.addr = last_page();
	stage->cmd.npages = 2;
	return stage->cmd.addr;
}

FIXTURE_VARIANT_ADD(badinput, over_the_end_of_user_addresses)
{
	.spoil = over_the_end_of_user_addresses,
	.answers = refused,
	.frozen = true,
};

static bool from_the_end_of_user_addresses(struct stage *stage)
{
	stage->cmd.addr = last_page() + PAGE;
	stage->cmd.npages = 1;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, from_the_end_of_user_addresses)
{
	.spoil = from_the_end_of_user_addresses,
	.answers = refused,
	.frozen = true,
};

static bool from_here_over_the_end(struct stage *stage)
{
	stage->cmd.npages = (last_page() - stage->cmd.addr) / PAGE + 2;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, from_here_over_the_end)
{
	.spoil = from_here_over_the_end,
	.answers = refused,
	.frozen = true,
};

/* Each mistake alone would do. */
static bool all_at_once(struct stage *stage)
{
	stage->cmd.addr = KERNEL_ADDRESS + 1;
	stage->cmd.npages = 0;
	stage->cmd.ptr = NOT_CANONICAL;
	return true;
}

FIXTURE_VARIANT_ADD(badinput, all_at_once)
{
	.spoil = all_at_once,
	.answers = refused,
	.frozen = true,
};

/* RELEASE has no range: whatever stands there, it brings all pages home. */
TEST(release_has_no_range)
{
	static const struct {
		uint64_t addr, ptr, npages;
	} garbage[] = {
		{ 0, 0, 0 },
		{ 1, 1, 1 },
		{ KERNEL_ADDRESS, KERNEL_ADDRESS, ~0ULL },
		{ ~0ULL, ~0ULL, ~0ULL },
	};
	struct stage stage = { .fd = dev_open(0) };

	ASSERT_GE(stage.fd, 0);
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		struct hmm_dmirror_cmd cmd = {
			.addr = garbage[i].addr,
			.ptr = garbage[i].ptr,
			.npages = garbage[i].npages,
			.cpages = ~0ULL,
			.faults = ~0ULL,
		};

		ASSERT_TRUE(set_stage(&stage));
		EXPECT_EQ(raw(stage.fd, HMM_DMIRROR_RELEASE, &cmd), 0);
		EXPECT_EQ(cmd.addr, garbage[i].addr);
		EXPECT_EQ(cmd.ptr, garbage[i].ptr);
		EXPECT_EQ(cmd.npages, garbage[i].npages);
		EXPECT_EQ(cmd.cpages, 2);
		EXPECT_EQ(cmd.faults, 0);
		EXPECT_TRUE(all_at(stage.fd, stage.mem, NPAGES, AT_SYSTEM));
		EXPECT_TRUE(holds(stage.mem, NPAGES, SEED));
	}
	EXPECT_EQ(close(stage.fd), 0);
}

TEST_HARNESS_MAIN
