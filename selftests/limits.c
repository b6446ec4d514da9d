// SPDX-License-Identifier: GPL-2.0
/*
 * Requests of any size: the kernel serves them in bounded pieces, spends no
 * memory in proportion to them, and lets go soon after the process is killed.
 */
#include <kselftest_harness.h>

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "lib.h"

#define TIB_PAGES	(1UL << 28)
#define GIB_PAGES	(1UL << 18)
#define KILL_AFTER_MS	200
#define DIES_WITHIN_MS	3000
#define TIMEOUT		240	/* for a slow guest */

FIXTURE(limits)
{
	int fd;
	char *hole;	/* 1 TiB of addresses at which nothing is mapped */
	char *room;	/* 1 GiB of untouched memory */
};

static char *reserve(size_t npages)
{
	char *mem = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem != MAP_FAILED)
		madvise(mem, npages * PAGE, MADV_NOHUGEPAGE);
	return mem;
}

FIXTURE_SETUP(limits)
{
	self->room = reserve(GIB_PAGES);
	ASSERT_NE(self->room, MAP_FAILED);
	self->hole = reserve(TIB_PAGES);
	ASSERT_NE(self->hole, MAP_FAILED);
	ASSERT_EQ(munmap(self->hole, TIB_PAGES * PAGE), 0);
	self->fd = -1;
}

FIXTURE_TEARDOWN(limits)
{
	if (self->fd >= 0)
		ASSERT_EQ(close(self->fd), 0);
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * The milliseconds from SIGKILL to the end of a child that sends one request; 0
 * when the request was over before.
 */
static long time_to_die(unsigned long request, char *addr, size_t npages, char *ptr)
{
	struct timespec delay = { .tv_nsec = KILL_AFTER_MS * 1000000L };
	int ready[2], status;
	pid_t child;
	long start;
	char c = 0;

	if (pipe(ready))
		return -1;
	child = fork();
	if (!child) {
		int fd = dev_open(0);

		if (fd < 0 || write(ready[1], &c, 1) != 1)
			_exit(1);
		dev_request(fd, request, addr, npages, ptr, NULL);
		_exit(0);
	}
	close(ready[1]);
	if (child < 0 || read(ready[0], &c, 1) != 1)
		return -1;
	close(ready[0]);
	nanosleep(&delay, NULL);
	start = now_ms();
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child)
		return -1;
	return WIFSIGNALED(status) ? now_ms() - start : 0;
}

#define EXPECT_SOON(ms) do {			\
	long _ms = (ms);			\
						\
	EXPECT_GE(_ms, 0);			\
	EXPECT_LE(_ms, DIES_WITHIN_MS);		\
} while (0)

TEST_F_TIMEOUT(limits, kill_snapshot, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_SNAPSHOT, self->hole, TIB_PAGES, self->room));
}

TEST_F_TIMEOUT(limits, kill_read, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_READ, self->room, GIB_PAGES / 2,
				self->room + GIB_PAGES / 2 * PAGE));
}

TEST_F_TIMEOUT(limits, kill_write, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_WRITE, self->room, GIB_PAGES / 2,
				self->room + GIB_PAGES / 2 * PAGE));
}

TEST_F_TIMEOUT(limits, kill_to_device, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_MIGRATE_TO_DEV, self->room, GIB_PAGES / 2,
				self->room + GIB_PAGES / 2 * PAGE));
}

TEST_F_TIMEOUT(limits, kill_exclusive, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_EXCLUSIVE, self->room, GIB_PAGES / 2,
				self->room + GIB_PAGES / 2 * PAGE));
}

TEST_F_TIMEOUT(limits, kill_to_system, TIMEOUT)
{
	EXPECT_SOON(time_to_die(HMM_DMIRROR_MIGRATE_TO_SYS, self->room, GIB_PAGES, NULL));
}

/* The first page decides; the size costs nothing. */
TEST_F_TIMEOUT(limits, large_over_hole, TIMEOUT)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	EXPECT_EQ(dev_read(self->fd, self->hole, TIB_PAGES, self->room), -EFAULT);
	EXPECT_EQ(dev_write(self->fd, self->hole, TIB_PAGES, self->room), -EFAULT);
	EXPECT_EQ(dev_take(self->fd, self->hole, TIB_PAGES, self->room), -EINVAL);
	EXPECT_EQ(dev_give(self->fd, self->hole, TIB_PAGES), -EINVAL);
	EXPECT_EQ(dev_hold(self->fd, self->hole, TIB_PAGES, self->room), -EFAULT);
	EXPECT_EQ(dev_check(self->fd, self->hole, TIB_PAGES), 0);
}

static long vmalloc_kib(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	while (meminfo && fgets(line, sizeof(line), meminfo) &&
	       sscanf(line, "VmallocUsed: %ld kB", &kib) != 1)
		;
	if (meminfo)
		fclose(meminfo);
	return kib;
}

/* A reader of 64 MiB, watched from outside while it runs. */
TEST_F_TIMEOUT(limits, kernel_memory, TIMEOUT)
{
	const size_t npages = 16384;
	long before = vmalloc_kib(), most = before;
	int status = -1;
	pid_t child;

	ASSERT_GE(before, 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(0);
		char *buf = self->room + npages * PAGE;

		_exit(fd < 0 || dev_read(fd, self->room, npages, buf) != (long)npages);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		long kib = vmalloc_kib();

		if (kib > most)
			most = kib;
	}
	EXPECT_EQ(status, 0);
	TH_LOG("%ld KiB more than before", most - before);
	EXPECT_LT(most - before, 8192);
}

TEST_HARNESS_MAIN
