/* SPDX-License-Identifier: GPL-2.0 */
/*
 * userfaultfd: an area whose faults a thread of the process serves, as a virtual
 * machine monitor does, and counts.
 */
#ifndef DMIRROR_SELFTESTS_UFFD_H
#define DMIRROR_SELFTESTS_UFFD_H

#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "onewalk.h"

struct uffd {
	int fd;
	int stop;
	char *mem;
	uint64_t seed;		/* a missing page k of @mem gets the contents @seed + k */
	bool zero;		/* ... unless zeroes */
	/* How many faults of each kind were served. */
	unsigned int missing, protected, accessed;
	bool failed;
	pthread_t thread;
};

static inline bool uffd_open(struct uffd *uffd, uint64_t features, char *mem, uint64_t seed)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	*uffd = (struct uffd){ .mem = mem, .seed = seed };
	uffd->fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	uffd->stop = eventfd(0, EFD_CLOEXEC);
	if (uffd->fd >= 0 && uffd->stop >= 0 && !ioctl(uffd->fd, UFFDIO_API, &api))
		return true;
	printf("# userfaultfd: %s\n", strerror(errno));
	return false;
}

static inline bool uffd_register(struct uffd *uffd, void *mem, size_t npages, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)mem, npages * PAGE },
		.mode = mode,
	};

	return !ioctl(uffd->fd, UFFDIO_REGISTER, &reg);
}

/* Write-protects the pages, or lifts that and wakes who waits. */
static inline bool uffd_protect(struct uffd *uffd, void *mem, size_t npages, bool on)
{
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)mem, npages * PAGE },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &protect);
}

/* The same for any access. */
static inline bool uffd_hide(struct uffd *uffd, void *mem, size_t npages, bool on)
{
	struct uffdio_rwprotect protect = {
		.range = { (uintptr_t)mem, npages * PAGE },
		.mode = on ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return !ioctl(uffd->fd, UFFDIO_RWPROTECT, &protect);
}

/*
 * How many of up to 512 pages have been written since they were protected, as
 * PAGEMAP_SCAN tells; it can protect them again.
 */
static inline long scan_written(const char *mem, size_t npages, uint64_t flags)
{
	struct page_region regions[HUGE_PAGES];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = flags,
		.start = (uintptr_t)mem,
		.end = (uintptr_t)mem + npages * PAGE,
		.vec = (uintptr_t)regions,
		.vec_len = HUGE_PAGES,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long count = ioctl(fd, PAGEMAP_SCAN, &scan), pages = 0;

	close(fd);
	for (long i = 0; i < count; i++)
		pages += (regions[i].end - regions[i].start) / PAGE;
	return count < 0 ? -errno : pages;
}

static inline bool uffd_fill(struct uffd *uffd, char *page)
{
	static uint64_t source[WORDS];
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page,
		.src = (uintptr_t)source,
		.len = PAGE,
	};
	struct uffdio_zeropage zero = { .range = { (uintptr_t)page, PAGE } };

	if (uffd->zero)
		return !ioctl(uffd->fd, UFFDIO_ZEROPAGE, &zero);
	fill(source, 1, uffd->seed + (page - uffd->mem) / PAGE);
	return !ioctl(uffd->fd, UFFDIO_COPY, &copy);
}

static inline bool uffd_serve(struct uffd *uffd, const struct uffd_msg *msg)
{
	char *page = (char *)(msg->arg.pagefault.address & ~(PAGE - 1));
	uint64_t flags = msg->arg.pagefault.flags;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return false;
	if (flags & UFFD_PAGEFAULT_FLAG_WP) {
		uffd->protected++;
		return uffd_protect(uffd, page, 1, false);
	}
	if (flags & UFFD_PAGEFAULT_FLAG_RWP) {
		uffd->accessed++;
		return uffd_hide(uffd, page, 1, false);
	}
	uffd->missing++;
	return uffd_fill(uffd, page);
}

static void *uffd_loop(void *arg)
{
	struct uffd *uffd = arg;
	struct pollfd polled[] = {
		{ .fd = uffd->fd, .events = POLLIN },
		{ .fd = uffd->stop, .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(polled, 2, -1) > 0 && !polled[1].revents) {
		if (read(uffd->fd, &msg, sizeof(msg)) == sizeof(msg) && !uffd_serve(uffd, &msg))
			uffd->failed = true;
	}
	return NULL;
}

static inline bool uffd_start(struct uffd *uffd)
{
	return !pthread_create(&uffd->thread, NULL, uffd_loop, uffd);
}

/*
 * Ends the thread: could all faults be served? The file stays open: to close it
 * lifts what is still protected.
 */
static inline bool uffd_end(struct uffd *uffd)
{
	uint64_t one = 1;

	if (write(uffd->stop, &one, sizeof(one)) != sizeof(one) ||
	    pthread_join(uffd->thread, NULL))
		return false;
	if (uffd->failed)
		printf("# a fault could not be served\n");
	return !uffd->failed;
}

/* As before, and were as many faults of each kind served as must have been? */
static inline bool uffd_served(struct uffd *uffd, unsigned int missing,
			       unsigned int protected, unsigned int accessed)
{
	if (!uffd_end(uffd))
		return false;
	if (uffd->missing == missing && uffd->protected == protected &&
	    uffd->accessed == accessed)
		return true;
	printf("# %u missing, %u write-protected, %u accessed; expected %u, %u, %u\n",
	       uffd->missing, uffd->protected, uffd->accessed, missing, protected, accessed);
	return false;
}

#endif
