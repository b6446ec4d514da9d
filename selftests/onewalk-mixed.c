// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on ranges in which each page is in a state of its own, chosen
 * at random, over many mappings and several page tables. What must come of each
 * page is in a table; so the outcome of the whole is known exactly, and with it
 * that no page had an influence on another.
 *
 * A round can be repeated alone: ONEWALK_SEED=seed DMIRROR_SECONDS=0.
 */
#include <time.h>

#include "kinds.h"
#include "onewalk-states.h"

#define SECONDS	20

static struct fate fate_of(struct mix *mix, size_t i)
{
	const struct kind *kind = &kinds[mix->kinds[i]];

	if (i >= HUGE_AT && i < HUGE_AT + HUGE_PAGES)
		return (struct fate){ 0, huge_kinds[mix->huge].at };
	return mix->write ? kind->write : kind->read;
}

/* Rounds differ in their seeds only. */
static size_t below(struct mix *mix, size_t limit)
{
	mix->seed = mix->seed * 6364136223846793005 + 1442695040888963407;
	return (mix->seed >> 33) % limit;
}

static bool is_small(size_t i)
{
	return i < HUGE_AT || i >= HUGE_AT + HUGE_PAGES;
}

/* Across the huge page, or, as that takes its time, as often not as far or behind. */
static void choose(struct mix *mix)
{
	size_t where = below(mix, 4);

	mix->write = below(mix, 2);
	mix->huge = where > 1 ? below(mix, ARRAY_SIZE(huge_kinds)) : 0;
	for (size_t i = 0; i < NPAGES; i++)
		mix->kinds[i] = below(mix, ARRAY_SIZE(kinds) - (mix->write ? 1 : 0));
	mix->first = below(mix, SMALL);
	mix->end = NPAGES - below(mix, SMALL);
	if (where == 0)
		mix->end = mix->first + 1 + below(mix, SMALL - mix->first);
	else if (where == 1)
		mix->first = mix->end - 1 - below(mix, mix->end - HUGE_AT - HUGE_PAGES);
}

/* In the child: what was made after the fork is not its own. */
static bool child_is_unharmed(void *arg)
{
	struct mix *mix = arg;

	for (size_t i = 0; i < NPAGES; i++) {
		bool shared = is_small(i) && kinds[mix->kinds[i]].shared;

		if (!is_small(i) && i % 64)
			continue;
		if (shared ? !holds(page_of(mix, i), 1, 1 + i) : !is_zero(page_of(mix, i), 1)) {
			printf("# ... in the child, page %zu\n", i);
			return false;
		}
	}
	return true;
}

static bool make_pages(struct mix *mix, bool shared)
{
	for (size_t i = 0; i < NPAGES; i++) {
		const struct kind *kind = &kinds[mix->kinds[i]];

		if (is_small(i) && kind->shared == shared && !kind->make(mix, i)) {
			printf("# cannot make page %zu: %s\n", i, kind->name);
			return false;
		}
	}
	return true;
}

static bool open_files(struct mix *mix)
{
	const uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_RWP;

	mix->fd = dev_open(0);
	mix->other = dev_open(1);
	mix->coherent = dev_open(2);
	mix->file = memfd_create("onewalk", MFD_CLOEXEC);
	for (size_t i = 0; i < NPAGES; i++) {
		fill(scratch, 1, FOREIGN + i);
		if (is_small(i) && pwrite(mix->file, scratch, PAGE, i * PAGE) != PAGE)
			return false;
	}
	return !pipe(mix->pipe) && fcntl(mix->pipe[1], F_SETPIPE_SZ, 256 * PAGE) > 0 &&
	       uffd_open(&mix->uffd, features, mix->mem, 1) && uffd_start(&mix->uffd);
}

static bool set_up(struct mix *mix)
{
	mix->area = map_huge(3);
	if (mix->area == MAP_FAILED || madvise(mix->area, HUGE, MADV_NOHUGEPAGE) ||
	    madvise(mix->area + 2 * HUGE, HUGE, MADV_NOHUGEPAGE) ||
	    !alone(mix->area, 3 * HUGE_PAGES))
		return false;
	mix->mem = mix->area + HUGE - SMALL * PAGE;
	return open_files(mix) && make_pages(mix, true) &&
	       start_child(&mix->child, child_is_unharmed, mix) &&
	       make_pages(mix, false) && huge_kinds[mix->huge].make(mix);
}

static void tear_down(struct mix *mix)
{
	munmap(mix->area, 3 * HUGE);
	close(mix->fd);
	close(mix->other);
	close(mix->coherent);
	close(mix->file);
	close(mix->uffd.fd);
	close(mix->uffd.stop);
	close(mix->pipe[0]);
	close(mix->pipe[1]);
}

/* Pages outside of the range are as they were; those in it where they must be. */
static bool is_as_it_must_be(struct mix *mix, const uint64_t *before)
{
	unsigned char map[NPAGES];
	uint64_t after[NPAGES];

	if (!read_pagemap(mix->mem, NPAGES, after) ||
	    dev_snapshot(mix->fd, mix->mem, NPAGES, map) != NPAGES)
		return false;
	for (size_t i = 0; i < NPAGES; i++) {
		bool inside = i >= mix->first && i < mix->end;
		unsigned char at = fate_of(mix, i).at;

		if (!is_small(i) && at == AT_SYSTEM)
			map[i] &= ~HMM_DMIRROR_PROT_PMD;
		if (inside ? map[i] == at : before[i] == after[i])
			continue;
		printf("# page %zu, %s: at %#x, expected %#x; %#llx in pagemap, before %#llx\n",
		       i, is_small(i) ? kinds[mix->kinds[i]].name : huge_kinds[mix->huge].name,
		       map[i], inside ? at : map[i], (unsigned long long)after[i],
		       (unsigned long long)before[i]);
		return false;
	}
	return true;
}

static bool page_holds(struct mix *mix, size_t i, const char *page)
{
	bool ok = mix->seeds[i] == IS_ZERO ? is_zero(page, 1) : holds(page, 1, mix->seeds[i]);

	if (!ok)
		printf("# ... that is page %zu, %s\n", i,
		       is_small(i) ? kinds[mix->kinds[i]].name : huge_kinds[mix->huge].name);
	return ok;
}

/* What the device reads at once, and what the CPU finds then. */
static bool data_is_right(struct mix *mix)
{
	size_t count = mix->end - mix->first;
	static char buf[NPAGES * PAGE];

	if (dev_read(mix->fd, page_of(mix, mix->first), count, buf) != (long)count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!page_holds(mix, mix->first + i, buf + i * PAGE))
			return false;
	}
	/* The device writes to some of them. */
	for (size_t i = mix->first; i < mix->end; i += 1 + below(mix, 4)) {
		if (mix->read_only[i])
			continue;
		mix->seeds[i] = 2 * FOREIGN + i;
		fill(scratch, 1, mix->seeds[i]);
		if (dev_write(mix->fd, page_of(mix, i), 1, scratch) != 1)
			return false;
	}
	for (size_t i = 0; i < NPAGES; i++) {
		bool inside = i >= mix->first && i < mix->end;

		if ((inside || is_small(i)) && !page_holds(mix, i, page_of(mix, i)))
			return false;
	}
	return true;
}

/* Only through a shared mapping does a file change. */
static bool file_is_right(struct mix *mix)
{
	for (size_t i = 0; i < NPAGES; i++) {
		const struct kind *kind = &kinds[mix->kinds[i]];
		bool shared = is_small(i) &&
			      (kind->make == map_shared || kind->make == map_shared_and_write);

		if (!is_small(i))
			continue;
		if (pread(mix->file, scratch, PAGE, file_page(i) * PAGE) != PAGE ||
		    !holds(scratch, 1, shared ? mix->seeds[i] : FOREIGN + file_page(i))) {
			printf("# ... in the file, page %zu, %s\n", i, kind->name);
			return false;
		}
	}
	return true;
}

static bool fault_and_check(struct mix *mix)
{
	uint64_t before[NPAGES], pages = 0, faults = 0;

	for (size_t i = mix->first; i < mix->end; i++) {
		struct fate fate = fate_of(mix, i);

		faults += fate.faults;
		pages += !!(fate.at & HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL);
	}
	return read_pagemap(mix->mem, NPAGES, before) &&
	       takes(mix->fd, mix->write, page_of(mix, mix->first), mix->end - mix->first,
		     pages, faults) &&
	       is_as_it_must_be(mix, before) && data_is_right(mix) && file_is_right(mix);
}

static bool run_round(uint64_t seed)
{
	static struct mix mix;
	bool ok;

	mix = (struct mix){ .seed = seed };
	choose(&mix);
	ok = set_up(&mix) && fault_and_check(&mix);
	ok = end_child(&mix.child) && ok;
	ok = uffd_end(&mix.uffd) && ok;
	if (!ok)
		printf("# %s fault on [%zu, %zu), huge: %s\n", mix.write ? "write" : "read",
		       mix.first, mix.end, huge_kinds[mix.huge].name);
	tear_down(&mix);
	return ok;
}

FIXTURE(onewalk)
{
};

FIXTURE_SETUP(onewalk)
{
	SKIP_WITHOUT_DEVICE(2);
}

FIXTURE_TEARDOWN(onewalk)
{
}

TEST_F_TIMEOUT(onewalk, any_mixture, TIMEOUT)
{
	time_t end = time(NULL) + seconds_of_race(SECONDS);
	const char *setting = getenv("ONEWALK_SEED");
	unsigned long seed = setting ? strtoul(setting, NULL, 0) : time(NULL) * 1000;
	unsigned int rounds = 0, failed = 0;

	do {
		if (!run_round(seed + rounds)) {
			TH_LOG("failed with ONEWALK_SEED=%lu", seed + rounds);
			failed++;
		}
		rounds++;
	} while (time(NULL) < end && failed < 3);
	TH_LOG("%u failed of %u rounds, from ONEWALK_SEED=%lu on", failed, rounds, seed);
	EXPECT_EQ(failed, 0);
}

TEST_HARNESS_MAIN
