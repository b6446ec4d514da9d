/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of bad input share: all requests that have a range, and the stage
 * on which one of them is sent. There it must answer what a table says, give back
 * its inputs, and leave alone what it does not count.
 */
#ifndef DMIRROR_SELFTESTS_BADINPUT_H
#define DMIRROR_SELFTESTS_BADINPUT_H

#include <kselftest_harness.h>

#include "onewalk.h"

#define NPAGES	4
#define SEED	1000
#define OTHER	2000

/* Nothing is ever mapped here but by us, so that a hole stays one. */
#define ROOM	((char *)0x10000000000UL)
/* Far away from it, where nothing is mapped. */
#define NOWHERE	((char *)0x20000000000UL)

#define KERNEL_ADDRESS		0xffff888000000000UL
#define NOT_CANONICAL		0x0080000000000000UL	/* with five levels of page tables, too */

/* Whose answers are the same. */
enum kind {
	READ,
	WRITE,
	TO_DEV,
	TO_SYS,
	SNAPSHOT,
	EXCLUSIVE,
	CHECK_EXCLUSIVE,
	FAULT,
	WRITE_FAULT,
	KINDS
};

static const struct request {
	const char *name;
	unsigned int number;
	enum kind kind;
	uint64_t flags;		/* of the file that it is sent to */
} requests[] = {
	{ "READ", HMM_DMIRROR_READ, READ },
	{ "READ_UNLOCKED", HMM_DMIRROR_READ_UNLOCKED, READ },
	{ "READ, migrating", HMM_DMIRROR_READ, READ, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT },
	{ "WRITE", HMM_DMIRROR_WRITE, WRITE },
	{ "WRITE, migrating", HMM_DMIRROR_WRITE, WRITE, HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT },
	{ "MIGRATE_TO_DEV", HMM_DMIRROR_MIGRATE_TO_DEV, TO_DEV },
	{ "MIGRATE_TO_SYS", HMM_DMIRROR_MIGRATE_TO_SYS, TO_SYS },
	{ "SNAPSHOT", HMM_DMIRROR_SNAPSHOT, SNAPSHOT },
	{ "EXCLUSIVE", HMM_DMIRROR_EXCLUSIVE, EXCLUSIVE },
	{ "CHECK_EXCLUSIVE", HMM_DMIRROR_CHECK_EXCLUSIVE, CHECK_EXCLUSIVE },
	{ "MIGRATE_ON_FAULT_TO_DEV", HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV, FAULT },
	{ "MIGRATE_ON_WRITE_FAULT_TO_DEV", HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
	  WRITE_FAULT },
};

/* All that there are, those without a range too. */
static const unsigned int numbers[] = {
	HMM_DMIRROR_READ, HMM_DMIRROR_WRITE, HMM_DMIRROR_MIGRATE_TO_DEV,
	HMM_DMIRROR_MIGRATE_TO_SYS, HMM_DMIRROR_SNAPSHOT, HMM_DMIRROR_EXCLUSIVE,
	HMM_DMIRROR_CHECK_EXCLUSIVE, HMM_DMIRROR_RELEASE, HMM_DMIRROR_FLAGS,
	HMM_DMIRROR_READ_UNLOCKED, HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV,
	HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
};

static inline bool is_known(unsigned int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i] == number)
			return true;
	return false;
}

#define ANY	(-1)	/* pages: the request may have stopped earlier */

struct answer {
	int error;	/* 0, or an errno */
	int pages;
};

struct stage {
	int fd;
	char *mem;			/* NPAGES: 1 and 2 on the device, filled from SEED */
	char *buf;			/* as large, filled from OTHER */
	bool lost[NPAGES];		/* what a case has taken away */
	struct hmm_dmirror_cmd cmd;	/* on all of @mem and @buf; a case spoils it */
};

static inline int raw(int fd, unsigned long request, const void *arg)
{
	return ioctl(fd, request, arg) ? errno : 0;
}

static inline bool set_flags(int fd, uint64_t flags)
{
	struct hmm_dmirror_cmd cmd = { .npages = flags };

	return !raw(fd, HMM_DMIRROR_FLAGS, &cmd);
}

static inline char *map_at(char *at, size_t npages)
{
	char *mem = mmap(at, npages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (mem != MAP_FAILED)
		madvise(mem, npages * PAGE, MADV_NOHUGEPAGE);
	return mem;
}

/* The last page that a process can map. */
static inline uint64_t last_page(void)
{
	const unsigned int bits[] = { 56, 47 };

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		char *page = (char *)(1UL << bits[i]) - 2 * PAGE;

		if (map_at(page, 1) == page) {
			munmap(page, PAGE);
			return (uintptr_t)page;
		}
	}
	return 0;
}

/* Everything afresh; @stage->fd is open already. */
static inline bool set_stage(struct stage *stage)
{
	stage->mem = map_at(ROOM, NPAGES);
	stage->buf = map_at(ROOM + 2 * NPAGES * PAGE, NPAGES);
	if (stage->mem == MAP_FAILED || stage->buf == MAP_FAILED)
		return false;
	memset(stage->lost, 0, sizeof(stage->lost));
	fill(stage->mem, NPAGES, SEED);
	fill(stage->buf, NPAGES, OTHER);
	stage->cmd = (struct hmm_dmirror_cmd){
		.addr = (uintptr_t)stage->mem,
		.ptr = (uintptr_t)stage->buf,
		.npages = NPAGES,
		.cpages = ~0ULL,
		.faults = ~0ULL,
	};
	return dev_take(stage->fd, stage->mem + PAGE, 2, scratch) == 2;
}

/* The contents of page @i now, which may have been written up to page @cpages. */
static inline bool page_is_right(struct stage *stage, enum kind kind, size_t i, uint64_t cpages)
{
	char *page = stage->mem + i * PAGE;

	if (mprotect(page, PAGE, PROT_READ | PROT_WRITE))
		return false;
	if (kind != WRITE || i > cpages)
		return holds(page, 1, SEED + i);
	/* The first that does not count may be written in part. */
	return i == cpages || holds(page, 1, OTHER + i);
}

static inline bool data_are_right(struct stage *stage, enum kind kind, uint64_t cpages,
				  bool is_mem)
{
	bool served = is_mem && (kind == READ || kind == TO_DEV || kind == EXCLUSIVE);

	for (size_t i = 0; i < NPAGES; i++) {
		if (stage->lost[i] || page_is_right(stage, is_mem ? kind : SNAPSHOT, i, cpages))
			continue;
		printf("# ... in memory, page %zu\n", i);
		return false;
	}
	if (served && !holds((void *)(uintptr_t)stage->cmd.ptr, cpages, SEED)) {
		printf("# ... in the buffer\n");
		return false;
	}
	return true;
}

static inline bool outputs_are_right(const struct hmm_dmirror_cmd *before,
				     const struct hmm_dmirror_cmd *after, enum kind kind,
				     struct answer want)
{
	bool faults = kind == READ || kind == WRITE || kind == FAULT || kind == WRITE_FAULT;

	return after->addr == before->addr && after->ptr == before->ptr &&
	       after->npages == before->npages && after->cpages <= before->npages &&
	       (want.pages == ANY || after->cpages == (uint64_t)want.pages) &&
	       (faults ? after->faults <= NPAGES : !after->faults);
}

/*
 * Sends one request on a fresh stage that @spoil has changed. If @frozen, no page of
 * @mem may have changed its place.
 */
static inline bool answers(struct stage *stage, const struct request *request,
			   bool (*spoil)(struct stage *stage), struct answer want, bool frozen)
{
	uint64_t entries[NPAGES], after[NPAGES];
	struct hmm_dmirror_cmd cmd;
	bool is_mem, ok;
	int error;

	if (!set_stage(stage) || !set_flags(stage->fd, request->flags) || !spoil(stage)) {
		printf("# no stage for %s: %s\n", request->name, strerror(errno));
		return false;
	}
	is_mem = stage->cmd.addr == (uintptr_t)stage->mem;
	cmd = stage->cmd;
	if (!read_pagemap(stage->mem, NPAGES, entries))
		return false;
	error = raw(stage->fd, request->number, &cmd);
	if (!read_pagemap(stage->mem, NPAGES, after))
		return false;

	ok = error == want.error && outputs_are_right(&stage->cmd, &cmd, request->kind, want) &&
	     (!frozen || !memcmp(entries, after, sizeof(after))) &&
	     data_are_right(stage, request->kind, cmd.cpages, is_mem);
	if (!ok)
		printf("# %s: error %d, %lld pages, %lld faults; expected error %d, %d pages\n",
		       request->name, error, (long long)cmd.cpages, (long long)cmd.faults,
		       want.error, want.pages);
	munmap(stage->mem, NPAGES * PAGE);
	munmap(stage->buf, NPAGES * PAGE);
	return ok;
}

/* Each known request with @arg ends with @error; no page moves or changes. */
static inline bool all_refused(struct stage *stage, int fd, const void *arg, int error)
{
	uint64_t before[NPAGES], after[NPAGES];
	bool ok = read_pagemap(stage->mem, NPAGES, before);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int got = raw(fd, numbers[i], arg);

		if (got == error)
			continue;
		printf("# %#x: error %d, expected %d\n", numbers[i], got, error);
		ok = false;
	}
	return ok && read_pagemap(stage->mem, NPAGES, after) &&
	       !memcmp(before, after, sizeof(after));
}

#endif
