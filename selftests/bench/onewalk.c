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
 *   bench-onewalk two-cpus PAGES...  that, and the interrupts between processors,
 *                                 while a thread of the process runs on a second one,
 *                                 on which the pages were touched last
 *
 * Prints lines for scripts/bench-report, the last of which is "done".
 */
#include "calls.h"
#include "processors.h"

static enum { COST, COUNT, TWO_CPUS } mode;
static bool writes;		/* does the device fault to write? */

/* --- States ------------------------------------------------------------------- */

static int file;

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
	{ "other",	make_others,	AT_NOWHERE,	.undo = end_others },
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
	} while (mode == TWO_CPUS && got.error == EBUSY);
	return got.error ? -got.error : (long)got.pages;
}

static long fault_in_place(void)
{
	return writes ? dev_write(fd, mem, npages, out) : dev_read(fd, mem, npages, in);
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
	case TWO_CPUS:
		before = interrupts_so_far("TLB:");
		window_opens();
		measured->result = step->call();
		window_closes();
		measured->least = interrupts_so_far("TLB:") - before;
		break;
	}
}

static void run_once(const struct state *state, const struct sequence *sequence,
		     struct measured *measured, bool verifies)
{
	bool written = writes && sequence->steps != one;
	long there;

	if (mode == TWO_CPUS)
		pin_to(OTHER_CPU);
	state->make();
	if (mode == TWO_CPUS)
		pin_to(THIS_CPU);
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

static int make_a_file(void)
{
	int new = open("/tmp/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *pages;

	must(new >= 0 && !ftruncate(new, most_pages * PAGE), "/tmp/file");
	pages = mmap(NULL, most_pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, new, 0);
	must(pages != MAP_FAILED, "/tmp/file");
	give(pages, most_pages, SEED);
	munmap(pages, most_pages * PAGE);
	return new;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: bench-onewalk cost|count|two-cpus PAGES...");
	mode = !strcmp(argv[1], "cost") ? COST : !strcmp(argv[1], "count") ? COUNT : TWO_CPUS;
	if (mode != TWO_CPUS) {
		check_cpu();
		check_clock();
	}

	prepare(argv + 2);
	file = make_a_file();
	let_devices_grow();

	if (mode == TWO_CPUS)
		begin_spinning();
	for (int arg = 2; arg < argc; arg++) {
		npages = strtoul(argv[arg], NULL, 10);
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
	if (mode == TWO_CPUS)
		end_spinning();
	printf("done\n");
	return 0;
}
