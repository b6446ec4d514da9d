// SPDX-License-Identifier: GPL-2.0
/*
 * Who tracks which pages are written finds out the same of a huge page, be it in
 * system memory or on the device.
 */
#include "huge-fixture.h"

#include "uffd.h"

TEST_F(huge, soft_dirty_cleared)
{
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	EXPECT_TRUE(all_marked(self->mem, HUGE_PAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	ASSERT_TRUE(clear_soft_dirty());
	EXPECT_TRUE(all_marked(self->mem, HUGE_PAGES, PM_SOFT_DIRTY, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE_RO));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(all_marked(self->mem, HUGE_PAGES, PM_SOFT_DIRTY, 0));
	fill(self->mem, PART, OTHER);
	EXPECT_TRUE(all_marked(self->mem, PART, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
}

/* What has been moved elsewhere counts as written there. */
TEST_F(huge, soft_dirty_moved)
{
	char *to = self->mem + HUGE;

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(clear_soft_dirty());
	ASSERT_EQ(mremap(self->mem, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_TRUE(all_marked(to, HUGE_PAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	EXPECT_TRUE(all_at(self->fd, to, HUGE_PAGES, AT_DEVICE_HUGE_RO));
	EXPECT_TRUE(holds(to, HUGE_PAGES, SEED));
	EXPECT_TRUE(all_marked(to, HUGE_PAGES, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
}

/* How many pages have been written since this was asked last. */
static long written(char *mem)
{
	return scan_written(mem, HUGE_PAGES, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC);
}

/* What has been reported is not written until it is written again. */
TEST_F(huge, scanned_on_device)
{
	struct uffd uffd;

	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
			      self->mem, 0));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, HUGE_PAGES, UFFDIO_REGISTER_MODE_WP));
	EXPECT_EQ(written(self->mem), HUGE_PAGES);
	EXPECT_EQ(written(self->mem), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_DEVICE_HUGE_RO));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, PART, OTHER));
	EXPECT_GE(written(self->mem), PART);
	EXPECT_EQ(written(self->mem), 0);
	fill(self->mem, PART, SEED);
	EXPECT_GE(written(self->mem), PART);
	EXPECT_EQ(written(self->mem), 0);
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
	EXPECT_EQ(close(uffd.fd), 0);
}

TEST_HARNESS_MAIN
