// SPDX-License-Identifier: GPL-2.0
/*
 * Requests that make no sense are refused, with the right error, and change
 * nothing. Each table line is a bad request and what each ioctl answers to it.
 */
#include <kselftest_harness.h>

#include <limits.h>

#include <dmirror_uapi.h>

#include "lib.h"

#define NPAGES	4
#define SEED	1000

#define KERNEL_ADDRESS	((void *)0xffff888000000000UL)
/* The end of the largest user address space that x86-64 has, less two pages. */
#define LAST_PAGES	((void *)((1UL << 56) - 2 * PAGE))

FIXTURE(badinput)
{
	int fd;
	char *mem;	/* NPAGES, filled, between two pages that are not mapped */
	char *buf;	/* as large */
};

FIXTURE_SETUP(badinput)
{
	char *room = map_pages(NPAGES + 2);

	ASSERT_NE(room, MAP_FAILED);
	self->mem = room + PAGE;
	fill(self->mem, NPAGES, SEED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	/* From here on nothing may be mapped, or it would land in the gaps. */
	ASSERT_EQ(munmap(room, PAGE), 0);
	ASSERT_EQ(munmap(room + (NPAGES + 1) * PAGE, PAGE), 0);
}

FIXTURE_TEARDOWN(badinput)
{
	ASSERT_EQ(close(self->fd), 0);
}

/* The requests that work on a range, in the order of the answers in a table. */
static const struct {
	unsigned long number;
	const char *name;
} requests[] = {
	{ HMM_DMIRROR_READ, "READ" },
	{ HMM_DMIRROR_WRITE, "WRITE" },
	{ HMM_DMIRROR_SNAPSHOT, "SNAPSHOT" },
	{ HMM_DMIRROR_MIGRATE_TO_DEV, "MIGRATE_TO_DEV" },
	{ HMM_DMIRROR_MIGRATE_TO_SYS, "MIGRATE_TO_SYS" },
	{ HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV, "MIGRATE_ON_FAULT_TO_DEV" },
	{ HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV, "MIGRATE_ON_WRITE_FAULT_TO_DEV" },
};

struct answers {
	long expected[ARRAY_SIZE(requests)];
};

#define SUCCESS		LONG_MAX	/* any number of pages */

#define ANSWERS(...)	((struct answers){ { __VA_ARGS__ } })

static struct answers all(long error)
{
	return ANSWERS(error, error, error, error, error, error, error);
}

/* Sends each request with the same arguments; true when each answer is as expected. */
static bool check(int fd, const void *addr, uint64_t npages, void *ptr, struct answers answers)
{
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		long ret = dev_request(fd, requests[i].number, addr, npages, ptr, NULL);

		if (ret == answers.expected[i] || (ret >= 0 && answers.expected[i] == SUCCESS))
			continue;
		printf("# %s answers %ld, expected %ld\n", requests[i].name, ret,
		       answers.expected[i]);
		ok = false;
	}
	return ok;
}

TEST_F(badinput, unaligned_address)
{
	EXPECT_TRUE(check(self->fd, self->mem + 1, 1, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, self->mem + PAGE - 1, 1, self->buf, all(-EINVAL)));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(badinput, no_pages)
{
	EXPECT_TRUE(check(self->fd, self->mem, 0, self->buf, all(-EINVAL)));
}

/* Numbers of pages whose size in bytes does not fit into 64 bits. */
TEST_F(badinput, overflow)
{
	EXPECT_TRUE(check(self->fd, self->mem, 1ULL << 52, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, self->mem, (1ULL << 52) + 1, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, self->mem, ~0ULL, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, self->mem, ~0ULL >> 12, self->buf, all(-EINVAL)));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(badinput, beyond_user_addresses)
{
	EXPECT_TRUE(check(self->fd, KERNEL_ADDRESS, 1, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, LAST_PAGES, 2, self->buf, all(-EINVAL)));
	EXPECT_TRUE(check(self->fd, self->mem, 1ULL << (56 - 12), self->buf, all(-EINVAL)));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(badinput, unmapped_address)
{
	char *nothing = self->mem - PAGE;
	unsigned char map = 0;

	EXPECT_TRUE(check(self->fd, nothing, 1, self->buf,
			  ANSWERS(-EFAULT, -EFAULT, 1, -EINVAL, -EINVAL, -EFAULT, -EFAULT)));
	EXPECT_EQ(dev_snapshot(self->fd, nothing, 1, &map), 1);
	EXPECT_EQ(map, AT_ERROR);
}

TEST_F(badinput, address_zero)
{
	EXPECT_TRUE(check(self->fd, NULL, 1, self->buf,
			  ANSWERS(-EFAULT, -EFAULT, 1, -EINVAL, -EINVAL, -EFAULT, -EFAULT)));
}

TEST_F(badinput, hole_in_the_middle)
{
	unsigned char map[NPAGES];

	ASSERT_EQ(munmap(self->mem + PAGE, PAGE), 0);
	EXPECT_TRUE(check(self->fd, self->mem, NPAGES, self->buf,
			  ANSWERS(-EFAULT, -EFAULT, NPAGES, -EINVAL, -EINVAL, -EFAULT, -EFAULT)));
	ASSERT_EQ(dev_snapshot(self->fd, self->mem, NPAGES, map), NPAGES);
	EXPECT_EQ(map[1], AT_ERROR);
	EXPECT_TRUE(holds(self->mem + 2 * PAGE, NPAGES - 2, SEED + 2));
}

/* The way home is open to pages that nobody may access now; here are none. */
TEST_F(badinput, no_access)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_TRUE(check(self->fd, self->mem, NPAGES, self->buf,
			  ANSWERS(-EFAULT, -EFAULT, NPAGES, -EINVAL, 0, -EFAULT, -EFAULT)));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_ERROR));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(badinput, write_to_read_only)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), -EPERM);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The caller's buffer is not there, or ends before the data does. */
TEST_F(badinput, bad_buffer)
{
	char *nothing = self->mem - PAGE;

	/* The last three have no use for a buffer. */
	EXPECT_TRUE(check(self->fd, self->mem, 1, nothing,
			  ANSWERS(-EFAULT, -EFAULT, -EFAULT, -EFAULT, SUCCESS, SUCCESS, SUCCESS)));
	EXPECT_TRUE(check(self->fd, self->mem, 1, KERNEL_ADDRESS,
			  ANSWERS(-EFAULT, -EFAULT, -EFAULT, -EFAULT, SUCCESS, SUCCESS, SUCCESS)));
	EXPECT_TRUE(check(self->fd, self->mem, 1, NULL,
			  ANSWERS(-EFAULT, -EFAULT, -EFAULT, -EFAULT, SUCCESS, SUCCESS, SUCCESS)));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));

	ASSERT_EQ(munmap(self->buf + PAGE, PAGE), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, 2, self->buf), -EFAULT);
	EXPECT_EQ(dev_write(self->fd, self->mem, 2, self->buf), -EFAULT);
}

TEST_F(badinput, read_only_buffer)
{
	ASSERT_EQ(mprotect(self->buf, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, 1, self->buf), -EFAULT);
	EXPECT_EQ(dev_snapshot(self->fd, self->mem, 1, self->buf), -EFAULT);
	EXPECT_EQ(dev_take(self->fd, self->mem, 1, self->buf), -EFAULT);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

static int raw(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

TEST_F(badinput, bad_argument)
{
	struct hmm_dmirror_cmd *short_of_a_byte, *read_only = (void *)self->mem;

	short_of_a_byte = (void *)(self->mem + NPAGES * PAGE + 1 - sizeof(*short_of_a_byte));
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		EXPECT_EQ(raw(self->fd, requests[i].number, NULL), -EFAULT);
		EXPECT_EQ(raw(self->fd, requests[i].number, KERNEL_ADDRESS), -EFAULT);
		EXPECT_EQ(raw(self->fd, requests[i].number, short_of_a_byte), -EFAULT);
	}

	/* The results cannot be given back. */
	*read_only = (struct hmm_dmirror_cmd){
		.addr = (uintptr_t)self->mem,
		.ptr = (uintptr_t)self->buf,
		.npages = 1,
	};
	ASSERT_EQ(mprotect(self->mem, PAGE, PROT_READ), 0);
	EXPECT_EQ(raw(self->fd, HMM_DMIRROR_SNAPSHOT, read_only), -EFAULT);
}

TEST_F(badinput, unknown_request)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)self->mem,
		.ptr = (uintptr_t)self->buf,
		.npages = 1,
	};

	EXPECT_EQ(raw(self->fd, _IOWR('H', 0x7f, cmd), &cmd), -ENOTTY);
	EXPECT_EQ(raw(self->fd, _IOWR('h', 0x00, cmd), &cmd), -ENOTTY);
	/* Right number, wrong size or direction. */
	EXPECT_EQ(raw(self->fd, _IOWR('H', 0x00, __u64), &cmd), -ENOTTY);
	EXPECT_EQ(raw(self->fd, _IOR('H', 0x00, cmd), &cmd), -ENOTTY);
	EXPECT_EQ(raw(self->fd, 0, &cmd), -ENOTTY);
	/* The number alone decides, before anybody looks at the argument. */
	EXPECT_EQ(raw(self->fd, _IOWR('H', 0x7f, cmd), NULL), -ENOTTY);
}

TEST_HARNESS_MAIN
