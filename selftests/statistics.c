// SPDX-License-Identifier: GPL-2.0
/*
 * The numbers in debugfs: each kind of work changes just those that it should,
 * by just as much. For private and coherent memory.
 */
#include <kselftest_harness.h>

#include <sys/wait.h>

#include "huge.h"
#include "kinds.h"

#define NPAGES	24
#define FOLDER	"/sys/kernel/debug/dmirror/hmm_dmirror%u/%s"

enum number {
	PAGES, FREE, LARGE,
	DEV_BATCHES, DEV_MOVED, DEV_SKIPPED, DEV_FAILED,
	SYS_BATCHES, SYS_MOVED, SYS_SKIPPED, SYS_FAILED,
	CPU_FAULTS, RANGE_FAULTS, RETRIES, EVICTIONS,
	NUMBERS,
};

static const char *const names[NUMBERS] = {
	"pages", "free", "large",
	"to_device/batches", "to_device/moved", "to_device/skipped", "to_device/failed",
	"to_system/batches", "to_system/moved", "to_system/skipped", "to_system/failed",
	"cpu_faults", "range_faults", "retries", "evictions",
};

struct numbers {
	long of[NUMBERS];
};

static long read_number(unsigned int unit, enum number which)
{
	char path[128], text[32], *end;
	long number = -1;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), FOLDER, unit, names[which]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, text, sizeof(text) - 1);
	if (len > 0) {
		text[len] = '\0';
		number = strtol(text, &end, 10);
		/* A number, a line feed, and nothing else. */
		if (end == text || strcmp(end, "\n"))
			number = -1;
	}
	close(fd);
	return number;
}

static struct numbers read_all(unsigned int unit)
{
	struct numbers numbers;

	for (int i = 0; i < NUMBERS; i++)
		numbers.of[i] = read_number(unit, i);
	return numbers;
}

FIXTURE(statistics)
{
	int fd;
	char *mem;	/* 2 MiB, aligned, for small pages unless a case wants other */
	struct numbers begin;	/* of the case, */
	struct numbers before;	/* of what is asserted next */
};

DEVICE_KINDS(statistics);

FIXTURE_SETUP(statistics)
{
	SKIP_WITHOUT_DEVICE(variant->unit);
	self->fd = dev_open(variant->unit);
	ASSERT_GE(self->fd, 0);
	self->mem = map_huge(1);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_NOHUGEPAGE), 0);
	fill(self->mem, NPAGES, SEED);
	self->before = read_all(variant->unit);
	self->begin = self->before;
	for (int i = 0; i < NUMBERS; i++) {
		if (self->before.of[i] < 0)
			TH_LOG("no number in %s", names[i]);
		ASSERT_GE(self->before.of[i], 0);
	}
}

FIXTURE_TEARDOWN(statistics)
{
	ASSERT_EQ(munmap(self->mem, HUGE), 0);
	if (self->fd >= 0)
		ASSERT_EQ(close(self->fd), 0);
	/* What is unmapped is free again. */
	EXPECT_EQ(read_number(variant->unit, PAGES), self->begin.of[PAGES]);
	EXPECT_EQ(read_number(variant->unit, LARGE), self->begin.of[LARGE]);
}

/* By how much the numbers have changed: those of @expected, and no others. */
#define EXPECT_CHANGES(...) do {							\
	const struct numbers _expected = { { __VA_ARGS__ } };				\
	struct numbers _now = read_all(variant->unit);					\
											\
	for (int _i = 0; _i < NUMBERS; _i++) {						\
		long _change = _now.of[_i] - self->before.of[_i];			\
											\
		if (_change != _expected.of[_i])					\
			TH_LOG("%s changed by %ld", names[_i], _change);		\
		EXPECT_EQ(_change, _expected.of[_i]);					\
	}										\
	self->before = _now;								\
} while (0)

/* The last page is not there at all: a hole moves, too. */
TEST_F(statistics, there_and_back)
{
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES + 1, scratch), NPAGES + 1);
	EXPECT_CHANGES([PAGES] = NPAGES + 1, [FREE] = -NPAGES - 1,
		       [DEV_BATCHES] = 1, [DEV_MOVED] = NPAGES + 1);

	/* They are there already, as the device knows, or has to find out. */
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_CHANGES([PAGES] = 0);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ), 0);
	ASSERT_EQ(mprotect(self->mem, NPAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_CHANGES([DEV_BATCHES] = 1, [DEV_SKIPPED] = NPAGES);

	/* And of these only some. */
	ASSERT_EQ(dev_give(self->fd, self->mem, NPAGES + 5), NPAGES + 1);
	EXPECT_CHANGES([PAGES] = -NPAGES - 1, [FREE] = NPAGES + 1,
		       [SYS_BATCHES] = 1, [SYS_MOVED] = NPAGES + 1, [SYS_SKIPPED] = 4);
}

/* Two batches, as there are two VMAs. */
TEST_F(statistics, batches)
{
	ASSERT_EQ(mprotect(self->mem, 8 * PAGE, PROT_READ), 0);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	EXPECT_CHANGES([PAGES] = NPAGES, [FREE] = -NPAGES, [DEV_BATCHES] = 2,
		       [DEV_MOVED] = NPAGES);
}

TEST_F(statistics, faults_of_the_cpu)
{
	ASSERT_TRUE(alone(self->mem, NPAGES));
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	self->before = read_all(variant->unit);
	ASSERT_TRUE(holds(self->mem, 3, SEED));
	if (variant->at == AT_COHERENT)
		EXPECT_CHANGES();
	else
		EXPECT_CHANGES([PAGES] = -3, [FREE] = 3, [CPU_FAULTS] = 3,
			       [SYS_BATCHES] = 3, [SYS_MOVED] = 3);
}

/* The neighbours that come along are counted as moved, not as faults. */
TEST_F(statistics, faults_of_the_cpu_with_neighbours)
{
	char *area = map_pages(32), *mem;

	ASSERT_NE(area, MAP_FAILED);
	mem = (char *)(((uintptr_t)area + 16 * PAGE - 1) & -(16 * PAGE));
	ASSERT_EQ(dev_take(self->fd, mem, 16, scratch), 16);
	self->before = read_all(variant->unit);
	ASSERT_TRUE(is_zero(mem, 16));
	if (variant->at == AT_COHERENT)
		EXPECT_CHANGES();
	else
		EXPECT_CHANGES([PAGES] = -16, [FREE] = 16, [CPU_FAULTS] = 1,
			       [SYS_BATCHES] = 1, [SYS_MOVED] = 16);

	/* Those that are not there are none of them. */
	ASSERT_EQ(dev_take(self->fd, mem, 3, scratch), 3);
	self->before = read_all(variant->unit);
	ASSERT_TRUE(is_zero(mem, 1));
	if (variant->at == AT_COHERENT)
		EXPECT_CHANGES();
	else
		EXPECT_CHANGES([PAGES] = -3, [FREE] = 3, [CPU_FAULTS] = 1,
			       [SYS_BATCHES] = 1, [SYS_MOVED] = 3);
	ASSERT_EQ(munmap(area, 32 * PAGE), 0);
}

/* Of the device, which finds them the second time. */
TEST_F(statistics, faults_of_the_device)
{
	for (int times = 0; times < 2; times++) {
		ASSERT_EQ(dev_read(self->fd, self->mem, NPAGES, scratch), NPAGES);
		if (!times)
			EXPECT_CHANGES([RANGE_FAULTS] = 1);
		else
			EXPECT_CHANGES();
	}
}

/* Those that are somewhere else in the address space go home as well. */
TEST_F(statistics, release)
{
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	self->before = read_all(variant->unit);
	ASSERT_EQ(dev_release(self->fd, NULL, 0), NPAGES);
	EXPECT_EQ(read_number(variant->unit, EVICTIONS) - self->before.of[EVICTIONS], NPAGES);
	EXPECT_EQ(read_number(variant->unit, SYS_MOVED) - self->before.of[SYS_MOVED], NPAGES);
	EXPECT_EQ(read_number(variant->unit, PAGES) - self->before.of[PAGES], -NPAGES);
}

/* Shared memory is collected, but never gets a target. */
TEST_F(statistics, pages_that_stay)
{
	char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);

	ASSERT_NE(shared, MAP_FAILED);
	fill(shared, 4, SEED);
	ASSERT_EQ(dev_take(self->fd, shared, 4, scratch), -ENOENT);
	EXPECT_EQ(read_number(variant->unit, DEV_MOVED), self->before.of[DEV_MOVED]);
	EXPECT_EQ(read_number(variant->unit, DEV_FAILED) +
		  read_number(variant->unit, DEV_SKIPPED),
		  self->before.of[DEV_FAILED] + self->before.of[DEV_SKIPPED] + 4);
	ASSERT_EQ(munmap(shared, 4 * PAGE), 0);
}

/* Of a private mapping of a file the pages move that are not the file's any more. */
TEST_F(statistics, pages_between_those_that_stay)
{
	int file = memfd_create("file", 0);
	char *mem;

	ASSERT_EQ(ftruncate(file, NPAGES * PAGE), 0);
	mem = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_TRUE(is_zero(mem, NPAGES));
	fill(mem + 3 * PAGE, 1, SEED);
	fill(mem + 7 * PAGE, 2, SEED);
	ASSERT_EQ(dev_take(self->fd, mem, NPAGES, scratch), -ENOENT);
	/* What has been taken for the others is free again. */
	EXPECT_EQ(read_number(variant->unit, PAGES), self->before.of[PAGES] + 3);
	EXPECT_EQ(read_number(variant->unit, FREE), self->before.of[FREE] - 3);
	ASSERT_EQ(munmap(mem, NPAGES * PAGE), 0);
	ASSERT_EQ(close(file), 0);
}

/* A huge page counts as its parts, and is large until it is split. */
TEST_F(statistics, huge_pages)
{
	bool huge = variant->at == AT_DEVICE;

	ASSERT_EQ(madvise(self->mem, HUGE, MADV_HUGEPAGE), 0);
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_DONTNEED), 0);
	fill(self->mem, HUGE_PAGES, SEED);
	/* Another block may be registered for it, as free as can be. */
	ASSERT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
	EXPECT_EQ(read_number(variant->unit, LARGE) - self->before.of[LARGE], huge);
	EXPECT_EQ(read_number(variant->unit, PAGES) - self->before.of[PAGES], HUGE_PAGES);
	EXPECT_EQ(read_number(variant->unit, DEV_MOVED) - self->before.of[DEV_MOVED], HUGE_PAGES);
	ASSERT_EQ(munmap(self->mem, HUGE / 2), 0);
	ASSERT_EQ(dev_give(self->fd, self->mem + HUGE / 2, 1), 1);
	EXPECT_EQ(read_number(variant->unit, LARGE), self->before.of[LARGE]);
	EXPECT_EQ(read_number(variant->unit, PAGES) - self->before.of[PAGES], HUGE_PAGES / 2 - 1);
}

/* The other devices have numbers of their own. */
TEST_F(statistics, other_device)
{
	struct numbers before = read_all(1), after;

	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, scratch), NPAGES);
	after = read_all(1);
	EXPECT_EQ(memcmp(&before, &after, sizeof(before)), 0);
}

/* mm keeps no page of a locked area once it has been unmapped. */
TEST(locked_and_unmapped)
{
	int fd = dev_open(0);
	char *mem = map_pages(NPAGES);

	ASSERT_GE(fd, 0);
	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(mlock(mem, NPAGES * PAGE), 0);
	fill(mem, NPAGES, 1);
	ASSERT_EQ(dev_take(fd, mem, NPAGES, scratch), NPAGES);
	ASSERT_EQ(munmap(mem, NPAGES * PAGE), 0);
	EXPECT_EQ(read_number(0, PAGES), 0);
	EXPECT_EQ(close(fd), 0);
}

TEST_HARNESS_MAIN
