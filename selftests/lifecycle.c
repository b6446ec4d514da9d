// SPDX-License-Identifier: GPL-2.0
/*
 * Pages on the device live through everything that can happen to a mapping and
 * to its process: each test begins with memory on the device, and checks after
 * each event where the pages are and what they hold.
 */
#include <kselftest_harness.h>

#include <signal.h>
#include <sys/wait.h>

#include "kinds.h"

#define NPAGES	16
#define HALF	(NPAGES / 2)
#define SEED	1000
#define OTHER	2000

FIXTURE(lifecycle)
{
	int fd;
	char *mem;	/* NPAGES on the device, filled from SEED */
	char *buf;	/* as large, in system memory */
};

DEVICE_KINDS(lifecycle);

/* A filled range of @self->mem's size on the device, @at for SNAPSHOT; NULL on failure. */
static char *make_device_pages(int fd, unsigned char at, char *buf)
{
	char *mem = map_pages(NPAGES);

	if (mem == MAP_FAILED)
		return NULL;
	fill(mem, NPAGES, SEED);
	if (dev_take(fd, mem, NPAGES, buf) != NPAGES)
		return NULL;
	return all_at(fd, mem, NPAGES, at) ? mem : NULL;
}

FIXTURE_SETUP(lifecycle)
{
	SKIP_WITHOUT_DEVICE(variant->unit);
	self->fd = dev_open(variant->unit);
	ASSERT_GE(self->fd, 0);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	self->mem = make_device_pages(self->fd, variant->at, self->buf);
	ASSERT_NE(self->mem, NULL);
	ASSERT_TRUE(holds(self->buf, NPAGES, SEED));
}

FIXTURE_TEARDOWN(lifecycle)
{
	ASSERT_EQ(close(self->fd), 0);
}

/* The exit status of @child, or -1 when a signal ended it. */
static int status_of(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

TEST_F(lifecycle, munmap)
{
	char *upper = self->mem + HALF * PAGE;

	ASSERT_EQ(munmap(upper, HALF * PAGE), 0);
	EXPECT_TRUE(all_at(self->fd, upper, HALF, AT_ERROR));
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, variant->at));
	EXPECT_TRUE(holds(self->mem, HALF, SEED));

	/* New memory at the old address has none of the old contents. */
	ASSERT_EQ(mmap(upper, HALF * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), upper);
	EXPECT_EQ(dev_read(self->fd, upper, HALF, self->buf), HALF);
	EXPECT_TRUE(is_zero(self->buf, HALF));
	EXPECT_TRUE(is_zero(upper, HALF));
}

TEST_F(lifecycle, dontneed)
{
	ASSERT_EQ(madvise(self->mem, HALF * PAGE, MADV_DONTNEED), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_NOWHERE));
	EXPECT_EQ(dev_read(self->fd, self->mem, HALF, self->buf), HALF);
	EXPECT_TRUE(is_zero(self->buf, HALF));
	EXPECT_TRUE(is_zero(self->mem, HALF));
	EXPECT_TRUE(holds(self->mem + HALF * PAGE, HALF, SEED + HALF));
}

/* The child sees the parent's data, changes its own copy, and no more. */
TEST_F(lifecycle, fork)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		if (!holds(self->mem, NPAGES, SEED))
			_exit(1);
		fill(self->mem, NPAGES, OTHER);
		_exit(holds(self->mem, NPAGES, OTHER) ? 0 : 2);
	}
	EXPECT_EQ(status_of(child), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* A child that never touches the shared pages leaves them on the device. */
TEST_F(lifecycle, fork_untouched)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child)
		_exit(0);
	EXPECT_EQ(status_of(child), 0);
	/* The fork made them read-only, until the next write. */
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at_ro));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* exec() ends the address space, while the open file goes on into the new program. */
TEST_F(lifecycle, exec)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(variant->unit);

		if (fd < 0 || !make_device_pages(fd, variant->at, self->buf))
			_exit(1);
		if (fcntl(fd, F_SETFD, 0))
			_exit(2);
		execlp("true", "true", NULL);
		_exit(3);
	}
	EXPECT_EQ(status_of(child), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(lifecycle, exit)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(variant->unit);

		_exit(fd >= 0 && make_device_pages(fd, variant->at, self->buf) ? 0 : 1);
	}
	EXPECT_EQ(status_of(child), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(lifecycle, killed)
{
	int ready[2], status;
	pid_t child;
	char c = 0;

	ASSERT_EQ(pipe(ready), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(variant->unit);

		if (fd < 0 || !make_device_pages(fd, variant->at, self->buf))
			_exit(1);
		if (write(ready[1], &c, 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	/* Else a child that failed would keep the read waiting. */
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	ASSERT_EQ(kill(child, SIGKILL), 0);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The file outlives its address space: requests fail, and that is all. */
TEST_F(lifecycle, owner_gone)
{
	int fds[2], report[2], status;
	pid_t owner;

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(pipe(report), 0);
	owner = fork();
	ASSERT_GE(owner, 0);
	if (!owner) {
		int fd = dev_open(variant->unit);
		pid_t heir;

		if (fd < 0 || !make_device_pages(fd, variant->at, self->buf))
			_exit(1);
		heir = fork();
		if (heir)
			_exit(heir < 0);

		/* Nobody writes here: the read ends when the owner has gone. */
		close(fds[1]);
		status = read(fds[0], &status, 1) != 0 ||
			 dev_read(fd, self->mem, 1, self->buf) >= 0 ||
			 dev_write(fd, self->mem, 1, self->buf) >= 0 ||
			 dev_snapshot(fd, self->mem, 1, self->buf) >= 0 ||
			 dev_take(fd, self->mem, 1, self->buf) >= 0 ||
			 dev_give(fd, self->mem, 1) >= 0 ||
			 close(fd);
		_exit(write(report[1], &status, sizeof(status)) < 0);
	}
	EXPECT_EQ(status_of(owner), 0);
	close(fds[1]);
	close(report[1]);
	ASSERT_EQ(read(report[0], &status, sizeof(status)), sizeof(status));
	EXPECT_EQ(status, 0);
}

TEST_F(lifecycle, mremap)
{
	char *target = map_pages(NPAGES);

	ASSERT_NE(target, MAP_FAILED);
	ASSERT_EQ(mremap(self->mem, NPAGES * PAGE, NPAGES * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, target), target);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_ERROR));
	EXPECT_TRUE(all_at(self->fd, target, NPAGES, variant->at));
	EXPECT_EQ(dev_read(self->fd, target, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_EQ(dev_read(self->fd, self->mem, 1, self->buf), -EFAULT);
	EXPECT_TRUE(holds(target, NPAGES, SEED));
}

TEST_F(lifecycle, mprotect)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at_ro));
	EXPECT_EQ(dev_write(self->fd, self->mem, 1, self->buf), -EPERM);

	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, 1, self->buf), -EFAULT);

	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Pages come home from where nobody may access them. */
TEST_F(lifecycle, no_access)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);

	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Closing a file, be it another or the one that moved the pages, moves nothing. */
TEST_F(lifecycle, close)
{
	int other = dev_open(variant->unit);

	ASSERT_GE(other, 0);
	ASSERT_EQ(close(other), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));

	other = dev_open(variant->unit);
	ASSERT_GE(other, 0);
	ASSERT_EQ(close(self->fd), 0);
	self->fd = other;
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(lifecycle, release)
{
	ASSERT_GE(dev_release(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));

	/* The device stays usable. */
	fill(self->mem, NPAGES, OTHER);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

TEST_HARNESS_MAIN
