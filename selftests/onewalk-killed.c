// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL during a migrating fault: while it waits for a userfaultfd that nobody
 * serves or for a slow swap device, and between the faults of a large request.
 */
#include <kselftest_harness.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "onewalk-hazards.h"
#include "onewalk-slow-swap.h"

#define NPAGES		16
#define HALF		(NPAGES / 2)
#define SEED		1000
#define GIB_PAGES	(1UL << 18)
#define KILL_AFTER_MS	200
#define DIES_WITHIN_MS	2000

/* What the child's fault meets. */
enum obstacle {
	USERFAULTFD,
	SLOW_SWAP,
	SIZE,
};

FIXTURE(killed)
{
	char *mem;	/* 1 GiB, untouched */
};

FIXTURE_SETUP(killed)
{
	self->mem = mmap(NULL, GIB_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_EQ(madvise(self->mem, GIB_PAGES * PAGE, MADV_NOHUGEPAGE), 0);
}

FIXTURE_TEARDOWN(killed)
{
	ASSERT_EQ(munmap(self->mem, GIB_PAGES * PAGE), 0);
}

struct waiter {
	int fd, uffd, ready;
	char *mem;
	size_t npages;
	bool write;
};

static void *wait_in_fault(void *arg)
{
	struct waiter *waiter = arg;
	char waits = 0;

	dev_faults(waiter->fd, waiter->write, waiter->mem, waiter->npages);
	/* It did not wait, or not for long enough. */
	if (write(waiter->ready, &waits, 1) != 1)
		abort();
	return NULL;
}

/* Takes away the second half of the pages; the first ones are there. */
static bool put_in_the_way(struct waiter *waiter, enum obstacle obstacle)
{
	char *missing = waiter->mem + HALF * PAGE;

	waiter->npages = obstacle == SIZE ? GIB_PAGES : NPAGES;
	fill(waiter->mem, NPAGES, SEED);
	switch (obstacle) {
	case USERFAULTFD:
		waiter->uffd = uffd_open(0);
		return waiter->uffd >= 0 && !madvise(missing, HALF * PAGE, MADV_DONTNEED) &&
		       !uffd_watch(waiter->uffd, missing, HALF);
	case SLOW_SWAP:
		return swap_out_for_good(missing, HALF);
	case SIZE:
		return true;
	}
	return false;
}

static void wait_until_it_waits(struct waiter *waiter, enum obstacle obstacle)
{
	struct pollfd missed = { .fd = waiter->uffd, .events = POLLIN };

	switch (obstacle) {
	case USERFAULTFD:
		poll(&missed, 1, -1);
		break;
	case SLOW_SWAP:
		while (slow_reads() < 1)
			sleep_ms(1);
		break;
	case SIZE:
		sleep_ms(KILL_AFTER_MS);
		break;
	}
}

/* The child's: faults on pages that do not come, and says when it waits. */
static void wait_for_death(char *mem, int ready, bool write_fault, enum obstacle obstacle)
{
	struct waiter waiter = {
		.fd = dev_open(0),
		.ready = ready,
		.mem = mem,
		.write = write_fault,
	};
	pthread_t thread;
	char waits = 1;

	if (waiter.fd < 0 || !put_in_the_way(&waiter, obstacle) ||
	    pthread_create(&thread, NULL, wait_in_fault, &waiter))
		_exit(1);
	wait_until_it_waits(&waiter, obstacle);
	if (write(ready, &waits, 1) != 1)
		_exit(2);
	for (;;)
		pause();
}

/* The milliseconds from SIGKILL to the end of a child in such a fault; -1 if it did not wait. */
static long time_to_die(char *mem, bool write_fault, enum obstacle obstacle)
{
	int ready[2], status;
	uint64_t started;
	pid_t child;
	char waits = 0;

	if (pipe(ready))
		return -1;
	child = fork();
	if (!child)
		wait_for_death(mem, ready[1], write_fault, obstacle);
	close(ready[1]);
	if (child < 0)
		return -1;
	if (read(ready[0], &waits, 1) != 1)
		waits = 0;
	close(ready[0]);
	started = now_ns();
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || !waits)
		return -1;
	return (now_ns() - started) / 1000000;
}

static void die_often(struct __test_metadata *_metadata, char *mem, enum obstacle obstacle)
{
	uint64_t end = race_end();
	unsigned int round = 0;
	long longest = 0;

	do {
		long ms = time_to_die(mem, round++ % 2, obstacle);

		EXPECT_GE(ms, 0);
		EXPECT_LE(ms, DIES_WITHIN_MS);
		longest = ms > longest ? ms : longest;
	} while (now_ns() < end && !_metadata->exit_code);
	TH_LOG("%u killed, within up to %ld ms", round, longest);
}

TEST_F_TIMEOUT(killed, in_userfaultfd, TIMEOUT)
{
	die_often(_metadata, self->mem, USERFAULTFD);
}

/* The page comes only when it is too late for DIES_WITHIN_MS. */
TEST_F_TIMEOUT(killed, in_slow_swap, TIMEOUT)
{
	const char *failed = slow_swap_on();

	ASSERT_EQ(failed, NULL) {
		TH_LOG("no slow swap device: %s: %m", failed);
	}
	die_often(_metadata, self->mem, SLOW_SWAP);
	EXPECT_TRUE(slow_swap_off());
}

TEST_F_TIMEOUT(killed, between_faults, TIMEOUT)
{
	die_often(_metadata, self->mem, SIZE);
}

TEST_HARNESS_MAIN
