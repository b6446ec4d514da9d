// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive access to memory of each kind and in each state, and what mm does to
 * memory that a device holds: the data is never lost, and the device never keeps
 * what it was not left.
 */
#include "exclusive.h"

#include <linux/mman.h>
#include <sys/uio.h>

#include "uffd.h"

/* --- States in which the pages are found ------------------------------------------ */

TEST_F(exclusive, untouched)
{
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(is_zero(scratch, NPAGES));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	fill(scratch, NPAGES, SEED);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
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
	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
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
	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
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
	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
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
	fill(scratch, NPAGES, SEED);
	EXPECT_TRUE(knows(self->fd, private, NPAGES, true));
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

/* --- What happens to it while it is held ------------------------------------------- */

TEST_F(exclusive, becomes_read_only)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(exclusive, dropped)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(madvise(self->mem, PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, 1), 0);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, 1));
	EXPECT_TRUE(all_held(self->fd, self->mem + PAGE, NPAGES - 1, true));

	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), -EFAULT);
}

TEST_F(exclusive, moved)
{
	char *to = map_pages(NPAGES);

	ASSERT_NE(to, MAP_FAILED);
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	fill(scratch, NPAGES, OTHER);
	ASSERT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	ASSERT_EQ(mremap(self->mem, NPAGES * PAGE, NPAGES * PAGE,
			 MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_check(self->fd, to, NPAGES), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), -EFAULT);
	EXPECT_TRUE(dev_sees(self->fd, to, NPAGES, OTHER));
	EXPECT_TRUE(holds(to, NPAGES, OTHER));
}

struct share {
	char *mem;
	uint64_t seed;
};

static bool still_holds(void *arg)
{
	struct share *share = arg;

	return holds(share->mem, NPAGES, share->seed);
}

/* A fork takes the pages back, to share them: what the device writes then is a copy's. */
TEST_F(exclusive, forked)
{
	struct share share = { self->mem, SEED };
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_EQ(dev_check(self->fd, self->mem, NPAGES), 0);
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Pages that are shared since a fork are copied to be held. */
TEST_F(exclusive, taken_after_fork)
{
	struct share share = { self->mem, SEED };
	struct child child;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(start_child(&child, still_holds, &share));
	EXPECT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	fill(scratch, NPAGES, OTHER);
	EXPECT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, true));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Pages move to a device, this one or another: nobody holds them then. */
TEST_F(exclusive, migrated)
{
	fill(self->mem, NPAGES, SEED);
	for (int i = 0; i < 2; i++) {
		int fd = i ? self->other : self->fd;

		ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
		EXPECT_TRUE(takes(fd, i, self->mem, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_held(self->fd, self->mem, NPAGES, false));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	}
}

/* MIGRATE_TO_DEV does not fault, and so finds nothing there to move. */
TEST_F(exclusive, not_migrated)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), -ENOENT);
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_give(self->fd, self->mem, NPAGES), 0);
	EXPECT_EQ(dev_release(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The kernel moves pages to make room; a page that moves is held no more. */
TEST_F_TIMEOUT(exclusive, compacted, TIMEOUT)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, SEED));
	fill(scratch, NPAGES, OTHER);
	ASSERT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* --- What the device writes is there to stay -------------------------------------- */

/* As if nobody had written since, mm may drop the pages; but the device has. */
TEST_F(exclusive, lazily_freed)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_FREE), 0);
	ASSERT_EQ(dev_hold(self->fd, self->mem, NPAGES, scratch), NPAGES);
	fill(scratch, NPAGES, SEED);
	ASSERT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	/* A CPU reads, or reclaim would pass over them. */
	touch(self->mem, NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

/* They have been read from swap, where the old data still are. */
TEST_F(exclusive, clean)
{
	fill(self->mem, NPAGES, OTHER);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	touch(self->mem, NPAGES);
	ASSERT_TRUE(takes_hold(self->fd, self->mem, NPAGES, OTHER));
	fill(scratch, NPAGES, SEED);
	ASSERT_TRUE(knows(self->fd, self->mem, NPAGES, true));
	touch(self->mem, NPAGES);
	EXPECT_TRUE(survives_reclaim(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
