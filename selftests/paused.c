// SPDX-License-Identifier: GPL-2.0
/*
 * What a process does to its memory while another, with which it shares the pages
 * since fork(), has them moved. The migration is stopped half-way meanwhile.
 */
#include "paused.h"

/* Does the kernel refuse to write to each page? */
static bool is_read_only(char *mem, size_t npages)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0;

	for (size_t i = 0; ok && i < npages; i++) {
		ok = read(fd, mem + i * PAGE, 1) == -1 && errno == EFAULT;
		if (!ok)
			printf("# page %zu can be written\n", i);
	}
	close(fd);
	return ok;
}

/* The pages are there, are this process's own, and stay so. */
static bool can_change(char *mem, size_t npages)
{
	if (!holds(mem, npages, SEED))
		return false;
	fill(mem, npages, OTHER);
	return holds(mem, npages, OTHER);
}

struct area {
	char *mem;
	size_t npages;
};

static bool change(void *arg)
{
	struct area *area = arg;

	return can_change(area->mem, area->npages);
}

/* The same, beginning with a write. */
static bool overwrite(void *arg)
{
	struct area *area = arg;

	fill(area->mem, area->npages, OTHER);
	return holds(area->mem, area->npages, OTHER);
}

static bool look_at(void *arg)
{
	struct area *area = arg;

	return holds(area->mem, area->npages, SEED);
}

static bool leave(void *arg)
{
	return true;
}

static bool has_ended(struct child *child)
{
	siginfo_t info = {};

	return waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* A child of that moment finds the pages, and changes only its own. */
TEST_F_TIMEOUT(paused, fork, TIMEOUT)
{
	struct area area = { self->mem, self->npages };
	struct child child;

	ASSERT_TRUE(pause_half_way(&self->mover));
	ASSERT_TRUE(start_child(&child, change, &area));
	RESUME();
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

/* One that is gone before it goes on. */
TEST_F_TIMEOUT(paused, fork_and_exit, TIMEOUT)
{
	struct child child;

	ASSERT_TRUE(pause_half_way(&self->mover));
	ASSERT_TRUE(start_child(&child, leave, NULL));
	EXPECT_TRUE(end_child(&child));
	RESUME();
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

/* As before, but it was there when the pages were collected. */
TEST_F_TIMEOUT(paused, exit, TIMEOUT)
{
	struct child child;

	ASSERT_TRUE(start_child(&child, leave, NULL));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(end_child(&child));
	RESUME();
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

/* A process that does so while the pages are half-way waits, and then finds them. */
#define WAITS(act)							\
	do {								\
		struct area area = { self->mem, self->npages };		\
		struct child child;					\
									\
		ASSERT_TRUE(start_child(&child, act, &area));		\
		ASSERT_TRUE(pause_half_way(&self->mover));		\
		set(&self->mover.steps->wanted);			\
		close(child.go);					\
		sleep_for_ms(50);					\
		EXPECT_FALSE(has_ended(&child));			\
		RESUME();						\
		child.go = -1;						\
		EXPECT_TRUE(end_child(&child));				\
	} while (0)

TEST_F_TIMEOUT(paused, read, TIMEOUT)
{
	WAITS(look_at);
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

TEST_F_TIMEOUT(paused, write, TIMEOUT)
{
	WAITS(overwrite);
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

TEST_F_TIMEOUT(paused, protect, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(mprotect(self->mem, self->npages * PAGE, PROT_READ), 0);
	RESUME();
	EXPECT_TRUE(is_read_only(self->mem, self->npages));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	EXPECT_TRUE(is_read_only(self->mem, self->npages));
}

/* A part of them: a huge page is cut in its migration entry. */
TEST_F_TIMEOUT(paused, protect_part, TIMEOUT)
{
	size_t half = self->npages / 2;
	char *middle = self->mem + half * PAGE;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(mprotect(middle, half * PAGE, PROT_READ), 0);
	RESUME();
	EXPECT_TRUE(is_read_only(middle, half));
	EXPECT_TRUE(can_change(self->mem, half));
	EXPECT_TRUE(holds(middle, half, SEED + half));
	EXPECT_TRUE(is_read_only(middle, half));
}

/* Writable again, the pages are still shared: a write must not reach the mover. */
TEST_F_TIMEOUT(paused, protect_and_back, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(mprotect(self->mem, self->npages * PAGE, PROT_READ), 0);
	EXPECT_EQ(mprotect(self->mem, self->npages * PAGE, PROT_READ | PROT_WRITE), 0);
	RESUME();
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

TEST_F_TIMEOUT(paused, hide_and_back, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(mprotect(self->mem, self->npages * PAGE, PROT_NONE), 0);
	EXPECT_EQ(mprotect(self->mem, self->npages * PAGE, PROT_READ | PROT_WRITE), 0);
	RESUME();
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

static bool move_to(char *to, char *mem, size_t npages)
{
	return mremap(mem, npages * PAGE, npages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

TEST_F_TIMEOUT(paused, move, TIMEOUT)
{
	char *to = self->mem + HUGE;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(move_to(to, self->mem, self->npages));
	RESUME();
	EXPECT_TRUE(can_change(to, self->npages));
}

/* A huge page cannot be one there. */
TEST_F_TIMEOUT(paused, move_apart, TIMEOUT)
{
	char *to = self->mem + HUGE + PAGE;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(move_to(to, self->mem, self->npages));
	RESUME();
	EXPECT_TRUE(can_change(to, self->npages));
}

TEST_F_TIMEOUT(paused, move_and_back, TIMEOUT)
{
	char *to = self->mem + HUGE;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(move_to(to, self->mem, self->npages));
	EXPECT_TRUE(move_to(self->mem, to, self->npages));
	RESUME();
	EXPECT_TRUE(can_change(self->mem, self->npages));
}

TEST_F_TIMEOUT(paused, unmap, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(munmap(self->mem, self->npages * PAGE), 0);
	RESUME();
}

TEST_F_TIMEOUT(paused, unmap_part, TIMEOUT)
{
	size_t half = self->npages / 2;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(munmap(self->mem + half * PAGE, half * PAGE), 0);
	RESUME();
	EXPECT_TRUE(can_change(self->mem, half));
}

TEST_F_TIMEOUT(paused, drop, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(madvise(self->mem, self->npages * PAGE, MADV_DONTNEED), 0);
	RESUME();
	EXPECT_TRUE(is_zero(self->mem, self->npages));
	fill(self->mem, self->npages, OTHER);
}

TEST_F_TIMEOUT(paused, drop_part, TIMEOUT)
{
	size_t half = self->npages / 2;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(madvise(self->mem, half * PAGE, MADV_DONTNEED), 0);
	RESUME();
	EXPECT_TRUE(is_zero(self->mem, half));
	EXPECT_TRUE(holds(self->mem + half * PAGE, half, SEED + half));
	fill(self->mem, self->npages, OTHER);
}

/* The mover is killed: its pages go, those of the others stay. */
TEST_F_TIMEOUT(paused, kill, TIMEOUT)
{
	ASSERT_TRUE(pause_half_way(&self->mover));
	ASSERT_EQ(kill(self->mover.pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(self->mover.pid, NULL, 0), self->mover.pid);
	EXPECT_FALSE(is_paused());
	ASSERT_TRUE(write_file(FOLDER "pause", "0"));
	EXPECT_TRUE(can_change(self->mem, self->npages));
	/* For the end of the test: one that has nothing to do. */
	self->mover.pid = fork();
	if (!self->mover.pid)
		_exit(0);
}

/* Who has asked for the pause has forgotten it: it ends, and nothing pauses any more. */
TEST(limit)
{
	uint64_t begin = clock_ms();
	int fd = dev_open(0);
	char *mem = map_pages(NSMALL);

	ASSERT_GE(fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NSMALL, SEED);
	ASSERT_TRUE(write_file(FOLDER "pause", "1"));
	EXPECT_EQ(dev_take(fd, mem, NSMALL, scratch), NSMALL);
	EXPECT_GE(clock_ms() - begin, PAUSE_MS);
	EXPECT_EQ(read_number_at(FOLDER "pause"), 0);
	EXPECT_EQ(dev_give(fd, mem, NSMALL), NSMALL);
	EXPECT_LT(clock_ms() - begin, 2 * PAUSE_MS);
	EXPECT_TRUE(holds(mem, NSMALL, SEED));
	EXPECT_EQ(close(fd), 0);
}

TEST(no_number)
{
	int fd = open(FOLDER "pause", O_WRONLY | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(write(fd, "yes", 3), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(close(fd), 0);
	EXPECT_EQ(read_number_at(FOLDER "pause"), 0);
}

TEST_HARNESS_MAIN
