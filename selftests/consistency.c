// SPDX-License-Identifier: GPL-2.0
/*
 * The device and the CPU always see the same data, whichever file, process or
 * event moved or changed a page in between. Each case is one that a device page
 * table that is not kept in step with the CPU's gets wrong.
 */
#include <kselftest_harness.h>

#include <sys/uio.h>
#include <sys/wait.h>

#include "kinds.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(consistency)
{
	int fd;
	int fd2;	/* a second file of the same device */
	char *mem;	/* NPAGES, untouched */
	char *buf;	/* as large, filled from SEED */
};

DEVICE_KINDS(consistency);

FIXTURE_SETUP(consistency)
{
	SKIP_WITHOUT_DEVICE(variant->unit);
	self->fd = dev_open(variant->unit);
	ASSERT_GE(self->fd, 0);
	self->fd2 = dev_open(variant->unit);
	ASSERT_GE(self->fd2, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	fill(self->buf, NPAGES, SEED);
}

FIXTURE_TEARDOWN(consistency)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->fd2), 0);
}

/* Is @seed's data in @self->mem what @fd reads? */
static bool device_sees(int fd, const char *mem, uint64_t seed)
{
	char *buf = map_pages(NPAGES);
	bool ok = buf != MAP_FAILED && dev_read(fd, mem, NPAGES, buf) == NPAGES &&
		  holds(buf, NPAGES, seed);

	munmap(buf, NPAGES * PAGE);
	return ok;
}

TEST_F(consistency, write_to_untouched_device_page)
{
	char *zeroes = map_pages(NPAGES);

	ASSERT_NE(zeroes, MAP_FAILED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, zeroes), NPAGES);
	EXPECT_TRUE(is_zero(zeroes, NPAGES));
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(device_sees(self->fd, self->mem, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The device's first write makes memory, as the CPU's would. */
TEST_F(consistency, write_to_zero_page)
{
	ASSERT_TRUE(is_zero(self->mem, NPAGES));
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(consistency, read_after_mprotect)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* After a fork the device writes to the parent's copy, not to the child's. */
TEST_F(consistency, write_after_fork)
{
	int written[2], status;
	pid_t child;
	char c;

	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	fill(self->buf, NPAGES, SEED);
	ASSERT_EQ(pipe(written), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		close(written[1]);
		if (read(written[0], &c, 1))
			_exit(1);
		_exit(holds(self->mem, NPAGES, OTHER) ? 0 : 2);
	}
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	close(written[1]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(device_sees(self->fd, self->mem, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(consistency, read_through_second_file)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(device_sees(self->fd2, self->mem, OTHER));
	EXPECT_TRUE(all_at(self->fd2, self->mem, NPAGES, variant->at));
}

TEST_F(consistency, write_through_second_file)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	fill(self->buf, NPAGES, SEED);
	ASSERT_EQ(dev_write(self->fd2, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(device_sees(self->fd, self->mem, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* One request over pages on both sides, with the first and with the last at home. */
TEST_F(consistency, read_mixed)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	self->mem[0]++;
	self->mem[0]--;
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	self->mem[(NPAGES - 1) * PAGE]++;
	self->mem[(NPAGES - 1) * PAGE]--;
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	EXPECT_TRUE(all_at(self->fd, self->mem + PAGE, NPAGES - 2, variant->at));
}

/*
 * The first file's table knows the pages in system memory, the second file
 * moves them away, the CPU fetches them back, to other frames.
 */
TEST_F(consistency, moved_by_second_file)
{
	uint64_t faults;

	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_take(self->fd2, self->mem, NPAGES, self->buf), NPAGES);
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_READ, self->mem, NPAGES,
			      self->buf, &faults), NPAGES);
	EXPECT_GE(faults, 1);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
}

/* The same the other way: the table knows device pages that have gone home. */
TEST_F(consistency, fetched_by_second_file)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_GE(dev_give(self->fd2, self->mem, NPAGES), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	fill(self->buf, NPAGES, SEED);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(consistency, mapped_anew)
{
	uint64_t faults;

	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	ASSERT_EQ(mmap(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), self->mem);
	ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_READ, self->mem, NPAGES,
			      self->buf, &faults), NPAGES);
	EXPECT_EQ(faults, 1);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));
}

/* What the device writes is dirty: reclaim must not drop it as lazily freed. */
TEST_F(consistency, write_to_lazily_freed_page)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* A pinned page stays, and does not count as moved though the device can reach it. */
TEST_F(consistency, take_of_pinned_page)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	int pins[2];

	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(pipe(pins), 0);
	ASSERT_EQ(vmsplice(pins[1], &iov, 1, 0), PAGE);
	EXPECT_TRUE(device_sees(self->fd, self->mem, OTHER));
	EXPECT_EQ(dev_take(self->fd, self->mem, 1, self->buf), -ENOENT);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));

	close(pins[0]);
	close(pins[1]);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
}

/* A request writes into device pages: the caller's buffer may be one of them. */
TEST_F(consistency, buffer_on_device)
{
	ASSERT_EQ(dev_take(self->fd, self->buf, NPAGES, self->mem), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
}

/*
 * The buffer is the range itself, read-only as the child shares it: to make it
 * writable must not cost a byte of what the device is about to read.
 */
TEST_F(consistency, read_into_itself)
{
	pid_t child;

	fill(self->mem, NPAGES, SEED);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->mem), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* To copy a page to itself brings it home: not all are on the device then. */
TEST_F(consistency, take_into_itself)
{
	long ret;

	fill(self->mem, NPAGES, SEED);
	ret = dev_take(self->fd, self->mem, NPAGES, self->mem);
	EXPECT_TRUE(ret == -ENOENT || ret == NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
