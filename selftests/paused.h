/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A migration that is stopped half-way. The mover, a child, shares its pages with
 * the process of the test, which finds migration entries in its page table then;
 * what it does to them must be done to the pages, and not be undone, or be done
 * to those of the mover, when the migration goes on.
 */
#ifndef DMIRROR_SELFTESTS_PAUSED_H
#define DMIRROR_SELFTESTS_PAUSED_H

#include <kselftest_harness.h>

#include <signal.h>
#include <sys/prctl.h>

#include "huge.h"
#include "large.h"

#define FOLDER		"/sys/kernel/debug/dmirror/hmm_dmirror0/"
#define NSMALL		16	/* a fault of the CPU brings home so many at once */
#define PAUSE_MS	9000	/* the driver waits for 10 s */

enum way { TO_DEVICE, HOME, CPU_FAULT, OTHER_DEVICE };

/* What the mover shall do, and has done. */
struct steps {
	bool ready, move, moved, check;
	bool wanted;	/* another process waits for the pages, and may have them brought home */
};

struct mover {
	pid_t pid;
	struct steps *steps;	/* shared with it */
};

/* Waits for the mover, unless it has failed. */
static inline bool wait_for(struct mover *mover, const bool *step)
{
	uint64_t end = clock_ms() + TIMEOUT * 1000 / 2;

	while (!is_set(step)) {
		if (clock_ms() > end || waitpid(mover->pid, NULL, WNOHANG) > 0)
			return false;
		sleep_for_ms(1);
	}
	return true;
}

static inline bool move(enum way way, int fd, int other, char *mem, size_t npages, bool *wanted)
{
	long pages;

	switch (way) {
	case TO_DEVICE:
		pages = dev_take(fd, mem, npages, scratch);
		return pages == (long)npages || (pages == -ENOENT && is_set(wanted));
	case HOME:
		return dev_give(fd, mem, npages) == (long)npages;
	case CPU_FAULT:
		touch(mem, npages);
		return true;
	case OTHER_DEVICE:
		return !dev_fault(other, false, mem, npages).error;
	}
	return false;
}

/* The mover's part: whatever others do, its pages keep their contents. */
static inline bool be_mover(struct steps *steps, enum way way, char *mem, size_t npages)
{
	int fd = dev_open(0), other = dev_open(1);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || other < 0 ||
	    (way != TO_DEVICE && dev_take(fd, mem, npages, scratch) != (long)npages))
		return false;
	set(&steps->ready);
	while (!is_set(&steps->move))
		sleep_for_ms(1);
	if (!move(way, fd, other, mem, npages, &steps->wanted))
		return false;
	set(&steps->moved);
	while (!is_set(&steps->check))
		sleep_for_ms(1);
	return dev_sees(fd, mem, npages, SEED) && holds(mem, npages, SEED);
}

static inline bool is_paused(void)
{
	return read_number_at(FOLDER "paused") == 1;
}

/* Has the mover move the pages, and returns when it is half-way. */
static inline bool pause_half_way(struct mover *mover)
{
	uint64_t end = clock_ms() + PAUSE_MS;

	if (!write_file(FOLDER "pause", "1"))
		return false;
	set(&mover->steps->move);
	while (!is_paused()) {
		if (clock_ms() > end || waitpid(mover->pid, NULL, WNOHANG) > 0)
			return false;
		sleep_for_ms(1);
	}
	return true;
}

FIXTURE(paused)
{
	char *mem;
	size_t npages;
	struct mover mover;
};

FIXTURE_VARIANT(paused)
{
	bool huge;
	enum way way;
};

FIXTURE_VARIANT_ADD(paused, small_to_device) { .huge = false, .way = TO_DEVICE };
FIXTURE_VARIANT_ADD(paused, small_home) { .huge = false, .way = HOME };
FIXTURE_VARIANT_ADD(paused, small_cpu_fault) { .huge = false, .way = CPU_FAULT };
FIXTURE_VARIANT_ADD(paused, small_other_device) { .huge = false, .way = OTHER_DEVICE };
FIXTURE_VARIANT_ADD(paused, huge_to_device) { .huge = true, .way = TO_DEVICE };
FIXTURE_VARIANT_ADD(paused, huge_home) { .huge = true, .way = HOME };
FIXTURE_VARIANT_ADD(paused, huge_cpu_fault) { .huge = true, .way = CPU_FAULT };
FIXTURE_VARIANT_ADD(paused, huge_other_device) { .huge = true, .way = OTHER_DEVICE };

/* The pages are where they shall begin. */
FIXTURE_SETUP(paused)
{
	ASSERT_TRUE(write_file(FOLDER "pause", "0"));
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
	/* Room to move to behind it. */
	self->mem = map_huge(3);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->npages = variant->huge ? HUGE_PAGES : NSMALL;
	ASSERT_EQ(munmap(self->mem + self->npages * PAGE, 3 * HUGE - self->npages * PAGE), 0);
	if (!variant->huge)
		ASSERT_EQ(madvise(self->mem, NSMALL * PAGE, MADV_NOHUGEPAGE), 0);
	fill(self->mem, self->npages, SEED);

	self->mover.steps = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->mover.steps, MAP_FAILED);
	self->mover.pid = fork();
	if (!self->mover.pid)
		_exit(!be_mover(self->mover.steps, variant->way, self->mem, self->npages));
	ASSERT_GT(self->mover.pid, 0);
	ASSERT_TRUE(wait_for(&self->mover, &self->mover.steps->ready));
}

FIXTURE_TEARDOWN(paused)
{
	int status = -1;

	EXPECT_TRUE(write_file(FOLDER "pause", "0"));
	/* Also of a test that has failed. */
	set(&self->mover.steps->move);
	set(&self->mover.steps->check);
	EXPECT_EQ(waitpid(self->mover.pid, &status, 0), self->mover.pid);
	EXPECT_EQ(status, 0);
	munmap(self->mem, 3 * HUGE);
	EXPECT_TRUE(devices_are_empty());
}

/* It is still half-way: so what has been done was done then. Lets it go on, to the end. */
#define RESUME()							\
	do {								\
		ASSERT_TRUE(is_paused());				\
		ASSERT_TRUE(write_file(FOLDER "pause", "0"));		\
		ASSERT_TRUE(wait_for(&self->mover, &self->mover.steps->moved)); \
	} while (0)

#endif
