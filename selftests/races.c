// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads, a few seconds each: requests race the events that take pages away
 * from under them. What must hold at the end of each round is exact.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <time.h>

#include "kinds.h"

#define NPAGES	16
#define SECONDS	seconds_of_race(3)
#define TIMEOUT	240	/* for a slow guest */

struct race {
	unsigned int unit;
	int fd;
	char *mem;
	char *buf;
	bool over;
	pthread_t thread;
	pthread_barrier_t barrier;	/* of each round, where a race has rounds */
};

FIXTURE(races)
{
	struct race race;
};

DEVICE_KINDS(races);

FIXTURE_SETUP(races)
{
	struct race *race = &self->race;

	SKIP_WITHOUT_DEVICE(variant->unit);
	race->unit = variant->unit;
	race->fd = dev_open(race->unit);
	ASSERT_GE(race->fd, 0);
	race->mem = map_pages(NPAGES);
	ASSERT_NE(race->mem, MAP_FAILED);
	race->buf = map_pages(NPAGES);
	ASSERT_NE(race->buf, MAP_FAILED);
	ASSERT_EQ(pthread_barrier_init(&race->barrier, NULL, 2), 0);
}

FIXTURE_TEARDOWN(races)
{
	ASSERT_EQ(close(self->race.fd), 0);
}

static bool is_over(struct race *race)
{
	return __atomic_load_n(&race->over, __ATOMIC_ACQUIRE);
}

static void end_race(struct race *race)
{
	__atomic_store_n(&race->over, true, __ATOMIC_RELEASE);
}

/* Once a round, beside the main thread's request. */
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
 * The pages are filled, then dropped while they are on their way to the device.
 * When both are done they are empty, and the device must not know their old
 * contents.
 */
TEST_F_TIMEOUT(races, take_and_dontneed, TIMEOUT)
{
	struct race *race = &self->race;
	time_t end = time(NULL) + SECONDS;
	unsigned int rounds = 0, stale = 0;

	ASSERT_EQ(pthread_create(&race->thread, NULL, drop_pages, race), 0);
	while (time(NULL) < end) {
		fill(race->mem, NPAGES, 1 + rounds++);
		pthread_barrier_wait(&race->barrier);
		dev_take(race->fd, race->mem, NPAGES, race->buf);
		pthread_barrier_wait(&race->barrier);
		if (dev_read(race->fd, race->mem, NPAGES, race->buf) != NPAGES ||
		    !is_zero(race->buf, NPAGES))
			stale++;
	}
	end_race(race);
	pthread_barrier_wait(&race->barrier);
	pthread_join(race->thread, NULL);
	TH_LOG("%u stale of %u rounds", stale, rounds);
	EXPECT_EQ(stale, 0);
}

static void *shuttle_pages(void *arg)
{
	struct race *race = arg;
	char *buf = map_pages(NPAGES);

	while (!is_over(race)) {
		dev_take(race->fd, race->mem, NPAGES, buf);
		for (size_t page = 0; page < NPAGES; page++)
			(void)*(volatile char *)(race->mem + page * PAGE);
		dev_take(race->fd, race->mem, NPAGES, buf);
		dev_give(race->fd, race->mem, NPAGES);
	}
	return NULL;
}

/* Only the device writes, while the pages go to and fro: no write may be lost. */
TEST_F_TIMEOUT(races, write_and_move, TIMEOUT)
{
	struct race *race = &self->race;
	time_t end = time(NULL) + SECONDS;
	unsigned int writes = 0, lost = 0;

	ASSERT_EQ(pthread_create(&race->thread, NULL, shuttle_pages, race), 0);
	while (time(NULL) < end) {
		fill(race->buf, NPAGES, ++writes);
		ASSERT_EQ(dev_write(race->fd, race->mem, NPAGES, race->buf), NPAGES);
		ASSERT_EQ(dev_read(race->fd, race->mem, NPAGES, race->buf), NPAGES);
		if (!holds(race->buf, NPAGES, writes))
			lost++;
	}
	end_race(race);
	pthread_join(race->thread, NULL);
	TH_LOG("%u lost of %u writes", lost, writes);
	EXPECT_EQ(lost, 0);
}

/*
 * Moves the pages to and fro beside another thread's @events: they must hold the
 * same at all times, and neither thread may wait for the other for good.
 */
static unsigned int move_beside(struct race *race, void *(*events)(void *))
{
	time_t end = time(NULL) + SECONDS;
	unsigned int wrong = 0;

	fill(race->mem, NPAGES, 1);
	if (pthread_create(&race->thread, NULL, events, race))
		return 1;
	while (time(NULL) < end) {
		dev_take(race->fd, race->mem, NPAGES, race->buf);
		if (dev_read(race->fd, race->mem, NPAGES, race->buf) != NPAGES ||
		    !holds(race->buf, NPAGES, 1) || !holds(race->mem, NPAGES, 1))
			wrong++;
	}
	end_race(race);
	pthread_join(race->thread, NULL);
	return wrong;
}

static void *open_and_close(void *arg)
{
	struct race *race = arg;
	char *mem = map_pages(1), *buf = map_pages(1);

	while (!is_over(race)) {
		int fd = dev_open(race->unit);

		dev_take(fd, mem, 1, buf);
		close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(races, close_and_move, TIMEOUT)
{
	EXPECT_EQ(move_beside(&self->race, open_and_close), 0);
}

static void *release_device(void *arg)
{
	struct race *race = arg;

	while (!is_over(race))
		dev_release(race->fd, race->mem, NPAGES);
	return NULL;
}

TEST_F_TIMEOUT(races, release_and_move, TIMEOUT)
{
	EXPECT_EQ(move_beside(&self->race, release_device), 0);
}

static void *fork_and_touch(void *arg)
{
	struct race *race = arg;

	while (!is_over(race)) {
		pid_t child = fork();

		if (!child)
			_exit(!holds(race->mem, NPAGES, 1));
		waitpid(child, NULL, 0);
	}
	return NULL;
}

/* The pages are shared with children that fetch them home meanwhile. */
TEST_F_TIMEOUT(races, fork_and_move, TIMEOUT)
{
	EXPECT_EQ(move_beside(&self->race, fork_and_touch), 0);
}

static void *drop_huge_page(void *arg)
{
	struct race *race = arg;

	while (!is_over(race))
		madvise(race->mem, HUGE, MADV_DONTNEED);
	return NULL;
}

/*
 * A huge page that is mapped by parts is split on its way to the device, for
 * which the kernel lets go of the page table; MADV_DONTNEED may free that table
 * meanwhile. The kernel then counts some pages twice, and must not write them
 * where there is no room.
 */
TEST_F_TIMEOUT(races, take_split_and_dontneed, TIMEOUT)
{
	struct race *race = &self->race;
	time_t end = time(NULL) + SECONDS;
	char *area = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *buf = map_pages(HUGE / PAGE);
	unsigned int rounds = 0;

	ASSERT_NE(area, MAP_FAILED);
	ASSERT_NE(buf, MAP_FAILED);
	race->mem = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));
	ASSERT_EQ(madvise(race->mem, HUGE, MADV_HUGEPAGE), 0);
	ASSERT_EQ(pthread_create(&race->thread, NULL, drop_huge_page, race), 0);
	while (time(NULL) < end) {
		long ret;

		/* A huge page with a small one at its start, which is met first. */
		race->mem[PAGE] = 1;
		madvise(race->mem, PAGE, MADV_DONTNEED);
		race->mem[0] = 1;
		ret = dev_take(race->fd, race->mem, HUGE / PAGE, buf);
		EXPECT_TRUE(ret == -ENOENT || ret == -EBUSY || ret == HUGE / PAGE);
		rounds++;
	}
	end_race(race);
	pthread_join(race->thread, NULL);
	TH_LOG("%u rounds", rounds);
	EXPECT_GE(dev_give(race->fd, race->mem, HUGE / PAGE), 0);
	EXPECT_TRUE(is_zero(race->mem + 2 * PAGE, 1));
}

TEST_HARNESS_MAIN
