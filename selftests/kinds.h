/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For suites whose cases run on a device with private and on one with coherent
 * memory: what differs is the number of the device, and what SNAPSHOT says.
 */
#ifndef DMIRROR_SELFTESTS_KINDS_H
#define DMIRROR_SELFTESTS_KINDS_H

#include <kselftest_harness.h>

#include "lib.h"

/* Behind FIXTURE(): its variants. */
#define DEVICE_KINDS(fixture)				\
	FIXTURE_VARIANT(fixture)			\
	{						\
		unsigned int unit;			\
		unsigned char at;			\
		unsigned char at_ro;			\
	};						\
	FIXTURE_VARIANT_ADD(fixture, private_memory)	\
	{						\
		.unit = 0,				\
		.at = AT_DEVICE,			\
		.at_ro = AT_DEVICE_RO,			\
	};						\
	FIXTURE_VARIANT_ADD(fixture, coherent_memory)	\
	{						\
		.unit = 2,				\
		.at = AT_COHERENT,			\
		.at_ro = AT_COHERENT_RO,		\
	}

/* In FIXTURE_SETUP(): the guest has coherent devices only if it was asked for. */
#define SKIP_WITHOUT_DEVICE(unit)					\
	do {								\
		int probe = dev_open(unit);				\
									\
		if (probe < 0 && errno == ENOENT && (unit) >= 2)	\
			SKIP(return, "no coherent devices");		\
		ASSERT_GE(probe, 0);					\
		close(probe);						\
	} while (0)

#endif
