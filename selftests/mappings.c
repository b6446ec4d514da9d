// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings that are not private anonymous memory in small pages: what the device
 * may do with each, and that it leaves alone what it must not touch.
 */
#include <kselftest_harness.h>

#include <sys/syscall.h>

#include "lib.h"

#define SEED	1000
#define OTHER	2000

FIXTURE(mappings)
{
	int fd;
	char *buf;	/* a huge page's worth */
};

FIXTURE_SETUP(mappings)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->buf = map_pages(HUGE / PAGE);
	ASSERT_NE(self->buf, MAP_FAILED);
}

FIXTURE_TEARDOWN(mappings)
{
	ASSERT_EQ(close(self->fd), 0);
}

/* Every way in which the device shares memory that does not move. */
static void stays_at_home(struct __test_metadata *_metadata, int fd, char *mem,
			  size_t npages, char *buf, long refused, unsigned char where)
{
	fill(mem, npages, SEED);
	EXPECT_EQ(dev_take(fd, mem, npages, buf), refused);
	EXPECT_TRUE(all_at(fd, mem, npages, where));
	EXPECT_EQ(dev_read(fd, mem, npages, buf), npages);
	EXPECT_TRUE(holds(buf, npages, SEED));
	fill(buf, npages, OTHER);
	EXPECT_EQ(dev_write(fd, mem, npages, buf), npages);
	EXPECT_TRUE(holds(mem, npages, OTHER));
}

TEST_F(mappings, shared_anonymous)
{
	char *mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	stays_at_home(_metadata, self->fd, mem, 4, self->buf, -ENOENT, AT_SYSTEM);
}

TEST_F(mappings, hugetlb)
{
	char *mem = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	ASSERT_NE(mem, MAP_FAILED);
	stays_at_home(_metadata, self->fd, mem, HUGE / PAGE, self->buf, -EINVAL,
		      AT_SYSTEM | HMM_DMIRROR_PROT_PMD);
}

/* A transparent huge page moves, in whatever pieces. */
TEST_F(mappings, huge_page)
{
	char *room = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));

	ASSERT_NE(room, MAP_FAILED);
	ASSERT_EQ(madvise(mem, HUGE, MADV_HUGEPAGE), 0);
	fill(mem, HUGE / PAGE, SEED);
	ASSERT_TRUE(all_at(self->fd, mem, HUGE / PAGE, AT_SYSTEM | HMM_DMIRROR_PROT_PMD));

	/* A part of it, first. */
	EXPECT_EQ(dev_take(self->fd, mem + 8 * PAGE, 8, self->buf), 8);
	EXPECT_TRUE(holds(self->buf, 8, SEED + 8));
	EXPECT_EQ(dev_take(self->fd, mem, HUGE / PAGE, self->buf), HUGE / PAGE);
	EXPECT_TRUE(holds(self->buf, HUGE / PAGE, SEED));
	fill(self->buf, HUGE / PAGE, OTHER);
	EXPECT_EQ(dev_write(self->fd, mem, HUGE / PAGE, self->buf), HUGE / PAGE);
	EXPECT_TRUE(holds(mem, HUGE / PAGE, OTHER));
}

/* Pages of the kernel's own that a process sees ([vvar]) are nothing for a device. */
TEST_F(mappings, kernel_pages)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned char map = 0;
	char line[256];
	void *mem = NULL;

	ASSERT_NE(maps, NULL);
	while (!mem && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vvar]"))
			ASSERT_EQ(sscanf(line, "%p", &mem), 1);
	}
	fclose(maps);
	ASSERT_NE(mem, NULL);
	EXPECT_EQ(dev_take(self->fd, mem, 1, self->buf), -EINVAL);
	EXPECT_EQ(dev_give(self->fd, mem, 1), -EINVAL);
	EXPECT_EQ(dev_read(self->fd, mem, 1, self->buf), -EFAULT);
	EXPECT_EQ(dev_write(self->fd, mem, 1, self->buf), -EPERM);
	EXPECT_EQ(dev_snapshot(self->fd, mem, 1, &map), 1);
	EXPECT_TRUE(map == AT_NOWHERE || map == AT_ERROR);
}

/* Secret memory has no kernel mapping through which a driver could read it. */
TEST_F(mappings, secret_memory)
{
	int secret = syscall(__NR_memfd_secret, 0);
	char *mem;

	ASSERT_GE(secret, 0);
	ASSERT_EQ(ftruncate(secret, PAGE), 0);
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, 1, SEED);
	EXPECT_EQ(dev_read(self->fd, mem, 1, self->buf), -EFAULT);
	EXPECT_EQ(dev_write(self->fd, mem, 1, self->buf), -EFAULT);
	EXPECT_LT(dev_take(self->fd, mem, 1, self->buf), 0);
	EXPECT_TRUE(holds(mem, 1, SEED));
}

/* What one call finds at pages that follow each other. */
static const struct {
	enum { ANONYMOUS, SECRET, SHARED, ZEROES } memory;
	int protection;
	unsigned char where;
} row[] = {
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ SHARED, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ ANONYMOUS, PROT_READ, AT_SYSTEM_RO },
	{ ANONYMOUS, PROT_READ, AT_SYSTEM_RO },
	{ ZEROES, PROT_READ, AT_ZERO },
	{ ANONYMOUS, PROT_READ, AT_SYSTEM_RO },
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ SECRET, PROT_READ | PROT_WRITE, AT_ERROR },
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
	{ ANONYMOUS, PROT_NONE, AT_ERROR },
	{ ANONYMOUS, PROT_READ | PROT_WRITE, AT_SYSTEM },
};

#define LENGTH		ARRAY_SIZE(row)
#define READABLE	9	/* up to the secret */
#define WRITABLE	4

/* Whatever is next to a page, the device takes each for what it is. */
TEST_F(mappings, each_for_what_it_is)
{
	char *mem = map_pages(LENGTH), *buf = self->buf;
	int shared = memfd_create("shared", 0), secret = syscall(__NR_memfd_secret, 0);
	unsigned char map[LENGTH];

	ASSERT_NE(mem, MAP_FAILED);
	ASSERT_EQ(ftruncate(shared, PAGE), 0);
	ASSERT_EQ(ftruncate(secret, PAGE), 0);
	for (size_t i = 0; i < LENGTH; i++) {
		int fd = row[i].memory == SHARED ? shared : secret;
		char *page = mem + i * PAGE;

		if (row[i].memory == SECRET || row[i].memory == SHARED) {
			ASSERT_EQ(mmap(page, PAGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, fd, 0), page);
		}
		if (row[i].memory == ZEROES) {
			ASSERT_TRUE(is_zero(page, 1));
		} else {
			fill(page, 1, SEED + i);
		}
		ASSERT_EQ(mprotect(page, PAGE, row[i].protection), 0);
	}

	EXPECT_EQ(dev_snapshot(self->fd, mem, LENGTH, map), LENGTH);
	for (size_t i = 0; i < LENGTH; i++)
		EXPECT_EQ(map[i], row[i].where);

	EXPECT_EQ(dev_read(self->fd, mem, LENGTH, buf), -EFAULT);
	EXPECT_EQ(dev_read(self->fd, mem, READABLE, buf), READABLE);
	for (size_t i = 0; i < READABLE; i++) {
		if (row[i].memory == ZEROES) {
			EXPECT_TRUE(is_zero(buf + i * PAGE, 1));
		} else {
			EXPECT_TRUE(holds(buf + i * PAGE, 1, SEED + i));
		}
	}

	fill(buf, LENGTH, OTHER);
	EXPECT_EQ(dev_write(self->fd, mem, LENGTH, buf), -EPERM);
	EXPECT_EQ(dev_write(self->fd, mem, WRITABLE, buf), WRITABLE);
	EXPECT_TRUE(holds(mem, WRITABLE, OTHER));
	EXPECT_TRUE(holds(mem + WRITABLE * PAGE, 2, SEED + WRITABLE));
	EXPECT_TRUE(holds(mem + READABLE * PAGE, 1, SEED + READABLE));
}

/* So it does in its own memory: a page may be written only if its process may. */
TEST_F(mappings, each_with_its_rights)
{
	enum { NPAGES = 8, FIRST = 2, LAST = 5 };	/* from first to last: to be read */
	char *mem = map_pages(NPAGES);
	unsigned char map[NPAGES];

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(mprotect(mem + FIRST * PAGE, (LAST + 1 - FIRST) * PAGE, PROT_READ), 0);

	EXPECT_EQ(dev_snapshot(self->fd, mem, NPAGES, map), NPAGES);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(map[i], i < FIRST || i > LAST ? AT_DEVICE : AT_DEVICE_RO);

	EXPECT_EQ(dev_read(self->fd, mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	fill(self->buf, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, mem, NPAGES, self->buf), -EPERM);
	EXPECT_TRUE(holds(mem, FIRST, OTHER));
	EXPECT_TRUE(holds(mem + FIRST * PAGE, NPAGES - FIRST, SEED + FIRST));
}

/* And so it does where one is there, and the next at home. */
TEST_F(mappings, each_where_it_is)
{
	enum { NPAGES = 8 };
	char *mem = map_pages(NPAGES);
	unsigned char map[NPAGES];

	ASSERT_NE(mem, MAP_FAILED);
	fill(mem, NPAGES, SEED);
	/* From the last to the first, each second one, and the first two. */
	for (size_t i = NPAGES; i > 0; i -= 2)
		ASSERT_EQ(dev_take(self->fd, mem + (i - 1) * PAGE, 1, self->buf), 1);
	ASSERT_EQ(dev_take(self->fd, mem, 1, self->buf), 1);

	EXPECT_EQ(dev_snapshot(self->fd, mem, NPAGES, map), NPAGES);
	for (size_t i = 0; i < NPAGES; i++)
		EXPECT_EQ(map[i], i == 0 || i % 2 ? AT_DEVICE : AT_SYSTEM);

	EXPECT_EQ(dev_read(self->fd, mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, SEED));
	fill(self->buf, NPAGES, OTHER);
	EXPECT_EQ(dev_write(self->fd, mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(mem, NPAGES, OTHER));
}

TEST_HARNESS_MAIN
