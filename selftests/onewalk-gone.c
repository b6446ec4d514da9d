// SPDX-License-Identifier: GPL-2.0
/*
 * A migrating fault whose pages are taken away or moved elsewhere meanwhile:
 * MADV_DONTNEED, munmap, mremap, UFFDIO_MOVE. In each round one fault and one such
 * event, which comes at a random moment of the fault; what is there when both are
 * done is exact.
 */
#include <kselftest_harness.h>

#include <pthread.h>

#include "onewalk-hazards.h"

#define PART	16	/* The range has three such parts. */
#define NPAGES	(3 * PART)

struct duel {
	int fd;
	char *mem;	/* the range that the device faults on */
	char *part[3];
	char *buf;
	bool over;
	uint64_t took;	/* nanoseconds of the last fault */
	unsigned int round;
	void (*event)(struct duel *duel);
	pthread_t thread;
	pthread_barrier_t barrier;

	/* of the single tests */
	char *from, *to;
	int uffd;
	long moved;
};

FIXTURE(gone)
{
	struct duel duel;
};

FIXTURE_SETUP(gone)
{
	struct duel *duel = &self->duel;

	duel->fd = dev_open(0);
	ASSERT_GE(duel->fd, 0);
	duel->mem = map_pages(NPAGES);
	ASSERT_NE(duel->mem, MAP_FAILED);
	for (int i = 0; i < 3; i++)
		duel->part[i] = duel->mem + i * PART * PAGE;
	duel->buf = map_pages(NPAGES);
	ASSERT_NE(duel->buf, MAP_FAILED);
	duel->took = 100000;
	ASSERT_EQ(pthread_barrier_init(&duel->barrier, NULL, 2), 0);
}

FIXTURE_TEARDOWN(gone)
{
	ASSERT_EQ(close(self->duel.fd), 0);
}

static void *run_events(void *arg)
{
	struct duel *duel = arg;

	for (;;) {
		uint64_t at;

		pthread_barrier_wait(&duel->barrier);
		if (flag_is_set(&duel->over))
			return NULL;
		at = now_ns() + random() % (duel->took + 1);
		while (now_ns() < at)
			;
		duel->event(duel);
		pthread_barrier_wait(&duel->barrier);
	}
}

static void begin_rounds(struct __test_metadata *_metadata, struct duel *duel,
			 void (*event)(struct duel *duel))
{
	duel->event = event;
	ASSERT_EQ(pthread_create(&duel->thread, NULL, run_events, duel), 0);
}

static void end_rounds(struct __test_metadata *_metadata, struct duel *duel)
{
	set_flag(&duel->over);
	pthread_barrier_wait(&duel->barrier);
	pthread_join(duel->thread, NULL);
	TH_LOG("%u rounds, the last fault took %llu us", duel->round,
	       (unsigned long long)duel->took / 1000);
}

/* The fault and the event, both done when this returns. */
static long fault_beside_event(struct duel *duel)
{
	uint64_t started;
	long ret;

	pthread_barrier_wait(&duel->barrier);
	started = now_ns();
	ret = dev_faults(duel->fd, duel->round % 2, duel->mem, NPAGES);
	duel->took = now_ns() - started;
	pthread_barrier_wait(&duel->barrier);
	duel->round++;
	return ret;
}

/* Do device and CPU find the same in a part of the range, and is it that? */
static bool both_find(struct duel *duel, char *mem, uint64_t seed)
{
	return dev_read(duel->fd, mem, PART, duel->buf) == PART &&
	       (seed ? holds(duel->buf, PART, seed) && holds(mem, PART, seed) :
		       is_zero(duel->buf, PART) && is_zero(mem, PART));
}

#define BEFORE(end)	(now_ns() < (end) && !_metadata->exit_code)

/* Alternating, so that what the walk finds changes from entry to entry. */
static void drop_middle(struct duel *duel)
{
	if (duel->round % 4 < 2) {
		madvise(duel->part[1], PART * PAGE, MADV_DONTNEED);
		return;
	}
	for (size_t page = 0; page < PART; page++)
		madvise(duel->part[1] + page * PAGE, PAGE, MADV_DONTNEED);
}

TEST_F_TIMEOUT(gone, dontneed, TIMEOUT)
{
	struct duel *duel = &self->duel;
	uint64_t end = race_end();

	begin_rounds(_metadata, duel, drop_middle);
	do {
		uint64_t seed = 1 + duel->round * NPAGES;
		long ret;

		fill(duel->mem, NPAGES, seed);
		ret = fault_beside_event(duel);
		EXPECT_GE(ret, 0);
		EXPECT_LE(ret, NPAGES);
		EXPECT_TRUE(both_find(duel, duel->part[0], seed));
		EXPECT_TRUE(both_find(duel, duel->part[1], 0));
		EXPECT_TRUE(both_find(duel, duel->part[2], seed + 2 * PART));
	} while (BEFORE(end));
	end_rounds(_metadata, duel);
}

static void unmap_middle(struct duel *duel)
{
	munmap(duel->part[1], PART * PAGE);
}

static char *map_part(char *at)
{
	return mmap(at, PART * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

TEST_F_TIMEOUT(gone, munmap, TIMEOUT)
{
	struct duel *duel = &self->duel;
	uint64_t end = race_end();

	begin_rounds(_metadata, duel, unmap_middle);
	do {
		uint64_t seed = 1 + duel->round * NPAGES;
		long ret;

		fill(duel->mem, NPAGES, seed);
		ret = fault_beside_event(duel);
		EXPECT_TRUE(ret == NPAGES || ret == -EFAULT || ret == -EINVAL) {
			TH_LOG("the fault returned %ld", ret);
		}
		EXPECT_EQ(dev_read(duel->fd, duel->part[1], 1, duel->buf), -EFAULT);
		EXPECT_TRUE(both_find(duel, duel->part[0], seed));
		EXPECT_TRUE(both_find(duel, duel->part[2], seed + 2 * PART));
		ASSERT_EQ(map_part(duel->part[1]), duel->part[1]);
		EXPECT_TRUE(both_find(duel, duel->part[1], 0));
	} while (BEFORE(end));
	end_rounds(_metadata, duel);
}

/*
 * The entries move behind the back of the walk or ahead of it, in one piece or page
 * by page, so that it may meet a page again that it has collected.
 */
static void move_part(struct duel *duel)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	if (duel->round % 4 < 2)
		flags |= MREMAP_DONTUNMAP;
	if (duel->round % 8 < 4) {
		mremap(duel->from, PART * PAGE, PART * PAGE, flags, duel->to);
		return;
	}
	for (size_t page = 0; page < PART; page++)
		mremap(duel->from + page * PAGE, PAGE, PAGE, flags, duel->to + page * PAGE);
}

TEST_F_TIMEOUT(gone, mremap, TIMEOUT)
{
	struct duel *duel = &self->duel;
	uint64_t end = race_end();

	duel->from = duel->part[0];
	duel->to = duel->part[2];
	begin_rounds(_metadata, duel, move_part);
	do {
		uint64_t seed = 1 + duel->round * NPAGES;
		bool stays = duel->round % 4 < 2;
		char *to = duel->to;
		long ret;

		fill(duel->from, PART, seed);
		fill(duel->part[1], PART, seed + PART);
		ret = fault_beside_event(duel);
		EXPECT_TRUE(ret >= 0 || ret == -EFAULT || ret == -EINVAL) {
			TH_LOG("the fault returned %ld", ret);
		}
		EXPECT_TRUE(both_find(duel, to, seed));
		EXPECT_TRUE(both_find(duel, duel->part[1], seed + PART));
		if (!stays) {
			EXPECT_EQ(dev_read(duel->fd, duel->from, 1, duel->buf), -EFAULT);
			ASSERT_EQ(map_part(duel->from), duel->from);
		}
		EXPECT_TRUE(both_find(duel, duel->from, 0));

		/* Next time the other way, onto empty pages. */
		ASSERT_EQ(madvise(duel->from, PART * PAGE, MADV_DONTNEED), 0);
		duel->to = duel->from;
		duel->from = to;
	} while (BEFORE(end));
	end_rounds(_metadata, duel);
}

/*
 * Moves the pages of a part by UFFDIO_MOVE, which waits for migration entries with
 * its own invalidation open. Pages that are on the device it refuses.
 */
static void move_by_userfaultfd(struct duel *duel)
{
	long done = 0;

	for (unsigned int tries = 0; done < PART && tries < 1000; tries++) {
		struct uffdio_move arg = {
			.dst = (uintptr_t)duel->to + done * PAGE,
			.src = (uintptr_t)duel->from + done * PAGE,
			.len = (PART - done) * PAGE,
			.mode = UFFDIO_MOVE_MODE_DONTWAKE,
		};

		ioctl(duel->uffd, UFFDIO_MOVE, &arg);
		if (arg.move > 0)
			done += arg.move / PAGE;
		else if (tries % 2)
			dev_give(duel->fd, duel->from, PART);
	}
	duel->moved = done;
}

/*
 * The device faults on the part that pages come from and on the one behind, and
 * gives up at the third, which is watched and empty.
 */
TEST_F_TIMEOUT(gone, userfaultfd_move, TIMEOUT)
{
	struct duel *duel = &self->duel;
	uint64_t end = race_end();
	unsigned int in_part = 0;

	duel->uffd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MOVE);
	ASSERT_GE(duel->uffd, 0);
	duel->from = duel->part[0];
	duel->to = duel->part[2];
	ASSERT_EQ(uffd_watch(duel->uffd, duel->to, PART), 0);
	begin_rounds(_metadata, duel, move_by_userfaultfd);
	do {
		uint64_t seed = 1 + duel->round * NPAGES;
		long ret, moved;

		fill(duel->from, 2 * PART, seed);
		ret = fault_beside_event(duel);
		EXPECT_TRUE(ret >= 0 || ret == -EFAULT) {
			TH_LOG("the fault returned %ld", ret);
		}
		moved = duel->moved;
		in_part += moved < PART;
		if (moved) {
			EXPECT_EQ(dev_read(duel->fd, duel->to, moved, duel->buf), moved);
			EXPECT_TRUE(holds(duel->buf, moved, seed));
		}
		EXPECT_TRUE(holds(duel->to, moved, seed));
		EXPECT_EQ(dev_read(duel->fd, duel->from, PART, duel->buf), PART);
		EXPECT_TRUE(is_zero(duel->buf, moved));
		EXPECT_TRUE(is_zero(duel->from, moved));
		EXPECT_TRUE(holds(duel->from + moved * PAGE, PART - moved, seed + moved));
		EXPECT_TRUE(both_find(duel, duel->part[1], seed + PART));
		ASSERT_EQ(madvise(duel->to, PART * PAGE, MADV_DONTNEED), 0);
	} while (BEFORE(end));
	end_rounds(_metadata, duel);
	TH_LOG("%u rounds in which not all pages moved", in_part);
	EXPECT_LT(in_part, duel->round);
}

TEST_HARNESS_MAIN
