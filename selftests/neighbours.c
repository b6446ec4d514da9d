// SPDX-License-Identifier: GPL-2.0
/*
 * What one request does to the others, and to the rest of its process: they may
 * wait for a piece of its work, and for no more.
 */
#include <kselftest_harness.h>

#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "onewalk.h"

#define NPAGES		16
#define SEED		1000
#define LARGE		65536	/* pages: 256 MiB */
#define ROUNDS		8
#define SECONDS		seconds_of_race(3)
#define KNOWN		65536	/* pages: more than a device forgets in no time */
#define PIECE		512
#define PAUSE_US	2000
#define BYTES		184
#define HOLDERS		32

struct stage {
	int fd;
	char *mem;
	char *buf;
	bool over;
	long longest_ns;	/* that an unmapping has taken */
};

FIXTURE(neighbours)
{
	struct stage stage;
};

FIXTURE_SETUP(neighbours)
{
	self->stage.fd = dev_open(0);
	ASSERT_GE(self->stage.fd, 0);
}

FIXTURE_TEARDOWN(neighbours)
{
	ASSERT_EQ(close(self->stage.fd), 0);
}

static bool is_over(struct stage *stage)
{
	return __atomic_load_n(&stage->over, __ATOMIC_ACQUIRE);
}

static void end(struct stage *stage)
{
	__atomic_store_n(&stage->over, true, __ATOMIC_RELEASE);
}

static bool run_on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	return !sched_setaffinity(0, sizeof(one), &one);
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Unmaps memory that the device has no business with, until told to end. */
static void *unmap_on(void *arg)
{
	struct stage *stage = arg;

	while (!is_over(stage)) {
		char *page = map_pages(1);
		long start = now_ns(), took, longest;

		munmap(page, PAGE);
		took = now_ns() - start;
		longest = __atomic_load_n(&stage->longest_ns, __ATOMIC_RELAXED);
		if (took > longest)
			__atomic_store_n(&stage->longest_ns, took, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int compare(const void *one, const void *other)
{
	const long *a = one, *b = other;

	return (*a > *b) - (*a < *b);
}

/*
 * The device hears of every unmapping. One of memory that it does not use must
 * not wait until the device has copied all that it was asked for.
 *
 * Both run on one CPU, so that a host that has other things to do holds up the one
 * as much as the other. And yet any of them may take long: so it is not the longest
 * of all that counts, but that of the better rounds. A turn of the scheduler, some 4
 * ms, may always come in between: a READ takes half a second, emulated.
 */
TEST_F_TIMEOUT(neighbours, unmap_beside_read, TIMEOUT)
{
	struct stage *stage = &self->stage;
	long share[ROUNDS], some;	/* per mille of a READ */
	pthread_t thread;

	ASSERT_TRUE(run_on_one_cpu());
	stage->mem = map_pages(LARGE);
	ASSERT_NE(stage->mem, MAP_FAILED);
	stage->buf = map_pages(LARGE);
	ASSERT_NE(stage->buf, MAP_FAILED);
	memset(stage->buf, 1, LARGE * PAGE);
	/* From here on the device knows the pages: it has nothing to wait for. */
	ASSERT_EQ(dev_read(stage->fd, stage->mem, LARGE, stage->buf), LARGE);

	ASSERT_EQ(pthread_create(&thread, NULL, unmap_on, stage), 0);
	for (int i = 0; i < ROUNDS; i++) {
		long start = now_ns();

		__atomic_store_n(&stage->longest_ns, 0, __ATOMIC_RELAXED);
		ASSERT_EQ(dev_read(stage->fd, stage->mem, LARGE, stage->buf), LARGE);
		start = now_ns() - start;
		share[i] = __atomic_load_n(&stage->longest_ns, __ATOMIC_RELAXED) * 1000 / start;
	}
	end(stage);
	pthread_join(thread, NULL);
	qsort(share, ROUNDS, sizeof(*share), compare);
	some = share[ROUNDS / 4];
	TH_LOG("the longest took %ld to %ld per mille of a READ; a quarter, up to %ld",
	       share[0], share[ROUNDS - 1], some);
	EXPECT_LT(some, 30);
}

static void *open_and_close(void *arg)
{
	struct stage *stage = arg;
	char *mem = map_pages(1), *buf = map_pages(1);

	while (!is_over(stage)) {
		int fd = dev_open(0);

		dev_take(fd, mem, 1, buf);
		close(fd);
	}
	return NULL;
}

static void *move_pages(void *arg)
{
	struct stage *stage = arg;
	char *buf = map_pages(NPAGES);

	while (!is_over(stage))
		dev_take(stage->fd, stage->mem, NPAGES, buf);
	return NULL;
}

/* Files come and go, pages move to the device, and RELEASE brings them home. */
TEST_F_TIMEOUT(neighbours, close_beside_release, TIMEOUT)
{
	struct stage *stage = &self->stage;
	time_t until = time(NULL) + SECONDS;
	pthread_t closer, mover;
	unsigned int rounds = 0, wrong = 0;

	stage->mem = map_pages(NPAGES);
	ASSERT_NE(stage->mem, MAP_FAILED);
	stage->buf = map_pages(NPAGES);
	ASSERT_NE(stage->buf, MAP_FAILED);
	fill(stage->mem, NPAGES, SEED);
	ASSERT_EQ(pthread_create(&closer, NULL, open_and_close, stage), 0);
	ASSERT_EQ(pthread_create(&mover, NULL, move_pages, stage), 0);
	while (time(NULL) < until) {
		rounds++;
		if (dev_release(stage->fd, stage->mem, NPAGES) < 0 ||
		    dev_read(stage->fd, stage->mem, NPAGES, stage->buf) != NPAGES ||
		    !holds(stage->buf, NPAGES, SEED))
			wrong++;
	}
	end(stage);
	pthread_join(closer, NULL);
	pthread_join(mover, NULL);
	TH_LOG("%u wrong of %u rounds", wrong, rounds);
	EXPECT_EQ(wrong, 0);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

struct known {
	char *mem;	/* KNOWN pages */
	bool dropping;
};

/* The other device learns where the pages are. All are the page of zeroes. */
static bool make_known(struct known *known)
{
	int fd = dev_open(1);
	char *buf = map_pages(PIECE);

	known->mem = map_pages(KNOWN);
	for (size_t i = 0; i < KNOWN; i += PIECE) {
		if (dev_read(fd, known->mem + i * PAGE, PIECE, buf) != PIECE)
			return false;
	}
	return true;
}

/* Meanwhile whoever changes the address space may have to wait for the device. */
static void *drop_known(void *arg)
{
	struct known *known = arg;

	__atomic_store_n(&known->dropping, true, __ATOMIC_RELEASE);
	madvise(known->mem, KNOWN * PAGE, MADV_DONTNEED);
	return NULL;
}

static void wait_until(const bool *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		sched_yield();
	usleep(PAUSE_US);
}

/* Touches a page on a device of which it has no file, while the other one is busy. */
static int touch_slowly(const char *mem, bool *touches)
{
	struct known known = {};
	pthread_t thread;
	bool ok;

	if (!make_known(&known) || pthread_create(&thread, NULL, drop_known, &known))
		return 1;
	wait_until(&known.dropping);
	__atomic_store_n(touches, true, __ATOMIC_RELEASE);
	ok = holds(mem, 1, SEED);
	pthread_join(thread, NULL);
	return !ok;
}

/*
 * Waits in the kernel for room to send to @arg, and holds memory there of about
 * the size that a driver keeps for an open file, full of our bytes.
 */
static void *hold_bytes(void *arg)
{
	union {
		struct cmsghdr header;
		char room[BYTES];
	} control;
	struct iovec iov = { .iov_base = &control, .iov_len = sizeof(control) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memset(&control, 0x42, sizeof(control));
	control.header.cmsg_len = sizeof(control);
	sendmsg(*(int *)arg, &message, MSG_NOSIGNAL);
	return NULL;
}

/* Ends when the other end of the socket is closed. */
static bool spray(int *socket, pthread_t *threads)
{
	char bytes[BYTES] = {};

	while (send(*socket, bytes, sizeof(bytes), MSG_DONTWAIT) == sizeof(bytes))
		;
	for (int i = 0; i < HOLDERS; i++) {
		if (pthread_create(&threads[i], NULL, hold_bytes, socket))
			return false;
	}
	return !sched_yield();
}

/*
 * The file through which the pages went to the device is closed while a child,
 * which shares them, faults on them, and the file's memory is used for others.
 */
TEST_F_TIMEOUT(neighbours, close_beside_fault, TIMEOUT)
{
	bool *touches = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);
	char *mem = map_pages(1), *buf = map_pages(1);
	int sockets[2], status, fd = dev_open(0);
	pthread_t threads[HOLDERS];
	pid_t child;

	ASSERT_GE(fd, 0);
	ASSERT_NE(touches, MAP_FAILED);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_NE(buf, MAP_FAILED);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), 0);
	fill(mem, 1, SEED);
	ASSERT_EQ(dev_take(fd, mem, 1, buf), 1);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		close(fd);
		close(sockets[1]);
		_exit(touch_slowly(mem, touches));
	}
	/* What close() frees is what is allocated next: each CPU has lists of its own. */
	ASSERT_TRUE(run_on_one_cpu());
	wait_until(touches);
	close(fd);
	ASSERT_TRUE(spray(&sockets[0], threads));
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(holds(mem, 1, SEED));
	close(sockets[1]);
	for (int i = 0; i < HOLDERS; i++)
		pthread_join(threads[i], NULL);
	close(sockets[0]);
}

TEST_HARNESS_MAIN
