// SPDX-License-Identifier: GPL-2.0

//! Pages that a device has for itself: no CPU and no other device can reach them until they are
//! taken back, which anybody's access does. It is how a device that has no coherent link does
//! atomic operations on system memory.
//!
//! Three steps, each of which borrows the one before: [`Active`] → [`ExclusiveSection`] (begun
//! before the mmap lock was taken) → [`ExclusivePage`] (locked: nobody can take it back yet) →
//! [`ExclusivePage::enter`], which lets go of the page.
//!
//! * The page can only be entered into the page table of the device, and only if nothing has
//!   happened to it since the section began. If something has, or if the page is dropped, mm keeps
//!   it ready for an exclusive access that never comes; the next access of anybody makes it
//!   ordinary again.
//! * The page must be present and writable *before* the section begins: [`Active::fault`]. If
//!   `make()` has to change anything for that, it notifies this device too, and the section is
//!   over. That goes for a page that is exclusive already: `make()` takes it back first. So to
//!   try again without that fault would never succeed.
//! * A page at a time is locked, as [`ExclusivePage`] borrows the section exclusively; and nothing
//!   of the same request can fault or lock meanwhile.
//!
//! # Lock order
//!
//! mmap lock, then folio lock, then notifier lock. It is the order of a CPU that takes a page back:
//! it notifies with the folio locked.
//!
//! C: `make_device_exclusive()` in `mm/rmap.c`.

use super::{
    answer::Retry,
    frame::Pfn,
    leaf::Reserve,
    mm::MmapRead,
    notifier::{
        Active,
        IntervalNotifier, //
    },
    page::LockedPage,
    pagemap::PagemapOps, //
};
use crate::bindings as shims;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    page::PAGE_MASK,
    prelude::*, //
};

/// The mmap lock, and a sequence of the notifier with which pages can be made exclusive.
///
/// # Invariants
///
/// `mmap` locks the address space that `notifier` subscribes to; `seq` is a sequence of `notifier`
/// that was read before the lock was taken.
pub(crate) struct ExclusiveSection<'a, O: PagemapOps> {
    mmap: MmapRead<'a>,
    notifier: &'a IntervalNotifier<O>,
    seq: usize,
}

impl<O: PagemapOps> Active<'_, O> {
    /// Begins a section in which pages become exclusive. Takes the mmap lock. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a fatal signal comes while waiting.
    pub(crate) fn exclusive(&mut self) -> Result<ExclusiveSection<'_, O>> {
        let (notifier, mm) = self.parts();
        let seq = notifier.begin();
        let mmap = MmapRead::lock(mm)?;

        // INVARIANT: Notifier and lock are those of `self`; the sequence was read first.
        Ok(ExclusiveSection {
            mmap,
            notifier,
            seq,
        })
    }
}

impl<O: PagemapOps> ExclusiveSection<'_, O> {
    /// Makes the page at `address` exclusive for the device, and locks it. All others who mirror
    /// the address space lose it.
    ///
    /// May fault and wait for the page; ends early if the thread is killed. A fault handler that
    /// has to let go of the mmap lock (userfaultfd) fails.
    ///
    /// Huge mappings are split first. Who has a reference to the page, for I/O say, keeps it.
    ///
    /// C: `make_device_exclusive()`.
    ///
    /// # Errors
    ///
    /// * [`EFAULT`][]: nothing is mapped there, it cannot be written, or the page cannot be had.
    /// * [`EOPNOTSUPP`][]: the page is not anonymous, or of hugetlb.
    /// * [`EBUSY`][]: the page is on its way; try again.
    /// * [`EINTR`][]: killed.
    /// * [`ENOMEM`].
    pub(crate) fn make(&mut self, address: usize) -> Result<ExclusivePage<'_, O>> {
        let address = address & PAGE_MASK;
        let mut folio = core::ptr::null_mut();

        // SAFETY: `mm` has users, and by the type invariant its mmap lock is held. The owner is an
        // address that mm compares and does not follow. `folio` is valid for writes.
        let page = from_err_ptr(unsafe {
            shims::make_device_exclusive(
                self.mmap.mm().as_raw(),
                address,
                self.notifier.owner().as_raw(),
                &mut folio,
            )
        })?;
        let page = NonNull::new(page).ok_or(EFAULT)?;
        // SAFETY: `page` is one of `folio`, which the call has locked and taken a reference to,
        // both for us. It never becomes a target.
        let locked = unsafe { LockedPage::from_raw(page, 1) };
        // SAFETY: The page is valid.
        let number = unsafe { shims::dmirror_shim_page_to_pfn(page.as_ptr()) };

        // INVARIANT: The call has succeeded, in this section, and `locked` is the page's lock. A
        // reference can be taken only to a page that the CPU can address.
        Ok(ExclusivePage {
            section: self,
            address,
            pfn: Pfn::new(number),
            _locked: locked,
        })
    }
}

/// A page that is exclusive and locked. Dropping it lets anybody take it back.
///
/// # Invariants
///
/// `pfn` is an anonymous page that was made exclusive for the device, at `address`, since `section`
/// began, and has been locked since.
#[must_use = "dropping it lets anybody take the page back"]
pub(crate) struct ExclusivePage<'m, O: PagemapOps> {
    section: &'m ExclusiveSection<'m, O>,
    address: usize,
    pfn: Pfn,
    _locked: LockedPage,
}

impl<O: PagemapOps> ExclusivePage<'_, O> {
    /// Enters the page into the page table of the device, and lets go of it: from then on it is
    /// exclusive until the table loses it. May sleep.
    ///
    /// # Errors
    ///
    /// [`Retry`] if something has changed since the section began, or there is no reserve.
    pub(crate) fn enter(self, reserve: &mut Reserve) -> core::result::Result<(), Retry> {
        let mut state = self.section.notifier.lock_unchanged(self.section.seq)?;

        // SAFETY: By the type invariant the page was exclusive at `address` after the sequence had
        // been read. No notification has come since, so it still is, and whoever changes that
        // notifies first, and waits for this lock. Anonymous pages are in the direct map.
        if unsafe { state.map_exclusive(self.address, self.pfn, reserve) } {
            Ok(())
        } else {
            Err(Retry)
        }
    }
}
