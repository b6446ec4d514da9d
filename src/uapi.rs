// SPDX-License-Identifier: GPL-2.0

//! The ABI of the ioctls: that of the kernel's C test driver, and what we add to it.
//!
//! C headers: [`lib/test_hmm_uapi.h`](srctree/lib/test_hmm_uapi.h), `bindings/dmirror_uapi.h`

use crate::bindings;
use core::mem::offset_of;
use kernel::{
    ioctl::_IOWR,
    prelude::*, //
};

/// The argument of every ioctl (C: `struct hmm_dmirror_cmd`).
#[derive(Clone, Copy, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Command {
    /// In: the user address that the device accesses.
    pub(crate) addr: u64,
    /// In: where the data of the device go to or come from, in the memory of the caller.
    pub(crate) ptr: u64,
    /// In: how many pages of 4 KiB.
    pub(crate) npages: u64,
    /// Out: how many pages were served.
    pub(crate) cpages: u64,
    /// Out: how many faults were taken.
    pub(crate) faults: u64,
}

/// A [`Command`] as it is copied from the caller: so its size is known when it is compiled, and no check of
/// the kernel's end of the copy is needed.
pub(crate) type Words = [u64; size_of::<Command>() / size_of::<u64>()];

/// What is copied back to the caller, from the byte [`OUTPUTS`] of the [`Command`] on: its outputs.
pub(crate) type Outputs = [u64; 2];

/// See [`Outputs`].
pub(crate) const OUTPUTS: usize = offset_of!(Command, cpages);

static_assert!(offset_of!(Command, faults) == OUTPUTS + size_of::<u64>());

/// The device reads memory.
pub(crate) const READ: u32 = _IOWR::<Command>(b'H' as u32, 0x00);
/// The device writes memory.
pub(crate) const WRITE: u32 = _IOWR::<Command>(b'H' as u32, 0x01);
/// Pages move to the device.
pub(crate) const MIGRATE_TO_DEV: u32 = _IOWR::<Command>(b'H' as u32, 0x02);
/// Pages move back to system memory.
pub(crate) const MIGRATE_TO_SYS: u32 = _IOWR::<Command>(b'H' as u32, 0x03);
/// Where each page is.
pub(crate) const SNAPSHOT: u32 = _IOWR::<Command>(b'H' as u32, 0x04);
/// The device gets pages for itself.
pub(crate) const EXCLUSIVE: u32 = _IOWR::<Command>(b'H' as u32, 0x05);
/// Whether the device has no page of the range for itself.
pub(crate) const CHECK_EXCLUSIVE: u32 = _IOWR::<Command>(b'H' as u32, 0x06);
/// All pages of the process move back to system memory.
pub(crate) const RELEASE: u32 = _IOWR::<Command>(b'H' as u32, 0x07);
/// The flags of the open file are set.
pub(crate) const FLAGS: u32 = _IOWR::<Command>(b'H' as u32, 0x08);
/// Like [`READ`]; in the C driver, the variant that lets go of the mmap lock.
pub(crate) const READ_UNLOCKED: u32 = _IOWR::<Command>(b'H' as u32, 0x09);

/// The device faults on pages to read them, and they move to it.
pub(crate) const READ_FAULT: u32 = _IOWR::<Command>(b'H' as u32, 0x0a);
/// The device faults on pages to write them, and they move to it.
pub(crate) const WRITE_FAULT: u32 = _IOWR::<Command>(b'H' as u32, 0x0b);

/// A bit of [`FLAGS`]: the next allocation of a huge page fails.
pub(crate) const FLAG_FAIL_ALLOC: u64 = bindings::HMM_DMIRROR_FLAG_FAIL_ALLOC as u64;
/// A bit of [`FLAGS`]: the faults of READ and WRITE migrate, too.
pub(crate) const FLAG_MIGRATE_ON_FAULT: u64 = bindings::HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT as u64;

/// The bits of one byte of a [`SNAPSHOT`].
pub(crate) mod snapshot {
    use crate::bindings;

    /// The device cannot access this address.
    pub(crate) const ERROR: u8 = bindings::HMM_DMIRROR_PROT_ERROR as u8;
    /// Nothing is mapped.
    pub(crate) const NONE: u8 = bindings::HMM_DMIRROR_PROT_NONE as u8;
    /// The page can be read.
    pub(crate) const READ: u8 = bindings::HMM_DMIRROR_PROT_READ as u8;
    /// The page can be written.
    pub(crate) const WRITE: u8 = bindings::HMM_DMIRROR_PROT_WRITE as u8;
    /// The page is part of a huge page of 2 MiB.
    pub(crate) const PMD: u8 = bindings::HMM_DMIRROR_PROT_PMD as u8;
    /// The page is part of a huge page of 1 GiB.
    pub(crate) const PUD: u8 = bindings::HMM_DMIRROR_PROT_PUD as u8;
    /// The shared page of zeroes.
    pub(crate) const ZERO: u8 = bindings::HMM_DMIRROR_PROT_ZERO as u8;
    /// The page is in the private memory of this device.
    pub(crate) const DEVICE_LOCAL: u8 = bindings::HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL as u8;
    /// The page is in the coherent memory of this device.
    pub(crate) const COHERENT_LOCAL: u8 = bindings::HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL as u8;
    /// The page is in the coherent memory of another device.
    pub(crate) const COHERENT_REMOTE: u8 = bindings::HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE as u8;
}

static_assert!(size_of::<Command>() == size_of::<bindings::hmm_dmirror_cmd>());
static_assert!(offset_of!(Command, addr) == offset_of!(bindings::hmm_dmirror_cmd, addr));
static_assert!(offset_of!(Command, ptr) == offset_of!(bindings::hmm_dmirror_cmd, ptr));
static_assert!(offset_of!(Command, npages) == offset_of!(bindings::hmm_dmirror_cmd, npages));
static_assert!(offset_of!(Command, cpages) == offset_of!(bindings::hmm_dmirror_cmd, cpages));
static_assert!(offset_of!(Command, faults) == offset_of!(bindings::hmm_dmirror_cmd, faults));
static_assert!(READ == bindings::dmirror_ioctl_DMIRROR_IOCTL_READ);
static_assert!(WRITE == bindings::dmirror_ioctl_DMIRROR_IOCTL_WRITE);
static_assert!(MIGRATE_TO_DEV == bindings::dmirror_ioctl_DMIRROR_IOCTL_MIGRATE_TO_DEV);
static_assert!(MIGRATE_TO_SYS == bindings::dmirror_ioctl_DMIRROR_IOCTL_MIGRATE_TO_SYS);
static_assert!(SNAPSHOT == bindings::dmirror_ioctl_DMIRROR_IOCTL_SNAPSHOT);
static_assert!(EXCLUSIVE == bindings::dmirror_ioctl_DMIRROR_IOCTL_EXCLUSIVE);
static_assert!(CHECK_EXCLUSIVE == bindings::dmirror_ioctl_DMIRROR_IOCTL_CHECK_EXCLUSIVE);
static_assert!(RELEASE == bindings::dmirror_ioctl_DMIRROR_IOCTL_RELEASE);
static_assert!(FLAGS == bindings::dmirror_ioctl_DMIRROR_IOCTL_FLAGS);
static_assert!(READ_FAULT == bindings::dmirror_ioctl_DMIRROR_IOCTL_READ_FAULT);
static_assert!(WRITE_FAULT == bindings::dmirror_ioctl_DMIRROR_IOCTL_WRITE_FAULT);
static_assert!(READ_UNLOCKED == bindings::dmirror_ioctl_DMIRROR_IOCTL_READ_UNLOCKED);
