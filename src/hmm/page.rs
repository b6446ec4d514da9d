// SPDX-License-Identifier: GPL-2.0

//! Pages: targets of a migration, and pages of a process that are held in place by a lock.
//!
//! The contents of user pages are shared with a CPU that may write at any time, so no Rust
//! reference to them is ever made: all copies are calls of C functions.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h),
//! [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use super::{
    frame::{
        DeviceOffset,
        MigratePfn, //
    },
    leaf::Entry,
    notifier::Active,
    pagemap::PagemapOps, //
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    uaccess::UserPtr, //
};

/// A locked page that we own, small or huge: what a migration takes as a target.
///
/// Dropping it unlocks the page and puts it; a device page comes back to its driver by
/// [`PagemapOps::free`].
///
/// # Invariants
///
/// `page` is valid, locked by this thread, and one reference to it is ours. As a target of a migration
/// it is the first of its folio, which has `pages` pages.
pub(crate) struct LockedPage {
    page: NonNull<bindings::page>,
    pages: usize,
}

impl LockedPage {
    /// Takes over a locked page.
    ///
    /// # Safety
    ///
    /// `page` is valid and locked, and the caller gives up the lock and one reference. If it may become
    /// the target of a migration, it is the first of a folio of `pages` pages.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>, pages: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self { page, pages }
    }

    /// The page, for as long as `self` is borrowed.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// How many small pages it is as large as.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Gives up lock and reference to whoever takes the pointer.
    pub(super) fn into_raw(self) -> NonNull<bindings::page> {
        core::mem::ManuallyDrop::new(self).page
    }
}

/// Small pages of private memory that follow each other, locked, and our own: what a migration takes as
/// targets, as [`LockedPage`] is. Dropping it gives them back.
///
/// # Invariants
///
/// The `count` pages from `first` on are small ones, valid, and of one pagemap; each is locked by this
/// thread, and one reference to it is ours.
pub(crate) struct LockedPages {
    first: NonNull<bindings::page>,
    count: usize,
}

impl LockedPages {
    /// Takes over locked pages.
    ///
    /// # Safety
    ///
    /// The `count` pages from `first` on are small ones, valid, locked and of one pagemap, and the caller
    /// gives up the lock of each and one reference.
    pub(super) unsafe fn from_raw(first: NonNull<bindings::page>, count: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self { first, count }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Makes them the targets of a migration, one for each entry of `dst`, and gives up lock and
    /// reference to whoever takes the entries.
    pub(super) fn into_targets(mut self, dst: &mut [usize]) {
        let count = self.count.min(dst.len());
        if count == 0 {
            return;
        }
        // SAFETY: By the type invariant the page is valid.
        let entry = unsafe { shims::dmirror_shim_migrate_pfn(self.first.as_ptr()) };
        let first = MigratePfn::target(entry, 1);
        for (behind, dst) in dst.iter_mut().take(count).enumerate() {
            *dst = first.behind(behind).into_raw();
        }

        // INVARIANT: Those are not ours any more; the others are.
        self.count -= count;
        // SAFETY: By the type invariant there are so many, one behind the other.
        self.first = unsafe { self.first.add(count) };
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        for number in 0..self.count {
            // SAFETY: By the type invariant there is such a page.
            let page = unsafe { self.first.add(number) };
            // SAFETY: By the type invariant the page is valid, and lock and reference are ours. This is the
            // only place that takes them, once for each.
            drop(unsafe { LockedPage::from_raw(page, 1) });
        }
    }
}

/// The order of the folio of which the page number `index` of `pagemap` is a part. Without a lock on
/// the folio it may be out of date at once.
///
/// # Safety
///
/// The pagemap is registered, and has that many pages.
pub(super) unsafe fn order_at(pagemap: *const bindings::dev_pagemap, index: usize) -> u32 {
    // SAFETY: By the safety requirements.
    let page = unsafe { shims::dmirror_shim_pagemap_page(pagemap, index) };
    // SAFETY: The page is valid.
    unsafe { shims::dmirror_shim_page_order(page) }
}

/// What the kernel names `page` by.
///
/// # Safety
///
/// The page is valid, and private memory of a device.
pub(super) unsafe fn device_offset(page: *const bindings::page) -> DeviceOffset {
    // SAFETY: By the safety requirements.
    DeviceOffset::new(unsafe { shims::dmirror_shim_device_offset(page) })
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is valid and the lock is ours.
        unsafe { shims::dmirror_shim_unlock_page(self.page.as_ptr()) };
        // SAFETY: By the type invariant one reference is ours; nothing uses it afterwards.
        unsafe { shims::dmirror_shim_put_page(self.page.as_ptr()) };
    }
}

/// A page, small or huge, that a migration moves away, of memory that the CPU can address. It is
/// locked and unmapped: its contents are stable.
///
/// # Invariants
///
/// `page` is the first of `pages` pages of a folio that is valid and in the direct map for `'a`.
pub(crate) struct SourcePage<'a> {
    page: NonNull<bindings::page>,
    pages: usize,
    _folio: PhantomData<&'a bindings::page>,
}

impl SourcePage<'_> {
    /// Takes `page` for the source of a migration.
    ///
    /// # Safety
    ///
    /// `page` is the first of `pages` pages of a folio that the CPU can address, and that stays so and
    /// valid for the lifetime of the result.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>, pages: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            page,
            pages,
            _folio: PhantomData,
        }
    }

    /// The first small page.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// How many small pages it is as large as.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Copies the bytes of the first small page to `to`, whose contents nobody else knows yet.
    pub(super) fn copy_to(&self, to: &mut LockedPage) {
        // SAFETY: Both pages are valid, and `to` is borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_page(to.page.as_ptr(), self.page.as_ptr()) };
    }
}

/// Pages of a process whose bytes a device may access now.
///
/// # Invariants
///
/// The pages of `entries` are valid and in the direct map for `'a`, and a process has them mapped,
/// writable if `writable` says so; or a migration keeps them that will map them so. No Rust reference to
/// their bytes exists.
pub(crate) struct MappedPages<'a> {
    entries: &'a [Entry],
    writable: bool,
}

impl<'a> MappedPages<'a> {
    /// Takes the pages of `entries` for pages that may be accessed.
    ///
    /// # Safety
    ///
    /// All entries name pages, which stay valid and in the direct map for `'a`. A process has them mapped,
    /// writable if `writable` says so, or a migration keeps them that will map them so, and nobody can take
    /// them away before `'a` ends. No Rust reference to their bytes is made.
    pub(super) unsafe fn new(entries: &'a [Entry], writable: bool) -> Self {
        // INVARIANT: By the safety requirements.
        Self { entries, writable }
    }

    /// Copies the pages to the user address `to` without faulting. Does not sleep.
    ///
    /// Returns how many, up to the first of which not all could be copied, as `to` is not mapped
    /// writable in the current process now; part of that one may have been written.
    pub(crate) fn copy_to_user(&self, to: UserPtr) -> usize {
        let (frames, count) = (self.entries.as_ptr().cast(), self.entries.len());
        // SAFETY: By the type invariant so many entries name pages that are valid and in the direct map; an
        // entry is the physical address of its page, and flags in the lowest bits. A bad user address is
        // told.
        unsafe { shims::dmirror_shim_copy_frames_to_user(to.as_mut_ptr(), frames, count) }
    }

    /// Fills the pages from the user address `from` without faulting, and tells mm that a device
    /// wrote them, so that they are not dropped as clean. Does not sleep.
    ///
    /// Returns how many, up to the first of which not all could be copied, as `from` is not mapped in
    /// the current process now; part of that one may have been written. Pages that may only be read stay
    /// as they are: 0.
    pub(crate) fn copy_from_user(&self, from: UserPtr) -> usize {
        if !self.writable {
            return 0;
        }
        let (frames, count) = (self.entries.as_ptr().cast(), self.entries.len());
        // SAFETY: As for `copy_to_user()`, and they may be written. None can be truncated meanwhile: that
        // would have to unmap it first.
        unsafe { shims::dmirror_shim_copy_frames_from_user(frames, from.as_const_ptr(), count) }
    }
}

impl<O: PagemapOps> Active<'_, O> {
    /// Makes the page at the address `address` of the *current* process present, and writable if
    /// `write`, without changing it. The current process may be the mirrored one, or another.
    ///
    /// May fault, sleep and take the mmap lock. It needs nothing of `self`, but that nothing of it
    /// is locked or collected.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the current process may not access it so, or if the thread is of none.
    pub(crate) fn fault_in_buffer(&mut self, address: UserPtr, write: bool) -> Result {
        // A kernel thread has no address space, whose lock C would take unasked.
        if current!().mm().is_none() {
            return Err(EFAULT);
        }
        let left = if write {
            // Not fault_in_writeable(): that stores a zero byte in each page, which may be the
            // data.
            // SAFETY: The thread has an mm. Any address is allowed; a bad one is an error.
            unsafe { bindings::fault_in_safe_writeable(address.as_const_ptr().cast(), PAGE_SIZE) }
        } else {
            // SAFETY: Any address is allowed; a bad one is an error.
            unsafe { bindings::fault_in_readable(address.as_const_ptr().cast(), PAGE_SIZE) }
        };

        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}
