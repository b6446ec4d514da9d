// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive access: while the device holds a page, nobody else reaches it; whoever
 * tries takes it back, that page and no other, with what the device wrote there.
 */
#include "exclusive.h"

#define MIDDLE	3	/* a page with neighbours */

TEST_F(exclusive, take)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), -EPERM);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_NOWHERE));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));

	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/* The device's own accesses find the page, and it stays the device's. */
TEST_F(exclusive, own_access_keeps_it)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, false));
	EXPECT_TRUE(holds(scratch, NPAGES, SEED));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));

	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/*
 * To take it again does not let go of it in between: or the other file, which knows
 * the pages, would have been told.
 */
TEST_F(exclusive, take_again)
{
	ASSERT_TRUE(writes(self->second, self->mem, NPAGES, SEED));
	ASSERT_TRUE(takes_hold(self->fd, self->mem + 2 * PAGE, 3, SEED + 2));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(knows(self->second, self->mem, NPAGES, true));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* A CPU takes back the page that it touches, and none of the neighbours. */
TEST_F(exclusive, touch_of_one)
{
	fill(self->mem, NPAGES, SEED);
	for (int write = 0; write < 2; write++) {
		volatile char *page = self->mem + MIDDLE * PAGE;

		ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
		if (write)
			page[0] = page[0];
		else
			(void)page[0];
		EXPECT_TRUE(all_held(self->fd, self->mem, MIDDLE, true));
		EXPECT_EQ(dev_check(self->fd, self->mem + MIDDLE * PAGE, 1), 0);
		EXPECT_TRUE(all_held(self->fd, self->mem + (MIDDLE + 1) * PAGE,
				     NPAGES - MIDDLE - 1, true));
		EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), -EPERM);
	}
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* So does the kernel, when it reads for a process or writes. */
TEST_F(exclusive, touch_by_the_kernel)
{
	int pipes[2];

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(write(pipes[1], self->mem, PAGE), PAGE);
	EXPECT_EQ(dev_check(self->fd, self->mem, 1), 0);
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, true));
	ASSERT_EQ(read(pipes[0], self->mem + PAGE, PAGE), PAGE);
	EXPECT_EQ(dev_check(self->fd, self->mem, 2), 0);
	EXPECT_TRUE(all_held(self->fd, self->mem + 2 * PAGE, NPAGES - 2, true));
	EXPECT_TRUE(holds(self->mem + PAGE, 1, SEED));
	close(pipes[0]);
	close(pipes[1]);
}

/*
 * The device misses pages beside those that it holds. To fault the former must not
 * cost it the latter.
 */
TEST_F(exclusive, miss_beside_it)
{
	uint64_t faults = 0;

	for (int write = 0; write < 2; write++) {
		fill(self->mem, NPAGES, SEED);
		ASSERT_TRUE(takes_hold(self->fd, self->mem + MIDDLE * PAGE, 2, SEED + MIDDLE));
		fill(scratch, NPAGES, SEED);
		ASSERT_EQ(dev_request(self->fd, write ? HMM_DMIRROR_WRITE : HMM_DMIRROR_READ,
				      self->mem, NPAGES, scratch, &faults), NPAGES);
		EXPECT_EQ(faults, 2);
		EXPECT_TRUE(holds(scratch, NPAGES, SEED));
		EXPECT_TRUE(all_held(self->fd, self->mem + MIDDLE * PAGE, 2, true));
		EXPECT_TRUE(all_held(self->fd, self->mem, MIDDLE, false));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
		/* Forgotten, to be missed again. */
		ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
		ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	}
}

/* Nor may faults that migrate: the pages beside it move. */
TEST_F(exclusive, migrating_miss_beside_it)
{
	struct hmm_dmirror_cmd flags = { .npages = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT };

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(ioctl(self->fd, HMM_DMIRROR_FLAGS, &flags), 0);
	ASSERT_TRUE(takes_hold(self->fd, self->mem + MIDDLE * PAGE, 2, SEED + MIDDLE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_held(self->fd, self->mem + MIDDLE * PAGE, 2, true));
	EXPECT_TRUE(all_at(self->fd, self->mem, MIDDLE, AT_DEVICE));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* There is one holder: who takes it has it, and the other knows. */
TEST_F(exclusive, two_devices)
{
	int fds[] = { self->fd, self->other };

	fill(self->mem, NPAGES, SEED);
	for (int i = 0; i < 4; i++) {
		EXPECT_TRUE(takes_hold(fds[i % 2], self->mem, NPAGES, SEED + i));
		EXPECT_TRUE(all_held(fds[1 - i % 2], self->mem, NPAGES, false));
		EXPECT_TRUE(writes(fds[i % 2], self->mem, NPAGES, SEED + i + 1));
	}
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED + 4));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, false));
	EXPECT_TRUE(all_held(self->other, self->mem, NPAGES, false));
}

/* The other device knew the pages: it may not use what it knows any more. */
TEST_F(exclusive, other_device_knew_it)
{
	uint64_t faults = 0;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(writes(self->other, self->mem, NPAGES, SEED));
	ASSERT_TRUE(knows(self->other, self->mem, NPAGES, true));
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));

	ASSERT_EQ(dev_request(self->other, HMM_DMIRROR_READ, self->mem, 1, scratch, &faults), 1);
	EXPECT_EQ(faults, 1);
	EXPECT_TRUE(holds(scratch, 1, OTHER));
	EXPECT_EQ(dev_check(self->fd, self->mem, 1), 0);
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, true));
}

/*
 * Files of one device are one device. Another of them goes on with the page that
 * it knows; if it does not, it asks mm, and that takes the page back.
 */
TEST_F(exclusive, second_file)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(writes(self->second, self->mem, 1, SEED));
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->second, self->mem, NPAGES), 0);

	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->second, self->mem, 1, true));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, 1, OTHER));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));

	EXPECT_TRUE(dev_sees(self->second, self->mem + PAGE, 1, SEED + 1));
	EXPECT_EQ(dev_check(self->fd, self->mem + PAGE, 1), 0);

	EXPECT_TRUE(takes_hold(self->second, self->mem + PAGE, NPAGES - 1, SEED + 1));
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, false));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), -EPERM);
	EXPECT_TRUE(holds(self->mem, 1, OTHER));
	EXPECT_TRUE(holds(self->mem + PAGE, NPAGES - 1, SEED + 1));
}

/* The holder goes away. */
TEST_F(exclusive, close)
{
	int fd = dev_open(0);

	ASSERT_GE(fd, 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(writes(fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(close(fd), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* What the device reads goes to the very pages, which takes them back. */
TEST_F(exclusive, into_itself)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_hold(self->fd, self->mem, NPAGES, self->mem), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
}

/* The buffer is in part in the range; each page of it is written after it was read. */
TEST_F(exclusive, into_pages_before)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_hold(self->fd, self->mem + PAGE, NPAGES - 1, self->mem), NPAGES - 1);
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES - 1, false));
	EXPECT_TRUE(all_held(self->fd, self->mem + (NPAGES - 1) * PAGE, 1, true));
	EXPECT_TRUE(holds(self->mem, NPAGES - 1, SEED + 1));
	EXPECT_TRUE(holds(self->mem + (NPAGES - 1) * PAGE, 1, SEED + NPAGES - 1));
}

/* The request is in the range: to answer it takes its page back. */
TEST_F(exclusive, argument_in_the_range)
{
	struct hmm_dmirror_cmd *cmd = (void *)self->mem;

	*cmd = (struct hmm_dmirror_cmd){
		.addr = (uintptr_t)self->mem,
		.ptr = (uintptr_t)scratch,
		.npages = NPAGES,
		.cpages = ~0ULL,
	};
	EXPECT_EQ(ioctl(self->fd, HMM_DMIRROR_EXCLUSIVE, cmd), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, 1), 0);
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, true));
	EXPECT_EQ(cmd->cpages, NPAGES);
}

/* As many pages as there are addresses: it costs what the device knows. */
TEST_F(exclusive, check_everything)
{
	/* Up to the last address but one page that a process has. */
	const uint64_t everything = (1UL << (47 - 12)) - 1;
	const uint64_t before = (uintptr_t)self->mem / PAGE;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->fd, NULL, everything), 0);
	ASSERT_TRUE(takes_hold(self->fd, self->mem + MIDDLE * PAGE, 1, SEED + MIDDLE));
	EXPECT_EQ(dev_check(self->fd, NULL, everything), -EPERM);
	EXPECT_EQ(dev_check(self->fd, NULL, before + MIDDLE + 1), -EPERM);
	EXPECT_EQ(dev_check(self->fd, self->mem, everything - before), -EPERM);
	EXPECT_EQ(dev_check(self->fd, NULL, before + MIDDLE), 0);

	EXPECT_EQ(dev_check(self->fd, NULL, 1UL << 51), -EINVAL);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
