// SPDX-License-Identifier: GPL-2.0
/*
 * FLAGS: a file whose reads and writes move the pages that they fault on. The
 * data is what it would be without, only in another place.
 */
#include <sys/uio.h>

#include "kinds.h"
#include "onewalk.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(flags)
{
	int fd;
	int plain;	/* a second file of the same device, as it was opened */
	char *mem;	/* NPAGES, untouched */
};

DEVICE_KINDS(flags);

static long set_flags(int fd, uint64_t flags)
{
	return dev_request(fd, HMM_DMIRROR_FLAGS, NULL, flags, NULL, NULL);
}

FIXTURE_SETUP(flags)
{
	SKIP_WITHOUT_DEVICE(variant->unit);
	self->fd = dev_open(variant->unit);
	ASSERT_GE(self->fd, 0);
	self->plain = dev_open(variant->unit);
	ASSERT_GE(self->plain, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_GE(set_flags(self->fd, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT), 0);
}

FIXTURE_TEARDOWN(flags)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->plain), 0);
}

TEST_F(flags, read)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(flags, write)
{
	fill(self->mem, NPAGES, SEED);
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

TEST_F(flags, read_of_a_hole)
{
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

TEST_F(flags, write_to_a_hole)
{
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Shared after a fork: read together, written apart. */
TEST_F(flags, fork)
{
	int go[2], status;
	pid_t child;
	char c;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(pipe(go), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		close(go[1]);
		_exit(read(go[0], &c, 1) || !holds(self->mem, NPAGES, SEED));
	}
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at_ro));
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	close(go[1]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/* Swapped out, on the other device, on this one, untouched: all at once. */
TEST_F(flags, mixed)
{
	int other = dev_open(1);

	ASSERT_GE(other, 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, 2));
	ASSERT_EQ(dev_take(other, self->mem + 2 * PAGE, 2, scratch), 2);
	ASSERT_EQ(dev_take(self->fd, self->mem + 4 * PAGE, 2, scratch), 2);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* What cannot move is read and written where it is. */
TEST_F(flags, shared_memory)
{
	char *mem = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(self->fd, mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, mem, NPAGES, OTHER));
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, AT_SYSTEM));
}

TEST_F(flags, pinned_page)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	int pins[2];

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(pipe(pins), 0);
	ASSERT_EQ(vmsplice(pins[1], &iov, 1, 0), PAGE);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, 1, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, self->mem + PAGE, NPAGES - 1, variant->at));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
}

/* Memory that no device may have on a fault of this kind is still read without. */
TEST_F(flags, hugetlb)
{
	char *mem = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	EXPECT_TRUE(dev_sees(self->fd, mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
}

/* The errors are those of a file without flags. */
TEST_F(flags, errors)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem + 4 * PAGE, PAGE, PROT_READ), 0);
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem + 4 * PAGE, 1, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	ASSERT_EQ(munmap(self->mem + 4 * PAGE, PAGE), 0);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), -EFAULT);
	EXPECT_EQ(dev_read(self->fd, self->mem + 4 * PAGE, 1, scratch), -EFAULT);
	EXPECT_TRUE(holds(self->mem, 4, SEED));
}

/* The buffer is the range: each byte that is copied fetches its page home. */
TEST_F(flags, read_into_itself)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->mem), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Flags are of a file, not of a device, and can be taken back. */
TEST_F(flags, of_one_file)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(self->plain, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_GE(set_flags(self->plain, 0), 0);
	EXPECT_GE(set_flags(self->fd, 0), 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	fill(scratch, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

/*
 * A page that the device has read where it was is known: a file that gets the
 * flag later reads it there. The flag is about faults, and this is none.
 */
TEST_F(flags, known_page)
{
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(self->plain, self->mem, NPAGES, SEED));
	ASSERT_GE(set_flags(self->plain, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT), 0);
	EXPECT_TRUE(dev_sees(self->plain, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	/* Fetched by nobody in between, but changed: a fault. */
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(dev_sees(self->plain, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at_ro));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(flags, huge_page)
{
	/* Coherent memory has small pages only, which the CPU uses where they are. */
	bool is_private = variant->at == AT_DEVICE;
	unsigned char huge_at = is_private ? AT_DEVICE_HUGE : variant->at;
	char *mem = map_huge(2);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	EXPECT_TRUE(dev_sees(self->fd, mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, mem, HUGE_PAGES, huge_at));
	fill(scratch, HUGE_PAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, mem + HUGE, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_TRUE(all_at(self->fd, mem + HUGE, HUGE_PAGES, huge_at));
	EXPECT_TRUE(holds(mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(mem + HUGE, HUGE_PAGES, OTHER));
	/* The CPU has fetched it, of private memory; a part goes alone. */
	EXPECT_TRUE(dev_sees(self->fd, mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, variant->at));
	EXPECT_TRUE(all_at(self->fd, mem + NPAGES * PAGE, HUGE_PAGES - NPAGES,
			   is_private ? AT_SYSTEM : variant->at));
}

TEST_F(flags, unknown)
{
	EXPECT_EQ(set_flags(self->fd, 1ULL << 2), -EINVAL);
	EXPECT_EQ(set_flags(self->fd, ~0ULL), -EINVAL);
	/* What was set is set. */
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->at));
}

TEST_HARNESS_MAIN
