// SPDX-License-Identifier: GPL-2.0
/*
 * Migrating faults on pages that NUMA balancing has made inaccessible, to learn
 * from the next fault who uses them. The device's fault is no CPU's: the pages
 * are collected without one.
 */
#include "onewalk-fixture.h"

#include <pthread.h>
#include <time.h>

#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define TUNING		"/sys/kernel/debug/sched/numa_balancing/"
#define SECONDS		100	/* to wait for the scanner, at most */

/* Who has a second thread may have pages on any node: the scanner passes over none. */
static void *wait_for_end(void *arg)
{
	pthread_barrier_wait(arg);
	return NULL;
}

/* Burns time, which the scanner goes by, until it has come to the pages. */
static bool wait_for_scanner(int fd, const char *mem)
{
	time_t end = time(NULL) + SECONDS;
	unsigned char map[NPAGES];
	size_t hidden = 0;

	while (hidden < NPAGES && time(NULL) < end) {
		for (volatile int i = 0; i < 1000000; i++)
			;
		if (dev_snapshot(fd, mem, NPAGES, map) != NPAGES)
			return false;
		hidden = 0;
		for (size_t i = 0; i < NPAGES; i++)
			hidden += map[i] == AT_NOWHERE;
	}
	printf("# %zu of %lu pages hidden\n", hidden, (long)NPAGES);
	return hidden == NPAGES && all_marked(mem, NPAGES, PM_PRESENT, PM_PRESENT);
}

TEST_F_TIMEOUT(onewalk, prot_none, TIMEOUT)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	if (access(BALANCING, W_OK))
		SKIP(return, "no NUMA balancing in this kernel");
	ASSERT_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, wait_for_end, &barrier), 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_TRUE(write_file(TUNING "scan_delay_ms", "1"));
	ASSERT_TRUE(write_file(TUNING "scan_period_min_ms", "1"));
	ASSERT_TRUE(write_file(TUNING "scan_period_max_ms", "10"));
	ASSERT_TRUE(write_file(BALANCING, "1"));
	EXPECT_TRUE(wait_for_scanner(self->fd, self->mem));
	/* A hidden entry has lost the right to write, which a fault finds out again. */
	EXPECT_TRUE(takes(self->fd, variant->write, self->mem, NPAGES, NPAGES,
			  variant->write ? NPAGES : 0));
	EXPECT_TRUE(write_file(BALANCING, "0"));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, NPAGES, SEED));
	EXPECT_EQ(count_on_device(self->fd, self->mem, NPAGES), NPAGES);
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
	EXPECT_TRUE(dev_changes(self->fd, self->mem, NPAGES, OTHER));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

TEST_HARNESS_MAIN
