// SPDX-License-Identifier: GPL-2.0

//! Pages: targets of a migration, and pages of a process that are held in place by a lock.
//!
//! The contents of user pages are shared with a CPU that may write at any time, so no Rust reference
//! to them is ever made: all copies are calls of C functions.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h),
//! [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    page::Page,
    prelude::*,
    uaccess::UserPtr, //
};

/// A locked page that we own: what a migration takes as a target.
///
/// Dropping it unlocks the page and puts it; a device page comes back to its driver by
/// [`PagemapOps::free`](super::pagemap::PagemapOps::free).
///
/// # Invariants
///
/// The page is valid, locked by this thread, and one reference to it is ours.
pub(crate) struct LockedPage(NonNull<bindings::page>);

impl LockedPage {
    /// Takes over a locked page.
    ///
    /// # Safety
    ///
    /// `page` is valid and locked, and the caller gives up the lock and one reference.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(page)
    }

    /// Gives up lock and reference to whoever takes the pointer.
    pub(super) fn into_raw(self) -> NonNull<bindings::page> {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is valid and the lock is ours.
        unsafe { shims::dmirror_shim_unlock_page(self.0.as_ptr()) };
        // SAFETY: By the type invariant one reference is ours; nothing uses it afterwards.
        unsafe { shims::dmirror_shim_put_page(self.0.as_ptr()) };
    }
}

/// A new page of system memory, for a page that leaves the device.
///
/// # Invariants
///
/// Nobody else knows the page: its contents may be written freely.
pub(crate) struct SystemTarget(LockedPage);

impl SystemTarget {
    /// Allocates a movable page. May sleep and reclaim; no lock that reclaim takes may be held.
    ///
    /// The page is charged when it takes over the charge of the page that it replaces.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new() -> Result<Self> {
        // SAFETY: May be called wherever it is allowed to sleep.
        let page = unsafe { shims::dmirror_shim_alloc_movable_page() };
        let page = NonNull::new(page).ok_or(ENOMEM)?;

        // SAFETY: The page is valid and new; nobody else can have locked it.
        unsafe { shims::dmirror_shim_lock_page(page.as_ptr()) };
        // SAFETY: The page is locked, and the reference of the allocation is ours to give.
        // INVARIANT: The page is new.
        Ok(Self(unsafe { LockedPage::from_raw(page) }))
    }

    /// Fills the page with the contents of `from`.
    pub(crate) fn copy_from(&mut self, from: &Page) {
        // SAFETY: Both pages are valid; by the type invariant nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_page(self.0 .0.as_ptr(), from.as_ptr()) };
    }

    /// The page as a target.
    pub(super) fn into_locked(self) -> LockedPage {
        self.0
    }
}

/// The system page that a migration moves away. It is locked and unmapped: its contents are stable.
///
/// # Invariants
///
/// The page is valid for `'a`.
pub(crate) struct SourcePage<'a>(NonNull<bindings::page>, PhantomData<&'a bindings::page>);

impl SourcePage<'_> {
    /// Takes `page` for the source of a migration.
    ///
    /// # Safety
    ///
    /// `page` is a page of system memory that stays valid for the lifetime of the result.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(page, PhantomData)
    }

    /// Copies the contents to `to`, which nobody else uses yet.
    pub(crate) fn copy_to(&self, to: &mut Page) {
        // SAFETY: Both pages are valid, and `to` is borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_page(to.as_ptr(), self.0.as_ptr()) };
    }
}

/// Fills `page`, which nobody else uses, with zeroes.
pub(crate) fn clear(page: &mut Page) {
    // SAFETY: The page is valid, and borrowed exclusively.
    unsafe { shims::dmirror_shim_clear_page(page.as_ptr()) };
}

/// A page whose contents a device may access now.
///
/// # Invariants
///
/// The page is valid and mapped in the direct map for `'a`.
pub(crate) struct DevicePtr<'a>(NonNull<bindings::page>, PhantomData<&'a bindings::page>);

impl<'a> DevicePtr<'a> {
    /// Takes `page` for a page that may be accessed.
    ///
    /// # Safety
    ///
    /// `page` stays valid and in the direct map for `'a`.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(page, PhantomData)
    }

    /// Copies the page to the user address `to` without faulting. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if `to` is not mapped writable in the current process now; part of it may have
    /// been written.
    pub(crate) fn copy_to_user(&self, to: UserPtr) -> Result {
        // SAFETY: The page is valid and mapped by the type invariant; a bad user address is an error.
        to_result(unsafe {
            shims::dmirror_shim_copy_page_to_user(to.as_mut_ptr(), self.0.as_ptr())
        })
    }

    /// Fills the page from the user address `from` without faulting. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if `from` is not mapped in the current process now; part of the page may have been
    /// written.
    pub(crate) fn copy_from_user(&self, from: UserPtr) -> Result {
        // SAFETY: The page is valid and mapped by the type invariant; a bad user address is an error.
        to_result(unsafe {
            shims::dmirror_shim_copy_page_from_user(self.0.as_ptr(), from.as_const_ptr())
        })
    }

    /// Tells mm that a device wrote the page, so that it is not dropped as clean.
    pub(super) fn mark_dirty(&self) {
        // SAFETY: The page is valid by the type invariant. It cannot be truncated meanwhile: whoever
        // made `self` holds the lock that every unmapping of the page must take first.
        unsafe { bindings::set_page_dirty(self.0.as_ptr()) };
    }
}

impl<'a> From<&'a Page> for DevicePtr<'a> {
    fn from(page: &'a Page) -> Self {
        // SAFETY: A `Page` is valid memory of the kernel for as long as it lives.
        unsafe { Self::from_raw(NonNull::new_unchecked(page.as_ptr())) }
    }
}

/// Makes the page at the user address `address` present, and writable if `write`.
///
/// May fault, sleep and take the mmap lock of the current process.
///
/// # Errors
///
/// [`EFAULT`] if the current process may not access it so.
pub(crate) fn fault_in_user(address: UserPtr, write: bool) -> Result {
    let left = if write {
        // SAFETY: Any address is allowed; a bad one is an error.
        unsafe {
            bindings::fault_in_writeable(address.as_mut_ptr().cast(), kernel::page::PAGE_SIZE)
        }
    } else {
        // SAFETY: Any address is allowed; a bad one is an error.
        unsafe {
            bindings::fault_in_readable(address.as_const_ptr().cast(), kernel::page::PAGE_SIZE)
        }
    };

    if left == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}
