/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all processes of dmirror-stress share: whether to go on, what each thread is
 * doing, and how often what has happened.
 */
#ifndef DMIRROR_SELFTESTS_STRESS_TALLY_H
#define DMIRROR_SELFTESTS_STRESS_TALLY_H

#include "stress.h"

#define MOST_PROCESSES	4

/* What is counted. Those up to LAST_REQUIRED must come about in a long run. */
enum count {
	CPU_WRITES,
	DEVICE_WRITES,
	CPU_LOOKS,
	DEVICE_LOOKS,
	PAGES_TO_DEVICE,
	PAGES_HOME,
	PAGES_FAULTED_TO_DEVICE,
	PAGES_RELEASED,
	SNAPSHOTS,
	DROPPED,
	LAZILY_FREED,
	FOUND_FREED,
	REMAPPED,
	MOVED,
	MOVED_BY_USERFAULTFD,
	PROTECTED,
	PAGED_OUT,
	COLLAPSED,
	PIPED,
	OPENED,
	FORKED,
	CHILDREN_KILLED,
	EXCLUSIVE_PAGES,
	COMPACTED,
	HUGE_PAGES_FAILED,
	KILLED,
	LAST_REQUIRED = KILLED,
	RECLAIMED,
	BUSY,			/* a request that made no progress for long */
	HOLES_MET,
	COUNTS
};

static const char *const count_names[COUNTS] = {
	[CPU_WRITES] = "pages written by the CPU",
	[DEVICE_WRITES] = "pages written by a device",
	[CPU_LOOKS] = "pages read by the CPU",
	[DEVICE_LOOKS] = "pages read by a device",
	[PAGES_TO_DEVICE] = "pages taken to a device",
	[PAGES_HOME] = "pages fetched home",
	[PAGES_FAULTED_TO_DEVICE] = "pages on a device after a fault",
	[PAGES_RELEASED] = "pages brought home by RELEASE",
	[SNAPSHOTS] = "snapshots",
	[DROPPED] = "MADV_DONTNEED, MADV_REMOVE",
	[LAZILY_FREED] = "MADV_FREE",
	[FOUND_FREED] = "pages freed by that",
	[REMAPPED] = "munmap and mmap",
	[MOVED] = "mremap there and back",
	[MOVED_BY_USERFAULTFD] = "pages moved by UFFDIO_MOVE",
	[PROTECTED] = "mprotect",
	[PAGED_OUT] = "MADV_PAGEOUT",
	[COLLAPSED] = "MADV_COLLAPSE that succeeded",
	[PIPED] = "pages through a pipe",
	[OPENED] = "files opened and closed",
	[FORKED] = "children",
	[CHILDREN_KILLED] = "... killed",
	[KILLED] = "processes killed",
	[RECLAIMED] = "reclaim of the control group",
	[COMPACTED] = "compaction of memory",
	[EXCLUSIVE_PAGES] = "pages made exclusive",
	[HUGE_PAGES_FAILED] = "failures of a huge page asked for",
	[BUSY] = "requests that found no way through",
	[HOLES_MET] = "accesses that met a hole",
};

struct tally {
	bool over, failed;
	unsigned long counts[COUNTS];
	/* A description of what each thread does now, for when one does not end. */
	const char *doing[MOST_PROCESSES][MOST_THREADS];
};

static inline void count(struct world *world, enum count what, unsigned long number)
{
	__atomic_fetch_add(&world->tally->counts[what], number, __ATOMIC_RELAXED);
}

static inline bool goes_on(const struct tally *tally)
{
	return !__atomic_load_n(&tally->over, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&tally->failed, __ATOMIC_RELAXED);
}

/* Something is wrong: the end for all. */
static inline void fail(struct world *world, const char *where)
{
	say("... %s, in a process with the seed %#llx", where, (unsigned long long)world->seed);
	__atomic_store_n(&world->tally->failed, true, __ATOMIC_SEQ_CST);
}

struct owner;
struct mover;

/* What a thread of either kind may do, and how often beside the others. */
struct act {
	const char *name;
	unsigned int weight;
	union {
		bool (*own)(struct owner *owner);
		bool (*move)(struct mover *mover);
	};
};

static inline const struct act *choose(struct chance *chance, const struct act *acts,
				       size_t number)
{
	unsigned int sum = 0, at;

	for (size_t i = 0; i < number; i++)
		sum += acts[i].weight;
	at = below(chance, sum);
	for (; at >= acts->weight; acts++)
		at -= acts->weight;
	return acts;
}

static inline void show_tally(const struct tally *tally)
{
	for (size_t i = 0; i < COUNTS; i++)
		say("%10lu %s", tally->counts[i], count_names[i]);
}

#endif
