/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The oracle of dmirror-stress: what a page may hold.
 *
 * Each word names its process, its page, its version and its place in the page, by a
 * checksum. Each page has one owner, a thread, which alone changes what it holds: by
 * writing the next version, with the CPU or the device, or by a call that leaves
 * zeroes. So the owner knows exactly what the page holds, and demands it. All others
 * know bounds, since the owner tells about a change before it begins and after it has
 * ended: what had ended before one looks is the least that must be there, and what
 * has begun when one has looked is the most.
 *
 * Where the pages are, others change all the time, and that must not be seen at all.
 */
#ifndef DMIRROR_SELFTESTS_STRESS_H
#define DMIRROR_SELFTESTS_STRESS_H

#include <linux/mman.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include "chance.h"
#include "onewalk.h"

#define MOST_THREADS	8
#define GROUP		8		/* pages next to each other that have one owner */
#define MOST_PAGES	64		/* of one request, or HUGE_PAGES */
#define AREA		((char *)0x10000000000UL)
#define SCRATCH		((char *)0x20000000000UL)	/* GROUP pages for each owner */
#define LANDING		((char *)0x30000000000UL)	/* the same, under userfaultfd */

/* The memory of a process: blocks of different kinds. */
static const struct block {
	const char *name;
	size_t first, count;	/* pages, in all blocks and in this one; aligned as if huge */
	bool file, shared;
	int advice;
	bool alike;		/* Four pages each have the same contents, to be merged. */
} blocks[] = {
	{ "huge", 0, HUGE_PAGES, .advice = MADV_HUGEPAGE },
	{ "small", HUGE_PAGES, 64, .advice = MADV_NOHUGEPAGE },
	{ "mergeable", HUGE_PAGES + 64, 64, .advice = MADV_MERGEABLE, .alike = true },
	{ "private file", HUGE_PAGES + 128, 64, .file = true, .advice = MADV_NORMAL },
	{ "shared file", HUGE_PAGES + 192, 64, .file = true, .shared = true,
	  .advice = MADV_NORMAL },
};

#define PAGES	(HUGE_PAGES + 256)

/* What is known of a page to all. Lies in memory that children share. */
struct known {
	uint64_t begun, done;		/* versions: of the last change */
	uint64_t zero_at;		/* ... of the last change that left zeroes */
	uint64_t hole_begun, hole_done;	/* how often it could not be accessed */
};

/* What its owner knows. */
struct held {
	uint64_t version;		/* 0: it holds zeroes */
	bool lazy;			/* ... or may come to hold them at any time */
};

enum { ON_0, ON_0_AGAIN, ON_0_MIGRATING, ON_1, ON_COHERENT, FILES };

/* One process. */
struct world {
	struct tally *tally;		/* shared by all processes, see stress-tally.h */
	uint64_t seed;
	unsigned int id;		/* in each word */
	unsigned int slot;		/* among the processes */
	unsigned int owners, movers;	/* threads */
	struct known *known;		/* PAGES of them */
	struct held held[PAGES];
	int files[FILES];
	int memory;			/* the file of the blocks that have one */
	int uffd;
};

/* --- Words ------------------------------------------------------------------------ */

#define ID_SHIFT	56
#define INDEX_SHIFT	44
#define VERSION_SHIFT	20
#define VERSION_MASK	((1ULL << 24) - 1)

/* That of another process: what a child makes of its copy. */
#define OF_CHILD	0x80

static inline uint64_t word_for(unsigned int id, size_t index, uint64_t version, size_t place)
{
	uint64_t word = (uint64_t)id << ID_SHIFT | (uint64_t)index << INDEX_SHIFT |
			(version & VERSION_MASK) << VERSION_SHIFT;
	uint64_t check = (word ^ place << 7) * 0xd1342543de82ef95;

	return word | (check ^ check >> 23) >> 44;
}

static inline uint64_t version_of(uint64_t word)
{
	return word >> VERSION_SHIFT & VERSION_MASK;
}

static inline const struct block *block_of(size_t page)
{
	const struct block *block = &blocks[ARRAY_SIZE(blocks) - 1];

	while (page < block->first)
		block--;
	return block;
}

static inline char *address_of(size_t page)
{
	const struct block *block = block_of(page);

	return AREA + (block - blocks) * 2 * HUGE + (page - block->first) * PAGE;
}

/* Maps pages of a block where they belong. */
static inline bool map_of_block(const struct world *world, const struct block *block, size_t page,
				size_t count)
{
	int how = MAP_FIXED | (block->shared ? MAP_SHARED : MAP_PRIVATE), file = -1;
	char *mem = address_of(page);
	off_t offset = 0;

	if (block->file) {
		file = world->memory;
		offset = (page - HUGE_PAGES) * PAGE;
	} else {
		how |= MAP_ANONYMOUS;
	}
	return mmap(mem, count * PAGE, PROT_READ | PROT_WRITE, how, file, offset) == mem &&
	       !madvise(mem, count * PAGE, block->advice);
}

/* What the words of a page call it. */
static inline size_t index_of(size_t page)
{
	return block_of(page)->alike ? page & ~3UL : page;
}

static inline unsigned int owner_of(const struct world *world, size_t page)
{
	return page / GROUP % world->owners;
}

static inline void write_page(uint64_t *words, unsigned int id, size_t page, uint64_t version)
{
	for (size_t place = 0; place < WORDS; place++)
		words[place] = word_for(id, index_of(page), version, place);
}

static inline void complain(size_t page, size_t place, uint64_t word, uint64_t low, uint64_t high)
{
	say("%s page %zu, word %zu holds %#lx:", block_of(page)->name, page, place, word);
	say("process %#lx, page %lu, version %lu, while versions %lu to %lu are possible",
	    word >> ID_SHIFT, word >> INDEX_SHIFT & 0xfff, version_of(word), low, high);
}

/* --- What all others know ------------------------------------------------------------ */

static inline uint64_t get(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static inline void set(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

/* What was known of some pages before one looked at them. */
struct glance {
	size_t first, count;
	struct {
		uint64_t done, hole_done;
	} pages[HUGE_PAGES];
};

static inline void begin_glance(const struct world *world, struct glance *glance, size_t first,
				size_t count)
{
	glance->first = first;
	glance->count = count;
	for (size_t i = 0; i < count; i++) {
		glance->pages[i].done = get(&world->known[first + i].done);
		glance->pages[i].hole_done = get(&world->known[first + i].hole_done);
	}
}

/* Could some page not be accessed meanwhile? */
static inline bool met_hole(const struct world *world, const struct glance *glance)
{
	for (size_t i = 0; i < glance->count; i++)
		if (get(&world->known[glance->first + i].hole_begun) != glance->pages[i].hole_done)
			return true;
	return false;
}

/* Bits of each byte that is the same in both words. */
static inline uint64_t same_bytes(uint64_t one, uint64_t other)
{
	uint64_t same = 0;

	for (unsigned int shift = 0; shift < 64; shift += 8)
		if (!((one ^ other) >> shift & 0xff))
			same |= 0xffULL << shift;
	return same;
}

/*
 * A device may copy by bytes. While one does that writes, another that reads may pass it
 * within a word, or be passed, more than once: then each byte is of one of the versions
 * @low to @high, or of zeroes.
 */
static inline bool may_be_torn(unsigned int id, size_t index, size_t place, uint64_t word,
			       uint64_t low, uint64_t high, bool zero)
{
	uint64_t known = zero ? same_bytes(word, 0) : 0;

	for (uint64_t version = low ?: 1; version <= high && ~known; version++)
		known |= same_bytes(word, word_for(id, index, version, place));
	return !~known;
}

/* May page @i of the glance have held these words? */
static inline bool is_possible(const struct world *world, const struct glance *glance, size_t i,
			       const uint64_t *words)
{
	size_t page = glance->first + i, index = index_of(page);
	uint64_t low = glance->pages[i].done;
	bool zero = get(&world->known[page].zero_at) >= low;
	uint64_t high = get(&world->known[page].begun);

	for (size_t place = 0; place < WORDS; place++) {
		uint64_t word = words[place], version = version_of(word);

		if (!word ? zero : version >= low && version <= high &&
		    word == word_for(world->id, index, version, place))
			continue;
		if (may_be_torn(world->id, index, place, word, low, high, zero))
			continue;
		complain(page, place, word, low, high);
		return false;
	}
	return true;
}

/* --- What the owner knows -------------------------------------------------------------- */

/*
 * Holds the page just what it must? Words that may become zero do so from some moment
 * on, and then for good.
 */
static inline bool is_exact(struct world *world, size_t page, const uint64_t *words)
{
	struct held *held = &world->held[page];
	bool gone = false;

	for (size_t place = 0; place < WORDS; place++) {
		uint64_t want = held->version && !gone ?
				word_for(world->id, index_of(page), held->version, place) : 0;

		if (words[place] == want)
			continue;
		gone = gone || (held->lazy && !words[place]);
		if (gone && !words[place])
			continue;
		complain(page, place, words[place], held->version, held->version);
		return false;
	}
	if (gone)
		*held = (struct held){ };
	return true;
}

#endif
