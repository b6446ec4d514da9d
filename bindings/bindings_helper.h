/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the headers of HMM and of device memory migration, the
 * ABI of the C test driver with our additions, and our own helpers.
 */
#ifndef DMIRROR_BINDINGS_HELPER_H
#define DMIRROR_BINDINGS_HELPER_H

#include <linux/hmm.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include "dmirror_uapi.h"
#include "helpers.h"

/* Ioctl numbers are macros with casts, which bindgen cannot evaluate. */
enum dmirror_ioctl {
	DMIRROR_IOCTL_READ		= HMM_DMIRROR_READ,
	DMIRROR_IOCTL_WRITE		= HMM_DMIRROR_WRITE,
	DMIRROR_IOCTL_MIGRATE_TO_DEV	= HMM_DMIRROR_MIGRATE_TO_DEV,
	DMIRROR_IOCTL_MIGRATE_TO_SYS	= HMM_DMIRROR_MIGRATE_TO_SYS,
	DMIRROR_IOCTL_SNAPSHOT		= HMM_DMIRROR_SNAPSHOT,
	DMIRROR_IOCTL_EXCLUSIVE		= HMM_DMIRROR_EXCLUSIVE,
	DMIRROR_IOCTL_CHECK_EXCLUSIVE	= HMM_DMIRROR_CHECK_EXCLUSIVE,
	DMIRROR_IOCTL_RELEASE		= HMM_DMIRROR_RELEASE,
	DMIRROR_IOCTL_FLAGS		= HMM_DMIRROR_FLAGS,
	DMIRROR_IOCTL_READ_UNLOCKED	= HMM_DMIRROR_READ_UNLOCKED,
	DMIRROR_IOCTL_READ_FAULT	= HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV,
	DMIRROR_IOCTL_WRITE_FAULT	= HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
};

/* The flag of a walk that collects pages; 0 if the kernel has no such walk. */
#ifndef DMIRROR_ONE_WALK
#define HMM_PFN_MIGRATE 0UL
#endif
const unsigned long DMIRROR_HMM_PFN_MIGRATE = HMM_PFN_MIGRATE;

/* The flags of entries that name pages of private memory; 0 if there are none. */
#ifndef DMIRROR_TYPED_ENTRIES
#define HMM_PFN_DEVICE_PRIVATE 0UL
#define MIGRATE_PFN_DEVICE_PRIVATE 0UL
#endif
const unsigned long DMIRROR_HMM_PFN_DEVICE_PRIVATE = HMM_PFN_DEVICE_PRIVATE;
const unsigned long DMIRROR_MIGRATE_PFN_DEVICE_PRIVATE = MIGRATE_PFN_DEVICE_PRIVATE;

#endif /* DMIRROR_BINDINGS_HELPER_H */
