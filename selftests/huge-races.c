// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages go to and fro all the time, whole, in part and for want of a huge
 * page in pieces, while something else happens to them. The main thread writes
 * to pages, by the CPU or by the device, and reads by the other what must be
 * there: the last it wrote or, where pages are dropped, zeroes.
 */
#include <kselftest_harness.h>

#include <pthread.h>

#include "huge.h"
#include "onewalk-hazards.h"

#define STRIDE	1000003		/* from one version of a page to the next */
#define WATCHED	8		/* pages that are written to, one in each so many */
#define STEP	(HUGE_PAGES / WATCHED)

#define PATIENCE	60	/* seconds, for a slow guest */
#define TRIES		1000	/* until a huge page goes as one */

struct race {
	int fd, other;
	char *mem;		/* a huge page */
	void (*event)(struct race *race);
	bool reclaims;		/* see forget_translations() */
	bool over;
	pthread_rwlock_t ready;	/* held for writing while there is to be a huge page again */
	pthread_t mover, events;
	volatile unsigned long moved;	/* times that the huge page was on the device as one */
	volatile unsigned long begun, seen;	/* events, and those that have ended */
	unsigned long outdated;	/* looks of the CPU at a page that was just dropped or reclaimed */
	unsigned long failed;		/* those that went wrong */
};

FIXTURE(races)
{
	struct race race;
};

FIXTURE_VARIANT(races)
{
	void (*event)(struct race *race);
	bool drops;	/* pages may become zeroes */
	bool reclaims;	/* see forget_translations() */
};

/* Now and then all of it, which becomes a huge page again. */
static void drop_part(struct race *race)
{
	if (random() % 64) {
		madvise(race->mem + random() % HUGE_PAGES * PAGE, PAGE, MADV_DONTNEED);
	} else {
		madvise(race->mem, HUGE, MADV_DONTNEED);
		sleep_ms(random() % 20);
	}
}

FIXTURE_VARIANT_ADD(races, drop_part)
{
	.event = drop_part,
	.drops = true,
};

static void drop_whole(struct race *race)
{
	madvise(race->mem, HUGE, MADV_DONTNEED);
	sleep_ms(random() % 20);
}

FIXTURE_VARIANT_ADD(races, drop_whole)
{
	.event = drop_whole,
	.drops = true,
};

/* In a child: each word is one that was written there, if not of one version, at the fork. */
static bool is_sound(struct race *race)
{
	for (size_t page = 0; page < HUGE_PAGES; page += STEP) {
		uint64_t *word = (uint64_t *)(race->mem + page * PAGE);

		for (size_t i = 0; i < WORDS; i++) {
			uint64_t seed = (word[i] ^ word_of(0, 0)) / WORDS;

			if (word[i] == word_of(seed, i) && seed % STRIDE == page)
				continue;
			printf("# in a child, page %zu, word %zu: %#llx\n", page, i,
			       (unsigned long long)word[i]);
			return false;
		}
	}
	return true;
}

static void fork_child(struct race *race)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		alarm(PATIENCE);
		_exit(!is_sound(race));
	}
	race->failed += waitpid(child, &status, 0) != child || status;
}

FIXTURE_VARIANT_ADD(races, fork)
{
	.event = fork_child,
};

/* A part has another protection for a while, though none that anyone would notice. */
static void protect_part(struct race *race)
{
	size_t page = random() % (HUGE_PAGES - 1);

	mprotect(race->mem + page * PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	mprotect(race->mem, HUGE, PROT_READ | PROT_WRITE);
}

FIXTURE_VARIANT_ADD(races, protect)
{
	.event = protect_part,
};

static void touch_page(struct race *race)
{
	touch(race->mem + random() % HUGE_PAGES * PAGE, 1);
}

FIXTURE_VARIANT_ADD(races, touch)
{
	.event = touch_page,
};

static void collapse(struct race *race)
{
	madvise(race->mem, HUGE, MADV_COLLAPSE);
}

FIXTURE_VARIANT_ADD(races, collapse)
{
	.event = collapse,
};

static void page_out(struct race *race)
{
	madvise(race->mem, HUGE, MADV_PAGEOUT);
}

FIXTURE_VARIANT_ADD(races, page_out)
{
	.event = page_out,
	.reclaims = true,
};

static void fetch_to_other(struct race *race)
{
	size_t count = random() % 2 ? HUGE_PAGES : 1 + random() % HUGE_PAGES;

	dev_faults(race->other, random() % 2, race->mem, count);
}

FIXTURE_VARIANT_ADD(races, second_device)
{
	.event = fetch_to_other,
};

static void release(struct race *race)
{
	dev_request(race->fd, HMM_DMIRROR_RELEASE, NULL, 0, NULL, NULL);
}

FIXTURE_VARIANT_ADD(races, release)
{
	.event = release,
};

FIXTURE_SETUP(races)
{
	self->race.fd = dev_open(0);
	ASSERT_GE(self->race.fd, 0);
	self->race.other = dev_open(1);
	ASSERT_GE(self->race.other, 0);
	self->race.mem = map_huge(1);
	ASSERT_NE(self->race.mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(races)
{
	EXPECT_EQ(close(self->race.fd), 0);
	EXPECT_EQ(close(self->race.other), 0);
}

static void *make_events(void *arg)
{
	struct race *race = arg;

	while (!flag_is_set(&race->over)) {
		pthread_rwlock_rdlock(&race->ready);
		race->begun++;
		race->event(race);
		race->seen++;
		pthread_rwlock_unlock(&race->ready);
		sleep_ms(random() % 10);
	}
	return NULL;
}

/* Like scratch, for the mover: what the device reads while data change is no use. */
static uint64_t unused[HUGE_PAGES * WORDS];

/* What has been taken apart is one huge page again, as a rule: who comes between waits. */
static void make_huge(struct race *race)
{
	pthread_rwlock_wrlock(&race->ready);
	dev_give(race->fd, race->mem, HUGE_PAGES);
	dev_give(race->other, race->mem, HUGE_PAGES);
	madvise(race->mem, HUGE, MADV_COLLAPSE);
	pthread_rwlock_unlock(&race->ready);
}

/* Whole, if it can be; and back, or not, or a part; sometimes there is no huge page. */
static void move_once(struct race *race)
{
	size_t page = random() % HUGE_PAGES, count = 1 + random() % (HUGE_PAGES - page);
	unsigned char map[HUGE_PAGES];

	if (random() % 4)
		make_huge(race);
	if (random() % 8 == 0)
		fail_next_huge(race->fd);
	if (random() % 4)
		dev_take(race->fd, race->mem, HUGE_PAGES, unused);
	else
		dev_faults(race->fd, random() % 2, race->mem, HUGE_PAGES);
	if (dev_snapshot(race->fd, race->mem, HUGE_PAGES, map) == (long)HUGE_PAGES)
		race->moved += map[0] == AT_DEVICE_HUGE || map[0] == AT_DEVICE_HUGE_RO;

	if (random() % 8 == 0)
		fail_next_huge(race->fd);
	if (random() % 2)
		dev_give(race->fd, race->mem, HUGE_PAGES);
	else if (random() % 2)
		dev_give(race->fd, race->mem + page * PAGE, count);
}

static void *move(void *arg)
{
	struct race *race = arg;

	while (!flag_is_set(&race->over)) {
		move_once(race);
		sleep_ms(random() % 5);
	}
	return NULL;
}

/* Each word by itself: the page may go while it is written or read. */
static bool is_dropped_or(const uint64_t *data, uint64_t seed)
{
	for (size_t i = 0; i < WORDS; i++)
		if (data[i] && data[i] != word_of(seed, i))
			return false;
	return true;
}

/*
 * A page that is dropped is gone for the device, and may be replaced, when mm has told
 * so; but a CPU may have the old one in its TLB until mm flushes that, at the end of the
 * call. Not for longer: the CPU looks again then.
 */
static void look_again(struct race *race, uint64_t *data, const char *mem)
{
	unsigned long begun = race->begun;

	while (race->seen < begun)
		sched_yield();
	memcpy(data, mem, PAGE);
	race->outdated++;
}

/* The CPU or the device writes a page, and the other one reads it. */
static bool write_and_read(struct race *race, size_t page, uint64_t seed, bool drops)
{
	static uint64_t data[WORDS];
	char *mem = race->mem + page * PAGE;
	long ret = 1;

	fill(data, 1, seed);
	if (seed % 2) {
		memcpy(mem, data, PAGE);
		memset(data, 0xff, PAGE);
		ret = dev_read(race->fd, mem, 1, data);
	} else {
		ret = dev_write(race->fd, mem, 1, data);
		if (ret == 1)
			memcpy(data, mem, PAGE);
		if (ret == 1 && race->reclaims && !holds(data, 1, seed)) {
			forget_translations();
			memcpy(data, mem, PAGE);
			race->outdated++;
		}
	}
	/* The device may lack the patience, and that only. */
	if (ret == -EBUSY)
		return true;
	if (ret != 1) {
		printf("# page %zu: %ld\n", page, ret);
		return false;
	}
	if (!drops)
		return holds(data, 1, seed);
	if (!is_dropped_or(data, seed) && seed % 2 == 0)
		look_again(race, data, mem);
	return is_dropped_or(data, seed) || holds(data, 1, seed);
}

TEST_F_TIMEOUT(races, beside, TIMEOUT)
{
	struct race *race = &self->race;
	uint64_t now = now_ns(), end = now + seconds_of_race(1) * 1000000000ULL;
	uint64_t version = 1, last = now + PATIENCE * 1000000000ULL;
	bool ok = true;

	for (size_t page = 0; page < HUGE_PAGES; page++)
		fill(race->mem + page * PAGE, 1, page);
	race->event = variant->event;
	race->reclaims = variant->reclaims;
	ASSERT_EQ(pthread_rwlock_init(&race->ready, NULL), 0);
	/* Before anything happens to it, the huge page can go as one. */
	for (int tries = 0; !race->moved && tries < TRIES; tries++)
		move_once(race);
	ASSERT_GT(race->moved, 0);
	ASSERT_EQ(pthread_create(&race->events, NULL, make_events, race), 0);
	ASSERT_EQ(pthread_create(&race->mover, NULL, move, race), 0);
	for (; ok && (now < end || (!race->seen && now < last)); now = now_ns()) {
		size_t page = random() % WATCHED * STEP;

		pthread_rwlock_rdlock(&race->ready);
		ok = write_and_read(race, page, version++ * STRIDE + page, variant->drops);
		pthread_rwlock_unlock(&race->ready);
		sleep_ms(random() % 10);
	}
	set_flag(&race->over);
	pthread_join(race->events, NULL);
	pthread_join(race->mover, NULL);
	TH_LOG("%llu accesses, %lu events, %lu times on the device as one, %lu outdated looks",
	       (unsigned long long)version - 1, race->seen, race->moved, race->outdated);
	EXPECT_TRUE(ok);
	EXPECT_EQ(race->failed, 0);
	EXPECT_GT(race->seen, 0);
	/* Nothing has become of what nobody wrote to. */
	for (size_t page = 1; page < HUGE_PAGES && !variant->drops; page += STEP)
		EXPECT_TRUE(holds(race->mem + page * PAGE, 1, page));
}

TEST_HARNESS_MAIN
