/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file that is mapped without page cache, fsdax: what a mapping shows is the medium
 * itself. Each case runs on a shared and on a private mapping, in small pages and in a
 * huge one.
 *
 * Each has a file system of its own, on the persistent memory that scripts/vm declares.
 * It is of the format of ext2, which busybox can make and ext4 mounts.
 */
#ifndef DMIRROR_SELFTESTS_FSDAX_H
#define DMIRROR_SELFTESTS_FSDAX_H

#include <kselftest_harness.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "onewalk.h"

#define DISK	"/dev/pmem0"
#define ROOT	"/tmp/fsdax"

#define SEED	1000
#define OTHER	2000
#define THIRD	3000

/*
 * The file holds nothing but data at one place. For each of the two one table of ext2
 * tells the blocks of a whole huge page, so that it can be mapped as one.
 */
#define HOLE	HUGE
#define DATA	(3 * HUGE)

FIXTURE(fsdax)
{
	int fd;
	int file;
	size_t npages;		/* of the data */
	char *mem;		/* the data, mapped and untouched */
	unsigned char read;	/* where they are once they have been read ... */
	unsigned char written;	/* ... and written */
};

FIXTURE_VARIANT(fsdax)
{
	int flags;
	size_t npages;		/* if it is a huge page's worth, it is mapped as one */
};

FIXTURE_VARIANT_ADD(fsdax, shared)
{
	.flags = MAP_SHARED,
	.npages = 8,
};

FIXTURE_VARIANT_ADD(fsdax, private)
{
	.flags = MAP_PRIVATE,
	.npages = 8,
};

FIXTURE_VARIANT_ADD(fsdax, shared_huge)
{
	.flags = MAP_SHARED,
	.npages = HUGE_PAGES,
};

FIXTURE_VARIANT_ADD(fsdax, private_huge)
{
	.flags = MAP_PRIVATE,
	.npages = HUGE_PAGES,
};

#define IS_SHARED	(variant->flags == MAP_SHARED)

static inline bool make_disk(void)
{
	umount2(ROOT, MNT_DETACH);	/* what a case has left that crashed */
	return (!mkdir(ROOT, 0700) || errno == EEXIST) &&
	       !system("mke2fs -F -b 4096 " DISK " >/dev/null 2>&1");
}

/* A file of the disk, and no page cache for it. */
static inline int open_file(const char *name)
{
	int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct statx stat;

	if (statx(file, "", AT_EMPTY_PATH, 0, &stat) || !(stat.stx_attributes & STATX_ATTR_DAX))
		return -1;
	return file;
}

/* Mapped where huge pages fit; what lies below can be mapped as well. */
static inline char *map_file(int file, off_t offset, size_t npages, int prot, int flags)
{
	char *room = mmap(NULL, 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + 2 * HUGE - 1) & ~(HUGE - 1));

	if (room == MAP_FAILED)
		return room;
	return mmap(mem, npages * PAGE, prot, flags | MAP_FIXED, file, offset);
}

FIXTURE_SETUP(fsdax)
{
	unsigned char size = variant->npages == HUGE_PAGES ? HMM_DMIRROR_PROT_PMD : 0;

	if (access(DISK, F_OK))
		SKIP(return, "no persistent memory");
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	ASSERT_TRUE(make_disk());
	ASSERT_EQ(mount(DISK, ROOT, "ext4", 0, "dax=always"), 0);
	self->file = open_file(ROOT "/file");
	ASSERT_GE(self->file, 0);

	self->npages = variant->npages;
	fill(scratch, self->npages, SEED);
	ASSERT_EQ(pwrite(self->file, scratch, self->npages * PAGE, DATA), self->npages * PAGE);
	self->mem = map_file(self->file, DATA, self->npages, PROT_READ | PROT_WRITE,
			     variant->flags);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->read = AT_SYSTEM_RO | size;
	/* A copy is in small pages. */
	self->written = AT_SYSTEM | (IS_SHARED ? size : 0);
}

FIXTURE_TEARDOWN(fsdax)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->file), 0);
	/* What is still mapped goes with the process, and then the file system. */
	ASSERT_EQ(umount2(ROOT, MNT_DETACH), 0);
}

static inline struct outcome ask(int fd, unsigned long request, void *addr, size_t npages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)scratch,
		.npages = npages,
	};
	int error = ioctl(fd, request, &cmd) ? errno : 0;

	return (struct outcome){ error, cmd.cpages, cmd.faults };
}

static inline bool file_holds(int file, size_t npages, uint64_t seed)
{
	return pread(file, scratch, npages * PAGE, DATA) == (ssize_t)(npages * PAGE) &&
	       holds(scratch, npages, seed);
}

/* Each request that moves pages says no, and leaves all entries as they are. */
static inline bool stays(int fd, void *mem, size_t npages)
{
	static const unsigned long requests[] = {
		HMM_DMIRROR_MIGRATE_TO_DEV,
		HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV,
		HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
		HMM_DMIRROR_MIGRATE_TO_SYS,
	};
	uint64_t before[npages], after[npages];

	if (!read_pagemap(mem, npages, before))
		return false;
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		if (!is_outcome(ask(fd, requests[i], mem, npages), EINVAL, 0, 0))
			return false;
	}
	return !dev_release(fd, NULL, 0) && read_pagemap(mem, npages, after) &&
	       !memcmp(before, after, sizeof(before));
}

#endif
