/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the selftests share: the device's requests as calls, and memory whose
 * content tells its place, so that a lost, stale or swapped page is noticed.
 */
#ifndef DMIRROR_SELFTESTS_LIB_H
#define DMIRROR_SELFTESTS_LIB_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#define PAGE	4096UL
#define WORDS	(PAGE / sizeof(uint64_t))
#define HUGE		(2UL << 20)
#define HUGE_PAGES	(HUGE / PAGE)

/* Bytes of SNAPSHOT that the tests expect of a page. */
#define AT_SYSTEM	HMM_DMIRROR_PROT_WRITE
#define AT_SYSTEM_RO	HMM_DMIRROR_PROT_READ
#define AT_ZERO		(HMM_DMIRROR_PROT_ZERO | HMM_DMIRROR_PROT_READ)
#define AT_DEVICE	(HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL | HMM_DMIRROR_PROT_WRITE)
#define AT_DEVICE_RO	(HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL | HMM_DMIRROR_PROT_READ)
#define AT_HUGE		(AT_SYSTEM | HMM_DMIRROR_PROT_PMD)
#define AT_HUGE_RO	(AT_SYSTEM_RO | HMM_DMIRROR_PROT_PMD)
#define AT_DEVICE_HUGE	(AT_DEVICE | HMM_DMIRROR_PROT_PMD)
#define AT_DEVICE_HUGE_RO	(AT_DEVICE_RO | HMM_DMIRROR_PROT_PMD)
#define AT_COHERENT	(HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL | HMM_DMIRROR_PROT_WRITE)
#define AT_COHERENT_RO	(HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL | HMM_DMIRROR_PROT_READ)
#define AT_REMOTE	(HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE | HMM_DMIRROR_PROT_WRITE)
#define AT_REMOTE_RO	(HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE | HMM_DMIRROR_PROT_READ)
#define AT_NOWHERE	HMM_DMIRROR_PROT_NONE
#define AT_ERROR	HMM_DMIRROR_PROT_ERROR

static inline int dev_open(unsigned int unit)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/hmm_dmirror%u", unit);
	return open(path, O_RDWR | O_CLOEXEC);
}

/*
 * One request. Returns the pages done or -errno; where @faults is given, it
 * gets the number of fault rounds.
 */
static inline long dev_request(int fd, unsigned long request, const void *addr,
			       uint64_t npages, void *ptr, uint64_t *faults)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)ptr,
		.npages = npages,
		/* Garbage, as a caller may leave it: the driver must not add to it. */
		.cpages = ~0ULL,
		.faults = ~0ULL,
	};

	if (ioctl(fd, request, &cmd))
		return -errno;
	if (faults)
		*faults = cmd.faults;
	return cmd.cpages;
}

static inline long dev_read(int fd, const void *addr, uint64_t npages, void *buf)
{
	return dev_request(fd, HMM_DMIRROR_READ, addr, npages, buf, NULL);
}

static inline long dev_write(int fd, void *addr, uint64_t npages, void *buf)
{
	return dev_request(fd, HMM_DMIRROR_WRITE, addr, npages, buf, NULL);
}

static inline long dev_snapshot(int fd, const void *addr, uint64_t npages, void *buf)
{
	return dev_request(fd, HMM_DMIRROR_SNAPSHOT, addr, npages, buf, NULL);
}

static inline long dev_take(int fd, void *addr, uint64_t npages, void *buf)
{
	return dev_request(fd, HMM_DMIRROR_MIGRATE_TO_DEV, addr, npages, buf, NULL);
}

static inline long dev_give(int fd, void *addr, uint64_t npages)
{
	return dev_request(fd, HMM_DMIRROR_MIGRATE_TO_SYS, addr, npages, NULL, NULL);
}

static inline long dev_hold(int fd, void *addr, uint64_t npages, void *buf)
{
	return dev_request(fd, HMM_DMIRROR_EXCLUSIVE, addr, npages, buf, NULL);
}

/* 0, or -EPERM if the device holds any of the pages exclusively. */
static inline long dev_check(int fd, void *addr, uint64_t npages)
{
	return dev_request(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, addr, npages, NULL, NULL);
}

static inline long dev_release(int fd, void *addr, uint64_t npages)
{
	return dev_request(fd, HMM_DMIRROR_RELEASE, addr, npages, NULL, NULL);
}

/* Do all @npages pages stand where SNAPSHOT says @where? Shows the first that does not. */
static inline bool all_at(int fd, const void *addr, size_t npages, unsigned char where)
{
	unsigned char map[npages];

	if (dev_snapshot(fd, addr, npages, map) != (long)npages)
		return false;
	for (size_t i = 0; i < npages; i++) {
		if (map[i] == where)
			continue;
		printf("# page %zu at %#x, expected %#x\n", i, map[i], where);
		return false;
	}
	return true;
}

/* Private anonymous memory in small pages. */
static inline void *map_pages(size_t npages)
{
	void *mem = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem != MAP_FAILED)
		madvise(mem, npages * PAGE, MADV_NOHUGEPAGE);
	return mem;
}

/* An area of whole, aligned huge pages. */
static inline char *map_huge(size_t count)
{
	char *room = mmap(NULL, (count + 1) * HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));

	if (room == MAP_FAILED || madvise(mem, count * HUGE, MADV_HUGEPAGE))
		return MAP_FAILED;
	return mem;
}

/* From now on a fault of the CPU on a device page brings home no neighbours with it. */
static inline bool alone(void *mem, size_t npages)
{
	return !madvise(mem, npages * PAGE, MADV_RANDOM);
}

/* The word @i of a range filled from @seed: different in each page, and seldom zero. */
static inline uint64_t word_of(uint64_t seed, size_t i)
{
	return ((seed + i / WORDS) * WORDS + i % WORDS) ^ 0xa5a5a5a5a5a5a5a5;
}

/* Page k of a filled range gets the contents number @seed + k. */
static inline void fill(void *mem, size_t npages, uint64_t seed)
{
	uint64_t *word = mem;

	for (size_t i = 0; i < npages * WORDS; i++)
		word[i] = word_of(seed, i);
}

static inline bool holds(const void *mem, size_t npages, uint64_t seed)
{
	const uint64_t *word = mem;

	for (size_t i = 0; i < npages * WORDS; i++) {
		uint64_t want = word_of(seed, i);

		if (word[i] == want)
			continue;
		printf("# page %zu, word %zu: %#llx, expected %#llx\n", i / WORDS, i % WORDS,
		       (unsigned long long)word[i], (unsigned long long)want);
		return false;
	}
	return true;
}

static inline bool is_zero(const void *mem, size_t npages)
{
	const uint64_t *word = mem;

	for (size_t i = 0; i < npages * WORDS; i++) {
		if (!word[i])
			continue;
		printf("# page %zu, word %zu: %#llx, expected zero\n", i / WORDS, i % WORDS,
		       (unsigned long long)word[i]);
		return false;
	}
	return true;
}

/* How long a race goes on: what DMIRROR_SECONDS says, 180 at most, or @usual. */
static inline unsigned int seconds_of_race(unsigned int usual)
{
	const char *seconds = getenv("DMIRROR_SECONDS");

	return seconds ? atoi(seconds) : usual;
}

static inline bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!ok)
		printf("# cannot write %s to %s: %s\n", text, path, strerror(errno));
	close(fd);
	return ok;
}

/* The number in a file of the kernel: -1 if there is no file, -2 if no number in it. */
static inline long read_number_at(const char *path)
{
	FILE *file = fopen(path, "re");
	long number;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &number) != 1)
		number = -2;
	fclose(file);
	return number;
}

#endif
