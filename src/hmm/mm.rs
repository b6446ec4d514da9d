// SPDX-License-Identifier: GPL-2.0

//! The mmap lock of a mirrored address space, held for reading.
//!
//! The kernel crate's `MmapReadGuard` cannot be killed while it waits and does not tell which mm it
//! locks, so this is a type of our own. It is made by [`Active::mmap_read`].
//!
//! [`Active::mmap_read`]: super::notifier::Active::mmap_read
//!
//! C header: [`include/linux/mmap_lock.h`](srctree/include/linux/mmap_lock.h)

use super::range::PageRange;
use crate::bindings as shims;
use kernel::{
    bindings,
    error::to_result,
    mm::{
        virt::VmaRef,
        MmWithUser, //
    },
    prelude::*,
    types::NotThreadSafe, //
};

/// Whether the current thread has been killed: long work ends with `EINTR` then.
#[inline]
pub(crate) fn killed() -> bool {
    // SAFETY: Reads the state of the current task; may be called in any process context.
    unsafe { shims::dmirror_shim_fatal_signal_pending() }
}

/// The address after the last that the process may map.
#[inline]
pub(crate) fn task_size(mm: &MmWithUser) -> usize {
    // SAFETY: `mm` is valid since it is a reference; `task_size` changes only in `execve()`, which
    // makes a new mm.
    unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size }
}

/// A guard that holds the mmap lock for reading.
///
/// # Invariants
///
/// This thread holds the mmap lock of `mm` for reading.
#[must_use = "the mmap lock is released when the guard is dropped"]
pub(crate) struct MmapRead<'a> {
    mm: &'a MmWithUser,
    // The lock must be released by the task that took it.
    _not_send: NotThreadSafe,
}

impl<'a> MmapRead<'a> {
    /// Takes the mmap lock for reading.
    ///
    /// May sleep. Lock order: first of all.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a fatal signal comes while waiting.
    pub(super) fn lock(mm: &'a MmWithUser) -> Result<Self> {
        // SAFETY: `mm` is a valid mm with users, as it is a reference.
        to_result(unsafe { shims::dmirror_shim_mmap_read_lock_killable(mm.as_raw()) })?;

        // INVARIANT: We have just taken the lock.
        Ok(Self {
            mm,
            _not_send: NotThreadSafe,
        })
    }

    /// Lends the lock to `access`, which may let go of it and tells so by clearing its argument.
    /// The guard comes back if the lock is still held.
    ///
    /// # Safety
    ///
    /// `access` clears its argument if and only if it has released the lock.
    pub(super) unsafe fn lend<R>(self, access: impl FnOnce(&mut bool) -> R) -> (R, Option<Self>) {
        let mut locked = true;
        let result = access(&mut locked);

        if locked {
            (result, Some(self))
        } else {
            // The lock is not ours any more, by the safety requirements.
            core::mem::forget(self);
            (result, None)
        }
    }

    /// The address space that is locked.
    pub(super) fn mm(&self) -> &MmWithUser {
        self.mm
    }

    /// Whether the OOM killer leaves the address space alone. If not, pages may have gone without
    /// a trace, and what a fault finds in their place are zeroes.
    pub(super) fn is_stable(&self) -> bool {
        // SAFETY: `mm` is valid since it is a reference.
        unsafe { shims::dmirror_shim_mm_is_stable(self.mm.as_raw()) }
    }

    /// The VMA that holds `address`, or else the next one above it (C: `find_vma()`).
    pub(crate) fn find_vma(&self, address: usize) -> Option<&VmaRef> {
        // SAFETY: `mm` is valid, and by the type invariant its mmap lock is held.
        let vma = unsafe { bindings::find_vma(self.mm.as_raw(), address) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: `find_vma()` returned a VMA of `mm`, which stays while the mmap lock is held,
        // thus for as long as `self` is borrowed.
        Some(unsafe { VmaRef::from_raw(vma) })
    }

    /// The first address of `range` in a block of pages for which the page tables hold anything; the
    /// end of it, if they do for none. It takes as long as there are page tables, whatever the size of
    /// the range.
    pub(crate) fn first_populated(&self, range: PageRange) -> usize {
        // SAFETY: `mm` is valid, and by the type invariant its mmap lock is held.
        unsafe { shims::dmirror_shim_first_populated(self.mm.as_raw(), range.start(), range.end()) }
    }

    /// The VMA that holds `address` (C: `vma_lookup()`, which is half of the work of [`find_vma`]).
    ///
    /// [`find_vma`]: Self::find_vma
    pub(crate) fn vma_at(&self, address: usize) -> Option<&VmaRef> {
        // SAFETY: `mm` is valid, and by the type invariant its mmap lock is held.
        let vma = unsafe { bindings::vma_lookup(self.mm.as_raw(), address) };
        if vma.is_null() {
            return None;
        }
        // SAFETY: As in `find_vma()`.
        Some(unsafe { VmaRef::from_raw(vma) })
    }
}

impl Drop for MmapRead<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds the lock, and `self` is not `Send`.
        unsafe { shims::dmirror_shim_mmap_read_unlock(self.mm.as_raw()) };
    }
}

/// Whether `vma` may hold anonymous pages; only those can be in device-private memory.
pub(crate) fn has_anonymous_pages(vma: &VmaRef) -> bool {
    // SAFETY: `vma` is a valid VMA since it is a reference; `anon_vma` is read once.
    unsafe { shims::dmirror_shim_vma_has_anon(vma.as_ptr()) }
}

/// Whether the process has said that it touches the pages of `vma` in no order (`MADV_RANDOM`).
pub(super) fn is_random(vma: &VmaRef) -> bool {
    // SAFETY: `vma` is a valid VMA since it is a reference, and the mmap lock is held.
    unsafe { shims::dmirror_shim_vma_is_random(vma.as_ptr()) }
}

/// Whether userfaultfd may want to know of each access to pages of `vma` that are there
/// (`UFFDIO_REGISTER_MODE_RWP`).
pub(super) fn is_access_tracked(vma: &VmaRef) -> bool {
    // SAFETY: `vma` is a valid VMA since it is a reference, and the mmap lock is held.
    unsafe { shims::dmirror_shim_vma_uffd_rwp(vma.as_ptr()) }
}

/// Whether `vma` may have huge pages: neither the process nor the area has said that it shall not.
pub(super) fn may_be_huge(vma: &VmaRef) -> bool {
    // SAFETY: `vma` is a valid VMA since it is a reference, and its mm lives.
    !unsafe { shims::dmirror_shim_vma_thp_disabled(vma.as_ptr()) }
}
