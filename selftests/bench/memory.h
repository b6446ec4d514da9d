/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory that the benchmarks measure with: pages in some state, of which there
 * are @npages at @mem, and nothing in between.
 */
#ifndef DMIRROR_BENCH_MEMORY_H
#define DMIRROR_BENCH_MEMORY_H

#include "../onewalk.h"
#include "bench.h"

#define BLOCK_PAGES	HUGE_PAGES
#define CHUNK_PAGES	65536UL	/* 256 MiB, as devices of both drivers grow */
#define SEED		1	/* the contents that the CPU gives the pages, */
#define OTHER		1000003	/* and those that the device writes */

static int fd, other_fd;
static char *mem;		/* where the pages are; unmapped in between */
static size_t npages, most_pages;
static char *in, *out;		/* what the device copies to and from; most_pages */
static char what[64] = "before";	/* for messages and results */

static inline void must(bool ok, const char *text)
{
	if (!ok)
		errx(1, "%s: %s", what, text);
}

/*
 * All words of page k are @seed + k. zram keeps such pages as one word, so that the
 * swap device costs next to nothing and does not bury the rest.
 */
static inline void give(char *pages, size_t count, uint64_t seed)
{
	for (size_t page = 0; page < count; page++) {
		uint64_t *word = (uint64_t *)(pages + page * PAGE);

		for (size_t i = 0; i < WORDS; i++)
			word[i] = seed + page;
	}
}

static inline bool has(const char *pages, size_t count, uint64_t seed)
{
	for (size_t page = 0; page < count; page++) {
		const uint64_t *word = (const uint64_t *)(pages + page * PAGE);

		for (size_t i = 0; i < WORDS; i++)
			if (word[i] != seed + page)
				return false;
	}
	return true;
}

/* --- States ------------------------------------------------------------------- */

static inline void map_anonymous(int advice)
{
	must(mmap(mem, npages * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == mem, "mmap");
	must(!madvise(mem, npages * PAGE, advice), "madvise");
}

static inline void make_populated(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
	give(mem, npages, SEED);
}

/* Nothing was ever mapped here, and there is no page table. */
static inline void make_hole(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
}

static inline size_t page_table_bytes(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	must(status, "/proc/self/status");
	while (fgets(line, sizeof(line), status) && sscanf(line, "VmPTE: %zu", &kib) != 1)
		;
	fclose(status);
	return kib * 1024;
}

/* Empty entries: one page of each page table was there. */
static inline void make_empty(void)
{
	size_t before = page_table_bytes(), tables = 0;

	map_anonymous(MADV_NOHUGEPAGE);
	for (size_t page = 0; page < npages; page += BLOCK_PAGES, tables++) {
		mem[page * PAGE] = 1;
		must(!madvise(mem + page * PAGE, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	}
	must(page_table_bytes() >= before + tables * PAGE, "the page tables are gone");
}

static inline void make_zero(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
	touch(mem, npages);
}

static inline void make_huge(void)
{
	map_anonymous(MADV_HUGEPAGE);
	give(mem, npages, SEED);
}

static inline bool do_nothing(void *arg)
{
	return !arg;
}

static struct child sharer;

static inline void make_shared(void)
{
	make_populated();
	must(start_child(&sharer, do_nothing, NULL), "fork");
	/* Until it waits: its own faults are not to be counted. */
	usleep(10000);
}

static inline void end_sharer(void)
{
	must(end_child(&sharer), "the child failed");
}

/* It mirrors us no longer than that: each change of memory is told to all that do. */
static inline void make_others(void)
{
	other_fd = dev_open(1);
	must(other_fd >= 0, "no other device");
	make_populated();
	must(dev_take(other_fd, mem, npages, in) == (long)npages, "the other device");
}

static inline void end_others(void)
{
	close(other_fd);
}

static inline void make_there(void)
{
	make_populated();
	must(dev_take(fd, mem, npages, in) == (long)npages, "MIGRATE_TO_DEV");
}

/* --- Room --------------------------------------------------------------------- */

static inline char *map_buffer(void)
{
	char *buffer = mmap(NULL, most_pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	must(buffer != MAP_FAILED && !madvise(buffer, most_pages * PAGE, MADV_DONTFORK),
	     "no buffer");
	give(buffer, most_pages, OTHER);
	return buffer;
}

/* @size addresses at which nothing is mapped, and no page table is shared with others. */
static inline char *find_room(size_t size)
{
	size_t around = size + 4 * HUGE;
	char *room = mmap(NULL, around, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);

	must(room != MAP_FAILED && !munmap(room, around), "no room");
	return (char *)(((uintptr_t)room + 2 * HUGE - 1) & ~(HUGE - 1));
}

/* The devices grow as they are used: not while something is measured. */
static inline void let_devices_grow(void)
{
	npages = most_pages;
	make_others();
	must(!munmap(mem, npages * PAGE), "munmap");
	end_others();
	make_there();
	must(!munmap(mem, npages * PAGE), "munmap");
	make_huge();
	must(dev_take(fd, mem, npages, in) == (long)npages, "MIGRATE_TO_DEV");
	must(!munmap(mem, npages * PAGE), "munmap");
}

/* Before anything else; for at most as many pages as the largest of @sizes. */
static inline void prepare(char * const *sizes)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (most_pages = BLOCK_PAGES; *sizes; sizes++) {
		size_t size = strtoul(*sizes, NULL, 10);

		must(size > 0, "how many pages?");
		if (size > most_pages)
			most_pages = size;
	}
	fd = dev_open(0);
	must(fd >= 0, "no device");
	in = map_buffer();
	out = map_buffer();
	mem = find_room(8UL << 30);
}

#endif
