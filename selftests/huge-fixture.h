/* SPDX-License-Identifier: GPL-2.0 */
/* Each case with an area of huge pages of its own. */
#ifndef DMIRROR_SELFTESTS_HUGE_FIXTURE_H
#define DMIRROR_SELFTESTS_HUGE_FIXTURE_H

#include <kselftest_harness.h>

#include "huge.h"

#define COUNT	3	/* huge pages in the area */
/* As scratch, and so large. */
static uint64_t buffer[COUNT * HUGE_PAGES * WORDS] __attribute__((unused));

FIXTURE(huge)
{
	int fd;
	int other;	/* the other device */
	char *mem;	/* COUNT huge pages, untouched */
};

FIXTURE_SETUP(huge)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->other = dev_open(1);
	ASSERT_GE(self->other, 0);
	self->mem = map_huge(COUNT);
	ASSERT_NE(self->mem, MAP_FAILED);
	/* There shall be huge pages at hand. */
	ASSERT_TRUE(write_file("/proc/sys/vm/compact_memory", "1"));
}

FIXTURE_TEARDOWN(huge)
{
	EXPECT_EQ(close(self->fd), 0);
	EXPECT_EQ(close(self->other), 0);
	EXPECT_EQ(munmap(self->mem, COUNT * HUGE), 0);
}

#endif
