/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What dmirror adds to the user-space interface of the C test driver. Included
 * by user space and by the driver; see Documentation/uapi.rst.
 *
 * The kernel series in patches/ gives the C driver the same two requests, so its
 * header may have them already.
 */
#ifndef DMIRROR_UAPI_H
#define DMIRROR_UAPI_H

#include <lib/test_hmm_uapi.h>

/*
 * A fault of the device on each page of a range, for reading or for writing,
 * that moves the pages to the device: found, faulted where missing, and
 * collected in one walk of the page tables.
 *
 * @addr: (in) user address that the device faults on
 * @ptr: not used
 * @npages: (in) number of pages to fault
 * @cpages: (out) number of pages of the range that are on the device now
 * @faults: (out) number of CPU page faults taken
 */
#ifndef HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV
#define HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV \
	_IOWR('H', 0x0a, struct hmm_dmirror_cmd)
#endif
#ifndef HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV
#define HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV \
	_IOWR('H', 0x0b, struct hmm_dmirror_cmd)
#endif

/*
 * Bit 1 of the flags that HMM_DMIRROR_FLAGS takes in @npages: the faults that
 * READ and WRITE of this open file take migrate, too. Bit 0 is the C driver's.
 */
#ifndef HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT
#define HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT	0x2ULL
#endif

#endif /* DMIRROR_UAPI_H */
