// SPDX-License-Identifier: GPL-2.0
/*
 * Files of fsdax, request by request. The device reads and writes the medium in place,
 * and none of it moves; nor do the copies in a private mapping, as mm looks no further
 * than at the mapping.
 */
#include "fsdax.h"

TEST_F(fsdax, read)
{
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, AT_NOWHERE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->read));

	/* What is written to the file is on the medium, which the device has mapped. */
	fill(scratch, self->npages, OTHER);
	ASSERT_EQ(pwrite(self->file, scratch, self->npages * PAGE, DATA), self->npages * PAGE);
	EXPECT_TRUE(dev_knows(self->fd, self->mem, self->npages, false));
	EXPECT_TRUE(holds(scratch, self->npages, OTHER));
	EXPECT_TRUE(holds(self->mem, self->npages, OTHER));
}

TEST_F(fsdax, write)
{
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->written));
	EXPECT_TRUE(file_holds(self->file, self->npages, IS_SHARED ? OTHER : SEED));

	/* And so when it has read them before, and may not write yet. */
	ASSERT_EQ(munmap(self->mem, self->npages * PAGE), 0);
	self->mem = map_file(self->file, DATA, self->npages, PROT_READ | PROT_WRITE,
			     variant->flags);
	ASSERT_NE(self->mem, MAP_FAILED);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, self->npages, IS_SHARED ? OTHER : SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, THIRD));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->written));
	EXPECT_TRUE(file_holds(self->file, self->npages, IS_SHARED ? THIRD : SEED));
}

/* What is synced is clean: the file system must hear of the next write. */
TEST_F(fsdax, sync)
{
	struct outcome got;

	ASSERT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	ASSERT_EQ(msync(self->mem, self->npages * PAGE, MS_SYNC), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages,
			   IS_SHARED ? self->read : self->written));
	fill(scratch, self->npages, THIRD);
	got = ask(self->fd, HMM_DMIRROR_WRITE, self->mem, self->npages);
	EXPECT_TRUE(is_outcome(got, 0, self->npages, IS_SHARED));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->written));
	ASSERT_EQ(fsync(self->file), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages,
			   IS_SHARED ? self->read : self->written));

	ASSERT_EQ(munmap(self->mem, self->npages * PAGE), 0);
	ASSERT_EQ(close(self->file), 0);
	ASSERT_EQ(umount(ROOT), 0);
	ASSERT_EQ(mount(DISK, ROOT, "ext4", 0, "dax=always"), 0);
	self->file = open_file(ROOT "/file");
	EXPECT_TRUE(file_holds(self->file, self->npages, IS_SHARED ? THIRD : SEED));
}

TEST_F(fsdax, does_not_move)
{
	EXPECT_TRUE(stays(self->fd, self->mem, self->npages));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, AT_NOWHERE));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	EXPECT_TRUE(stays(self->fd, self->mem, self->npages));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->read));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	EXPECT_TRUE(stays(self->fd, self->mem, self->npages));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->written));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, self->npages, OTHER));
	EXPECT_TRUE(holds(self->mem, self->npages, OTHER));
}

/* Memory that moves is no bridge to what does not. */
TEST_F(fsdax, behind_what_moves)
{
	char *mem = self->mem - PAGE;

	ASSERT_EQ(mmap(mem, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), mem);
	fill(mem, 1, SEED - 1);
	EXPECT_TRUE(refuses(self->fd, true, mem, 1 + self->npages, EINVAL, 1, 0));
	EXPECT_TRUE(all_at(self->fd, mem, 1, AT_DEVICE));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, AT_NOWHERE));
	EXPECT_TRUE(holds(mem, 1 + self->npages, SEED - 1));
}

/* With the flag, what cannot move is used in place. */
TEST_F(fsdax, faults_that_migrate)
{
	ASSERT_EQ(dev_request(self->fd, HMM_DMIRROR_FLAGS, NULL,
			      HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT, NULL, NULL), 0);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, self->npages, SEED));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->read));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, self->written));
	EXPECT_TRUE(file_holds(self->file, self->npages, IS_SHARED ? OTHER : SEED));
}

/* Pages of the file cannot be held exclusively, copies can. */
TEST_F(fsdax, exclusive)
{
	struct outcome got = ask(self->fd, HMM_DMIRROR_EXCLUSIVE, self->mem, self->npages);

	if (IS_SHARED) {
		EXPECT_TRUE(is_outcome(got, EOPNOTSUPP, 0, 0));
		EXPECT_EQ(dev_check(self->fd, self->mem, self->npages), 0);
	} else {
		EXPECT_TRUE(is_outcome(got, 0, self->npages, 0));
		EXPECT_TRUE(holds(scratch, self->npages, SEED));
		EXPECT_EQ(dev_check(self->fd, self->mem, self->npages), -EPERM);
		EXPECT_TRUE(all_at(self->fd, self->mem, self->npages, AT_NOWHERE));
	}
	EXPECT_TRUE(dev_changes(self->fd, self->mem, self->npages, OTHER));
	EXPECT_EQ(dev_check(self->fd, self->mem, self->npages), 0);
	EXPECT_TRUE(file_holds(self->file, self->npages, IS_SHARED ? OTHER : SEED));
}

TEST_F(fsdax, read_only)
{
	char *mem = map_file(self->file, DATA, self->npages, PROT_READ, variant->flags);

	ASSERT_NE(mem, MAP_FAILED);
	EXPECT_EQ(dev_write(self->fd, mem, self->npages, scratch), -EPERM);
	EXPECT_EQ(dev_hold(self->fd, mem, self->npages, scratch), -EPERM);
	EXPECT_TRUE(dev_sees(self->fd, mem, self->npages, SEED));
	EXPECT_EQ(dev_write(self->fd, mem, self->npages, scratch), -EPERM);
	EXPECT_EQ(dev_take(self->fd, mem, self->npages, scratch), -EINVAL);
	EXPECT_TRUE(all_at(self->fd, mem, self->npages, self->read));
	EXPECT_TRUE(file_holds(self->file, self->npages, SEED));
}

TEST_HARNESS_MAIN
