// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive access beside another thread that takes the pages away, a few seconds
 * each: the device must never use a page that is not there any more, and what it
 * wrote to one that is must not get lost.
 */
#include "exclusive.h"

#include <pthread.h>
#include <time.h>

#define SECONDS	seconds_of_race(3)

struct race {
	int fd, second, other;
	char *mem;
	bool over;
	unsigned long count;	/* what the other thread has done */
	pthread_t thread;
	pthread_barrier_t barrier;	/* of each round, where a race has rounds */
};

/* Of a case: its devices and its memory. */
#define RACE { .fd = self->fd, .second = self->second, .other = self->other, .mem = self->mem }

static bool is_over(struct race *race)
{
	return __atomic_load_n(&race->over, __ATOMIC_ACQUIRE);
}

static void end_race(struct race *race)
{
	__atomic_store_n(&race->over, true, __ATOMIC_RELEASE);
}

/* --- Rounds with a known end ------------------------------------------------------- */

static void *drop_pages(void *arg)
{
	struct race *race = arg;

	for (;;) {
		pthread_barrier_wait(&race->barrier);
		if (is_over(race))
			return NULL;
		madvise(race->mem, NPAGES * PAGE, MADV_DONTNEED);
		pthread_barrier_wait(&race->barrier);
	}
}

/*
 * The pages are dropped while the device takes them. When both are done they are
 * empty, and the device must not know their old contents.
 */
TEST_F_TIMEOUT(exclusive, take_and_dontneed, TIMEOUT)
{
	struct race race = RACE;
	time_t end = time(NULL) + SECONDS;
	unsigned int rounds = 0, stale = 0;

	ASSERT_EQ(pthread_barrier_init(&race.barrier, NULL, 2), 0);
	ASSERT_EQ(pthread_create(&race.thread, NULL, drop_pages, &race), 0);
	while (time(NULL) < end) {
		fill(self->mem, NPAGES, 1 + rounds++);
		pthread_barrier_wait(&race.barrier);
		EXPECT_EQ(dev_hold(race.fd, self->mem, NPAGES, scratch), NPAGES);
		pthread_barrier_wait(&race.barrier);
		if (dev_read(race.fd, self->mem, NPAGES, scratch) != NPAGES ||
		    !is_zero(scratch, NPAGES))
			stale++;
	}
	end_race(&race);
	pthread_barrier_wait(&race.barrier);
	pthread_join(race.thread, NULL);
	TH_LOG("%u stale of %u rounds", stale, rounds);
	EXPECT_EQ(stale, 0);
}

/* --- The device writes beside what takes its pages away ----------------------------- */

static void *touch_pages(void *arg)
{
	struct race *race = arg;

	for (; !is_over(race); race->count++)
		touch(race->mem, NPAGES);
	return NULL;
}

static void *hold_by_other(void *arg)
{
	static char buf[NPAGES * PAGE];
	struct race *race = arg;

	for (; !is_over(race); race->count++) {
		if (dev_hold(race->other, race->mem, NPAGES, buf) != NPAGES)
			break;
	}
	return NULL;
}

static void *hold_by_second_file(void *arg)
{
	static char buf[NPAGES * PAGE];
	struct race *race = arg;

	for (; !is_over(race); race->count++) {
		if (dev_hold(race->second, race->mem, NPAGES, buf) != NPAGES)
			break;
	}
	return NULL;
}

static void *move_to_devices(void *arg)
{
	static char buf[NPAGES * PAGE];
	struct race *race = arg;

	for (; !is_over(race); race->count++) {
		touch(race->mem, NPAGES);
		dev_take(race->count % 2 ? race->other : race->second, race->mem, NPAGES, buf);
		dev_fault(race->count % 2 ? race->second : race->other, true, race->mem, NPAGES);
	}
	return NULL;
}

static void *swap_pages(void *arg)
{
	struct race *race = arg;

	for (; !is_over(race); race->count++) {
		touch(race->mem, NPAGES);
		madvise(race->mem, NPAGES * PAGE, MADV_PAGEOUT);
	}
	return NULL;
}

/* Between two threads of one process: the child only goes. */
static void *fork_and_exit(void *arg)
{
	struct race *race = arg;

	for (; !is_over(race); race->count++) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
	return NULL;
}

/* Only the device writes: each write is found by its next read, and by the CPU. */
static void write_beside(struct __test_metadata *_metadata, struct race *race,
			 void *(*events)(void *))
{
	time_t end = time(NULL) + SECONDS;
	unsigned int writes = 0, lost = 0;

	ASSERT_EQ(pthread_create(&race->thread, NULL, events, race), 0);
	while (time(NULL) < end) {
		EXPECT_EQ(dev_hold(race->fd, race->mem, NPAGES, scratch), NPAGES);
		if (writes && !holds(scratch, NPAGES, writes))
			lost++;
		fill(scratch, NPAGES, ++writes);
		EXPECT_EQ(dev_write(race->fd, race->mem, NPAGES, scratch), NPAGES);
		if (!dev_sees(race->fd, race->mem, NPAGES, writes) ||
		    (writes % 4 == 0 && !holds(race->mem, NPAGES, writes)))
			lost++;
	}
	end_race(race);
	pthread_join(race->thread, NULL);
	TH_LOG("%u lost of %u writes, beside %lu events", lost, writes, race->count);
	EXPECT_EQ(lost, 0);
	EXPECT_GT(race->count, 0);
}

TEST_F_TIMEOUT(exclusive, write_beside_touch_pages, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, touch_pages);
}

TEST_F_TIMEOUT(exclusive, write_beside_hold_by_other, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, hold_by_other);
}

TEST_F_TIMEOUT(exclusive, write_beside_hold_by_second_file, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, hold_by_second_file);
}

TEST_F_TIMEOUT(exclusive, write_beside_move_to_devices, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, move_to_devices);
}

TEST_F_TIMEOUT(exclusive, write_beside_swap_pages, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, swap_pages);
}

TEST_F_TIMEOUT(exclusive, write_beside_fork_and_exit, TIMEOUT)
{
	struct race race = RACE;

	write_beside(_metadata, &race, fork_and_exit);
}

/* --- The CPU writes beside the device -------------------------------------------------- */

/* Nobody else writes: it must find each number as it has left it. */
static void *count_up(void *arg)
{
	struct race *race = arg;
	unsigned long *word = (unsigned long *)race->mem;

	for (unsigned long next = 0; !is_over(race); next++) {
		if (__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST) != next)
			race->count++;
	}
	return NULL;
}

/*
 * The device takes a page in which the CPU counts, and never reads an old number, nor
 * one that has not been there. One that it copies byte by byte while the CPU carries may
 * be torn: too large, by less than what is carried.
 */
#define CARRY	0x10000		/* from the second byte to the third */

TEST_F_TIMEOUT(exclusive, take_what_counts, TIMEOUT)
{
	struct race race = RACE;
	unsigned long *word = (unsigned long *)self->mem;
	time_t end = time(NULL) + SECONDS;
	unsigned int rounds = 0, wrong = 0;

	*word = 0;
	ASSERT_EQ(pthread_create(&race.thread, NULL, count_up, &race), 0);
	for (; time(NULL) < end; rounds++) {
		unsigned long before = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		long held = dev_hold(race.fd, self->mem, 1, scratch);
		unsigned long first = scratch[0];
		long read = dev_read(race.fd, self->mem, 1, scratch);
		unsigned long second = scratch[0];
		unsigned long after = __atomic_load_n(word, __ATOMIC_SEQ_CST);

		if (held != 1 || read != 1 || first < before || second < before ||
		    first >= after + CARRY || second >= after + CARRY) {
			TH_LOG("%ld and %ld pages, with %#lx and %#lx, from %#lx to %#lx", held,
			       read, first, second, before, after);
			wrong++;
		}
	}
	end_race(&race);
	pthread_join(race.thread, NULL);
	TH_LOG("%u wrong of %u rounds, %lu lost", wrong, rounds, race.count);
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(race.count, 0);
}

TEST_HARNESS_MAIN
