// SPDX-License-Identifier: GPL-2.0
/*
 * Who tracks which pages a process writes (checkpoints, migration of virtual
 * machines) must not miss a page because it went to the device and back, and
 * need not copy one for that reason.
 */
#include "onewalk-fixture.h"

#include "uffd.h"

#define HALF	(NPAGES / 2)

/* Half of the pages is written after the soft-dirty bits have been cleared. */
static bool dirty_half(char *mem)
{
	fill(mem, NPAGES, SEED);
	if (!write_file("/proc/self/clear_refs", "4") ||
	    !all_marked(mem, NPAGES, PM_SOFT_DIRTY, 0))
		return false;
	fill(mem, HALF, SEED);
	return all_marked(mem, HALF, PM_SOFT_DIRTY, PM_SOFT_DIRTY);
}

static bool half_is_dirty(char *mem)
{
	return all_marked(mem, HALF, PM_SOFT_DIRTY, PM_SOFT_DIRTY) &&
	       all_marked(mem + HALF * PAGE, HALF, PM_SOFT_DIRTY, 0);
}

/*
 * A read leaves the bits as they are, on the device and at home. The pages that
 * are not dirty are read-only for that reason: a write has to fault.
 */
TEST_F(onewalk, soft_dirty)
{
	ASSERT_TRUE(dirty_half(self->mem));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? HALF : 0));
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SWAP | PM_PRESENT, PM_SWAP));
	if (variant->write) {
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
		EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
		EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	} else {
		EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_DEVICE));
		EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_DEVICE_RO));
		EXPECT_TRUE(half_is_dirty(self->mem));
		EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
		EXPECT_TRUE(half_is_dirty(self->mem));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
		EXPECT_TRUE(half_is_dirty(self->mem));
	}
}

/* Pages that are on the device when the bits are cleared: a write there is noticed. */
TEST_F(onewalk, soft_dirty_on_device)
{
	ASSERT_TRUE(dirty_half(self->mem));
	EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
	ASSERT_TRUE(write_file("/proc/self/clear_refs", "4"));
	ASSERT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, 0));
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, NPAGES).error, 0);
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), NPAGES);
	if (!variant->write) {
		EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, 0));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
		EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, 0));
		fill(self->mem, NPAGES, OTHER);
	}
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
}

/* In swap a page keeps its bit, and brings it back. */
TEST_F(onewalk, soft_dirty_in_swap)
{
	ASSERT_TRUE(dirty_half(self->mem));
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_TRUE(half_is_dirty(self->mem));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(all_marked(self->mem, HALF, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	if (!variant->write)
		EXPECT_TRUE(half_is_dirty(self->mem));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

static long count_written(const char *mem, size_t npages)
{
	return scan_written(mem, npages, 0);
}

/* An area whose writes mm tracks by itself, as PAGEMAP_SCAN wants it. */
static bool track(struct uffd *uffd, char *mem)
{
	return uffd_open(uffd, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
			 mem, 0) &&
	       uffd_register(uffd, mem, NPAGES, UFFDIO_REGISTER_MODE_WP) &&
	       uffd_protect(uffd, mem, NPAGES, true);
}

TEST_F(onewalk, scan)
{
	struct uffd uffd;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(track(&uffd, self->mem));
	ASSERT_EQ(count_written(self->mem, NPAGES), 0);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, HALF, HALF,
			  variant->write ? HALF : 0));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), HALF);
	EXPECT_EQ(count_written(self->mem, NPAGES), variant->write ? HALF : 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	EXPECT_EQ(count_written(self->mem, NPAGES), variant->write ? HALF : 0);
	fill(self->mem, HALF, OTHER);
	EXPECT_EQ(count_written(self->mem, NPAGES), HALF);
}

/* Protected while they are on the device: its next write is noticed, and the CPU's. */
TEST_F(onewalk, scan_on_device)
{
	const uint64_t again = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	struct uffd uffd;

	ASSERT_TRUE(track(&uffd, self->mem));
	fill(self->mem, NPAGES, SEED);
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, 0));
	EXPECT_EQ(scan_written(self->mem, NPAGES, again), NPAGES);
	EXPECT_EQ(scan_written(self->mem, NPAGES, again), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	if (variant->write) {
		EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	} else {
		fill(self->mem, NPAGES, OTHER);
	}
	EXPECT_EQ(scan_written(self->mem, NPAGES, again), NPAGES);
	EXPECT_EQ(scan_written(self->mem, NPAGES, again), 0);
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));
}

TEST_F(onewalk, scan_of_holes)
{
	struct uffd uffd;

	ASSERT_TRUE(track(&uffd, self->mem));
	ASSERT_EQ(count_written(self->mem, NPAGES), 0);
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, HALF).error, 0);
	EXPECT_EQ(count_written(self->mem, NPAGES), variant->write ? HALF : 0);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	fill(self->mem, HALF, OTHER);
	EXPECT_EQ(count_written(self->mem, NPAGES), HALF);
}

TEST_HARNESS_MAIN
