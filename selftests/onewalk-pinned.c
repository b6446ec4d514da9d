// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on pages that the kernel is using meanwhile. Such a page has
 * to stay the page of the process, or what its user writes there is lost: the
 * device uses it where it is, and the pages around it move.
 */
#include "onewalk-fixture.h"

#include <sys/uio.h>

#include <mm/gup_test.h>

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define PINNED		3	/* the page in use, and the one behind it */
#define NPINNED		2

/* All but the pages in use have moved, and the device sees the same of both. */
static bool moved_around_pinned(int fd, char *mem, uint64_t seed)
{
	return all_at(fd, mem, PINNED, AT_DEVICE) &&
	       all_at(fd, mem + PINNED * PAGE, NPINNED, AT_SYSTEM) &&
	       all_at(fd, mem + (PINNED + NPINNED) * PAGE, NPAGES - PINNED - NPINNED,
		      AT_DEVICE) &&
	       dev_sees(fd, mem, NPAGES, seed);
}

/* For short: references, as of I/O under way. The pipe hands the very pages on. */
TEST_F(onewalk, in_a_pipe)
{
	char *pinned = self->mem + PINNED * PAGE, *buf = map_pages(NPINNED);
	struct iovec iov = { .iov_base = pinned, .iov_len = NPINNED * PAGE };
	int pipes[2];

	ASSERT_NE(buf, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), NPINNED * PAGE);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES - NPINNED, 0));
	EXPECT_TRUE(dev_knows(self->fd, self->mem, NPAGES, variant->write));
	EXPECT_TRUE(moved_around_pinned(self->fd, self->mem, SEED));

	/* What the device writes now, the reader of the pipe finds. */
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(read(pipes[0], buf, PAGE), PAGE);
	ASSERT_EQ(read(pipes[0], buf + PAGE, PAGE), PAGE);
	EXPECT_TRUE(holds(buf, NPINNED, OTHER + PINNED));

	close(pipes[0]);
	close(pipes[1]);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/* For long: pinned, as for RDMA. What the process writes, the one who pinned it reads. */
TEST_F(onewalk, pinned_for_long)
{
	char *pinned = self->mem + PINNED * PAGE, *buf = map_pages(NPINNED);
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)pinned,
		.size = NPINNED * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	__u64 to = (uintptr_t)buf;
	int gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	ASSERT_NE(buf, MAP_FAILED);
	ASSERT_GE(gup, 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_START, &pin), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES - NPINNED, 0));
	EXPECT_TRUE(dev_knows(self->fd, self->mem, NPAGES, variant->write));
	EXPECT_TRUE(moved_around_pinned(self->fd, self->mem, SEED));

	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_READ, &to), 0);
	EXPECT_TRUE(holds(buf, NPINNED, OTHER + PINNED));
	fill(pinned, NPINNED, SEED);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_READ, &to), 0);
	EXPECT_TRUE(holds(buf, NPINNED, SEED));

	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_STOP, NULL), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(dev_sees(self->fd, pinned, NPINNED, SEED));
	close(gup);
}

/*
 * Pinned, then forked: the parent keeps the page and the child gets a copy, at
 * the fork already. So no fault is due, of whatever kind.
 */
TEST_F(onewalk, pinned_and_forked)
{
	char *pinned = self->mem + PINNED * PAGE, *buf = map_pages(NPINNED);
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)pinned,
		.size = NPINNED * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	const size_t others = NPAGES - NPINNED;
	__u64 to = (uintptr_t)buf;
	int gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	pid_t child;

	ASSERT_NE(buf, MAP_FAILED);
	ASSERT_GE(gup, 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_START, &pin), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		pause();
		_exit(0);
	}
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, others,
			  variant->write ? others : 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_READ, &to), 0);
	EXPECT_TRUE(holds(buf, NPINNED, OTHER + PINNED));
	kill(child, SIGKILL);
	ASSERT_EQ(waitpid(child, NULL, 0), child);
	close(gup);
}

TEST_HARNESS_MAIN
