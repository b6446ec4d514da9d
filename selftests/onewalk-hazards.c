// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults beside whatever else moves pages without changing what they
 * hold: another such fault that comes from the other end or from the other
 * device, collapse into huge pages, compaction, swap. The program goes on writing
 * meanwhile, with the CPU and with the device in turn, and must find each time
 * what it wrote: a page that is lost, stale or in the place of another shows.
 */
#include <kselftest_harness.h>

#include <pthread.h>

#include "onewalk-hazards.h"

#define NPAGES	64
#define STEP	16	/* Two faults overlap by half. */
#define PAUSE_NS	10000000ULL
#define EVENT_NS	2000000000ULL	/* how long a pause waits for an event */
#define GRACE_NS	50000000000ULL	/* for what a busy machine takes long to do */

struct race {
	int fd;		/* of the device that faults all the time */
	int other;	/* of the second device */
	char *mem;	/* NPAGES, where a huge page may be, otherwise empty */
	char *buf;
	bool over;
	bool waits;		/* Every other pause lasts until there is an event. */
	bool reclaimed;		/* See forget_translations(). */
	uint64_t latest;	/* when to give up */
	pthread_t faults, events;
	unsigned long served;	/* migrating faults that succeeded, */
	unsigned long moved;	/* after which so many pages were on the device */
	unsigned long refused;
	volatile long seen;	/* how often the event came about */
};

FIXTURE(beside)
{
	struct race race;
};

/* Each case is one of these, in a thread of its own. */
FIXTURE_VARIANT(beside)
{
	void *(*events)(struct race *race);
	int advice;
	bool waits;
	bool reclaimed;
};

static void count_fault(struct race *race, long ret)
{
	/* Only the pages move, so nothing but a lack of patience is an excuse. */
	race->served += ret >= 0;
	race->moved += ret > 0 ? ret : 0;
	race->refused += ret < 0 && ret != -EBUSY;
}

/*
 * A pause in which main's accesses bring the pages home: up to twice as long as the
 * work before it, which a slow machine makes slower. Without one main would starve.
 */
static void pause_after(uint64_t work_ns)
{
	sleep_ms((random() % PAUSE_NS + random() % (2 * work_ns + 1)) / 1000000);
}

/* A pause with all pages at home, until there is an event; others are in the midst of faults. */
static void pause_for_event(struct race *race)
{
	uint64_t end = now_ns() + EVENT_NS;
	long before = race->seen;

	dev_give(race->fd, race->mem, NPAGES);
	while (race->seen == before && now_ns() < end && !flag_is_set(&race->over))
		sleep_ms(1);
}

/*
 * Ascending, in pieces that overlap, for reading and for writing in turn; from time
 * to time all at once, with the empty pages behind.
 */
static void *fault_upwards(void *arg)
{
	struct race *race = arg;

	for (unsigned int pass = 0; !flag_is_set(&race->over); pass++) {
		uint64_t began = now_ns();
		bool write = pass % 2;

		for (size_t at = 0; at + STEP <= NPAGES; at += STEP / 2)
			count_fault(race, dev_faults(race->fd, write, race->mem + at * PAGE, STEP));
		if (pass % 16 >= 14) {
			count_fault(race, dev_faults(race->fd, write, race->mem, HUGE_PAGES));
			/* Nobody else brings them home, and they keep pages from collapsing. */
			dev_give(race->fd, race->mem + NPAGES * PAGE, HUGE_PAGES - NPAGES);
		}
		if (race->waits && pass / 2 % 2)
			pause_for_event(race);
		else
			pause_after(now_ns() - began);
	}
	return NULL;
}

static void descend(struct race *race, int fd)
{
	for (unsigned int pass = 0; !flag_is_set(&race->over); pass++) {
		uint64_t began = now_ns();

		for (size_t end = NPAGES; end >= STEP; end -= STEP / 2)
			race->seen += dev_faults(fd, pass % 2, race->mem + (end - STEP) * PAGE,
						 STEP) > 0;
		pause_after(now_ns() - began);
	}
}

static void *fault_downwards(struct race *race)
{
	descend(race, race->fd);
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, opposite)
{
	.events = fault_downwards,
	.advice = MADV_NOHUGEPAGE,
};

static void *fault_on_other(struct race *race)
{
	descend(race, race->other);
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, second_device)
{
	.events = fault_on_other,
	.advice = MADV_NOHUGEPAGE,
};

/* How often the swap device has been written to. */
static long zram_writes(void)
{
	FILE *file = fopen("/sys/block/zram0/stat", "re");
	long writes = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%*d %*d %*d %*d %ld", &writes) != 1)
		writes = -1;
	fclose(file);
	return writes;
}

static void *page_out(struct race *race)
{
	long before = zram_writes();

	while (!flag_is_set(&race->over)) {
		madvise(race->mem, NPAGES * PAGE, MADV_PAGEOUT);
		race->seen = zram_writes() - before;
	}
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, swap_out)
{
	.events = page_out,
	.advice = MADV_NOHUGEPAGE,
	.reclaimed = true,
};

static bool is_huge(struct race *race)
{
	unsigned char at;

	return dev_snapshot(race->fd, race->mem, 1, &at) == 1 && at & HMM_DMIRROR_PROT_PMD;
}

/* It also succeeds where a huge page is already. */
static void *collapse(struct race *race)
{
	while (!flag_is_set(&race->over))
		race->seen += !is_huge(race) && !madvise(race->mem, HUGE, MADV_COLLAPSE);
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, collapse)
{
	.events = collapse,
	.advice = MADV_HUGEPAGE,
};

/* What khugepaged waits for, in milliseconds, from one look to the next. */
static const char *const khugepaged_waits[] = {
	THP "khugepaged/scan_sleep_millisecs",
	THP "khugepaged/alloc_sleep_millisecs",
};

static void set_value(const char *path, long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", value);
	write_file(path, text);
}

/* Gathers what it finds, if only one page is there, by itself. */
static void *be_scanned(struct race *race)
{
	long before = get_value(THP "khugepaged/pages_collapsed");
	long usual[ARRAY_SIZE(khugepaged_waits)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(usual); i++) {
		usual[i] = get_value(khugepaged_waits[i]);
		set_value(khugepaged_waits[i], 1);
	}
	while (!flag_is_set(&race->over)) {
		sleep_ms(5);
		race->seen = get_value(THP "khugepaged/pages_collapsed") - before;
	}
	for (i = 0; i < ARRAY_SIZE(usual); i++)
		set_value(khugepaged_waits[i], usual[i]);
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, khugepaged)
{
	.events = be_scanned,
	.advice = MADV_HUGEPAGE,
	/* It takes no pages of which many are elsewhere. */
	.waits = true,
};

/* Has moved pages, where the kernel counts that; has run, elsewhere. */
static void *compact(struct race *race)
{
	long before = vm_counter("pgmigrate_success");

	while (!flag_is_set(&race->over)) {
		write_file("/proc/sys/vm/compact_memory", "1");
		race->seen = before < 0 ? race->seen + 1 :
					  vm_counter("pgmigrate_success") - before;
	}
	return NULL;
}

FIXTURE_VARIANT_ADD(beside, compaction)
{
	.events = compact,
	.advice = MADV_NOHUGEPAGE,
};

FIXTURE_SETUP(beside)
{
	struct race *race = &self->race;

	race->fd = dev_open(0);
	ASSERT_GE(race->fd, 0);
	race->other = dev_open(1);
	ASSERT_GE(race->other, 0);
	race->mem = map_huge(1);
	ASSERT_NE(race->mem, MAP_FAILED);
	ASSERT_EQ(madvise(race->mem, HUGE, variant->advice), 0);
	race->waits = variant->waits;
	race->reclaimed = variant->reclaimed;
	/* By the CPU: khugepaged learns of a process by its faults. */
	fill(race->mem, NPAGES, 1);
	race->buf = map_pages(NPAGES);
	ASSERT_NE(race->buf, MAP_FAILED);
}

FIXTURE_TEARDOWN(beside)
{
	ASSERT_EQ(close(self->race.fd), 0);
	ASSERT_EQ(close(self->race.other), 0);
}

/*
 * Main's own requests, a few pages at a time: for more the device has to find all
 * of them at one moment, between two migrations. That is what -EBUSY says, after a
 * while; main tries again.
 */
static bool request(struct race *race, int fd, unsigned long request, char *buf)
{
	for (size_t at = 0; at < NPAGES;) {
		size_t npages = 1 + random() % 4;
		long ret;

		if (npages > NPAGES - at)
			npages = NPAGES - at;
		ret = dev_request(fd, request, race->mem + at * PAGE, npages, buf + at * PAGE,
				  NULL);
		if (ret == (long)npages) {
			at += npages;
		} else if (ret != -EBUSY || now_ns() > race->latest) {
			printf("# page %zu, %zu pages: %ld\n", at, npages, ret);
			return false;
		}
	}
	return true;
}

/* Read on the other side first: a stale copy is there, if anywhere. */
static bool write_and_find(struct race *race, uint64_t seed, bool by_cpu)
{
	if (by_cpu) {
		fill(race->mem, NPAGES, seed);
		memset(race->buf, 0, NPAGES * PAGE);
		return request(race, race->fd, HMM_DMIRROR_READ, race->buf) &&
		       holds(race->buf, NPAGES, seed) && holds(race->mem, NPAGES, seed);
	}
	fill(race->buf, NPAGES, seed);
	return request(race, race->fd, HMM_DMIRROR_WRITE, race->buf) &&
	       (!race->reclaimed || forget_translations()) &&
	       holds(race->mem, NPAGES, seed) &&
	       request(race, race->other, HMM_DMIRROR_READ, race->buf) &&
	       holds(race->buf, NPAGES, seed);
}

TEST_F_TIMEOUT(beside, write, TIMEOUT)
{
	struct race *race = &self->race;
	uint64_t began = now_ns(), end = race_end();
	unsigned int round = 0;
	bool right;

	race->latest = end + GRACE_NS;
	ASSERT_EQ(pthread_create(&race->faults, NULL, fault_upwards, race), 0);
	ASSERT_EQ(pthread_create(&race->events, NULL,
				 (void *(*)(void *))variant->events, race), 0);
	/* Until the time is over, and later if nothing has happened yet. */
	do {
		round++;
		right = write_and_find(race, round, round % 2);
	} while (right && (now_ns() < end || ((!race->seen || !race->moved || round < 2) &&
					      now_ns() < race->latest)));
	set_flag(&race->over);
	pthread_join(race->faults, NULL);
	pthread_join(race->events, NULL);
	TH_LOG("%u rounds beside %lu faults of %lu pages and %ld events, in %llu ms", round,
	       race->served, race->moved, race->seen,
	       (unsigned long long)(now_ns() - began) / 1000000);
	EXPECT_TRUE(right);
	EXPECT_GE(round, 2);
	EXPECT_EQ(race->refused, 0);
	EXPECT_GT(race->moved, 0);
	EXPECT_GT(race->seen, 0);
	EXPECT_TRUE(is_zero(race->mem + NPAGES * PAGE, 1));
	EXPECT_TRUE(is_zero(race->mem + HUGE - PAGE, 1));

	/* Alone again, all go. */
	EXPECT_EQ(dev_faults(race->fd, true, race->mem, NPAGES), NPAGES);
	EXPECT_TRUE(all_at(race->fd, race->mem, NPAGES, AT_DEVICE));
	EXPECT_TRUE(holds(race->mem, NPAGES, round));
}

TEST_HARNESS_MAIN
