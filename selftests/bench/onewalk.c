// SPDX-License-Identifier: GPL-2.0
/*
 * What does it cost to bring pages that are in some state to the device, in one
 * walk of the page tables, in two, and in three?
 *
 *   one    a device fault that migrates
 *   two    a device fault in place, then MIGRATE_TO_DEV
 *   three  MIGRATE_TO_DEV, a device fault in place, MIGRATE_TO_DEV
 *
 * The device fault in place is a READ or a WRITE, which also copies data, as does
 * MIGRATE_TO_DEV. So each sequence has calls more that do nothing but copy, and
 * scripts/bench-report subtracts them.
 *
 *   bench-onewalk cost PAGES...   the instructions of each call, the least of
 *                                 several times
 *   bench-onewalk count PAGES...  each call once, between marks for count.c
 *   bench-onewalk ipis PAGES...   interrupts from one processor to another, with
 *                                 a thread of the same process on another one
 *
 * Prints lines for scripts/bench-report, the last of which is "done".
 */
#include <pthread.h>
#include <stdatomic.h>

#include "../onewalk.h"
#include "bench.h"

#define MOST_PAGES	8192UL
#define BLOCK_PAGES	HUGE_PAGES
#define SEED		1	/* the contents that the CPU gives the pages, */
#define OTHER		1000003	/* and those that the device writes */

static enum { COST, COUNT, IPIS } mode;
static int fd, other_fd;
static char *mem;		/* where the pages are; unmapped in between */
static size_t npages;
static bool writes;		/* does the device fault to write? */
static char *in, *out;		/* what the device copies to and from */
static char what[64] = "before";	/* for messages and results */

static void must(bool ok, const char *text)
{
	if (!ok)
		errx(1, "%s: %s", what, text);
}

/*
 * All words of page k are @seed + k. zram keeps such pages as one word, so that the
 * swap device costs next to nothing and does not bury the rest.
 */
static void give(char *pages, size_t count, uint64_t seed)
{
	for (size_t page = 0; page < count; page++) {
		uint64_t *word = (uint64_t *)(pages + page * PAGE);

		for (size_t i = 0; i < WORDS; i++)
			word[i] = seed + page;
	}
}

static bool has(const char *pages, size_t count, uint64_t seed)
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

static struct child sharer;
static int file;

static void map_anonymous(int advice)
{
	must(mmap(mem, npages * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == mem, "mmap");
	must(!madvise(mem, npages * PAGE, advice), "madvise");
}

static void make_populated(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
	give(mem, npages, SEED);
}

static size_t page_table_bytes(void)
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

/* Nothing was ever mapped here, and there is no page table. */
static void make_hole(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
}

/* Empty entries: one page of each page table was there. */
static void make_empty(void)
{
	size_t before = page_table_bytes(), tables = 0;

	map_anonymous(MADV_NOHUGEPAGE);
	for (size_t page = 0; page < npages; page += BLOCK_PAGES, tables++) {
		mem[page * PAGE] = 1;
		must(!madvise(mem + page * PAGE, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	}
	must(page_table_bytes() >= before + tables * PAGE, "the page tables are gone");
}

static void make_zero(void)
{
	map_anonymous(MADV_NOHUGEPAGE);
	touch(mem, npages);
}

static void make_huge(void)
{
	map_anonymous(MADV_HUGEPAGE);
	give(mem, npages, SEED);
}

static bool do_nothing(void *arg)
{
	return !arg;
}

static void make_shared(void)
{
	make_populated();
	must(start_child(&sharer, do_nothing, NULL), "fork");
	/* Until it waits: its own faults are not to be counted. */
	usleep(10000);
}

static void end_sharer(void)
{
	must(end_child(&sharer), "the child failed");
}

/* Are all pages, or none, in the page cache or the swap cache? */
static bool all_cached(bool cached)
{
	unsigned char there[npages];

	if (mincore(mem, npages * PAGE, there))
		return false;
	for (size_t i = 0; i < npages; i++)
		if ((there[i] & 1) != cached)
			return false;
	return true;
}

static void make_swapped(void)
{
	make_populated();
	must(swap_out(mem, npages), "the pages do not go to swap");
	must(all_cached(false), "pages are left in the swap cache");
}

static void make_cached(void)
{
	uint64_t entries[npages];

	make_swapped();
	must(!madvise(mem, npages * PAGE, MADV_WILLNEED), "MADV_WILLNEED");
	must(all_cached(true), "pages are not in the swap cache");
	must(read_pagemap(mem, npages, entries), "pagemap");
	for (size_t i = 0; i < npages; i++)
		must((entries[i] & (PM_SWAP | PM_PRESENT)) == PM_SWAP, "a page is mapped");
}

/* Pages of a file in a private mapping, which the CPU has read. */
static void make_file(void)
{
	must(mmap(mem, npages * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) == mem, "mmap");
	touch(mem, npages);
}

static void make_others(void)
{
	make_populated();
	must(dev_take(other_fd, mem, npages, in) == (long)npages, "the other device");
}

static void make_there(void)
{
	make_populated();
	must(dev_take(fd, mem, npages, in) == (long)npages, "MIGRATE_TO_DEV");
}

static const struct state {
	const char *name;
	void (*make)(void);
	unsigned char at;	/* what SNAPSHOT says of each page then */
	bool zeroes;		/* do the pages hold zeroes, or what SEED gives? */
	bool whole;		/* only in blocks of huge pages */
	void (*undo)(void);
} states[] = {
	{ "populated",	make_populated,	AT_SYSTEM },
	{ "hole",	make_hole,	AT_NOWHERE,	true },
	{ "empty",	make_empty,	AT_NOWHERE,	true },
	{ "zero",	make_zero,	AT_ZERO,	true },
	{ "huge",	make_huge,	AT_HUGE,	false, true },
	{ "cow",	make_shared,	AT_SYSTEM_RO,	false, false, end_sharer },
	{ "swapped",	make_swapped,	AT_NOWHERE },
	{ "cached",	make_cached,	AT_NOWHERE },
	{ "file",	make_file,	AT_SYSTEM_RO },
	{ "other",	make_others,	AT_NOWHERE },
	{ "there",	make_there,	AT_DEVICE },
};

/* Pages of files never move; only the copies made for a writer do. */
static bool stays(const struct state *state)
{
	return state->make == make_file && !writes;
}

/* --- Sequences ------------------------------------------------------------------ */

/* In a slow guest one walk may take longer than the C driver tries. */
static long one_walk(void)
{
	struct outcome got;

	do {
		got = dev_fault(fd, writes, mem, npages);
	} while (mode == IPIS && got.error == EBUSY);
	return got.error ? -got.error : (long)got.pages;
}

static long fault_in_place(void)
{
	return writes ? dev_write(fd, mem, npages, out) : dev_read(fd, mem, npages, in);
}

static long take(void)
{
	return dev_take(fd, mem, npages, in);
}

static long read_back(void)
{
	return dev_read(fd, mem, npages, in);
}

/* A call into the driver that is refused at once. */
static long enter(void)
{
	return dev_read(fd, mem + 1, npages, in);
}

static const struct step {
	const char *name;
	long (*call)(void);
	bool copies;	/* there only to be subtracted */
} one[] = {
	{ "one",	one_walk },
	{ "read",	read_back,	true },
	{}
}, two[] = {
	{ "fault",	fault_in_place },
	{ "copy",	fault_in_place,	true },
	{ "take",	take },
	{ "read",	read_back,	true },
	{}
}, three[] = {
	{ "first",	take },
	{ "fault",	fault_in_place },
	{ "copy",	fault_in_place,	true },
	{ "take",	take },
	{ "read",	read_back,	true },
	{}
}, entry[] = {
	{ "enter",	enter },
	{}
}, refused[] = {
	{ "refused",	read_back },
	{}
};

#define MOST_STEPS	5

static const struct sequence {
	const char *name;
	const struct step *steps;
} sequences[] = {
	{ "one",	one },
	{ "two",	two },
	{ "three",	three },
};

/*
 * Pages that are shared since a fork come over read-only, and then the C driver
 * cannot write them: it warns.
 */
static bool impossible(const struct state *state, const struct sequence *sequence)
{
	return !strcmp(getenv("DRIVER") ?: "", "test_hmm") && writes &&
	       sequence->steps == three && state->make == make_shared;
}

struct measured {
	uint64_t least;
	long result;
};

/* The interrupts of one kind so far, on all CPUs. */
static unsigned long interrupts_so_far(const char *name)
{
	FILE *list = fopen("/proc/interrupts", "r");
	unsigned long sum = 0;
	char line[512];

	must(list, "/proc/interrupts");
	while (fgets(line, sizeof(line), list)) {
		char *at = strstr(line, name), *end;

		if (!at)
			continue;
		for (at += strlen(name);; at = end) {
			unsigned long count = strtoul(at, &end, 10);

			if (end == at)
				break;
			sum += count;
		}
	}
	fclose(list);
	return sum;
}

static void measure(const struct step *step, struct measured *measured)
{
	uint64_t before;

	switch (mode) {
	case COST:
		before = instructions();
		measured->result = step->call();
		before = instructions() - before;
		if (before < measured->least)
			measured->least = before;
		break;
	case COUNT:
		window_opens();
		measured->result = step->call();
		window_closes();
		break;
	case IPIS:
		before = interrupts_so_far("TLB:");
		measured->result = step->call();
		measured->least = interrupts_so_far("TLB:") - before;
		break;
	}
}

static void run_once(const struct state *state, const struct sequence *sequence,
		     struct measured *measured, bool verifies)
{
	bool written = writes && sequence->steps != one;
	long there;

	state->make();
	if (verifies && !all_at(fd, mem, npages, state->at))
		errx(1, "%s: is not in that state", what);
	/* What the call needs of our own, a fork may have taken away. */
	must(enter() == -EINVAL, "a bad address is not refused");

	for (const struct step *step = sequence->steps; step->name; step++)
		measure(step, measured++);

	if (verifies) {
		there = count_on_device(fd, mem, npages);
		if (there != (stays(state) ? 0 : (long)npages))
			errx(1, "%s: %ld of %zu pages are on the device", what, there, npages);
		must(dev_read(fd, mem, npages, in) == (long)npages, "READ");
		must(state->zeroes && !written ? is_zero(in, npages) :
		     has(in, npages, written ? OTHER : SEED), "wrong data");
	}
	must(!munmap(mem, npages * PAGE), "munmap");
	if (state->undo)
		state->undo();
}

static void show(const struct step *step, const struct measured *measured)
{
	for (; step->name; step++, measured++)
		printf("step %s %s %llu %ld\n", what, step->name,
		       mode == COUNT ? 0ULL : (unsigned long long)measured->least,
		       measured->result);
}

/* The guest is the same from boot to boot, but the timer ticks where it likes. */
static int repetitions(void)
{
	if (mode != COST)
		return 1;
	return npages < BLOCK_PAGES ? 7 : npages == BLOCK_PAGES ? 4 : 2;
}

static void run(const struct state *state, const struct sequence *sequence)
{
	struct measured measured[MOST_STEPS];
	int rounds = repetitions();

	snprintf(what, sizeof(what), "%s %s %zu %s", state->name, writes ? "write" : "read",
		 npages, sequence->name);
	if (impossible(state, sequence)) {
		printf("skip %s\n", what);
		return;
	}
	for (int i = 0; i < MOST_STEPS; i++)
		measured[i].least = UINT64_MAX;
	for (int round = 0; round < rounds; round++)
		run_once(state, sequence, measured, !round);
	show(sequence->steps, measured);
}

/* What is subtracted beside: the way into the driver, and a READ that copies nothing. */
static void run_references(void)
{
	struct measured measured[MOST_STEPS];

	snprintf(what, sizeof(what), "- read %zu reference", npages);
	must(mmap(mem, npages * PAGE, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == mem, "mmap");
	measured[0].least = UINT64_MAX;
	for (int round = 0; round < repetitions(); round++)
		measure(entry, measured);
	show(entry, measured);
	measured[0].least = UINT64_MAX;
	for (int round = 0; round < repetitions(); round++)
		measure(refused, measured);
	show(refused, measured);
	must(!munmap(mem, npages * PAGE), "munmap");
}

/* --- All of it ------------------------------------------------------------------ */

static char *map_buffer(void)
{
	char *buffer = mmap(NULL, MOST_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	must(buffer != MAP_FAILED && !madvise(buffer, MOST_PAGES * PAGE, MADV_DONTFORK),
	     "no buffer");
	give(buffer, MOST_PAGES, OTHER);
	return buffer;
}

/* Addresses at which nothing is mapped, and no page table is shared with others. */
static char *find_room(void)
{
	size_t size = MOST_PAGES * PAGE + 3 * HUGE;
	char *room = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);

	must(room != MAP_FAILED && !munmap(room, size), "no room");
	return (char *)(((uintptr_t)room + 2 * HUGE - 1) & ~(HUGE - 1));
}

static int make_a_file(void)
{
	int new = open("/tmp/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *pages;

	must(new >= 0 && !ftruncate(new, MOST_PAGES * PAGE), "/tmp/file");
	pages = mmap(NULL, MOST_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, new, 0);
	must(pages != MAP_FAILED, "/tmp/file");
	give(pages, MOST_PAGES, SEED);
	munmap(pages, MOST_PAGES * PAGE);
	return new;
}

/* The devices grow as they are used: not while something is measured. */
static void let_devices_grow(void)
{
	npages = MOST_PAGES;
	make_others();
	must(!munmap(mem, npages * PAGE), "munmap");
	make_there();
	must(!munmap(mem, npages * PAGE), "munmap");
	make_huge();
	must(take() == (long)npages, "MIGRATE_TO_DEV");
	must(!munmap(mem, npages * PAGE), "munmap");
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "it takes two CPUs");
}

static atomic_bool spins;

static void *spin(void *arg)
{
	pin_to(1);
	spins = true;
	while (spins)
		;
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t spinner;

	if (argc < 3)
		errx(2, "usage: bench-onewalk cost|count|ipis PAGES...");
	mode = !strcmp(argv[1], "cost") ? COST : !strcmp(argv[1], "count") ? COUNT : IPIS;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (mode != IPIS) {
		check_cpu();
		check_clock();
	}

	fd = dev_open(0);
	other_fd = dev_open(1);
	must(fd >= 0 && other_fd >= 0, "no devices");
	in = map_buffer();
	out = map_buffer();
	file = make_a_file();
	mem = find_room();
	let_devices_grow();

	if (mode == IPIS) {
		pin_to(0);
		must(!pthread_create(&spinner, NULL, spin, NULL), "no thread");
		while (!spins)
			;
	}
	for (int arg = 2; arg < argc; arg++) {
		npages = atoi(argv[arg]);
		must(npages >= 1 && npages <= MOST_PAGES, "how many pages?");
		run_references();
		for (size_t i = 0; i < 2 * ARRAY_SIZE(states); i++) {
			const struct state *state = &states[i / 2];

			writes = i % 2;
			if (state->whole && npages % BLOCK_PAGES)
				continue;
			for (size_t s = 0; s < ARRAY_SIZE(sequences); s++)
				run(state, &sequences[s]);
		}
	}
	if (mode == IPIS) {
		spins = false;
		pthread_join(spinner, NULL);
	}
	printf("done\n");
	return 0;
}
