/* SPDX-License-Identifier: GPL-2.0 */
/* What the cases of nomem.c and onewalk-nomem.c begin and end with. */
#ifndef DMIRROR_SELFTESTS_NOMEM_FIXTURE_H
#define DMIRROR_SELFTESTS_NOMEM_FIXTURE_H

#include "nomem.h"

FIXTURE(nomem)
{
	struct sites *sites;
};

FIXTURE_SETUP(nomem)
{
	const char *missing = allow_injection();

	if (missing)
		SKIP(return, "no %s: this kernel has no fault injection", missing);
	ASSERT_TRUE(make_group());
	self->sites = mmap(NULL, sizeof(*self->sites), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(self->sites, MAP_FAILED);
}

FIXTURE_TEARDOWN(nomem)
{
	umount2(CGROUPS, MNT_DETACH);
}

/* For what comes after all cases, and sees what they have left. */
FIXTURE(afterwards)
{
};

FIXTURE_SETUP(afterwards)
{
	if (allow_injection())
		SKIP(return, "this kernel has no fault injection");
}

FIXTURE_TEARDOWN(afterwards)
{
}

#endif
