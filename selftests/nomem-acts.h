/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What memory runs out for in nomem.c: the states that the pages are in before, and
 * what is done to them then.
 */
#ifndef DMIRROR_SELFTESTS_NOMEM_ACTS_H
#define DMIRROR_SELFTESTS_NOMEM_ACTS_H

#include <sys/uio.h>

#include "nomem.h"

#define NPAGES		8
#define SEED		1000
#define OTHER		2000

struct stage {
	int fd, second, other;	/* two files of a device, one of the other device */
	int fail_nth;
	char *mem;		/* NPAGES are used of 2 MiB, aligned */
	char *target;		/* as large, empty */
	char *at;		/* where the pages are: one of these two */
	char *buf;
	int file;		/* filled from SEED */
	int pipe[2];
	long got;		/* what an act has opened, until the next */
};

/* --- States ------------------------------------------------------------------------- */

static inline bool map_at(char *at, int flags, int file)
{
	return mmap(at, HUGE, PROT_READ | PROT_WRITE, MAP_FIXED | flags, file, 0) == at;
}

/* The page tables are missing, too. */
static inline bool map_afresh(struct stage *stage)
{
	if (stage->got > 0)
		close(stage->got);
	stage->got = 0;
	stage->at = stage->mem;
	return map_at(stage->mem, MAP_PRIVATE | MAP_ANONYMOUS, -1) &&
	       map_at(stage->target, MAP_PRIVATE | MAP_ANONYMOUS, -1) &&
	       !madvise(stage->mem, HUGE, MADV_NOHUGEPAGE);
}

static inline bool populate(struct stage *stage)
{
	if (!map_afresh(stage))
		return false;
	fill(stage->mem, NPAGES, SEED);
	return true;
}

/* Nothing else is mapped beside the pages. */
static inline bool put_on_device(struct stage *stage)
{
	return populate(stage) && dev_take(stage->fd, stage->mem, NPAGES, stage->buf) == NPAGES &&
	       !munmap(stage->mem + NPAGES * PAGE, HUGE - NPAGES * PAGE);
}

/* Another file of the device has put them there; this one does not know them yet. */
static inline bool put_on_device_by_second(struct stage *stage)
{
	return populate(stage) && dev_take(stage->second, stage->mem, NPAGES, stage->buf) == NPAGES;
}

static inline bool put_on_other(struct stage *stage)
{
	return populate(stage) && dev_take(stage->other, stage->mem, NPAGES, stage->buf) == NPAGES;
}

/* Shared with a child that has gone: read-only, and to be copied. */
static inline bool share(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	return waitpid(child, NULL, 0) == child;
}

static inline bool populate_and_share(struct stage *stage)
{
	return populate(stage) && share();
}

static inline bool put_on_device_and_share(struct stage *stage)
{
	return put_on_device(stage) && share();
}

static inline bool populate_swap(struct stage *stage)
{
	return populate(stage) && swap_out(stage->mem, NPAGES);
}

/* The range is a part of a huge page, which has to be split. */
static inline bool populate_huge(struct stage *stage)
{
	if (!map_afresh(stage) || madvise(stage->mem, HUGE, MADV_HUGEPAGE))
		return false;
	fill(stage->mem, NPAGES, SEED);
	return true;
}

static inline bool map_private_file(struct stage *stage)
{
	return map_afresh(stage) && map_at(stage->mem, MAP_PRIVATE, stage->file);
}

/* --- Acts: 0, or an errno -------------------------------------------------------------- */

static inline int result(long ret, long want)
{
	return ret < 0 ? -ret : ret == want ? 0 : ENOENT;
}

static inline int open_device(struct stage *stage)
{
	stage->got = dev_open(0);
	return stage->got < 0 ? errno : 0;
}

static inline int read_pages(struct stage *stage)
{
	return result(dev_read(stage->fd, stage->mem, NPAGES, stage->buf), NPAGES);
}

static inline int write_pages(struct stage *stage)
{
	fill(stage->buf, NPAGES, OTHER);
	return result(dev_write(stage->fd, stage->mem, NPAGES, stage->buf), NPAGES);
}

static inline int take(struct stage *stage)
{
	return result(dev_take(stage->fd, stage->mem, NPAGES, stage->buf), NPAGES);
}

static inline int give(struct stage *stage)
{
	return result(dev_give(stage->fd, stage->mem, NPAGES), NPAGES);
}

static inline int release(struct stage *stage)
{
	long ret = dev_release(stage->fd, NULL, 0);

	/* They may have come home before it failed elsewhere. */
	return ret < 0 ? -ret : 0;
}

static inline int snapshot(struct stage *stage)
{
	return result(dev_snapshot(stage->fd, stage->mem, NPAGES, stage->buf), NPAGES);
}

static inline int migrate_on_fault(struct stage *stage, uint64_t flags)
{
	return result(dev_request(stage->fd, HMM_DMIRROR_FLAGS, NULL, flags, NULL, NULL), 0);
}

/* Beside the request, FLAGS needs no memory either. */
static inline int read_migrating(struct stage *stage)
{
	int error = migrate_on_fault(stage, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT);

	return error ? error : read_pages(stage) | migrate_on_fault(stage, 0);
}

static inline int write_migrating(struct stage *stage)
{
	int error = migrate_on_fault(stage, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT);

	return error ? error : write_pages(stage) | migrate_on_fault(stage, 0);
}

static inline int make_exclusive(struct stage *stage)
{
	return result(dev_request(stage->fd, HMM_DMIRROR_EXCLUSIVE, stage->mem, NPAGES,
				  stage->buf, NULL), NPAGES);
}

static inline int check_exclusive(struct stage *stage)
{
	long ret = dev_request(stage->fd, HMM_DMIRROR_CHECK_EXCLUSIVE, stage->mem, NPAGES, NULL,
			       NULL);

	return ret < 0 ? -ret : 0;
}

/* Of the device file, of which the first page is there at once. */
static inline int map_device(struct stage *stage)
{
	if (mmap(stage->target, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		 stage->fd, 0) == MAP_FAILED)
		return errno;
	return is_zero(stage->target, 2) ? 0 : EBADMSG;
}

/* The CPU faults again when there was no memory; nobody is told. */
static inline int touch_pages(struct stage *stage)
{
	touch(stage->mem, NPAGES);
	return 0;
}

static inline int overwrite_pages(struct stage *stage)
{
	fill(stage->mem, NPAGES, OTHER);
	return 0;
}

/* As system calls do it, which are told. */
static inline int pin_pages(struct stage *stage)
{
	struct iovec iov = { stage->mem, NPAGES * PAGE };
	ssize_t size = vmsplice(stage->pipe[1], &iov, 1, 0);
	int error = size < 0 ? errno : 0;

	while (size > 0) {
		ssize_t part = read(stage->pipe[0], stage->buf, PAGE);

		if (part != (ssize_t)PAGE)
			error = EBADMSG;
		size -= part > 0 ? part : size;
	}
	return error;
}

static inline int have_child(struct stage *stage)
{
	int status = -1;
	pid_t child = fork();

	if (child < 0)
		return errno;
	if (!child)
		_exit(!holds(stage->mem, NPAGES, SEED));
	waitpid(child, &status, 0);
	return status ? EBADMSG : 0;
}

static inline int move_elsewhere(struct stage *stage)
{
	size_t size = NPAGES * PAGE;

	if (mremap(stage->mem, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, stage->target) ==
	    MAP_FAILED)
		return errno;
	stage->at = stage->target;
	return 0;
}

static inline int protect_part(struct stage *stage)
{
	return mprotect(stage->mem + 2 * PAGE, PAGE, PROT_READ) ? errno : 0;
}

#endif
