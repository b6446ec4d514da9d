/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the headers of HMM and of device memory migration, the
 * ABI of the C test driver, and our own helpers.
 */
#ifndef DMIRROR_BINDINGS_HELPER_H
#define DMIRROR_BINDINGS_HELPER_H

#include <linux/hmm.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mmu_notifier.h>
#include <lib/test_hmm_uapi.h>

#include "helpers.h"

/* Ioctl numbers are macros with casts, which bindgen cannot evaluate. */
enum dmirror_ioctl {
	DMIRROR_IOCTL_READ		= HMM_DMIRROR_READ,
	DMIRROR_IOCTL_WRITE		= HMM_DMIRROR_WRITE,
	DMIRROR_IOCTL_MIGRATE_TO_DEV	= HMM_DMIRROR_MIGRATE_TO_DEV,
	DMIRROR_IOCTL_MIGRATE_TO_SYS	= HMM_DMIRROR_MIGRATE_TO_SYS,
	DMIRROR_IOCTL_SNAPSHOT		= HMM_DMIRROR_SNAPSHOT,
	DMIRROR_IOCTL_RELEASE		= HMM_DMIRROR_RELEASE,
	DMIRROR_IOCTL_READ_UNLOCKED	= HMM_DMIRROR_READ_UNLOCKED,
};

#endif /* DMIRROR_BINDINGS_HELPER_H */
