// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive access to memory in each state and of each kind: the device holds it,
 * with the data that are in it, or is refused and changes nothing.
 */
#include "exclusive.h"

#include <sys/uio.h>
#include <time.h>

#include "uffd.h"

/* --- States in which the pages are found ------------------------------------------ */

TEST_F(exclusive, untouched)
{
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(is_zero(scratch, NPAGES));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(exclusive, swapped_out)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* What is on a device comes home: it is system memory that a device has for itself. */
TEST_F(exclusive, on_a_device)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, 3, scratch), 3);
	ASSERT_EQ(dev_take(self->other, self->mem + 4 * PAGE, 3, scratch), 3);
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(count_on_device(self->other, self->mem, NPAGES), 0);
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* The huge page is mapped by parts from then on, and loses nothing. */
TEST_F_TIMEOUT(exclusive, huge_page, TIMEOUT)
{
	char *mem = map_huge(1);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	ASSERT_TRUE(all_at(self->fd, mem, HUGE_PAGES, AT_HUGE));
	ASSERT_TRUE(takes_hold(self->fd, mem + 100 * PAGE, 3, SEED + 100));
	EXPECT_TRUE(all_at(self->fd, mem, 100, AT_SYSTEM));
	EXPECT_TRUE(takes_hold(self->fd, mem, HUGE_PAGES, SEED));
	touch(mem + 200 * PAGE, 1);
	EXPECT_TRUE(all_held(self->fd, mem, 200, true));
	EXPECT_TRUE(all_held(self->fd, mem + 201 * PAGE, HUGE_PAGES - 201, true));
	fill(scratch, HUGE_PAGES, OTHER);
	ASSERT_EQ(dev_write(self->fd, mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(holds(mem, HUGE_PAGES, OTHER));
}

/* Pages that are shared since a fork are copied to be held, also those on the device. */
TEST_F(exclusive, shared_since_fork)
{
	struct share share = { self->mem, SEED };
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES / 2, scratch), NPAGES / 2);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Is it one page for all addresses? */
static bool is_one_page(const char *mem, size_t npages)
{
	uint64_t entries[npages];

	if (!read_pagemap(mem, npages, entries))
		return false;
	for (size_t i = 0; i < npages; i++) {
		if ((entries[i] ^ entries[0]) & PM_FRAME || !(entries[i] & PM_PRESENT))
			return false;
	}
	return true;
}

/* Makes all pages the same, and waits until KSM has merged them; a minute at most. */
static bool merge(char *mem, size_t npages)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	time_t end = time(NULL) + 60;
	bool ok;

	for (size_t i = 0; i < npages; i++)
		fill(mem + i * PAGE, 1, SEED);
	ok = !madvise(mem, npages * PAGE, MADV_MERGEABLE) &&
	     write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1") &&
	     write_file("/sys/kernel/mm/ksm/pages_to_scan", "1000") &&
	     write_file("/sys/kernel/mm/ksm/run", "1");
	while (ok && !is_one_page(mem, npages) && time(NULL) < end)
		nanosleep(&pause, NULL);
	return ok && is_one_page(mem, npages) && write_file("/sys/kernel/mm/ksm/run", "0");
}

/* What KSM has merged is copied to be held; the rest stays one. */
TEST_F_TIMEOUT(exclusive, merged, TIMEOUT)
{
	ASSERT_TRUE(merge(self->mem, NPAGES));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, 1, SEED));
	EXPECT_TRUE(writes(self->fd, self->mem, 1, OTHER));
	EXPECT_TRUE(all_held(self->fd, self->mem, 1, true));
	EXPECT_TRUE(is_one_page(self->mem + PAGE, NPAGES - 1));
	EXPECT_TRUE(holds(self->mem, 1, OTHER));
	for (size_t i = 1; i < NPAGES; i++)
		EXPECT_TRUE(holds(self->mem + i * PAGE, 1, SEED));
}

/* A page that is read elsewhere, by a pipe here: that goes on, and sees the device's writes. */
TEST_F(exclusive, in_a_pipe)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	char *buf = map_pages(1);
	int pipes[2];

	ASSERT_NE(buf, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(pipe(pipes), 0);
	ASSERT_EQ(vmsplice(pipes[1], &iov, 1, 0), PAGE);
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	ASSERT_EQ(read(pipes[0], buf, PAGE), PAGE);
	EXPECT_TRUE(holds(buf, 1, OTHER));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(exclusive, userfaultfd_missing)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, 0, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(uffd_served(&uffd, NPAGES, 0, 0));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The handler hears of it, once a page; then of the device's writes no more. */
TEST_F(exclusive, userfaultfd_protected)
{
	struct uffd uffd;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(writes(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(uffd_served(&uffd, 0, NPAGES, 0));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* --- Memory that is not for this, or not for writing ------------------------------- */

/* Nothing is held, and the device can use the memory as before. */
static bool is_refused(int fd, char *mem, size_t npages, long error)
{
	fill(mem, npages, SEED);
	return dev_hold(fd, mem, npages, scratch) == error && !dev_check(fd, mem, npages) &&
	       holds(mem, npages, SEED) && dev_sees(fd, mem, npages, SEED) &&
	       dev_changes(fd, mem, npages, OTHER);
}

TEST_F(exclusive, shared_anonymous)
{
	char *mem = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(is_refused(self->fd, mem, NPAGES, -EOPNOTSUPP));
}

TEST_F(exclusive, hugetlb)
{
	char *mem = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_TRUE(is_refused(self->fd, mem, HUGE_PAGES, -EOPNOTSUPP));
}

/* The page of a private file mapping is copied first; the file does not change. */
TEST_F(exclusive, files)
{
	int file = memfd_create("exclusive", MFD_CLOEXEC);
	char *private, *shared;

	ASSERT_EQ(ftruncate(file, NPAGES * PAGE), 0);
	shared = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(shared, MAP_FAILED);
	EXPECT_TRUE(is_refused(self->fd, shared, NPAGES, -EOPNOTSUPP));

	private = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_NE(private, MAP_FAILED);
	touch(private, NPAGES / 2);
	EXPECT_TRUE(takes_hold(self->fd, private, NPAGES, OTHER));
	EXPECT_TRUE(writes(self->fd, private, NPAGES, SEED));
	EXPECT_TRUE(holds(shared, NPAGES, OTHER));
	EXPECT_TRUE(holds(private, NPAGES, SEED));
	close(file);
}

/* What lies before the page that is refused may be held, and is lost by no means. */
TEST_F(exclusive, refused_in_the_middle)
{
	char *bad = self->mem + 5 * PAGE;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mmap(bad, PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), bad);
	EXPECT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), -EOPNOTSUPP);
	EXPECT_EQ(dev_check(self->fd, bad, NPAGES - 5), 0);
	EXPECT_TRUE(holds(self->mem, 5, SEED));

	ASSERT_EQ(munmap(bad, PAGE), 0);
	EXPECT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), -EFAULT);
	EXPECT_EQ(dev_check(self->fd, bad, NPAGES - 5), 0);
	EXPECT_TRUE(holds(self->mem, 5, SEED));
	EXPECT_TRUE(holds(bad + PAGE, NPAGES - 6, SEED + 6));
}

TEST_F(exclusive, read_only)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), -EPERM);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), -EFAULT);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
