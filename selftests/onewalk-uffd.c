// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on areas under userfaultfd. What is missing or protected there
 * is for its handler to see, once a page and only if it is: a device must neither
 * fill a page behind its back nor get around a protection.
 */
#include "onewalk-fixture.h"

#include "uffd.h"

#define HALF	(NPAGES / 2)

/* The pages arrive with what the handler put there, not as the device's zeroes. */
TEST_F(onewalk, missing)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, 0, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(uffd_served(&uffd, NPAGES, 0, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* The handler hears of the missing pages only. */
TEST_F(onewalk, missing_in_part)
{
	struct uffd uffd;

	fill(self->mem, HALF, SEED);
	ASSERT_TRUE(uffd_open(&uffd, 0, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, HALF));
	EXPECT_TRUE(uffd_served(&uffd, HALF, 0, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * The handler maps the zero page. In such an area mm does not let a device
 * replace it: it is read in place, and to be written it needs another fault.
 */
TEST_F(onewalk, missing_filled_with_zeroes)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, 0, self->mem, SEED));
	uffd.zero = true;
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES,
			  variant->write ? NPAGES : 0, variant->write ? 2 * NPAGES : NPAGES));
	EXPECT_TRUE(uffd_served(&uffd, NPAGES, 0, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, variant->write ? AT_DEVICE : AT_ZERO));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
}

/* Instead of a message, a signal: for a device, an error. Nothing is filled. */
TEST_F(onewalk, missing_with_sigbus)
{
	struct outcome got;
	struct uffd uffd;

	fill(self->mem, HALF, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_SIGBUS, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, HALF);
	EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_NOWHERE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HALF, SEED));
}

/* The handler says that a page is lost. */
TEST_F(onewalk, poisoned)
{
	struct uffd uffd;
	struct uffdio_poison poison = {
		.range = { (uintptr_t)self->mem + HALF * PAGE, PAGE },
	};
	struct outcome got;

	fill(self->mem, HALF, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_POISON, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(ioctl(uffd.fd, UFFDIO_POISON, &poison), 0);
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, HALF);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HALF, SEED));
	EXPECT_TRUE(holds(self->mem, HALF, SEED));
}

/* Swapped pages of such an area are not missing. */
TEST_F(onewalk, swapped_out)
{
	struct uffd uffd;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, 0, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, 0));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * Half of the pages is write-protected. To read they move as they are, protected;
 * the handler hears of a write only, be it the device's or later the CPU's.
 */
TEST_F(onewalk, write_protected)
{
	struct uffd uffd;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, HALF, true));
	ASSERT_TRUE(uffd_start(&uffd));
	if (variant->write) {
		struct outcome got = dev_fault(self->fd, true, self->mem, NPAGES);

		/* The handler lifts the protection; the entry may stay read-only. */
		EXPECT_EQ(got.error, 0);
		EXPECT_EQ(got.pages, NPAGES);
		EXPECT_GE(got.faults, HALF);
		EXPECT_LE(got.faults, 2 * HALF);
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE));
		EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, 0));
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
		EXPECT_TRUE(all_at(self->fd, self->mem, HALF, AT_DEVICE_RO));
		EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_DEVICE));
		EXPECT_EQ(uffd.protected, 0);
		EXPECT_TRUE(all_marked(self->mem, HALF, PM_UFFD | PM_SWAP, PM_UFFD | PM_SWAP));
		EXPECT_TRUE(all_marked(self->mem + HALF * PAGE, HALF, PM_UFFD, 0));
		EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
		EXPECT_EQ(uffd.protected, 0);
		EXPECT_TRUE(all_marked(self->mem, HALF, PM_UFFD | PM_PRESENT,
				       PM_UFFD | PM_PRESENT));
		fill(self->mem, NPAGES, OTHER);
	}
	EXPECT_TRUE(uffd_served(&uffd, 0, HALF, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, variant->write ? SEED : OTHER));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, SEED));
}

/* The device must not write to a protected page that it has, unnoticed. */
TEST_F(onewalk, write_protected_on_device)
{
	struct uffd uffd;

	ASSERT_TRUE(alone(self->mem, NPAGES));
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	ASSERT_TRUE(uffd_start(&uffd));
	if (variant->write) {
		struct outcome got = dev_fault(self->fd, true, self->mem, NPAGES);

		EXPECT_EQ(got.error, 0);
		EXPECT_EQ(got.pages, NPAGES);
		EXPECT_GE(got.faults, 2 * NPAGES);
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, 0));
	}
	EXPECT_TRUE(uffd_served(&uffd, 0, variant->write ? NPAGES : 0, 0));
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, variant->write ? 0 : PM_UFFD));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * A protected hole has a mark in its entry, which the device's own page would
 * wipe out: a write there would go unnoticed.
 */
TEST_F(onewalk, write_protected_hole)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			      UFFD_FEATURE_WP_UNPOPULATED, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, PM_UFFD));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, NPAGES).error, 0);
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, variant->write ? 0 : PM_UFFD));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(uffd_served(&uffd, 0, NPAGES, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/*
 * So has a protected zero page. The device's own page does not take its place, nor
 * when nobody asks for a fault; but that of a fault for writing does.
 */
TEST_F(onewalk, write_protected_zero_page)
{
	struct uffd uffd;

	touch(self->mem, NPAGES);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, HALF, true));
	ASSERT_TRUE(uffd_start(&uffd));

	EXPECT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), -ENOENT);
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_DEVICE));
	EXPECT_TRUE(all_marked(self->mem, HALF, PM_UFFD | PM_PRESENT,
			       PM_UFFD | PM_PRESENT));
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->mem, NPAGES).error, 0);
	EXPECT_TRUE(all_marked(self->mem, HALF, PM_UFFD, variant->write ? 0 : PM_UFFD));
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->mem, NPAGES));
	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(uffd_served(&uffd, 0, HALF, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/* A protected page in swap, fetched for reading: protected still. */
TEST_F(onewalk, write_protected_in_swap)
{
	struct uffd uffd;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_TRUE(uffd_start(&uffd));
	if (variant->write) {
		struct outcome got = dev_fault(self->fd, true, self->mem, NPAGES);

		EXPECT_EQ(got.error, 0);
		EXPECT_EQ(got.pages, NPAGES);
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->mem, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_DEVICE_RO));
	}
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, variant->write ? 0 : PM_UFFD));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	fill(self->mem, NPAGES, OTHER);
	EXPECT_TRUE(uffd_served(&uffd, 0, NPAGES, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, OTHER));
}

/* Half of the pages may not be accessed without the handler: a device's read is one. */
TEST_F(onewalk, access_protected)
{
	struct uffd uffd;
	struct outcome got;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_RWP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_TRUE(uffd_hide(&uffd, self->mem, HALF, true));
	ASSERT_TRUE(all_at(self->fd, self->mem, HALF, AT_NOWHERE));
	ASSERT_TRUE(uffd_start(&uffd));
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, NPAGES);
	EXPECT_GE(got.faults, HALF);
	EXPECT_LE(got.faults, 2 * HALF);
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, HALF));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), NPAGES);
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/*
 * Protected while it was on the device: it has to come home to be let go of, and
 * comes back. A device that went on reading would not be noticed.
 */
TEST_F(onewalk, access_protected_on_device)
{
	struct uffd uffd;
	struct outcome got;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_RWP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	ASSERT_TRUE(uffd_hide(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(uffd_start(&uffd));
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, NPAGES);
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, NPAGES));
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), NPAGES);
}

/* In swap: the page that comes back is as hidden as it was. */
TEST_F(onewalk, access_protected_in_swap)
{
	struct uffd uffd;
	struct outcome got;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_RWP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	ASSERT_TRUE(uffd_hide(&uffd, self->mem, NPAGES, true));
	ASSERT_TRUE(uffd_start(&uffd));
	got = dev_fault(self->fd, variant->write, self->mem, NPAGES);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, NPAGES);
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, NPAGES));
	EXPECT_TRUE(all_marked(self->mem, NPAGES, PM_UFFD, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Without a handler: mm notes that the pages were accessed, and goes on. */
TEST_F(onewalk, access_tracked)
{
	struct uffd uffd;
	struct outcome got;

	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, NPAGES, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_TRUE(uffd_hide(&uffd, self->mem, NPAGES, true));
	got = dev_fault(self->fd, variant->write, self->mem, HALF);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, HALF);
	EXPECT_GE(got.faults, HALF);
	EXPECT_LE(got.faults, 2 * HALF);
	EXPECT_TRUE(all_marked(self->mem, HALF, PM_UFFD, 0));
	/* The others are as untouched as they were. */
	EXPECT_TRUE(all_marked(self->mem + HALF * PAGE, HALF, PM_UFFD | PM_PRESENT,
			       PM_UFFD | PM_PRESENT));
	EXPECT_TRUE(all_at(self->fd, self->mem + HALF * PAGE, HALF, AT_NOWHERE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HALF, SEED));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

TEST_HARNESS_MAIN
