// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages on the device when there is no memory: each allocation on the way
 * fails once, and then those of all huge pages. No page is lost, and where a
 * huge page cannot be had, small ones serve.
 */
#include "huge-fixture.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define MOST		5000	/* allocations */

static const struct {
	const char *path, *value;
} settings[] = {
	{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
	{ DEBUGFS "failslab/verbose", "0" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ DEBUGFS "fail_page_alloc/min-order", "0" },
	{ DEBUGFS "fail_page_alloc/verbose", "0" },
};

/* Until it is undone, huge pages fail for threads that let them. */
static const struct {
	const char *path, *value, *usual;
} huge_settings[] = {
	{ DEBUGFS "fail_page_alloc/min-order", "9", "0" },
	{ DEBUGFS "fail_page_alloc/task-filter", "Y", "N" },
	{ DEBUGFS "fail_page_alloc/times", "-1", "1" },
	{ DEBUGFS "fail_page_alloc/probability", "100", "0" },
};

static bool set_up(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!write_file(settings[i].path, settings[i].value))
			return false;
	return true;
}

/* From now on this thread, and the children it forks, have no huge pages. */
static bool fail_huge(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(huge_settings); i++)
		if (!write_file(huge_settings[i].path, huge_settings[i].value))
			return false;
	return write_file("/proc/self/make-it-fail", "1");
}

/* And again. Backwards: at no moment may more fail than huge pages of this thread. */
static bool allow_huge(void)
{
	bool ok = write_file("/proc/self/make-it-fail", "0");

	for (size_t i = ARRAY_SIZE(huge_settings); i--; )
		ok &= write_file(huge_settings[i].path, huge_settings[i].usual);
	return ok;
}

static bool touches_a_page(void *mem)
{
	return holds((char *)mem + PART_AT * PAGE, 1, SEED + PART_AT);
}

/* Just the page comes home that the CPU touches. */
TEST_F(huge, cpu_fault_without_huge_page)
{
	ASSERT_TRUE(set_up());
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(fail_huge());
	EXPECT_TRUE(touches_a_page(self->mem));
	EXPECT_TRUE(allow_huge());
	EXPECT_EQ(count_on_device(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES - 1);
	EXPECT_TRUE(all_at(self->fd, self->mem + PART_AT * PAGE, 1, AT_SYSTEM));
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

/* The neighbours of a small page come only if there is memory at hand. */
TEST_F(huge, cpu_fault_without_pages_at_hand)
{
	ASSERT_TRUE(set_up());
	ASSERT_EQ(madvise(self->mem, HUGE, MADV_NOHUGEPAGE), 0);
	fill(self->mem, HUGE_PAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, HUGE_PAGES, scratch), HUGE_PAGES);
	ASSERT_TRUE(fail_huge());
	ASSERT_TRUE(write_file(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "Y"));
	ASSERT_TRUE(write_file(DEBUGFS "fail_page_alloc/min-order", "0"));
	EXPECT_TRUE(touches_a_page(self->mem));
	EXPECT_TRUE(allow_huge());
	EXPECT_EQ(count_on_device(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES - 1);
	EXPECT_TRUE(all_at(self->fd, self->mem + PART_AT * PAGE, 1, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

/* The other process's page table must follow. */
TEST_F(huge, cpu_fault_without_huge_page_of_a_child)
{
	struct child child;

	ASSERT_TRUE(set_up());
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(fail_huge());
	ASSERT_TRUE(start_child(&child, touches_a_page, self->mem));
	EXPECT_TRUE(end_child(&child));
	EXPECT_TRUE(allow_huge());
	EXPECT_EQ(count_on_device(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES - 1);
	EXPECT_TRUE(dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

TEST_F(huge, request_without_huge_page)
{
	ASSERT_TRUE(set_up());
	ASSERT_TRUE(put_huge(self->fd, self->mem, SEED));
	ASSERT_TRUE(fail_huge());
	EXPECT_EQ(dev_give(self->fd, self->mem, HUGE_PAGES), HUGE_PAGES);
	EXPECT_TRUE(allow_huge());
	EXPECT_TRUE(all_at(self->fd, self->mem, HUGE_PAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(self->mem, HUGE_PAGES, SEED));
}

/* --- Each allocation, once ------------------------------------------------------- */

static long takes_huge(int fd, char *mem)
{
	return dev_take(fd, mem, HUGE_PAGES, scratch);
}

static long faults_huge(int fd, char *mem)
{
	struct outcome got = dev_fault(fd, true, mem, HUGE_PAGES);

	return got.error ? -got.error : (long)got.pages;
}

static long gives_huge(int fd, char *mem)
{
	return dev_give(fd, mem, HUGE_PAGES);
}

static long touches_huge(int fd, char *mem)
{
	(void)fd;
	touch(mem + PART_AT * PAGE, 1);
	return HUGE_PAGES;
}

static bool fill_here(int fd, char *mem)
{
	if (madvise(mem, HUGE, MADV_DONTNEED))
		return false;
	fill(mem, HUGE_PAGES, SEED);
	return all_at(fd, mem, HUGE_PAGES, AT_HUGE);
}

static bool fill_there(int fd, char *mem)
{
	return put_huge(fd, mem, SEED);
}

static bool empty_here(int fd, char *mem)
{
	(void)fd;
	return !madvise(mem, HUGE, MADV_DONTNEED);
}

FIXTURE(nomem)
{
	int fd, nth;
	char *mem;
};

FIXTURE_VARIANT(nomem)
{
	bool (*prepare)(int fd, char *mem);
	long (*act)(int fd, char *mem);
	bool zero;
};

FIXTURE_VARIANT_ADD(nomem, take)
{
	.prepare = fill_here,
	.act = takes_huge,
};

FIXTURE_VARIANT_ADD(nomem, take_nothing)
{
	.prepare = empty_here,
	.act = takes_huge,
	.zero = true,
};

FIXTURE_VARIANT_ADD(nomem, fault)
{
	.prepare = fill_here,
	.act = faults_huge,
};

FIXTURE_VARIANT_ADD(nomem, fault_on_nothing)
{
	.prepare = empty_here,
	.act = faults_huge,
	.zero = true,
};

FIXTURE_VARIANT_ADD(nomem, give)
{
	.prepare = fill_there,
	.act = gives_huge,
};

FIXTURE_VARIANT_ADD(nomem, cpu)
{
	.prepare = fill_there,
	.act = touches_huge,
};

FIXTURE_SETUP(nomem)
{
	ASSERT_TRUE(set_up());
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->nth, 0);
	self->mem = map_huge(1);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(nomem)
{
	EXPECT_EQ(close(self->fd), 0);
	EXPECT_EQ(close(self->nth), 0);
}

static bool set_nth(int file, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(file, text, len, 0) == len;
}

/* Has it come to that? */
static bool was_injected(int file)
{
	char left[16] = "";
	bool injected = pread(file, left, sizeof(left) - 1, 0) > 0 && atoi(left) == 0;

	set_nth(file, 0);
	return injected;
}

TEST_F_TIMEOUT(nomem, each_allocation, TIMEOUT)
{
	unsigned int nth = 1, step = 1, failed = 0;
	bool injected = true;

	/* The contents of a huge page are many allocations that are all alike. */
	for (; injected && nth < MOST; nth += step) {
		long ret, again;

		ASSERT_TRUE(variant->prepare(self->fd, self->mem));
		ASSERT_TRUE(set_nth(self->nth, nth));
		ret = variant->act(self->fd, self->mem);
		injected = was_injected(self->nth);
		EXPECT_TRUE(ret == HUGE_PAGES || (injected && (ret == -ENOMEM || ret == -EFAULT ||
							       ret == -ENOENT || ret >= 0)));
		failed += ret != HUGE_PAGES;
		again = nth % 2 ? variant->act(self->fd, self->mem) : 0;
		EXPECT_GE(again, 0);
		EXPECT_TRUE(variant->zero ? dev_sees_zeroes(self->fd, self->mem, HUGE_PAGES) :
					    dev_sees(self->fd, self->mem, HUGE_PAGES, SEED));
		EXPECT_TRUE(variant->zero ? is_zero(self->mem, HUGE_PAGES) :
					    holds(self->mem, HUGE_PAGES, SEED));
		if (_metadata->exit_code) {
			TH_LOG("allocation %u: returned %ld, then %ld", nth, ret, again);
			break;
		}
		step = nth > 40 && nth < 450 ? 41 : 1;
	}
	TH_LOG("%u allocations, %u failures told", nth - 1, failed);
	EXPECT_LT(nth, MOST);
}

TEST_HARNESS_MAIN
