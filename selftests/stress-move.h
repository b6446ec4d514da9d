/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What everybody does with the pages of all: they move, and are looked at, and hold
 * the same all the time.
 */
#ifndef DMIRROR_SELFTESTS_STRESS_MOVE_H
#define DMIRROR_SELFTESTS_STRESS_MOVE_H

#include <sys/uio.h>

#include "stress-tally.h"

#define CGROUPS		"/tmp/stress-cgroups/"
#define GROUP_DIR	CGROUPS "stress/"

/* A thread that owns nothing. */
struct mover {
	struct world *world;
	struct chance chance;
	struct glance glance;	/* at the pages that it has to do with just now */
	int fd;
	bool orphaned;		/* may be, at any time: the file is the parent's */
	uint64_t *buf;		/* HUGE_PAGES */
	int pipe[2];
};

/* --- The CPU's looks, which may meet a hole ------------------------------------------ */

static __thread sigjmp_buf escape;
static __thread volatile sig_atomic_t may_fault;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (may_fault)
		siglongjmp(escape, 1);
	say("signal %d at %p", signal, info->si_addr);
	_exit(1);
}

static inline void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* false if there was nothing that could be read. */
static inline bool copy_by_cpu(volatile uint64_t *to, const volatile uint64_t *from, size_t words)
{
	if (sigsetjmp(escape, 0)) {
		may_fault = false;
		return false;
	}
	may_fault = true;
	for (size_t i = 0; i < words; i++)
		to[i] = from[i];
	may_fault = false;
	return true;
}

/* Writes to a file of the kernel, which need not be there. */
static inline bool tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* --- Ranges and answers ----------------------------------------------------------------- */

static inline void choose_range(struct mover *mover)
{
	const struct block *block = &blocks[below(&mover->chance, ARRAY_SIZE(blocks))];
	size_t first = below(&mover->chance, block->count);
	size_t count = 1 + below(&mover->chance, MOST_PAGES);

	/* As often in the first pages of it as in others. */
	if (one_in(&mover->chance, 2))
		first %= 32;
	if (one_in(&mover->chance, 40)) {
		first = 0;
		count = block->count;
	}
	if (count > block->count - first)
		count = block->count - first;
	begin_glance(mover->world, &mover->glance, block->first + first, count);
	mover->fd = mover->world->files[below(&mover->chance, FILES)];
}

static inline char *range_at(const struct mover *mover)
{
	return address_of(mover->glance.first);
}

/* Sends a request for the range; the argument as it comes back is in @cmd. */
static inline int request(struct mover *mover, unsigned int number,
			  struct hmm_dmirror_cmd *cmd)
{
	*cmd = (struct hmm_dmirror_cmd){
		.addr = (uintptr_t)range_at(mover),
		.ptr = (uintptr_t)mover->buf,
		.npages = mover->glance.count,
	};
	return ioctl(mover->fd, number, cmd) ? errno : 0;
}

/* Is the error one that a request may end with? With a hole in its way it may anyhow. */
static inline bool excused(struct mover *mover, int error, int other)
{
	if (!error || error == other)
		return true;
	if (error == EBUSY) {
		count(mover->world, BUSY, 1);
		return true;
	}
	if (met_hole(mover->world, &mover->glance) &&
	    (error == EFAULT || error == EINVAL || error == EPERM)) {
		count(mover->world, HOLES_MET, 1);
		return true;
	}
	return false;
}

static inline bool mover_failed(struct mover *mover, const char *what, int error)
{
	say("%s of %zu pages from %s page %zu on: %s", what, mover->glance.count,
	    block_of(mover->glance.first)->name, mover->glance.first, strerror(error));
	fail(mover->world, "as others see it");
	return false;
}

/* Are the first @count pages in the buffer possible ones? */
static inline bool buffer_is_possible(struct mover *mover, const char *what, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_possible(mover->world, &mover->glance, i, mover->buf + i * WORDS))
			return mover_failed(mover, what, 0);
	return true;
}

/* --- What a device does ------------------------------------------------------------------ */

static inline bool look_by_device(struct mover *mover)
{
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, one_in(&mover->chance, 4) ? HMM_DMIRROR_READ_UNLOCKED :
			    HMM_DMIRROR_READ, &cmd);

	/* Memory of a parent that is killed goes before its children hear of it. */
	if (!excused(mover, error, mover->orphaned ? ESRCH : 0))
		return mover_failed(mover, "READ", error);
	count(mover->world, DEVICE_LOOKS, cmd.cpages);
	return buffer_is_possible(mover, "READ", cmd.cpages);
}

static inline bool take(struct mover *mover)
{
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, HMM_DMIRROR_MIGRATE_TO_DEV, &cmd);

	if (!excused(mover, error, ENOENT))
		return mover_failed(mover, "MIGRATE_TO_DEV", error);
	count(mover->world, PAGES_TO_DEVICE, cmd.cpages);
	return buffer_is_possible(mover, "MIGRATE_TO_DEV", cmd.cpages);
}

static inline bool fetch(struct mover *mover)
{
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, HMM_DMIRROR_MIGRATE_TO_SYS, &cmd);

	if (!excused(mover, error, 0))
		return mover_failed(mover, "MIGRATE_TO_SYS", error);
	count(mover->world, PAGES_HOME, cmd.cpages);
	return true;
}

static inline bool fault_to_device(struct mover *mover)
{
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, one_in(&mover->chance, 2) ?
			    HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV :
			    HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV, &cmd);

	if (!excused(mover, error, 0))
		return mover_failed(mover, "a migrating fault", error);
	count(mover->world, PAGES_FAULTED_TO_DEVICE, cmd.cpages);
	return true;
}

static inline bool make_exclusive(struct mover *mover)
{
	bool shared = block_of(mover->glance.first)->shared;
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, HMM_DMIRROR_EXCLUSIVE, &cmd);

	if (!excused(mover, error, shared ? EOPNOTSUPP : 0))
		return mover_failed(mover, "EXCLUSIVE", error);
	count(mover->world, EXCLUSIVE_PAGES, error ? 0 : cmd.cpages);
	if (!buffer_is_possible(mover, "EXCLUSIVE", error ? 0 : cmd.cpages))
		return false;
	error = request(mover, HMM_DMIRROR_CHECK_EXCLUSIVE, &cmd);
	return excused(mover, error, EPERM) || mover_failed(mover, "CHECK_EXCLUSIVE", error);
}

/* HMM says of a huge page that another device has only that it cannot be had. */
static inline bool may_be_on_other_device(const struct mover *mover,
					  const unsigned char *map, size_t count)
{
	if (block_of(mover->glance.first)->advice != MADV_HUGEPAGE)
		return false;
	for (size_t i = 0; i < count; i++)
		if (map[i] != AT_ERROR)
			return false;
	return true;
}

static inline bool snapshot(struct mover *mover)
{
	const unsigned char *map = (const void *)mover->buf;
	struct hmm_dmirror_cmd cmd;
	int error = request(mover, HMM_DMIRROR_SNAPSHOT, &cmd);

	if (!excused(mover, error, 0))
		return mover_failed(mover, "SNAPSHOT", error);
	count(mover->world, SNAPSHOTS, 1);
	if (may_be_on_other_device(mover, map, cmd.cpages))
		return true;
	for (size_t i = 0; i < cmd.cpages; i++)
		if (map[i] == AT_ERROR && !met_hole(mover->world, &mover->glance))
			return mover_failed(mover, "SNAPSHOT, which sees a hole", 0);
	return true;
}

static inline bool release(struct mover *mover)
{
	long ret = dev_release(mover->fd, NULL, 0);

	if (ret < 0)
		return mover_failed(mover, "RELEASE", -ret);
	count(mover->world, PAGES_RELEASED, ret);
	return true;
}

/* The next huge page that a request of the file asks for is not to be had. */
static inline bool fail_huge_page(struct mover *mover)
{
	struct hmm_dmirror_cmd flags = { .npages = HMM_DMIRROR_FLAG_FAIL_ALLOC };

	if (mover->fd == mover->world->files[ON_0_MIGRATING])
		flags.npages |= HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT;
	if (ioctl(mover->fd, HMM_DMIRROR_FLAGS, &flags))
		return mover_failed(mover, "FLAGS", errno);
	count(mover->world, HUGE_PAGES_FAILED, 1);
	return true;
}

static inline bool open_and_close(struct mover *mover)
{
	bool ok;

	mover->fd = dev_open(below(&mover->chance, 2));
	if (mover->fd < 0)
		return mover_failed(mover, "open", errno);
	ok = one_in(&mover->chance, 2) ? take(mover) : look_by_device(mover);
	count(mover->world, OPENED, 1);
	return !close(mover->fd) && ok;
}

/* --- What the CPU and the kernel do ------------------------------------------------------- */

static inline bool look_by_cpu(struct mover *mover)
{
	for (size_t i = 0; i < mover->glance.count && i < GROUP; i++) {
		if (copy_by_cpu(mover->buf, (const void *)(range_at(mover) + i * PAGE), WORDS)) {
			if (!is_possible(mover->world, &mover->glance, i, mover->buf))
				return mover_failed(mover, "CPU read", 0);
		} else if (!excused(mover, EFAULT, 0)) {
			return mover_failed(mover, "CPU read", EFAULT);
		}
		count(mover->world, CPU_LOOKS, 1);
	}
	return true;
}

static inline bool page_out(struct mover *mover)
{
	if (!madvise(range_at(mover), mover->glance.count * PAGE, MADV_PAGEOUT))
		count(mover->world, PAGED_OUT, 1);
	return true;
}

static inline bool collapse(struct mover *mover)
{
	if (!madvise(AREA, HUGE, MADV_COLLAPSE))
		count(mover->world, COLLAPSED, 1);
	return true;
}

static inline bool compact(struct mover *mover)
{
	if (tell("/proc/sys/vm/compact_memory", "1"))
		count(mover->world, COMPACTED, 1);
	return true;
}

/* The memory of all processes here. Less may be found than is wanted. */
static inline bool reclaim_some(struct mover *mover)
{
	if (tell(GROUP_DIR "memory.reclaim", "2M") || errno == EAGAIN)
		count(mover->world, RECLAIMED, 1);
	return true;
}

/* Pages in a pipe are in use and cannot move, whatever a device wants. */
static inline bool pipe_through(struct mover *mover)
{
	size_t pages = mover->glance.count < GROUP ? mover->glance.count : GROUP;
	struct iovec iov = { range_at(mover), pages * PAGE };
	ssize_t size = vmsplice(mover->pipe[1], &iov, 1, 0);
	size_t got = 0;

	if (size < 0)
		return excused(mover, errno, 0) || mover_failed(mover, "vmsplice", errno);
	if (one_in(&mover->chance, 2) && !fault_to_device(mover))
		return false;
	while (got < (size_t)size) {
		ssize_t part = read(mover->pipe[0], (char *)mover->buf + got, size - got);

		if (part <= 0)
			return mover_failed(mover, "read from a pipe", errno);
		got += part;
	}
	count(mover->world, PIPED, size / PAGE);
	return buffer_is_possible(mover, "from a pipe", size / PAGE);
}

#endif
