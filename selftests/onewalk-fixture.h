/* SPDX-License-Identifier: GPL-2.0 */
/* Each case with a device that reads and with one that writes, on memory of its own. */
#ifndef DMIRROR_SELFTESTS_ONEWALK_FIXTURE_H
#define DMIRROR_SELFTESTS_ONEWALK_FIXTURE_H

#include <kselftest_harness.h>

#include "onewalk.h"

#define NPAGES	8
#define SEED	1000
#define OTHER	2000

FIXTURE(onewalk)
{
	int fd;
	int other;	/* the other device */
	char *mem;	/* NPAGES, untouched */
};

FIXTURE_VARIANT(onewalk)
{
	bool write;
};

FIXTURE_VARIANT_ADD(onewalk, read)
{
	.write = false,
};

FIXTURE_VARIANT_ADD(onewalk, write)
{
	.write = true,
};

FIXTURE_SETUP(onewalk)
{
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->other = dev_open(1);
	ASSERT_GE(self->other, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
}

FIXTURE_TEARDOWN(onewalk)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->other), 0);
}

#endif
