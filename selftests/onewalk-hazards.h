/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of a migrating fault's hazards share: the fault as a call, how
 * long a race goes on, settings of the kernel, and userfaultfd.
 */
#ifndef DMIRROR_SELFTESTS_ONEWALK_HAZARDS_H
#define DMIRROR_SELFTESTS_ONEWALK_HAZARDS_H

#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <time.h>

#include "onewalk.h"

#define THP	"/sys/kernel/mm/transparent_hugepage/"

/* A device fault on each page: how many are on the device then, or -errno. */
static inline long dev_faults(int fd, bool write, const void *addr, uint64_t npages)
{
	struct outcome outcome = dev_fault(fd, write, addr, npages);

	return outcome.error ? -outcome.error : (long)outcome.pages;
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec delay = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&delay, NULL);
}

/* The end of a race that begins now. */
static inline uint64_t race_end(void)
{
	return now_ns() + seconds_of_race(1) * 1000000000ULL;
}

static inline bool flag_is_set(bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void set_flag(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

/*
 * Reclaim unmaps many pages before it flushes the TLBs, and 7.3 lets others swap a page
 * in again meanwhile, to another place. So a CPU that has not faulted reads the old page
 * for a moment, whoever writes the new one: a device, or process_vm_writev(). Unmapping
 * flushes what reclaim has not, wherever that was.
 */
static inline bool forget_translations(void)
{
	char *page = map_pages(1);

	*page = 1;
	return !munmap(page, PAGE);
}

/* The number in a file of /proc or /sys, or -1. */
static inline long get_value(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

/* The counter @name of /proc/vmstat, or -1. */
static inline long vm_counter(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "re");
	char found[64];
	long value;

	while (file && fscanf(file, "%63s %ld", found, &value) == 2) {
		if (strcmp(found, name))
			continue;
		fclose(file);
		return value;
	}
	if (file)
		fclose(file);
	return -1;
}

static inline int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* From now on whoever misses one of the pages waits for uffd_copy(). */
static inline int uffd_watch(int uffd, void *mem, size_t npages)
{
	struct uffdio_register arg = {
		.range = { .start = (uintptr_t)mem, .len = npages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &arg);
}

static inline int uffd_copy(int uffd, void *to, const void *from, size_t npages)
{
	struct uffdio_copy arg = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = npages * PAGE,
	};

	return ioctl(uffd, UFFDIO_COPY, &arg);
}

#endif
