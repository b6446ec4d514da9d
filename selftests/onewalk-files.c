// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on mappings of files. Pages of the page cache stay, and the
 * device maps them where they are; copies of them, in private mappings, are
 * anonymous memory and move.
 */
#include <kselftest_harness.h>

#include <sys/mount.h>

#include "onewalk.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(onewalk)
{
	int fd;
	int file;	/* NPAGES, filled */
	char *private;	/* mappings of it */
	char *shared;
};

FIXTURE_VARIANT(onewalk)
{
	bool shmem;	/* else a file system's */
	bool write;
};

FIXTURE_VARIANT_ADD(onewalk, file_read)
{
	.shmem = false,
	.write = false,
};

FIXTURE_VARIANT_ADD(onewalk, file_write)
{
	.shmem = false,
	.write = true,
};

FIXTURE_VARIANT_ADD(onewalk, shmem_read)
{
	.shmem = true,
	.write = false,
};

FIXTURE_VARIANT_ADD(onewalk, shmem_write)
{
	.shmem = true,
	.write = true,
};

/* A file of a file system whose pages are plain page cache. Lives as long as it is open. */
static int open_file(void)
{
	char dir[] = "/tmp/onewalk.XXXXXX", path[sizeof(dir) + 8];
	int file;

	if (!mkdtemp(dir) || mount("none", dir, "ramfs", 0, NULL))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return file;
}

FIXTURE_SETUP(onewalk)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->file = variant->shmem ? memfd_create("onewalk", MFD_CLOEXEC) : open_file();
	ASSERT_GE(self->file, 0);
	fill(scratch, NPAGES, SEED);
	ASSERT_EQ(pwrite(self->file, scratch, NPAGES * PAGE, 0), NPAGES * PAGE);
	self->private = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			     self->file, 0);
	ASSERT_NE(self->private, MAP_FAILED);
	self->shared = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->file, 0);
	ASSERT_NE(self->shared, MAP_FAILED);
}

FIXTURE_TEARDOWN(onewalk)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->file), 0);
}

static bool file_holds(int file, uint64_t seed)
{
	return pread(file, scratch, NPAGES * PAGE, 0) == (ssize_t)(NPAGES * PAGE) &&
	       holds(scratch, NPAGES, seed);
}

/*
 * A device fault that moves nothing. A CPU's read fault maps pages around it, so
 * how many it takes is left open, up to the number of the pages.
 */
static bool maps_in_place(int fd, bool write, char *mem, bool exactly)
{
	struct outcome got = dev_fault(fd, write, mem, NPAGES);

	if (!exactly && got.faults >= 1 && got.faults <= NPAGES)
		got.faults = NPAGES;
	return is_outcome(got, 0, 0, NPAGES) && !count_on_device(fd, mem, NPAGES);
}

/* Nobody has looked at the mapping yet. A device that writes gets its copies. */
TEST_F(onewalk, private_untouched)
{
	if (variant->write) {
		EXPECT_TRUE(takes(self->fd, true, self->private, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_at(self->fd, self->private, NPAGES, AT_DEVICE));
	} else {
		EXPECT_TRUE(maps_in_place(self->fd, false, self->private, false));
		EXPECT_TRUE(all_at(self->fd, self->private, NPAGES, AT_SYSTEM_RO));
	}
	EXPECT_TRUE(dev_sees(self->fd, self->private, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->private, NPAGES, OTHER));
	EXPECT_TRUE(file_holds(self->file, SEED));
}

TEST_F(onewalk, private_clean)
{
	touch(self->private, NPAGES);
	if (variant->write) {
		EXPECT_TRUE(takes(self->fd, true, self->private, NPAGES, NPAGES, NPAGES));
		EXPECT_TRUE(all_at(self->fd, self->private, NPAGES, AT_DEVICE));
	} else {
		EXPECT_TRUE(takes(self->fd, false, self->private, NPAGES, 0, 0));
		EXPECT_TRUE(all_at(self->fd, self->private, NPAGES, AT_SYSTEM_RO));
	}
	EXPECT_TRUE(dev_sees(self->fd, self->private, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->private, NPAGES, OTHER));
	EXPECT_TRUE(file_holds(self->file, SEED));
}

/* Dirty pages of the file, in a private mapping: nobody's copy, so they stay. */
TEST_F(onewalk, private_dirty)
{
	touch(self->private, NPAGES);
	fill(self->shared, NPAGES, OTHER);
	EXPECT_TRUE(takes(self->fd, variant->write, self->private, NPAGES,
			  variant->write ? NPAGES : 0, variant->write ? NPAGES : 0));
	EXPECT_TRUE(dev_sees(self->fd, self->private, NPAGES, OTHER));
	EXPECT_TRUE(dev_changes(self->fd, self->private, NPAGES, SEED));
	EXPECT_TRUE(file_holds(self->file, OTHER));
}

/* The process has written to them: its copies move. */
TEST_F(onewalk, private_copied)
{
	fill(self->private, NPAGES, OTHER);
	EXPECT_TRUE(takes(self->fd, variant->write, self->private, NPAGES, NPAGES, 0));
	EXPECT_TRUE(all_at(self->fd, self->private, NPAGES, AT_DEVICE));
	EXPECT_TRUE(dev_sees(self->fd, self->private, NPAGES, OTHER));
	EXPECT_TRUE(file_holds(self->file, SEED));
	EXPECT_TRUE(survives_reclaim(self->private, NPAGES, OTHER));
}

/* Copies and the file's pages in turn. */
TEST_F(onewalk, private_mixed)
{
	touch(self->private, NPAGES);
	for (size_t i = 0; i < NPAGES; i += 2)
		fill(self->private + i * PAGE, 1, OTHER + i);
	EXPECT_TRUE(takes(self->fd, variant->write, self->private, NPAGES,
			  variant->write ? NPAGES : NPAGES / 2,
			  variant->write ? NPAGES / 2 : 0));
	for (size_t i = 0; i < NPAGES; i++) {
		bool copy = i % 2 == 0, moves = copy || variant->write;

		EXPECT_TRUE(dev_sees(self->fd, self->private + i * PAGE, 1,
				     (copy ? OTHER : SEED) + i));
		EXPECT_TRUE(all_at(self->fd, self->private + i * PAGE, 1,
				   moves ? AT_DEVICE : AT_SYSTEM_RO));
	}
	EXPECT_TRUE(dev_changes(self->fd, self->private, NPAGES, SEED));
	EXPECT_TRUE(file_holds(self->file, SEED));
}

/* Copies that went to swap come back to be moved. */
TEST_F(onewalk, private_copied_and_swapped)
{
	fill(self->private, NPAGES, OTHER);
	ASSERT_TRUE(swap_out(self->private, NPAGES));
	EXPECT_TRUE(takes(self->fd, variant->write, self->private, NPAGES, NPAGES, NPAGES));
	EXPECT_TRUE(dev_sees(self->fd, self->private, NPAGES, OTHER));
	EXPECT_TRUE(holds(self->private, NPAGES, OTHER));
}

/* What has moved is no part of the file any more: cut off, it is gone. */
TEST_F(onewalk, private_copied_then_truncated)
{
	fill(self->private, NPAGES, OTHER);
	EXPECT_TRUE(takes(self->fd, variant->write, self->private, NPAGES, NPAGES, 0));
	ASSERT_EQ(ftruncate(self->file, 0), 0);
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->private, NPAGES).error, EFAULT);
	EXPECT_EQ(count_on_device(self->fd, self->private, NPAGES), 0);
	ASSERT_EQ(ftruncate(self->file, NPAGES * PAGE), 0);
	EXPECT_TRUE(is_zero(self->private, NPAGES));
}

TEST_F(onewalk, shared_untouched)
{
	EXPECT_TRUE(maps_in_place(self->fd, variant->write, self->shared, variant->write));
	/* A file system wants to know of the first write to a page. */
	EXPECT_TRUE(all_at(self->fd, self->shared, NPAGES,
			   variant->write || variant->shmem ? AT_SYSTEM : AT_SYSTEM_RO));
	EXPECT_TRUE(dev_sees(self->fd, self->shared, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->shared, NPAGES, OTHER));
	EXPECT_TRUE(file_holds(self->file, OTHER));
}

TEST_F(onewalk, shared_populated)
{
	fill(self->shared, NPAGES, OTHER);
	EXPECT_TRUE(takes(self->fd, variant->write, self->shared, NPAGES, 0, 0));
	EXPECT_TRUE(dev_knows(self->fd, self->shared, NPAGES, variant->write));
	EXPECT_TRUE(all_at(self->fd, self->shared, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(dev_sees(self->fd, self->shared, NPAGES, OTHER));
	EXPECT_TRUE(dev_changes(self->fd, self->shared, NPAGES, SEED));
	EXPECT_TRUE(file_holds(self->file, SEED));
}

/* A hole of a file is its file system's to fill. */
TEST_F(onewalk, shared_hole)
{
	struct outcome got;

	ASSERT_EQ(ftruncate(self->file, 0), 0);
	ASSERT_EQ(ftruncate(self->file, NPAGES * PAGE), 0);
	got = dev_fault(self->fd, variant->write, self->shared, NPAGES);
	EXPECT_EQ(got.error, 0);
	EXPECT_EQ(got.pages, 0);
	/* That may take another attempt, without the mmap lock in between. */
	EXPECT_GE(got.faults, 1);
	EXPECT_LE(got.faults, 2 * NPAGES);
	EXPECT_TRUE(dev_sees_zeroes(self->fd, self->shared, NPAGES));
	EXPECT_TRUE(dev_changes(self->fd, self->shared, NPAGES, OTHER));
	EXPECT_TRUE(file_holds(self->file, OTHER));
}

/* The file ends in the middle of the range. What comes before is served. */
TEST_F(onewalk, behind_the_end)
{
	const size_t half = NPAGES / 2;
	struct outcome got;

	ASSERT_EQ(ftruncate(self->file, half * PAGE), 0);
	got = dev_fault(self->fd, variant->write, self->shared, NPAGES);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, 0);
	EXPECT_EQ(dev_fault(self->fd, variant->write, self->shared + half * PAGE, half).error,
		  EFAULT);
	EXPECT_TRUE(dev_sees(self->fd, self->shared, half, SEED));

	got = dev_fault(self->fd, variant->write, self->private, NPAGES);
	EXPECT_EQ(got.error, EFAULT);
	EXPECT_EQ(got.pages, variant->write ? half : 0);
	EXPECT_EQ(count_on_device(self->fd, self->private, NPAGES), got.pages);
	EXPECT_TRUE(dev_sees(self->fd, self->private, half, SEED));
	EXPECT_TRUE(holds(self->private, half, SEED));
}

TEST_F(onewalk, read_only_mapping)
{
	ASSERT_EQ(mprotect(self->shared, NPAGES * PAGE, PROT_READ), 0);
	touch(self->shared, NPAGES);
	EXPECT_TRUE(variant->write ?
		    refuses(self->fd, true, self->shared, NPAGES, EPERM, 0, 0) :
		    takes(self->fd, false, self->shared, NPAGES, 0, 0));
	EXPECT_TRUE(dev_sees(self->fd, self->shared, NPAGES, SEED));
}

TEST_HARNESS_MAIN
