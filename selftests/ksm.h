/* SPDX-License-Identifier: GPL-2.0 */
/* KSM: to have equal pages merged into one, and to know that they are. */
#ifndef DMIRROR_SELFTESTS_KSM_H
#define DMIRROR_SELFTESTS_KSM_H

#include <time.h>

#include "onewalk.h"

#define KSM		"/sys/kernel/mm/ksm/"
#define KPF_KSM		(1ULL << 21)
#define KSM_SECONDS	60	/* to merge, at most */

/* Has KSM merged the page? */
static inline bool is_ksm(const char *page)
{
	uint64_t flags = 0, entry = entry_of(page);
	int fd;

	if (!(entry & PM_PRESENT))
		return false;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pread(fd, &flags, sizeof(flags), (entry & PM_FRAME) * sizeof(flags)) !=
	    sizeof(flags))
		printf("# no kpageflags: %s\n", strerror(errno));
	close(fd);
	return flags & KPF_KSM;
}

/* Gives all pages the same contents, and waits until KSM has seen it. */
static inline bool merge(char *mem, size_t npages, uint64_t seed)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	time_t end = time(NULL) + KSM_SECONDS;
	size_t merged = 0;

	for (size_t i = 0; i < npages; i++)
		fill(mem + i * PAGE, 1, seed);
	if (madvise(mem, npages * PAGE, MADV_MERGEABLE) ||
	    !write_file(KSM "sleep_millisecs", "1") ||
	    !write_file(KSM "pages_to_scan", "1000") ||
	    !write_file(KSM "run", "1"))
		return false;
	while (merged < npages && time(NULL) < end) {
		nanosleep(&pause, NULL);
		merged = 0;
		for (size_t i = 0; i < npages; i++)
			merged += is_ksm(mem + i * PAGE);
	}
	if (merged < npages)
		printf("# %zu of %zu pages merged\n", merged, npages);
	return merged == npages;
}

/* All pages hold the same. */
static inline bool hold(const void *mem, size_t npages, uint64_t seed)
{
	for (size_t i = 0; i < npages; i++) {
		if (!holds((const char *)mem + i * PAGE, 1, seed))
			return false;
	}
	return true;
}

#endif
