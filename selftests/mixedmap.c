// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of the device file: private pages of zeroes that the driver inserts,
 * when they are touched, and what can be done with such a mapping.
 */
#include <kselftest_harness.h>

#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib.h"

#define NPAGES	8
#define HALF	(NPAGES / 2)
#define SEED	1000
#define OTHER	2000
#define TIB	(1UL << 40)

FIXTURE(mixedmap)
{
	int fd;
	char *mem;	/* NPAGES of the device file, not touched yet */
	char *buf;	/* as large, ordinary memory */
};

static char *map_device(int fd, size_t size, int prot)
{
	return mmap(NULL, size, prot, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
}

FIXTURE_SETUP(mixedmap)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->mem = map_device(self->fd, NPAGES * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
}

FIXTURE_TEARDOWN(mixedmap)
{
	if (self->fd >= 0)
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

/* Pages of files, which these count as, in the memory of this process. */
static long resident_file_pages(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	while (status && fgets(line, sizeof(line), status) &&
	       sscanf(line, "RssFile: %ld kB", &kib) != 1)
		;
	if (status)
		fclose(status);
	return kib < 0 ? -1 : kib * 1024 / (long)PAGE;
}

TEST_F(mixedmap, pages_come_when_touched)
{
	char *second = self->mem + PAGE, *third = second + PAGE;

	/* The first is there: the kernel's own test looks without touching. */
	EXPECT_TRUE(all_at(self->fd, self->mem, 1, AT_SYSTEM_RO));
	EXPECT_TRUE(all_at(self->fd, second, NPAGES - 1, AT_NOWHERE));

	EXPECT_TRUE(is_zero(second, 1));
	EXPECT_TRUE(all_at(self->fd, second, 1, AT_SYSTEM_RO));
	EXPECT_TRUE(all_at(self->fd, third, NPAGES - 2, AT_NOWHERE));

	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM_RO));
}

/* A write makes a page the process's own, whether it was there before or not. */
TEST_F(mixedmap, write)
{
	EXPECT_TRUE(is_zero(self->mem, HALF));
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));

	/* Another mapping of the file has none of it. */
	EXPECT_TRUE(is_zero(map_device(self->fd, NPAGES * PAGE, PROT_READ), NPAGES));
}

TEST_F(mixedmap, device_reads)
{
	fill(self->buf, NPAGES, SEED);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM_RO));

	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
}

TEST_F(mixedmap, device_writes)
{
	fill(self->buf, NPAGES, SEED);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(mixedmap, never_moves)
{
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -EINVAL);
	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -EINVAL);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), -EINVAL);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(mixedmap, shared_is_refused)
{
	int fd = open("/dev/hmm_dmirror0", O_RDONLY);

	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(close(fd), 0);
}

TEST_F(mixedmap, protection)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), -EPERM);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));

	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_ERROR));
	EXPECT_EQ(dev_read(self->fd, self->mem, 1, self->buf), -EFAULT);

	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Made without any access, of which the first page must not know too much. */
TEST_F(mixedmap, no_access_at_first)
{
	char *mem = map_device(self->fd, NPAGES * PAGE, PROT_NONE);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, AT_ERROR));
	EXPECT_EQ(dev_read(self->fd, mem, 1, self->buf), -EFAULT);
	ASSERT_EQ(mprotect(mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(is_zero(mem, HALF));
	fill(mem, NPAGES, SEED);
	EXPECT_TRUE(holds(mem, NPAGES, SEED));
}

TEST_F(mixedmap, munmap_in_the_middle)
{
	char *end = self->mem + (NPAGES - 2) * PAGE;

	fill(self->mem, HALF, SEED);
	ASSERT_EQ(munmap(self->mem + 2 * PAGE, (NPAGES - 4) * PAGE), 0);
	EXPECT_TRUE(holds(self->mem, 2, SEED));
	EXPECT_TRUE(is_zero(end, 2));
	EXPECT_TRUE(all_at(self->fd, self->mem + 2 * PAGE, NPAGES - 4, AT_ERROR));
	fill(end, 2, OTHER);
	EXPECT_TRUE(holds(self->mem, 2, SEED));
	EXPECT_TRUE(holds(end, 2, OTHER));
}

/* Moved, and grown: what is new is zeroes that come when they are touched. */
TEST_F(mixedmap, mremap)
{
	char *mem;

	fill(self->mem, HALF, SEED);
	mem = mremap(self->mem, NPAGES * PAGE, 2 * NPAGES * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(holds(mem, HALF, SEED));
	EXPECT_TRUE(all_at(self->fd, mem + NPAGES * PAGE, NPAGES, AT_NOWHERE));
	EXPECT_TRUE(is_zero(mem + HALF * PAGE, 2 * NPAGES - HALF));
	EXPECT_EQ(dev_read(self->fd, mem, HALF, self->buf), HALF);
	EXPECT_TRUE(holds(self->buf, HALF, SEED));

	ASSERT_EQ(mremap(mem, 2 * NPAGES * PAGE, PAGE, 0), mem);
	EXPECT_TRUE(holds(mem, 1, SEED));
	EXPECT_TRUE(all_at(self->fd, mem + PAGE, 1, AT_ERROR));
}

TEST_F(mixedmap, dontneed)
{
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	fill(self->mem, HALF, SEED);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTNEED), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_NOWHERE));
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

/* Both keep what there was at the fork; what comes later is each one's own. */
TEST_F(mixedmap, fork)
{
	pid_t child;

	EXPECT_TRUE(is_zero(self->mem, 1));
	fill(self->mem + PAGE, HALF, SEED);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		if (!is_zero(self->mem, 1) || !holds(self->mem + PAGE, HALF, SEED))
			_exit(1);
		fill(self->mem, NPAGES, OTHER);
		_exit(holds(self->mem, NPAGES, OTHER) ? 0 : 2);
	}
	EXPECT_EQ(status_of(child), 0);
	EXPECT_TRUE(is_zero(self->mem, 1));
	EXPECT_TRUE(holds(self->mem + PAGE, HALF, SEED));
	EXPECT_TRUE(is_zero(self->mem + (1 + HALF) * PAGE, NPAGES - 1 - HALF));
}

/* Whoever has the file can map it, into its own address space. */
TEST_F(mixedmap, in_another_process)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		char *mem = map_device(self->fd, NPAGES * PAGE, PROT_READ | PROT_WRITE);

		if (mem == MAP_FAILED || !is_zero(mem, HALF))
			_exit(1);
		fill(mem, NPAGES, OTHER);
		_exit(holds(mem, NPAGES, OTHER) ? 0 : 2);
	}
	EXPECT_EQ(status_of(child), 0);
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

/* The mapping keeps the file open, and the driver in place. */
TEST_F(mixedmap, outlives_the_descriptor)
{
	const char *driver = getenv("DRIVER");

	ASSERT_EQ(close(self->fd), 0);
	self->fd = -1;
	EXPECT_TRUE(is_zero(self->mem, HALF));
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));

	if (driver) {
		EXPECT_EQ(syscall(SYS_delete_module, driver, O_NONBLOCK), -1);
		EXPECT_EQ(errno, EAGAIN);
	}
	ASSERT_EQ(munmap(self->mem, HALF * PAGE), 0);
	EXPECT_TRUE(holds(self->mem + HALF * PAGE, NPAGES - HALF, SEED + HALF));
	ASSERT_EQ(munmap(self->mem + HALF * PAGE, (NPAGES - HALF) * PAGE), 0);
}

/* Size costs nothing, pages do, and they are on the account of the process. */
TEST_F(mixedmap, costs_what_is_touched)
{
	long before = resident_file_pages();
	char *mem = map_device(self->fd, TIB, PROT_READ | PROT_WRITE);

	ASSERT_GE(before, 0);
	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_LE(resident_file_pages(), before + 1);
	EXPECT_TRUE(is_zero(mem, 512));
	EXPECT_TRUE(is_zero(mem + TIB - 512 * PAGE, 512));
	EXPECT_EQ(resident_file_pages(), before + 1024);
	ASSERT_EQ(munmap(mem, TIB), 0);
	EXPECT_EQ(resident_file_pages(), before);
}

TEST_HARNESS_MAIN
