// SPDX-License-Identifier: GPL-2.0
/*
 * RELEASE brings home the pages that the opener's address space maps now, all of them
 * and no others', and waits for nobody; to close a file is nobody's business.
 */
#include <kselftest_harness.h>

#include <sys/uio.h>
#include <sys/wait.h>

#include "large.h"

#define NPAGES		2048
#define SEED		1000
#define OTHER		2000
#define AREA		1	/* pages */
#define GAP		16	/* areas: of so many one is unmapped */
#define VAST		(16 * TIB_PAGES)
#define SOON_MS		5000	/* to look at all of that takes minutes */
#define STORED		8192
#define CLOSES		21
#define TIMEOUT		240	/* for a slow guest */

FIXTURE(release)
{
	int fd;
	char *mem, *buf;	/* NPAGES that are on the device; room for as many */
	int to_child[2], to_parent[2];
};

FIXTURE_VARIANT(release)
{
	unsigned int unit;
	unsigned char at, at_ro;
};

FIXTURE_VARIANT_ADD(release, private)
{
	.unit = 0,
	.at = AT_DEVICE,
	.at_ro = AT_DEVICE_RO,
};

FIXTURE_VARIANT_ADD(release, coherent)
{
	.unit = 2,
	.at = AT_COHERENT,
	.at_ro = AT_COHERENT_RO,
};

FIXTURE_SETUP(release)
{
	self->fd = dev_open(variant->unit);
	if (self->fd < 0 && errno == ENOENT)
		SKIP(return, "there is no coherent device");
	ASSERT_GE(self->fd, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	ASSERT_EQ(pipe(self->to_child), 0);
	ASSERT_EQ(pipe(self->to_parent), 0);
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
}

FIXTURE_TEARDOWN(release)
{
	close(self->fd);
}

/* One side of a pair has got so far, and the other waits for that. */
static void tell(const int *pipe)
{
	if (write(pipe[1], "", 1) != 1)
		abort();
}

static bool hear(const int *pipe)
{
	char byte;

	return read(pipe[0], &byte, 1) == 1;
}

static bool is_success(pid_t child)
{
	int status;

	return waitpid(child, &status, 0) == child && !status;
}

static bool is_gap(size_t page)
{
	return page / AREA % GAP == GAP - 1;
}

/* The areas differ from their neighbours, so that they stay areas. */
TEST_F_TIMEOUT(release, many_areas, TIMEOUT)
{
	size_t mapped = 0;

	for (size_t i = 0; i < NPAGES; i += AREA) {
		char *area = self->mem + i * PAGE;

		if (is_gap(i)) {
			ASSERT_EQ(munmap(area, AREA * PAGE), 0);
			continue;
		}
		mapped += AREA;
		if (i / AREA % 2)
			ASSERT_EQ(mprotect(area, AREA * PAGE, PROT_READ), 0);
	}
	EXPECT_EQ(dev_release(self->fd, NULL, 0), mapped);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), 0);
	for (size_t i = 0; i < NPAGES; i += AREA)
		if (!is_gap(i))
			ASSERT_TRUE(holds(self->mem + i * PAGE, AREA, SEED + i));
}

/* A few pages, far apart: neither request looks for more where there is nothing. */
TEST_F_TIMEOUT(release, far_apart, TIMEOUT)
{
	char *room = reserve(VAST);
	char *const pages[] = { room, room + VAST / 3 * PAGE, room + (VAST - 1) * PAGE };
	uint64_t start;
	long moved;

	ASSERT_NE(room, MAP_FAILED);
	ASSERT_EQ(madvise(room, VAST * PAGE, MADV_NOHUGEPAGE), 0);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
			fill(pages[i], 1, OTHER + i);
			ASSERT_EQ(dev_take(self->fd, pages[i], 1, self->buf), 1);
		}
		start = clock_ms();
		moved = pass ? dev_release(self->fd, NULL, 0) : dev_give(self->fd, room, VAST);
		EXPECT_EQ(moved, ARRAY_SIZE(pages) + (pass ? NPAGES : 0));
		EXPECT_LT(clock_ms() - start, SOON_MS);
		for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
			EXPECT_TRUE(all_at(self->fd, pages[i], 1, AT_SYSTEM));
			EXPECT_TRUE(holds(pages[i], 1, OTHER + i));
		}
	}
}

/* The child's of the next test: has pages of its own, and asks for all of its parent's. */
static int neighbour(unsigned int unit, unsigned char at, int parents, const int *go)
{
	char *mem = map_pages(NPAGES), *buf = map_pages(NPAGES);
	int fd = dev_open(unit);

	fill(mem, NPAGES, OTHER);
	if (fd < 0 || dev_take(fd, mem, NPAGES, buf) != NPAGES)
		return 1;
	if (dev_release(parents, NULL, 0) != NPAGES)
		return 2;
	if (!all_at(fd, mem, NPAGES, at) || !hear(go))
		return 3;
	return !all_at(fd, mem, NPAGES, at) || dev_release(fd, NULL, 0) != NPAGES ||
	       !holds(mem, NPAGES, OTHER);
}

/* It is about the process that opened the file, whoever asks. */
TEST_F_TIMEOUT(release, of_another_process, TIMEOUT)
{
	pid_t child;

	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTFORK), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		int status = neighbour(variant->unit, variant->at, self->fd, self->to_child);

		tell(self->to_parent);
		_exit(status);
	}
	tell(self->to_child);
	ASSERT_TRUE(hear(self->to_parent));
	EXPECT_TRUE(all_at(self->fd, self->mem, NPAGES, AT_SYSTEM));
	EXPECT_EQ(dev_release(self->fd, NULL, 0), 0);
	EXPECT_TRUE(is_success(child));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* Pages that two processes share come home for both of them; those of one, for that one. */
TEST_F_TIMEOUT(release, of_shared_pages, TIMEOUT)
{
	const size_t half = NPAGES / 2;
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(variant->unit);
		bool ok = fd >= 0 && hear(self->to_child);

		/* What the parent has unmapped is here alone, and still there. */
		ok = ok && all_at(fd, self->mem, half, AT_SYSTEM_RO) &&
		     all_at(fd, self->mem + half * PAGE, half, variant->at_ro) &&
		     dev_release(fd, NULL, 0) == (long)half;
		_exit(!ok || !holds(self->mem, NPAGES, SEED));
	}
	ASSERT_EQ(munmap(self->mem + half * PAGE, half * PAGE), 0);
	EXPECT_EQ(dev_release(self->fd, NULL, 0), half);
	tell(self->to_child);
	EXPECT_TRUE(is_success(child));
	EXPECT_TRUE(holds(self->mem, half, SEED));
}

/* Another process has a page in use for as long as it likes: a page in a pipe. */
TEST_F_TIMEOUT(release, beside_a_user, TIMEOUT)
{
	struct iovec iov = { .iov_base = self->mem, .iov_len = PAGE };
	int pipes[2], other = dev_open(variant->unit);
	bool stays = variant->unit == 2;	/* else it comes home for the pipe */
	pid_t child;

	ASSERT_TRUE(alone(self->mem, NPAGES));
	ASSERT_GE(other, 0);
	ASSERT_EQ(pipe(pipes), 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		bool ok = vmsplice(pipes[1], &iov, 1, 0) == PAGE;

		tell(self->to_parent);
		_exit(!hear(self->to_child) || !ok);
	}
	ASSERT_TRUE(hear(self->to_parent));
	EXPECT_EQ(dev_release(self->fd, NULL, 0), NPAGES - 1);
	EXPECT_EQ(close(other), 0);
	EXPECT_TRUE(all_at(self->fd, self->mem, 1, stays ? variant->at_ro : AT_SYSTEM_RO));
	tell(self->to_child);
	EXPECT_TRUE(is_success(child));
	EXPECT_TRUE(holds(self->mem, NPAGES, SEED));
}

/* --- close() ------------------------------------------------------------------------- */

static int compare(const void *one, const void *other)
{
	const uint64_t *a = one, *b = other;

	return (*a > *b) - (*a < *b);
}

/* The nanoseconds that it takes to close a file, more often than not. */
static uint64_t time_to_close(unsigned int unit)
{
	uint64_t ns[CLOSES];

	for (int i = 0; i < CLOSES; i++) {
		struct timespec start, end;
		int fd = dev_open(unit);

		clock_gettime(CLOCK_MONOTONIC, &start);
		close(fd);
		clock_gettime(CLOCK_MONOTONIC, &end);
		ns[i] = (end.tv_sec - start.tv_sec) * 1000000000ULL + end.tv_nsec - start.tv_nsec;
	}
	qsort(ns, CLOSES, sizeof(*ns), compare);
	return ns[CLOSES / 2];
}

static int store(unsigned int unit, unsigned char at, const int *stored, const int *go)
{
	char *mem = map_pages(STORED), *buf = map_pages(STORED);
	int fd = dev_open(unit);
	bool ok;

	fill(mem, STORED, OTHER);
	ok = fd >= 0 && dev_take(fd, mem, STORED, buf) == STORED;
	tell(stored);
	return !ok || !hear(go) || !all_at(fd, mem, STORED, at);
}

/* Files are closed while the device is full of pages of another process. */
TEST_F_TIMEOUT(release, close_beside_pages, TIMEOUT)
{
	uint64_t alone, beside;
	pid_t child;

	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	alone = time_to_close(variant->unit);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child)
		_exit(store(variant->unit, variant->at, self->to_parent, self->to_child));
	ASSERT_TRUE(hear(self->to_parent));
	beside = time_to_close(variant->unit);
	tell(self->to_child);
	EXPECT_TRUE(is_success(child));
	TH_LOG("%llu ns, beside %d pages %llu ns", (unsigned long long)alone, STORED,
	       (unsigned long long)beside);
	EXPECT_LT(beside, 4 * alone);
}

TEST_HARNESS_MAIN
