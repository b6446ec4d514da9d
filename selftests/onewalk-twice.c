// SPDX-License-Identifier: GPL-2.0
/*
 * A migrating fault that meets one folio twice: at two entries of its range, or
 * in two processes that take the same folios in opposite order. The walk locks the
 * folios that it collects; it must not wait for one that it, or its counterpart,
 * has locked already, nor take one twice.
 */
#include <kselftest_harness.h>

#include "onewalk-hazards.h"

#define NPAGES	16	/* of 64 KiB, the large folios of these tests but the huge ones */
#define HALF	(NPAGES / 2)
#define SEED	1000
#define ROUNDS_PER_FORK	8

#define ANON_LARGE	THP "hugepages-64kB/enabled"
#define SHMEM_LARGE	THP "hugepages-64kB/shmem_enabled"
#define KSM		"/sys/kernel/mm/ksm/"

struct scene {
	int fd;
	char *area;	/* three huge pages' worth, where the ranges are built */
	char *buf;	/* 4 MiB */
};

FIXTURE(twice)
{
	struct scene scene;
};

FIXTURE_SETUP(twice)
{
	struct scene *scene = &self->scene;

	scene->fd = dev_open(0);
	ASSERT_GE(scene->fd, 0);
	scene->area = map_huge(3);
	ASSERT_NE(scene->area, MAP_FAILED);
	ASSERT_EQ(madvise(scene->area, 3 * HUGE, MADV_NOHUGEPAGE), 0);
	scene->buf = map_pages(2 * HUGE_PAGES);
	ASSERT_NE(scene->buf, MAP_FAILED);
}

FIXTURE_TEARDOWN(twice)
{
	write_file(ANON_LARGE, "never");
	write_file(SHMEM_LARGE, "never");
	write_file(KSM "run", "2");
	ASSERT_EQ(close(self->scene.fd), 0);
}

/* Is the page of this process a part of a larger folio? */
static bool is_large(const void *page)
{
	const uint64_t compound = 1 << 15 | 1 << 16;	/* KPF_COMPOUND_{HEAD,TAIL} */
	uint64_t flags = 0, entry = entry_of(page);
	int fd;

	if (!(entry & PM_PRESENT))
		return false;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pread(fd, &flags, sizeof(flags), (entry & PM_FRAME) * sizeof(flags)) < 0)
		flags = 0;
	close(fd);
	return flags & compound;
}

static bool move_pages_to(char *from, char *to, size_t npages)
{
	return mremap(from, npages * PAGE, npages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

/* The fault's answer must be what a look at each page tells. */
static bool fault_tells_right(int fd, char *mem, size_t npages, bool write)
{
	long ret = dev_faults(fd, write, mem, npages);
	long there = count_on_device(fd, mem, npages);

	if (ret >= 0 && ret == there)
		return true;
	printf("# the fault says %ld pages, a look %ld\n", ret, there);
	return false;
}

/*
 * The range in both orders of faults: as the device and then the CPU find it, which
 * fetches the pages home, so that the next fault begins with pages of the system.
 */
static bool fault_and_find(struct scene *scene, char *mem, size_t npages, bool write,
			   bool (*right)(const char *mem))
{
	return fault_tells_right(scene->fd, mem, npages, write) &&
	       dev_read(scene->fd, mem, npages, scene->buf) == (long)npages &&
	       right(scene->buf) && right(mem);
}

static bool all_alike(const char *mem)
{
	for (size_t page = 0; page < NPAGES; page++)
		if (!holds(mem + page * PAGE, 1, SEED))
			return false;
	return true;
}

/*
 * Until the one page is at all entries. What KSM counts as shared lags behind: it
 * may still be what it has found in the round before.
 */
static bool wait_until_merged(const char *mem)
{
	uint64_t entries[NPAGES], give_up = now_ns() + 20000000000;
	size_t merged;

	do {
		sleep_ms(1);
		if (!read_pagemap(mem, NPAGES, entries))
			return false;
		merged = 0;
		for (size_t page = 0; page < NPAGES; page++)
			merged += (entries[page] & PM_PRESENT) &&
				  !((entries[page] ^ entries[0]) & PM_FRAME);
	} while (merged < NPAGES && now_ns() < give_up);
	if (merged < NPAGES)
		printf("# %zu pages are one\n", merged);
	return merged == NPAGES;
}

/* One page of KSM at all entries, until the device or the CPU writes. */
TEST_F_TIMEOUT(twice, ksm, TIMEOUT)
{
	struct scene *scene = &self->scene;
	uint64_t end = race_end();
	char *mem = scene->area;
	unsigned int round = 0;

	ASSERT_TRUE(write_file(KSM "pages_to_scan", "4096"));
	ASSERT_TRUE(write_file(KSM "sleep_millisecs", "1"));
	ASSERT_TRUE(write_file(KSM "run", "1"));
	do {
		bool write = round++ % 2;

		ASSERT_EQ(madvise(mem, NPAGES * PAGE, MADV_DONTNEED), 0);
		for (size_t page = 0; page < NPAGES; page++)
			fill(mem + page * PAGE, 1, SEED);
		ASSERT_EQ(madvise(mem, NPAGES * PAGE, MADV_MERGEABLE), 0);
		EXPECT_TRUE(wait_until_merged(mem));

		EXPECT_TRUE(fault_and_find(scene, mem, NPAGES, write, all_alike));
		EXPECT_TRUE(fault_and_find(scene, mem, NPAGES, !write, all_alike));

		/* They are the same page no longer once one of them is written. */
		fill(scene->buf, 1, SEED + 1);
		EXPECT_GE(dev_faults(scene->fd, write, mem, NPAGES), 0);
		EXPECT_EQ(dev_write(scene->fd, mem + PAGE, 1, scene->buf), 1);
		EXPECT_TRUE(holds(mem + PAGE, 1, SEED + 1));
		EXPECT_TRUE(holds(mem, 1, SEED));
		EXPECT_TRUE(holds(mem + 2 * PAGE, 1, SEED));
		ASSERT_EQ(madvise(mem, NPAGES * PAGE, MADV_UNMERGEABLE), 0);
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u rounds", round);
}

static bool halves_are_swapped(const char *mem)
{
	return holds(mem, HALF, SEED + HALF) && holds(mem + HALF * PAGE, HALF, SEED);
}

/* A folio of 64 KiB, its second half in front of the first. */
TEST_F_TIMEOUT(twice, large_anon_folio, TIMEOUT)
{
	struct scene *scene = &self->scene;
	uint64_t end = race_end();
	unsigned int round = 0, large = 0;
	char *mem = scene->area;

	ASSERT_TRUE(write_file(ANON_LARGE, "always"));
	do {
		bool write = round++ % 2;
		char *fresh = scene->area + HUGE;

		ASSERT_EQ(mmap(fresh, HUGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), fresh);
		fill(fresh, NPAGES, SEED);
		large += is_large(fresh);
		ASSERT_TRUE(move_pages_to(fresh + HALF * PAGE, mem, HALF));
		ASSERT_TRUE(move_pages_to(fresh, mem + HALF * PAGE, HALF));
		EXPECT_TRUE(fault_and_find(scene, mem, NPAGES, write, halves_are_swapped));
		EXPECT_TRUE(fault_and_find(scene, mem, NPAGES, !write, halves_are_swapped));
		EXPECT_EQ(dev_faults(scene->fd, write, mem, NPAGES), NPAGES);
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u rounds, %u with a large folio", round, large);
	EXPECT_GT(large, 0);
}

static bool huge_pieces_are_swapped(const char *mem)
{
	return holds(mem, HUGE_PAGES / 2, SEED + HUGE_PAGES / 2) &&
	       holds(mem + HUGE / 2, HUGE_PAGES / 2, SEED);
}

/* The same with a huge page, which the walk must split, at the one entry or the other. */
TEST_F_TIMEOUT(twice, huge_anon_folio, TIMEOUT)
{
	struct scene *scene = &self->scene;
	uint64_t end = race_end();
	unsigned int round = 0, large = 0;
	char *mem = scene->area;

	do {
		bool write = round++ % 2;
		char *fresh = scene->area + HUGE;

		ASSERT_EQ(mmap(fresh, HUGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), fresh);
		madvise(fresh, HUGE, MADV_HUGEPAGE);
		fill(fresh, HUGE_PAGES, SEED);
		ASSERT_TRUE(move_pages_to(fresh + HUGE / 2, mem, HUGE_PAGES / 2));
		large += is_large(mem);
		ASSERT_TRUE(move_pages_to(fresh, mem + HUGE / 2, HUGE_PAGES / 2));
		EXPECT_TRUE(fault_and_find(scene, mem, HUGE_PAGES, write,
					   huge_pieces_are_swapped));
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u rounds, %u with a huge page", round, large);
	EXPECT_GT(large, 0);
}

/*
 * A folio of a file at two places, shared, and between them private, where some of
 * its pages have been copied. Only copies move; and all places stay one file.
 */
TEST_F_TIMEOUT(twice, large_file_folio, TIMEOUT)
{
	struct scene *scene = &self->scene;
	char *first = scene->area, *private = first + NPAGES * PAGE;
	char *second = private + NPAGES * PAGE;
	uint64_t end = race_end();
	unsigned int round = 0, large = 0;

	ASSERT_TRUE(write_file(SHMEM_LARGE, "always"));
	do {
		bool write = round++ % 2;
		int file = memfd_create("onewalk", MFD_CLOEXEC);
		size_t size = NPAGES * PAGE;
		long ret;

		ASSERT_EQ(ftruncate(file, size), 0);
		ASSERT_EQ(mmap(first, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       file, 0), first);
		ASSERT_EQ(mmap(private, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
			       file, 0), private);
		ASSERT_EQ(mmap(second, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			       file, 0), second);
		fill(first, NPAGES, SEED);
		large += is_large(first);
		for (size_t page = 0; page < NPAGES; page += 2)
			fill(private + page * PAGE, 1, 2 * SEED + page);
		ASSERT_TRUE(holds(second, NPAGES, SEED));

		ret = dev_faults(scene->fd, write, first, 3 * NPAGES);
		EXPECT_EQ(ret, write ? NPAGES : HALF);
		EXPECT_EQ(count_on_device(scene->fd, first, 3 * NPAGES), ret);
		EXPECT_EQ(count_on_device(scene->fd, private, NPAGES), ret);

		/* What the device writes at one place is there at the other, and at no third. */
		fill(scene->buf, NPAGES, 3 * SEED);
		EXPECT_EQ(dev_write(scene->fd, second, NPAGES, scene->buf), NPAGES);
		EXPECT_TRUE(holds(first, NPAGES, 3 * SEED));
		for (size_t page = 0; page < NPAGES; page += 2)
			EXPECT_TRUE(holds(private + page * PAGE, 1, 2 * SEED + page));
		for (size_t page = 1; page < NPAGES; page += 2)
			EXPECT_TRUE(holds(private + page * PAGE, 1,
					  (write ? 1 : 3) * SEED + page));
		ASSERT_EQ(close(file), 0);
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u rounds, %u with a large folio", round, large);
	EXPECT_GT(large, 0);
}

/*
 * Faults on the whole of @mem, time and again, of which page k has the contents
 * @seeds[k / piece]. Returns how often something was wrong. Writing faults end the
 * sharing, so they come last.
 */
static unsigned int take_to_and_fro(int fd, char *mem, char *buf, size_t piece,
				    const unsigned int *seeds, size_t pieces)
{
	const size_t npages = pieces * piece;
	unsigned int wrong = 0;

	for (unsigned int round = 0; round < ROUNDS_PER_FORK; round++) {
		long ret = dev_faults(fd, round == ROUNDS_PER_FORK - 1, mem, npages);

		wrong += ret < 0 || ret > (long)npages;
		wrong += dev_read(fd, mem, npages, buf) != (long)npages;
		for (size_t i = 0; i < pieces; i++) {
			wrong += !holds(buf + i * piece * PAGE, piece, seeds[i]);
			wrong += round % 2 && !holds(mem + i * piece * PAGE, piece, seeds[i]);
		}
		wrong += dev_give(fd, mem, npages) < 0;
	}
	return wrong;
}

/*
 * Parent and child share the pages, which are in opposite order in the child, and
 * both take them at the same time.
 */
static void take_shared(struct __test_metadata *_metadata, struct scene *scene,
			char *mem, size_t piece, size_t pieces, int advice)
{
	uint64_t end = race_end();
	unsigned int seeds[pieces], reverse[pieces], wrong = 0, round = 0;
	char *spare = mem + pieces * piece * PAGE;
	int status;

	for (size_t i = 0; i < pieces; i++) {
		seeds[i] = SEED + i * piece;
		reverse[pieces - 1 - i] = seeds[i];
	}
	do {
		pid_t child;

		ASSERT_EQ(mmap(mem, pieces * piece * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), mem);
		madvise(mem, pieces * piece * PAGE, advice);
		fill(mem, pieces * piece, SEED);
		child = fork();
		ASSERT_GE(child, 0);
		if (!child) {
			int fd = dev_open(0);

			for (size_t i = 0; i < pieces / 2; i++) {
				char *low = mem + i * piece * PAGE;
				char *high = mem + (pieces - 1 - i) * piece * PAGE;

				if (!move_pages_to(low, spare, piece) ||
				    !move_pages_to(high, low, piece) ||
				    !move_pages_to(spare, high, piece))
					_exit(2);
			}
			_exit(fd < 0 || take_to_and_fro(fd, mem, scene->buf, piece, reverse,
							pieces));
		}
		wrong += take_to_and_fro(scene->fd, mem, scene->buf, piece, seeds, pieces);
		ASSERT_EQ(waitpid(child, &status, 0), child);
		EXPECT_EQ(status, 0);
		EXPECT_EQ(wrong, 0);
		round++;
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u children", round);
}

TEST_F_TIMEOUT(twice, shared_in_opposite_order, TIMEOUT)
{
	struct scene *scene = &self->scene;

	take_shared(_metadata, scene, scene->area, 8, 8, MADV_NOHUGEPAGE);
}

/* Both split the huge pages, for which each wants a page's lock with another one held. */
TEST_F_TIMEOUT(twice, huge_shared_in_opposite_order, TIMEOUT)
{
	struct scene *scene = &self->scene;

	take_shared(_metadata, scene, scene->area, HUGE_PAGES, 2, MADV_HUGEPAGE);
}

TEST_HARNESS_MAIN
