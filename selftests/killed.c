// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL while a request of any size is being served: the process must be gone
 * within 100 ms nine times out of ten, whatever it asked for.
 *
 * The victim shares the address space with the test, which outlives it. So what is
 * measured is how soon the request sees the signal, and not how long it takes to tear
 * an address space down; that is what the last of the tries adds.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "large.h"

#define TRIES		20
#define STRICT_TRIES	5	/* that kernel takes a minute for 20 of some requests */
#define P90_MS		100
#define PROCESS_MS	5000	/* with all that it leaves behind */
#define STRICT_TIMES	8	/* as slow is a kernel that checks itself */
#define TIMEOUT		600
#define AGAIN		10	/* times, for a thread that got no processor at its moment */

/* Pages. */
#define RANGE		(GIB_PAGES / 2)
#define ENOUGH		(3 * GIB_PAGES / 16)	/* resident: not to wait for more */
#define RESIDENT_MAX	(GIB_PAGES / 4)
#define STORED		(GIB_PAGES / 8)		/* on the device */

#define KNOWN		32768	/* blocks */
#define AREAS		16384
#define STACK		65536
#define STEP_US		10000

/* In memory that victims of both kinds share with the test. */
struct victim {
	struct request request;
	bool (*prepare)(int fd, char *room);
	char *room;
	int fd;
	bool sends, over;
};

/* --- What the memory is like before each try ------------------------------------ */

static bool is_untouched(int fd, char *room)
{
	return !madvise(room, 2 * RANGE * PAGE, MADV_DONTNEED);
}

/* So many, or fewer where all takes longer. */
static size_t scaled(size_t count)
{
	return is_strict() ? count / STRICT_TIMES : count;
}

static bool is_on_device(int fd, char *room)
{
	return put_on_device(fd, room, STORED);
}

/* The same beside those who lock pages: a few may stay. */
static bool is_mostly_on_device(int fd, char *room)
{
	return dev_request(fd, HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV, room, STORED, NULL,
			   NULL) > (long)STORED / 2;
}

/* On the device, in many areas, of which only each other one can be written. */
static bool is_in_areas(int fd, char *room)
{
	const size_t areas = scaled(AREAS), size = STORED / areas * PAGE;

	if (!is_on_device(fd, room))
		return false;
	for (size_t i = 0; i < areas; i += 2) {
		if (mprotect(room + i * size, size, PROT_READ))
			return false;
	}
	return true;
}

/* The device knows a page of each block; all are the page of zeroes. */
static bool is_known(int fd, char *room)
{
	char *page = room + 2 * RANGE * PAGE, *buf = room;
	uint64_t faults = 0;

	/* If it knows the first, it knows them all. */
	if (dev_request(fd, HMM_DMIRROR_READ, page, 1, buf, &faults) != 1)
		return false;
	for (size_t i = 1; faults && i < scaled(KNOWN); i++) {
		if (dev_read(fd, page + i * BLOCK * PAGE, 1, buf) != 1)
			return false;
	}
	return true;
}

/* --- The victim ------------------------------------------------------------------ */

static int be_a_victim(void *arg)
{
	struct victim *victim = arg;

	set(&victim->sends);
	send_request(victim->fd, &victim->request);
	set(&victim->over);
	return 0;
}

static size_t resident_pages(pid_t pid)
{
	size_t pages = SIZE_MAX;
	char path[32];
	FILE *statm;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	statm = fopen(path, "re");
	if (!statm)
		return pages;
	if (fscanf(statm, "%*u %zu", &pages) != 1)
		pages = SIZE_MAX;
	fclose(statm);
	return pages;
}

static uint64_t to_us(struct timespec time)
{
	return time.tv_sec * 1000000ULL + time.tv_nsec / 1000;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return to_us(now);
}

static uint64_t cpu_time_us(pid_t pid)
{
	struct timespec used = {};
	clockid_t clock;

	if (!clock_getcpuclockid(pid, &clock))
		clock_gettime(clock, &used);
	return to_us(used);
}

/*
 * Waits until the request has had a processor for @us, or has taken much memory. It
 * does nothing else, and so is in the middle of its work; unless it is over.
 */
static bool wait_until_busy(struct victim *victim, pid_t pid, uint64_t us)
{
	uint64_t before;

	while (!is_set(&victim->sends)) {
		if (waitpid(pid, NULL, WNOHANG))
			return false;
		usleep(100);
	}
	before = cpu_time_us(pid);
	while (cpu_time_us(pid) - before < us && resident_pages(pid) < ENOUGH) {
		if (is_set(&victim->over))
			return false;
		usleep(100);
	}
	return !is_set(&victim->over);
}

/* Instead of a time: */
#define WAS_OVER	-1	/* the request had ended */
#define TOO_LARGE	-2	/* the process had too much memory */

/* The microseconds from SIGKILL to the end of @pid. */
static long kill_busy(struct victim *victim, pid_t pid, uint64_t us)
{
	bool busy = wait_until_busy(victim, pid, us);
	bool small = resident_pages(pid) <= RESIDENT_MAX;
	uint64_t start = now_us();
	int status;

	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !busy || is_set(&victim->over) ||
	    !WIFSIGNALED(status)) {
		printf("# the request was over within %llu us\n", (unsigned long long)us);
		return WAS_OVER;
	}
	if (!small) {
		printf("# too much memory\n");
		return TOO_LARGE;
	}
	return now_us() - start;
}

/* A thread of its own in this process. */
static pid_t begin_thread(struct victim *victim, char *stack)
{
	if (!victim->prepare(victim->fd, victim->room))
		return -1;
	return clone(be_a_victim, stack + STACK, CLONE_VM | SIGCHLD, victim);
}

/* Has memory and a file of its own. */
static pid_t begin_process(struct victim *victim, char *stack)
{
	pid_t pid = fork();

	(void)stack;
	if (pid)
		return pid;
	if (dup2(open_for(&victim->request), victim->fd) >= 0 &&
	    victim->prepare(victim->fd, victim->room))
		be_a_victim(victim);
	_exit(0);
}

/* Sends the request and kills the sender. If it is over too soon, once more. */
static long kill_one(struct victim *victim, char *stack, uint64_t us,
		     pid_t (*begin)(struct victim *victim, char *stack))
{
	long took = WAS_OVER;

	for (int i = 0; i < AGAIN && took == WAS_OVER; i++) {
		pid_t pid;

		victim->sends = false;
		victim->over = false;
		pid = begin(victim, stack);
		if (pid < 0)
			break;
		took = kill_busy(victim, pid, us);
	}
	return took;
}

/* --- The tries -------------------------------------------------------------------- */

#include "killed-cases.h"

FIXTURE_SETUP(killed)
{
	self->victim = mmap(NULL, sizeof(*self->victim), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->victim, MAP_FAILED);
	self->stack = map_pages(STACK / PAGE);
	ASSERT_NE(self->stack, MAP_FAILED);
	self->hole = reserve_hole(TIB_PAGES);
	ASSERT_NE(self->hole, MAP_FAILED);
	self->room = reserve(TIB_PAGES);
	ASSERT_NE(self->room, MAP_FAILED);
	ASSERT_EQ(madvise(self->room, TIB_PAGES * PAGE,
			  variant->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), 0);

	*self->victim = (struct victim){
		.request = {
			.number = variant->number,
			.addr = variant->in_hole ? self->hole : self->room,
			.ptr = self->room + RANGE * PAGE,
			.npages = variant->npages ?: RANGE,
			.flags = variant->flags,
		},
		.prepare = variant->prepare ?: is_untouched,
		.room = self->room,
	};
	self->victim->fd = open_for(&self->victim->request);
	ASSERT_GE(self->victim->fd, 0);
}

FIXTURE_TEARDOWN(killed)
{
	ASSERT_EQ(close(self->victim->fd), 0);
}

/* Holds the mmap lock for writing most of the time. */
static void *fork_on(void *arg)
{
	bool *enough = arg;

	while (!is_set(enough)) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return NULL;
}

static int compare(const void *one, const void *other)
{
	const long *a = one, *b = other;

	return (*a > *b) - (*a < *b);
}

TEST_F_TIMEOUT(killed, soon, TIMEOUT)
{
	const long limit = P90_MS * (is_strict() ? STRICT_TIMES : 1) * 1000;
	const unsigned int tries = is_strict() ? STRICT_TRIES : TRIES;
	const unsigned int nth = (tries * 9 + 9) / 10 - 1; /* of them in order: p90 */
	const unsigned int step_us = (variant->step_us ?: STEP_US) * (TRIES / tries);
	struct victim *victim = self->victim;
	pthread_t forker;
	bool enough = false;
	long us[TRIES];

	if (variant->beside_forks)
		ASSERT_EQ(pthread_create(&forker, NULL, fork_on, &enough), 0);
	for (unsigned int i = 0; i < tries; i++) {
		us[i] = kill_one(victim, self->stack, step_us * (i + 1), begin_thread);
		ASSERT_GE(us[i], 0);
	}
	if (variant->beside_forks) {
		set(&enough);
		pthread_join(forker, NULL);
	}
	qsort(us, tries, sizeof(*us), compare);
	TH_LOG("of %d: half within %ld us, nine of ten within %ld us, all within %ld us", tries,
	       us[tries / 2 - 1], us[nth], us[tries - 1]);
	EXPECT_LE(us[nth], limit);

	ASSERT_EQ(madvise(self->room, TIB_PAGES * PAGE, MADV_DONTNEED), 0);
	us[0] = kill_one(victim, self->stack, step_us * tries, begin_process);
	TH_LOG("a process of its own: %ld us", us[0]);
	EXPECT_GE(us[0], 0);
	EXPECT_LE(us[0], PROCESS_MS * 1000);
}

TEST_HARNESS_MAIN
