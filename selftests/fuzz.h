/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where things are in the processes of the fuzzer. All are at fixed addresses, with
 * nothing mapped around them, so that a child has them where its parent has.
 *
 * The device writes to memory, and so does the kernel to a buffer. What a process
 * needs in order to live must not be hit: such requests stay in the window, in which
 * nobody reads what is there, or go where nothing can be written. All others go
 * anywhere.
 */
#ifndef DMIRROR_SELFTESTS_FUZZ_H
#define DMIRROR_SELFTESTS_FUZZ_H

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "chance.h"
#include "onewalk.h"

#define WINDOW		((char *)0x10000000000UL)
#define WINDOW_SIZE	(8 * HUGE)	/* which the changers fill, and empty, at random */
#define GUARDED		((char *)0x20000000000UL)
#define GUARDED_PAGES	64		/* whose contents never change */
#define SLOTS		((char *)0x30000000000UL)
#define SLOT_PAGES	4		/* of arguments, one a thread */
#define SEED_OF_GUARDED	77000

#define FAMILIES	2
#define MEMBERS		3		/* processes of a family: a mother, her children */
#define CALLERS		2		/* threads of each that send requests */
#define FILES_OF_OWN	4
#define FILES		(FILES_OF_OWN + 3)

/* What all processes share. */
struct shared {
	bool over, failed;
	unsigned long calls;
	unsigned long served;		/* those that ended with success */
	unsigned long errors[134];	/* how often each was the answer */
	unsigned long changes;
};

/* One process. */
struct member {
	struct shared *shared;
	uint64_t seed;
	int files[FILES];	/* our own, two of the mother's, one of nobody */
	bool opener_may_go[FILES];
	char *stack;			/* some address in it */
	char *vdso;
};

static char data_room[2 * PAGE];
/* Cannot be written, and is no range if it is taken for an argument. */
static const uint64_t text_room[2 * WORDS] = { [0 ... 2 * WORDS - 1] = 1 };

static inline char *page_in(const void *room)
{
	return (char *)(((uintptr_t)room + PAGE - 1) & ~(PAGE - 1));
}

static inline bool set_up_member(struct member *member)
{
	char here;

	member->stack = (char *)((uintptr_t)&here & ~(PAGE - 1));
	member->vdso = (char *)getauxval(AT_SYSINFO_EHDR);
	return mmap(GUARDED, GUARDED_PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == GUARDED &&
	       mmap(SLOTS, SLOT_PAGES * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == SLOTS &&
	       mmap(WINDOW, WINDOW_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == WINDOW;
}

/* The guarded pages, as the CPU and as the device see them. */
static inline bool guarded_are_right(int fd)
{
	static __thread uint64_t buf[GUARDED_PAGES * WORDS];
	long ret = fd < 0 ? GUARDED_PAGES : dev_read(fd, GUARDED, GUARDED_PAGES, buf);

	if (ret != GUARDED_PAGES && ret != -EBUSY) {
		say("a READ of the guarded pages returns %ld", ret);
		return false;
	}
	return (fd < 0 || ret < 0 || holds(buf, GUARDED_PAGES, SEED_OF_GUARDED)) &&
	       holds(GUARDED, GUARDED_PAGES, SEED_OF_GUARDED);
}

#endif
