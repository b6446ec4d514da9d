// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges in which something cannot be faulted, or is nothing for a device: the
 * error, and that nothing is lost. What comes before the first such page is
 * served, and what comes after is left alone.
 */
#include "onewalk-fixture.h"

#include <sys/syscall.h>

#define BAD	5	/* the first page that is bad, where not all are */

/* Nothing of @mem has moved or changed. */
static bool is_untouched(int fd, char *mem, size_t npages)
{
	return !count_on_device(fd, mem, npages) && dev_sees(fd, mem, npages, SEED) &&
	       holds(mem, npages, SEED);
}

/* The pages before the bad one have moved, and can be used. */
static bool moved_before_bad(int fd, char *mem)
{
	return count_on_device(fd, mem, NPAGES) == BAD && dev_sees(fd, mem, BAD, SEED) &&
	       holds(mem, BAD, SEED);
}

TEST_F(onewalk, no_access)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, 0, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_ERROR));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(is_untouched(self->fd, self->mem, NPAGES));
}

/* Not even a hole is filled that nobody may look into. */
TEST_F(onewalk, no_access_to_a_hole)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_NONE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, 0, 0));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_NOWHERE));
}

TEST_F(onewalk, no_access_in_the_middle)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem + BAD * PAGE, PAGE, PROT_NONE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, BAD, 0));
	EXPECT_TRUE(moved_before_bad(self->fd, self->mem));
	ASSERT_EQ(mprotect(self->mem + BAD * PAGE, PAGE, PROT_READ), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* HMM knows no memory that can be written but not read. */
TEST_F(onewalk, write_only)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_WRITE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, 0, 0));
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	EXPECT_TRUE(is_untouched(self->fd, self->mem, NPAGES));
}

/* A device that reads may have read-only memory, and gets it read-only. */
TEST_F(onewalk, read_only)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	if (variant->write) {
		EXPECT_TRUE(refuses(self->fd, true, self->mem, NPAGES, EPERM, 0, 0));
		EXPECT_TRUE(is_untouched(self->fd, self->mem, NPAGES));
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
		fill(scratch, NPAGES, OTHER);
		EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, scratch), -EPERM);
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	}
}

TEST_F(onewalk, read_only_hole)
{
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	if (variant->write) {
		EXPECT_TRUE(refuses(self->fd, true, self->mem, NPAGES, EPERM, 0, 0));
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_NOWHERE));
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
		EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
		EXPECT_TRUE(is_zero(self->mem, NPAGES));
	}
}

/* Read-only pages that are on the device already: no licence to write either. */
TEST_F(onewalk, read_only_on_device)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	EXPECT_TRUE(variant->write ?
		    refuses(self->fd, true, self->mem, NPAGES, EPERM, 0, 0) :
		    takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(onewalk, read_only_in_the_middle)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(mprotect(self->mem + BAD * PAGE, PAGE, PROT_READ), 0);
	if (variant->write) {
		EXPECT_TRUE(refuses(self->fd, true, self->mem, NPAGES, EPERM, BAD, 0));
		EXPECT_TRUE(moved_before_bad(self->fd, self->mem));
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
	}
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_F(onewalk, gap_in_the_middle)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(munmap(self->mem + BAD * PAGE, PAGE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, BAD, 0));
	EXPECT_TRUE(moved_before_bad(self->fd, self->mem));
	EXPECT_TRUE(holds(self->mem + (BAD + 1) * PAGE, NPAGES - BAD - 1, SEED + BAD + 1));
}

TEST_F(onewalk, gap_at_the_start)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(munmap(self->mem, PAGE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, 0, 0));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), 0);
	EXPECT_TRUE(holds(self->mem + PAGE, NPAGES - 1, SEED + 1));
}

/* What was faulted before the error counts, too. */
TEST_F(onewalk, gap_behind_swapped_pages)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(swap_out(self->mem, 2));
	ASSERT_EQ(munmap(self->mem + BAD * PAGE, PAGE), 0);
	EXPECT_TRUE(refuses(self->fd, variant->write, self->mem, NPAGES, EFAULT, BAD, 2));
	EXPECT_TRUE(moved_before_bad(self->fd, self->mem));
}

/* A device must not make the stack grow. */
TEST_F(onewalk, gap_below_a_stack)
{
	char *room = map_pages(NPAGES), *stack = room + NPAGES / 2 * PAGE;

	ASSERT_NE(room, MAP_FAILED);
	ASSERT_EQ(munmap(room, NPAGES * PAGE), 0);
	ASSERT_EQ(mmap(stack, NPAGES / 2 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0), stack);
	EXPECT_TRUE(refuses(self->fd, variant->write, stack - PAGE, 2, EFAULT, 0, 0));
	EXPECT_TRUE(all_at(self->fd, stack - PAGE, 1, AT_ERROR));
	EXPECT_TRUE(takes(self->fd, variant->write, stack, NPAGES / 2, NPAGES / 2, 0));
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

/* No mapping ends here: it is one entry that nothing can be faulted to. */
TEST_F(onewalk, guard_region)
{
	struct outcome got;

	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(madvise(self->mem + BAD * PAGE, PAGE, MADV_GUARD_INSTALL), 0);
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, BAD);
	EXPECT_TRUE(moved_before_bad(self->fd, self->mem));
	EXPECT_TRUE(holds(self->mem + (BAD + 1) * PAGE, NPAGES - BAD - 1, SEED + BAD + 1));
}

TEST_F(onewalk, hugetlb)
{
	char *mem = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, HUGE_PAGES, SEED);
	EXPECT_TRUE(refuses(self->fd, variant->write, mem, HUGE_PAGES, EINVAL, 0, 0));
	EXPECT_TRUE(refuses(self->fd, variant->write, mem + PAGE, 1, EINVAL, 0, 0));
	EXPECT_TRUE(dev_sees(self->fd, mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, mem, HUGE_PAGES, OTHER));
}

/* Behind memory that moves. */
TEST_F(onewalk, hugetlb_at_the_end)
{
	char *mem = map_huge(1);

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(mmap(mem, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_HUGETLB | MAP_FIXED, -1, 0), mem);
	mem -= NPAGES * PAGE;
	ASSERT_EQ(mmap(mem, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_FIXED, -1, 0), mem);
	fill(mem, NPAGES, SEED);
	EXPECT_TRUE(refuses(self->fd, variant->write, mem, NPAGES + HUGE_PAGES, EINVAL, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(holds(mem, NPAGES, SEED));
}

/* The kernel's own pages, as in mappings.c. */
TEST_F(onewalk, kernel_pages)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	struct outcome got;
	char line[256];
	void *mem = NULL;

	ASSERT_NE(maps, NULL);
	while (!mem && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vvar]"))
			ASSERT_EQ(sscanf(line, "%p", &mem), 1);
	}
	fclose(maps);
	ASSERT_NE(mem, NULL);
	got = dev_fault(self->fd, variant->write, mem, 1);
	EXPECT_TRUE(got.error == EINVAL || (variant->write && got.error == EPERM));
	EXPECT_EQ(got.pages, 0);
	EXPECT_EQ(got.faults, 0);
}

/* A page without a mapping in the kernel cannot be copied, and is not the device's to use. */
TEST_F(onewalk, secret_memory)
{
	int secret = syscall(__NR_memfd_secret, 0);
	struct outcome got;
	char *mem;

	ASSERT_GE(secret, 0);
	ASSERT_EQ(ftruncate(secret, 2 * PAGE), 0);
	mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, 1, SEED);
	got = dev_fault(self->fd, variant->write, mem, 2);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, 0);
	EXPECT_EQ(dev_read(self->fd, mem, 1, scratch), -EFAULT);
	EXPECT_TRUE(holds(mem, 1, SEED));

	/* Nor is a page made for it that is not there. */
	got = dev_fault(self->fd, variant->write, mem + PAGE, 1);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_TRUE(all_marked(mem + PAGE, 1, PM_PRESENT, 0));
}

TEST_HARNESS_MAIN
