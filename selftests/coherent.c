// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent memory: pages that are on a device and that the CPU uses in place.
 * What such memory has in common with private memory is in the suites with a
 * variant for each; here is what only it can do, or must not.
 */
#include <kselftest_harness.h>

#include <linux/aio_abi.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <mm/gup_test.h>

#include "kinds.h"
#include "onewalk.h"
#include "uffd.h"

#define NPAGES	16
#define HALF	(NPAGES / 2)
#define SEED	1000
#define OTHER	2000

#define DEVICE_PAGES	(1UL << 16)	/* of 256 MiB */
#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define SLOW_DISK	"/sys/kernel/config/nullb/dmirror-slow"

FIXTURE(coherent)
{
	int fd;
	int other;	/* the other coherent device */
	int private;	/* a device with private memory */
	char *mem;	/* NPAGES on the device, filled from SEED */
	char *buf;	/* as large, in system memory */
};

FIXTURE_SETUP(coherent)
{
	SKIP_WITHOUT_DEVICE(2);
	SKIP_WITHOUT_DEVICE(3);
	self->fd = dev_open(2);
	self->other = dev_open(3);
	self->private = dev_open(0);
	ASSERT_TRUE(self->fd >= 0 && self->other >= 0 && self->private >= 0);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(holds(self->buf, NPAGES, SEED));
	ASSERT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
}

FIXTURE_TEARDOWN(coherent)
{
	EXPECT_EQ(close(self->fd), 0);
	EXPECT_EQ(close(self->other), 0);
	EXPECT_EQ(close(self->private), 0);
}

/* --- In place ------------------------------------------------------------------- */

TEST_F(coherent, there_and_back)
{
	/* Those that are there count, those that are not moved do not. */
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_give(self->fd, self->mem, HALF), HALF);
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_COHERENT));
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES - HALF);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The CPU reads and writes the very pages: no fault, no move. */
TEST_F(coherent, used_by_the_cpu)
{
	uint64_t before[NPAGES], after[NPAGES];
	struct rusage start, end;

	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, before));
	ASSERT_TRUE(all_marked(self->mem, NPAGES, PM_PRESENT, PM_PRESENT));
	touch(self->mem, NPAGES);
	getrusage(RUSAGE_SELF, &start);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
	getrusage(RUSAGE_SELF, &end);
	EXPECT_EQ(end.ru_minflt - start.ru_minflt, 0);
	ASSERT_TRUE(read_pagemap(self->mem, NPAGES, after));
	EXPECT_EQ(memcmp(before, after, sizeof(before)), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
}

/* What one writes, the other sees at once: it is the same memory. */
TEST_F(coherent, one_memory)
{
	uint64_t faults = ~0ULL;

	for (uint64_t seed = 1; seed < 20; seed++) {
		fill(self->mem, NPAGES, seed);
		ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_READ, self->mem, NPAGES, self->buf,
				      &faults), NPAGES);
		EXPECT_TRUE(holds(self->buf, NPAGES, seed));
		EXPECT_EQ(faults, 0);
		fill(self->buf, NPAGES, OTHER + seed);
		ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_WRITE, self->mem, NPAGES, self->buf,
				      &faults), NPAGES);
		EXPECT_TRUE(holds(self->mem, NPAGES, OTHER + seed));
		EXPECT_EQ(faults, 0);
	}
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
}

/* What was never touched arrives as zeroes, whatever the memory held last. */
TEST_F(coherent, hole)
{
	char *mem = map_pages(NPAGES);

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	ASSERT_EQ(dev_take(self->fd, mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));
	EXPECT_TRUE(is_zero(mem, NPAGES));
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, AT_COHERENT));
}

/* A huge page goes in pieces, and comes back in pieces. */
TEST_F_TIMEOUT(coherent, huge_page, TIMEOUT)
{
	char *mem = map_huge(1);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	ASSERT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_HUGE));
	ASSERT_EQ(dev_take(self->fd, mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(scratch, HUGE_PAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_COHERENT));
	/* A part of it goes away. */
	ASSERT_EQ(munmap(mem, HUGE / 2), 0);
	EXPECT_EQ(dev_give(self->fd, mem + HUGE / 2, HUGE_PAGES / 2), HUGE_PAGES / 2);
	EXPECT_TRUE(holds(mem + HUGE / 2, HUGE_PAGES / 2, SEED + HUGE_PAGES / 2));
}

/* --- Whose memory ---------------------------------------------------------------- */

/* The first and the last frame of the range that /proc/iomem calls @name. */
static bool frames_of(const char *name, uint64_t *first, uint64_t *last)
{
	FILE *file = fopen("/proc/iomem", "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, name) && sscanf(line, "%lx-%lx", first, last) == 2;
	if (file)
		fclose(file);
	*first /= PAGE;
	*last /= PAGE;
	return found;
}

/* How many of the pages are in these frames? */
static size_t count_within(const void *mem, size_t npages, uint64_t first, uint64_t last)
{
	uint64_t entries[npages];
	size_t count = 0;

	if (!read_pagemap(mem, npages, entries))
		return SIZE_MAX;
	for (size_t i = 0; i < npages; i++)
		count += (entries[i] & PM_FRAME) >= first && (entries[i] & PM_FRAME) <= last;
	return count;
}

/* Each device has its own memory: that which is claimed in its name. */
TEST_F(coherent, own_range)
{
	uint64_t first, last;

	ASSERT_TRUE(frames_of("hmm_dmirror2", &first, &last));
	EXPECT_EQ(last - first + 1, DEVICE_PAGES);
	EXPECT_EQ(count_within(self->mem, NPAGES, first, last), NPAGES);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	EXPECT_EQ(count_within(self->mem, NPAGES, first, last), 0);

	ASSERT_TRUE(frames_of("hmm_dmirror3", &first, &last));
	ASSERT_EQ(dev_take(self->other, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(count_within(self->mem, NPAGES, first, last), NPAGES);
}

/* Another device uses the pages where they are: it has no reason to move them, and no right. */
TEST_F(coherent, used_by_other_devices)
{
	const int others[] = { self->other, self->private };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		fill(self->mem, NPAGES, SEED + i);
		EXPECT_TRUE(all_at(others[i], self->mem, NPAGES, AT_REMOTE));
		EXPECT_TRUE(dev_sees(others[i], self->mem, NPAGES, SEED + i));
		EXPECT_TRUE(dev_changes(others[i], self->mem, NPAGES, OTHER + i));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER + i));
		EXPECT_EQ(dev_take(others[i], self->mem, NPAGES, self->buf), -ENOENT);
		EXPECT_EQ(dev_give(others[i], self->mem, NPAGES), 0);
		EXPECT_EQ(dev_release(others[i], self->mem, NPAGES), 0);
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
	}
}

/* Nor does it take what is in the private memory of another. */
TEST_F(coherent, private_page)
{
	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	ASSERT_EQ(dev_take(self->private, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -ENOENT);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_NOWHERE));
	EXPECT_TRUE(all_at(self->private, self->mem, NPAGES, AT_DEVICE));
	/* To read them it fetches them home, as the CPU does. */
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
}

/* Exclusive access is for memory that is not the device's own: that comes home first. */
/* To move there is no access, and opens none: the device's next one is told. */
TEST_F(coherent, hidden_from_all)
{
	struct uffd uffd;

	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_RWP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_TRUE(uffd_hide(&uffd, self->mem, NPAGES, true));
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -ENOENT);
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, NPAGES));
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
}

TEST_F(coherent, exclusive)
{
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), -EPERM);
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
}

/* Another device has them for itself where they are; nobody moves them meanwhile. */
TEST_F(coherent, exclusive_to_another)
{
	ASSERT_EQ(dev_hold(self->private, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	EXPECT_EQ(dev_check(self->private, self->mem, NPAGES), -EPERM);
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_PRESENT, 0));
	fill(self->buf, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->private, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_check(self->private, self->mem, NPAGES), -EPERM);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), 0);
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_PRESENT, 0));

	/* Who takes them back finds them there. */
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
	EXPECT_EQ(dev_check(self->private, self->mem, NPAGES), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
	EXPECT_EQ(dev_release(self->fd, NULL, 0), NPAGES);
}

/* --- Reclaim --------------------------------------------------------------------- */

/* Device memory is not reclaimed: it is no relief for system memory. */
TEST_F(coherent, not_swapped)
{
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_COHERENT));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* What the device wrote is not dropped as lazily freed, however the page went home. */
TEST_F(coherent, lazily_freed)
{
	char *mem = map_pages(NPAGES);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NPAGES, OTHER);
	fill(self->buf, NPAGES, SEED);
	ASSERT_EQ(madvise(mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_take(self->fd, mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(dev_write(self->fd, mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_give(self->fd, mem, NPAGES), NPAGES);
	EXPECT_TRUE(survives_reclaim(mem, NPAGES, SEED));

	/* Freed while it was on the device. */
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* --- Pages in use by the kernel --------------------------------------------------- */

/* For long no page may be pinned there: it moves home first. */
TEST_F(coherent, pinned_for_long)
{
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)self->mem,
		.size = HALF * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	__u64 to = (uintptr_t)self->buf;
	int gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	ASSERT_GE(gup, 0);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_START, &pin), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_COHERENT));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));

	/* There it stays, and is the page that was pinned. */
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), -ENOENT);
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_READ, &to), 0);
	EXPECT_TRUE(holds(self->buf, HALF, OTHER));

	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_STOP, NULL), 0);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(holds(scratch, NPAGES, OTHER));
	close(gup);
}

/*
 * In a pipe: the page stays for as long as that takes. Nobody waits for it who
 * asks for all pages of the process, nor who comes after.
 */
TEST_F(coherent, in_a_pipe)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	int pipes[2];

	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES - 1);
	EXPECT_TRUE(all_at(self->fd, self->mem, 1, AT_COHERENT));
	EXPECT_TRUE(all_at(self->fd, self->mem + PAGE, NPAGES - 1, AT_SYSTEM));
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), NPAGES - 1);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));

	/* It is still the page in the pipe. */
	fill(self->mem, 1, OTHER);
	ASSERT_EQ(read(pipes[0], self->buf, PAGE), PAGE);
	EXPECT_TRUE(holds(self->buf, 1, OTHER));
	close(pipes[0]);
	close(pipes[1]);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), NPAGES);
	EXPECT_TRUE(holds(self->mem + PAGE, NPAGES - 1, SEED + 1));
}

/* The page of a pipe outlives its mapping, and goes back to the device from there. */
TEST_F(coherent, only_in_a_pipe)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = NPAGES * PAGE };
	int pipes[2];

	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), NPAGES * PAGE);
	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), 0);
	for (size_t i = 0; i < NPAGES; i++)
		ASSERT_EQ(read(pipes[0], self->buf + i * PAGE, PAGE), PAGE);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	close(pipes[0]);
	close(pipes[1]);
}

/* A disk that takes @ms for each request and completes it in a timer's interrupt. */
static int open_slow_disk(unsigned int ms)
{
	char nsec[16];
	int fd = -1;

	snprintf(nsec, sizeof(nsec), "%u000000", ms);
	if ((!mkdir(SLOW_DISK, 0755) || errno == EEXIST) &&
	    write_file(SLOW_DISK "/irqmode", "2") &&
	    write_file(SLOW_DISK "/completion_nsec", nsec) &&
	    write_file(SLOW_DISK "/size", "16") && write_file(SLOW_DISK "/power", "1"))
		fd = open("/dev/dmirror-slow", O_RDWR | O_DIRECT | O_CLOEXEC);
	return fd;
}

static void close_slow_disk(int fd)
{
	close(fd);
	write_file(SLOW_DISK "/power", "0");
	rmdir(SLOW_DISK);
}

/*
 * The I/O's reference is the last one, and it is dropped in an interrupt, while
 * the same CPU may be about to take or free a page.
 */
TEST_F_TIMEOUT(coherent, freed_in_an_interrupt, TIMEOUT)
{
	const unsigned int rounds = 20;
	aio_context_t context = 0;
	int disk = open_slow_disk(20);

	ASSERT_GE(disk, 0);
	ASSERT_EQ(syscall(SYS_io_setup, 1, &context), 0);
	for (unsigned int round = 0; round < rounds; round++) {
		char *mem = map_pages(NPAGES);
		struct iocb write = {
			.aio_lio_opcode = IOCB_CMD_PWRITE,
			.aio_fildes = disk,
			.aio_buf = (uintptr_t)mem,
			.aio_nbytes = NPAGES * PAGE,
		}, *writes[] = { &write };
		struct io_event event;

		ASSERT_NE(mem, MAP_FAILED);
		fill(mem, NPAGES, SEED);
		ASSERT_EQ(dev_take(self->fd, mem, NPAGES, self->buf), NPAGES);
		ASSERT_EQ(syscall(SYS_io_submit, context, 1, writes), 1);
		ASSERT_EQ(munmap(mem, NPAGES * PAGE), 0);
		/* The lock of the free pages is busy meanwhile. */
		do {
			dev_take(self->fd, self->mem, NPAGES, self->buf);
			dev_give(self->fd, self->mem, NPAGES);
		} while (!syscall(SYS_io_getevents, context, 0, 1, &event, NULL));
		EXPECT_EQ(event.res, NPAGES * PAGE);
	}
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	syscall(SYS_io_destroy, context);
	close_slow_disk(disk);
}

/* --- All of it -------------------------------------------------------------------- */

/*
 * All pages can be had at once: nothing is kept back, and nothing that was done
 * with them before has cost one. Then the device is full, until they are freed.
 */
TEST_F_TIMEOUT(coherent, full, TIMEOUT)
{
	const size_t npages = DEVICE_PAGES;
	char *mem = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(madvise(mem, npages * PAGE, MADV_NOHUGEPAGE), 0);
	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES), NPAGES);
	for (size_t i = 0; i < npages; i += HUGE_PAGES)
		ASSERT_EQ(dev_take(self->fd, mem + i * PAGE, HUGE_PAGES, scratch), HUGE_PAGES);

	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -ENOENT);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	/* The other has room. */
	EXPECT_EQ(dev_take(self->other, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_give(self->other, self->mem, NPAGES), NPAGES);

	/* Room for half of it. */
	ASSERT_EQ(madvise(mem, HALF * PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), -ENOENT);
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_COHERENT));
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	ASSERT_EQ(munmap(mem, npages * PAGE), 0);
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
}

TEST_HARNESS_MAIN
