// SPDX-License-Identifier: GPL-2.0
/*
 * A migrating fault that has to wait, for a userfaultfd or for a slow swap device.
 * Nobody else waits with it: the second device, which mirrors the same process,
 * reads elsewhere meanwhile, memory is mapped and unmapped, and the CPU finds the
 * pages in front of the one that is missing.
 */
#include <kselftest_harness.h>

#include <poll.h>
#include <pthread.h>

#include "onewalk-hazards.h"
#include "onewalk-slow-swap.h"

#define NPAGES		16
#define HALF		(NPAGES / 2)
#define SEED		1000
#define ELSEWHERE	4096	/* pages that nobody has touched */
#define PATIENCE_MS	20000	/* for a slow guest; what is stalled waits for ever */

struct scene {
	int fd, other;
	char *mem;	/* NPAGES */
	char *buf;
	char *elsewhere;
	size_t used;	/* pages of it */

	/* the fault that waits */
	pthread_t thread;
	bool write;
	bool over;
	long ret;

	/* what goes on beside it */
	pthread_t beside;
	bool done;
	const char *wrong;
	bool front;	/* the CPU looks at the first half of the range, too */
};

FIXTURE(stalls)
{
	struct scene scene;
};

FIXTURE_SETUP(stalls)
{
	struct scene *scene = &self->scene;

	scene->fd = dev_open(0);
	ASSERT_GE(scene->fd, 0);
	scene->other = dev_open(1);
	ASSERT_GE(scene->other, 0);
	scene->mem = map_pages(NPAGES);
	ASSERT_NE(scene->mem, MAP_FAILED);
	scene->buf = map_pages(NPAGES);
	ASSERT_NE(scene->buf, MAP_FAILED);
	scene->elsewhere = map_pages(ELSEWHERE);
	ASSERT_NE(scene->elsewhere, MAP_FAILED);
}

FIXTURE_TEARDOWN(stalls)
{
	ASSERT_EQ(close(self->scene.fd), 0);
	ASSERT_EQ(close(self->scene.other), 0);
}

static void *fault_on_all(void *arg)
{
	struct scene *scene = arg;

	scene->ret = dev_faults(scene->fd, scene->write, scene->mem, NPAGES);
	set_flag(&scene->over);
	return NULL;
}

/* Everything that must not wait for the fault, once. */
static void *live_on(void *arg)
{
	struct scene *scene = arg;
	char *page = scene->elsewhere + scene->used++ % (ELSEWHERE - 1) * PAGE;
	char *area, buf[PAGE];

	/* Untouched memory: the device has to look it up. */
	if (dev_read(scene->other, page, 1, buf) != 1 || !is_zero(buf, 1))
		scene->wrong = "the second device's read";
	area = map_pages(1);
	memset(area, 1, PAGE);
	if (dev_write(scene->other, area, 1, buf) != 1 || !is_zero(area, 1))
		scene->wrong = "the second device's write";
	if (munmap(area, PAGE))
		scene->wrong = "munmap";
	if (scene->front && !holds(scene->mem, HALF, SEED))
		scene->wrong = "the pages in front";
	set_flag(&scene->done);
	return NULL;
}

static bool wait_for(bool *flag, unsigned int ms)
{
	uint64_t end = now_ns() + ms * 1000000ULL;

	while (!flag_is_set(flag)) {
		if (now_ns() > end)
			return false;
		sleep_ms(1);
	}
	return true;
}

/* Starts what must not wait; has it ended, right, and the fault not yet? */
static bool goes_on_beside(struct scene *scene, uint64_t *took)
{
	uint64_t started = now_ns();
	bool in_time;

	scene->done = false;
	scene->wrong = NULL;
	if (pthread_create(&scene->beside, NULL, live_on, scene))
		return false;
	in_time = wait_for(&scene->done, PATIENCE_MS);
	*took = now_ns() - started;
	return in_time && !flag_is_set(&scene->over);
}

static bool miss_comes(int uffd, unsigned long *address)
{
	struct pollfd ready = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&ready, 1, PATIENCE_MS) != 1 || read(uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return false;
	*address = msg.arg.pagefault.address & ~(PAGE - 1);
	return true;
}

/*
 * The second half of the range is watched and missing, the first is there. Twice in
 * a mapping of its own, twice as a part of the only one.
 */
TEST_F_TIMEOUT(stalls, userfaultfd, TIMEOUT)
{
	struct scene *scene = &self->scene;
	uint64_t end = race_end(), longest = 0, took;
	unsigned int round = 0, misses = 0;
	char *missing = scene->mem + HALF * PAGE;

	scene->front = true;
	do {
		bool whole = round / 2 % 2;
		int uffd = uffd_open(0);
		size_t copied = 0;

		ASSERT_GE(uffd, 0);
		ASSERT_EQ(madvise(scene->mem, NPAGES * PAGE, MADV_DONTNEED), 0);
		fill(scene->mem, HALF, SEED);
		fill(scene->buf, NPAGES, SEED);
		ASSERT_EQ(uffd_watch(uffd, whole ? scene->mem : missing,
				     whole ? NPAGES : HALF), 0);
		scene->over = false;
		scene->write = round % 2;
		ASSERT_EQ(pthread_create(&scene->thread, NULL, fault_on_all, scene), 0);
		while (copied < HALF) {
			unsigned long address;
			size_t page;

			ASSERT_TRUE(miss_comes(uffd, &address));
			page = (address - (uintptr_t)missing) / PAGE;
			ASSERT_LT(page, HALF);
			misses++;
			/* The answer waits until the others are done. */
			EXPECT_TRUE(goes_on_beside(scene, &took));
			EXPECT_EQ(scene->wrong, NULL) {
				TH_LOG("wrong: %s", scene->wrong);
			}
			longest = took > longest ? took : longest;
			/* Some one by one, the rest at once. */
			if (copied < 3) {
				ASSERT_EQ(uffd_copy(uffd, missing + page * PAGE, scene->buf +
						    (HALF + page) * PAGE, 1), 0);
				copied++;
			} else {
				ASSERT_EQ(page, copied);
				ASSERT_EQ(uffd_copy(uffd, missing + page * PAGE, scene->buf +
						    (HALF + page) * PAGE, HALF - page), 0);
				copied = HALF;
			}
			ASSERT_EQ(pthread_join(scene->beside, NULL), 0);
		}
		ASSERT_EQ(pthread_join(scene->thread, NULL), 0);
		/* The CPU may have fetched those in front again. */
		EXPECT_GE(scene->ret, HALF);
		EXPECT_LE(scene->ret, NPAGES);
		EXPECT_EQ(dev_faults(scene->fd, scene->write, scene->mem, NPAGES), NPAGES);
		EXPECT_EQ(count_on_device(scene->fd, scene->mem, NPAGES), NPAGES);
		EXPECT_EQ(dev_read(scene->fd, scene->mem, NPAGES, scene->buf), NPAGES);
		EXPECT_TRUE(holds(scene->buf, NPAGES, SEED));
		EXPECT_TRUE(holds(scene->mem, NPAGES, SEED));
		ASSERT_EQ(close(uffd), 0);
		round++;
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u rounds, %u misses, the others took up to %llu us", round, misses,
	       (unsigned long long)longest / 1000);
}

TEST_F_TIMEOUT(stalls, slow_swap, TIMEOUT)
{
	struct scene *scene = &self->scene;
	uint64_t end = race_end(), longest = 0, took;
	unsigned int round = 0, beside = 0;

	const char *failed = slow_swap_on();

	scene->front = true;
	ASSERT_EQ(failed, NULL) {
		TH_LOG("no slow swap device: %s: %m", failed);
	}
	do {
		unsigned int before = beside;

		fill(scene->mem, NPAGES, SEED);
		EXPECT_TRUE(swap_out_for_good(scene->mem + HALF * PAGE, HALF));
		scene->over = false;
		scene->write = round % 2;
		ASSERT_EQ(pthread_create(&scene->thread, NULL, fault_on_all, scene), 0);
		while (slow_reads() < 1 && !flag_is_set(&scene->over))
			sleep_ms(1);
		while (!flag_is_set(&scene->over)) {
			beside += goes_on_beside(scene, &took);
			ASSERT_EQ(pthread_join(scene->beside, NULL), 0);
			EXPECT_EQ(scene->wrong, NULL) {
				TH_LOG("wrong: %s", scene->wrong);
			}
			longest = took > longest ? took : longest;
		}
		EXPECT_GT(beside, before);
		ASSERT_EQ(pthread_join(scene->thread, NULL), 0);
		EXPECT_GE(scene->ret, HALF);
		EXPECT_LE(scene->ret, NPAGES);
		EXPECT_EQ(dev_faults(scene->fd, scene->write, scene->mem, NPAGES), NPAGES);
		EXPECT_EQ(count_on_device(scene->fd, scene->mem, NPAGES), NPAGES);
		EXPECT_EQ(dev_read(scene->fd, scene->mem, NPAGES, scene->buf), NPAGES);
		EXPECT_TRUE(holds(scene->buf, NPAGES, SEED));
		EXPECT_TRUE(holds(scene->mem, NPAGES, SEED));
		round++;
	} while (now_ns() < end && !_metadata->exit_code);
	EXPECT_TRUE(slow_swap_off());
	TH_LOG("%u rounds, %u times the others were done meanwhile, in up to %llu us", round,
	       beside, (unsigned long long)longest / 1000);
}

TEST_HARNESS_MAIN
