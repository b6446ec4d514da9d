// SPDX-License-Identifier: GPL-2.0
/*
 * What a caller can do wrong beside range and buffer: its argument, the number of the
 * request, the file that it sends it to.
 */
#include "badinput.h"

FIXTURE(caller)
{
	struct stage stage;
};

FIXTURE_SETUP(caller)
{
	self->stage.fd = dev_open(0);
	ASSERT_GE(self->stage.fd, 0);
	ASSERT_TRUE(set_stage(&self->stage));
}

FIXTURE_TEARDOWN(caller)
{
	ASSERT_EQ(close(self->stage.fd), 0);
}

/* --- The argument ----------------------------------------------------------------- */

TEST_F(caller, argument_cannot_be_read)
{
	struct stage *stage = &self->stage;
	char *end = stage->buf + NPAGES * PAGE;
	const void *bad[] = {
		NULL,
		(void *)1,
		(void *)KERNEL_ADDRESS,
		(void *)NOT_CANONICAL,
		(void *)-1UL,
		NOWHERE,
		(void *)(last_page() + PAGE),
		end,
		end - 1,
		end + 1 - sizeof(stage->cmd),
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_TRUE(all_refused(stage, stage->fd, bad[i], EFAULT)) {
			TH_LOG("argument at %p", bad[i]);
		}
	}
	ASSERT_EQ(mprotect(stage->buf, PAGE, PROT_NONE), 0);
	EXPECT_TRUE(all_refused(stage, stage->fd, stage->buf, EFAULT));
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

/* The request is served all the same. */
TEST_F(caller, argument_cannot_be_written)
{
	struct stage *stage = &self->stage;
	struct hmm_dmirror_cmd *cmd = (void *)map_at(NOWHERE, 1);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int error;

		ASSERT_TRUE(set_stage(stage));
		ASSERT_EQ(mprotect(cmd, PAGE, PROT_READ | PROT_WRITE), 0);
		*cmd = stage->cmd;
		if (numbers[i] == HMM_DMIRROR_FLAGS)
			cmd->npages = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT;
		ASSERT_EQ(mprotect(cmd, PAGE, PROT_READ), 0);
		error = raw(stage->fd, numbers[i], cmd);
		EXPECT_EQ(error, EFAULT) {
			TH_LOG("%#x", numbers[i]);
		}

		switch (numbers[i]) {
		case HMM_DMIRROR_READ:
		case HMM_DMIRROR_READ_UNLOCKED:
			EXPECT_TRUE(holds(stage->buf, NPAGES, SEED));
			break;
		case HMM_DMIRROR_WRITE:
			EXPECT_TRUE(holds(stage->mem, NPAGES, OTHER));
			break;
		case HMM_DMIRROR_MIGRATE_TO_DEV:
			EXPECT_TRUE(holds(stage->buf, NPAGES, SEED));
			EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_DEVICE));
			break;
		case HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV:
		case HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV:
			EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_DEVICE));
			break;
		case HMM_DMIRROR_MIGRATE_TO_SYS:
		case HMM_DMIRROR_RELEASE:
			EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_SYSTEM));
			break;
		case HMM_DMIRROR_EXCLUSIVE:
			EXPECT_TRUE(holds(stage->buf, NPAGES, SEED));
			EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_NOWHERE));
			break;
		case HMM_DMIRROR_FLAGS:
			/* From now on what the device reads moves. */
			EXPECT_EQ(dev_read(stage->fd, stage->mem, NPAGES, stage->buf), NPAGES);
			EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_DEVICE));
			ASSERT_TRUE(set_flags(stage->fd, 0));
			break;
		}
		if (numbers[i] != HMM_DMIRROR_WRITE)
			EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
	}
}

/* At any address, on the device, and in the range that it is about. */
TEST_F(caller, argument_anywhere)
{
	struct stage *stage = &self->stage;
	struct hmm_dmirror_cmd *cmd = (void *)(stage->mem + 2 * PAGE - 3);

	memcpy(cmd, &stage->cmd, sizeof(*cmd));
	ASSERT_EQ(dev_take(stage->fd, stage->mem, NPAGES, scratch), NPAGES);
	EXPECT_EQ(raw(stage->fd, HMM_DMIRROR_READ, cmd), 0);
	EXPECT_EQ(cmd->cpages, NPAGES);
	EXPECT_TRUE(holds(stage->mem, 1, SEED));
	EXPECT_TRUE(holds(stage->buf, 1, SEED));
	EXPECT_EQ(memcmp(stage->buf + 2 * PAGE - 3, &stage->cmd, sizeof(*cmd)), 0);
}

/* --- The number ------------------------------------------------------------------- */

/* The number alone decides, before anybody looks at the argument. */
TEST_F(caller, unknown_numbers)
{
	struct stage *stage = &self->stage;
	struct hmm_dmirror_cmd cmd = stage->cmd;
	unsigned int wrong = 0;

	for (unsigned int low = 0; low < 0x10000; low++) {
		unsigned int number = HMM_DMIRROR_READ & ~0xffffU;

		number |= low;
		if (is_known(number))
			continue;
		wrong += raw(stage->fd, number, low % 2 ? &cmd : NULL) != ENOTTY;
	}
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(memcmp(&cmd, &stage->cmd, sizeof(cmd)), 0);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

/* Right numbers of the wrong size or direction. */
TEST_F(caller, wrong_size_or_direction)
{
	static const unsigned int sizes[] = { 0, 1, 8, 16, 32, 39, 40, 41, 48, 80, 0x3fff };
	struct stage *stage = &self->stage;
	struct hmm_dmirror_cmd cmd = stage->cmd;
	unsigned int wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (size_t size = 0; size < ARRAY_SIZE(sizes); size++) {
			for (unsigned int direction = 0; direction < 4; direction++) {
				unsigned int number = _IOC(direction, 'H', _IOC_NR(numbers[i]),
							   sizes[size]);

				if (is_known(number))
					continue;
				wrong += raw(stage->fd, number, &cmd) != ENOTTY;
			}
		}
	}
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(memcmp(&cmd, &stage->cmd, sizeof(cmd)), 0);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

/* Bits that the kernel's own interface has no room for. */
TEST_F(caller, number_of_64_bits)
{
	struct hmm_dmirror_cmd cmd = self->stage.cmd;

	EXPECT_EQ(syscall(__NR_ioctl, self->stage.fd, 0xffffffff00000000UL | HMM_DMIRROR_READ,
			  &cmd), 0);
	EXPECT_EQ(cmd.cpages, NPAGES);
}

TEST_F(caller, flags)
{
	static const struct {
		uint64_t flags;
		int error;
	} cases[] = {
		{ 0, 0 },
		{ HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT, 0 },
		{ HMM_DMIRROR_FLAG_FAIL_ALLOC, 0 },
		{ HMM_DMIRROR_FLAG_FAIL_ALLOC | HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT, 0 },
		{ 4, EINVAL },
		{ 1ULL << 32, EINVAL },
		{ 1ULL << 63, EINVAL },
		{ ~0ULL, EINVAL },
	};
	struct stage *stage = &self->stage;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hmm_dmirror_cmd cmd = {
			.addr = KERNEL_ADDRESS + 1,
			.ptr = NOT_CANONICAL,
			.npages = cases[i].flags,
			.cpages = ~0ULL,
			.faults = ~0ULL,
		};
		int error;

		ASSERT_TRUE(set_flags(stage->fd, 0));
		ASSERT_TRUE(set_stage(stage));
		error = raw(stage->fd, HMM_DMIRROR_FLAGS, &cmd);
		EXPECT_EQ(error, cases[i].error);
		EXPECT_EQ(cmd.addr, KERNEL_ADDRESS + 1);
		EXPECT_EQ(cmd.ptr, NOT_CANONICAL);
		EXPECT_EQ(cmd.npages, cases[i].flags);
		EXPECT_EQ(cmd.cpages, 0);
		EXPECT_EQ(cmd.faults, 0);
		/* What is refused changes nothing: the device still reads in place. */
		if (error) {
			EXPECT_EQ(dev_read(stage->fd, stage->mem, 1, stage->buf), 1);
			EXPECT_TRUE(all_at(stage->fd, stage->mem, 1, AT_SYSTEM));
		}
	}
	ASSERT_TRUE(set_flags(stage->fd, 0));
}

/* --- The file --------------------------------------------------------------------- */

TEST_F(caller, files)
{
	struct stage *stage = &self->stage;
	int path = open("/dev/hmm_dmirror0", O_PATH | O_CLOEXEC);
	char c = 0;

	ASSERT_GE(path, 0);
	EXPECT_TRUE(all_refused(stage, path, &stage->cmd, EBADF));
	EXPECT_TRUE(all_refused(stage, -1, &stage->cmd, EBADF));
	EXPECT_EQ(read(stage->fd, &c, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(write(stage->fd, &c, 1), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
	EXPECT_EQ(close(path), 0);
}

TEST_HARNESS_MAIN
