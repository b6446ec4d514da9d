// SPDX-License-Identifier: GPL-2.0

//! Pages: targets of a migration, and pages of a process that are held in place by a lock.
//!
//! The contents of user pages are shared with a CPU that may write at any time, so no Rust
//! reference to them is ever made: all copies are calls of C functions.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h),
//! [`include/linux/highmem.h`](srctree/include/linux/highmem.h)

use super::{
    notifier::Active,
    pagemap::PagemapOps,
    range::BLOCK_ORDER, //
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
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

    /// The page, for as long as `self` is borrowed.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// How many small pages it is as large as.
    pub(super) fn pages(&self) -> usize {
        // SAFETY: By the type invariant the page is valid.
        1 << unsafe { shims::dmirror_shim_page_order(self.0.as_ptr()) }
    }

    /// Gives up lock and reference to whoever takes the pointer.
    pub(super) fn into_raw(self) -> NonNull<bindings::page> {
        core::mem::ManuallyDrop::new(self).0
    }
}

/// The order of the folio of which the page with the frame number `number` is a part. Without a lock
/// on the folio it may be out of date at once.
///
/// # Safety
///
/// The frame has a `struct page`.
pub(super) unsafe fn order_at(number: usize) -> u32 {
    // SAFETY: By the safety requirements.
    let page = unsafe { shims::dmirror_shim_pfn_to_page(number) };
    // SAFETY: The page is valid.
    unsafe { shims::dmirror_shim_page_order(page) }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is valid and the lock is ours.
        unsafe { shims::dmirror_shim_unlock_page(self.0.as_ptr()) };
        // SAFETY: By the type invariant one reference is ours; nothing uses it afterwards.
        unsafe { shims::dmirror_shim_put_page(self.0.as_ptr()) };
    }
}

/// A new page of system memory, small or huge, for one that leaves the device.
///
/// # Invariants
///
/// `page` is the first of `1 << order` pages of a valid folio, of which one reference is ours, and
/// which nobody else knows.
pub(crate) struct SystemTarget {
    page: NonNull<bindings::page>,
    order: u32,
}

impl SystemTarget {
    /// Allocates a small movable page. May sleep and reclaim; no lock that reclaim takes may be
    /// held.
    ///
    /// The page is charged when it takes over the charge of the page that it replaces.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new() -> Result<Self> {
        Self::small(true)
    }

    /// The same, but only of memory that is at hand. Does not wait for anything.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn at_hand() -> Result<Self> {
        Self::small(false)
    }

    fn small(wait: bool) -> Result<Self> {
        // SAFETY: May be called wherever it is allowed to sleep or, without `wait`, anywhere.
        let page = unsafe { shims::dmirror_shim_alloc_movable_page(wait) };
        // INVARIANT: The folio is new, and the reference of the allocation is ours.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
            order: 0,
        })
    }

    /// Allocates a huge movable page: one that is at hand or, if it may `wait`, one that reclaim and
    /// compaction can make. Otherwise as [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new_huge(wait: bool) -> Result<Self> {
        // SAFETY: May be called wherever it is allowed to sleep.
        let page = unsafe { shims::dmirror_shim_alloc_huge_page(BLOCK_ORDER, wait) };
        // INVARIANT: The folio is new, and the reference of the allocation is ours.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
            order: BLOCK_ORDER,
        })
    }

    /// How many small pages it is as large as.
    pub(crate) fn pages(&self) -> usize {
        1 << self.order
    }

    /// Fills the part with the number `part`, below [`pages`](Self::pages), with the bytes of
    /// `from`, and tells mm that they are not to be dropped as clean: the device may have written
    /// them, of which mm has heard nothing.
    pub(crate) fn copy_from(&mut self, part: usize, from: &Contents) {
        if part >= self.pages() {
            return;
        }
        // SAFETY: By the type invariant the folio has that many pages.
        let page = unsafe { self.page.add(part) };
        // SAFETY: Both pages are valid; by the type invariant nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_page(page.as_ptr(), from.0.as_ptr()) };
        // SAFETY: The page is valid. It is of no file that could be truncated.
        unsafe { bindings::set_page_dirty(page.as_ptr()) };
    }

    /// Fills the first small page with the bytes of that of `from`.
    pub(super) fn copy_from_page(&mut self, from: &SourcePage<'_>) {
        // SAFETY: Both pages are valid; by the type invariant nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_page(self.page.as_ptr(), from.page.as_ptr()) };
    }

    /// The page as a target. Never waits: nobody else can have locked the page.
    pub(super) fn into_locked(self) -> LockedPage {
        let page = core::mem::ManuallyDrop::new(self).page;

        // SAFETY: The page is valid and new.
        unsafe { shims::dmirror_shim_lock_page(page.as_ptr()) };
        // SAFETY: The page is locked now, and the reference is given up.
        unsafe { LockedPage::from_raw(page) }
    }
}

impl Drop for SystemTarget {
    fn drop(&mut self) {
        // SAFETY: By the type invariant one reference is ours; nothing uses it afterwards.
        unsafe { shims::dmirror_shim_put_page(self.page.as_ptr()) };
    }
}

// SAFETY: A page belongs to no thread.
unsafe impl Send for SystemTarget {}

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

    /// Copies the bytes of the first small page to `to`, whose contents nobody else knows yet.
    pub(super) fn copy_to(&self, to: &mut LockedPage) {
        // SAFETY: Both pages are valid, and `to` is borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_page(to.0.as_ptr(), self.page.as_ptr()) };
    }
}

/// A page of kernel memory in which a driver keeps the bytes of a page of its device.
///
/// Like a page of a process it may be accessed by several at a time, and so its bytes are never
/// lent as a Rust reference.
///
/// # Invariants
///
/// The page is valid kernel memory, a small page of its own, and ours alone.
pub(crate) struct Contents(NonNull<bindings::page>);

// SAFETY: A page may be used and freed by any thread.
unsafe impl Send for Contents {}

// SAFETY: What can be done with a shared reference is to copy bytes, which C functions do as for
// memory that others may write.
unsafe impl Sync for Contents {}

impl Contents {
    /// How many are allocated at a time.
    const BULK: usize = 16;

    /// Allocates until there are `count` of them in `pages`, each with any bytes in it, charged to
    /// the current process. May sleep; no lock that reclaim takes may be held.
    ///
    /// They come from the node of this processor where there are any, whatever the memory policy of
    /// the process, which is for its own pages. Where memory is charged to a control group, C
    /// allocates one at a time.
    ///
    /// C: `alloc_pages_bulk()`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; those that there are stay.
    pub(crate) fn fill(pages: &mut KVec<Self>, count: usize) -> Result {
        pages.reserve(count.saturating_sub(pages.len()), GFP_KERNEL_ACCOUNT)?;

        while pages.len() < count {
            let wanted = (count - pages.len()).min(Self::BULK);
            let mut raw = [core::ptr::null_mut(); Self::BULK];
            // SAFETY: The array has room for so many, and names no page as yet. It is allowed to
            // sleep here.
            let got = unsafe { shims::dmirror_shim_alloc_kernel_pages(wanted, raw.as_mut_ptr()) };
            if got == 0 {
                return Err(ENOMEM);
            }
            let mut result = Ok(());
            for page in raw.into_iter().take(got).filter_map(NonNull::new) {
                // INVARIANT: The page is new, and nobody else knows it.
                let page = Self(page);
                // There is room for it; without, it would be freed.
                result = result.and(pages.push_within_capacity(page).map_err(|_| ENOMEM));
            }
            result?;
        }
        Ok(())
    }

    /// Fills the page with zeroes.
    pub(crate) fn clear(&mut self) {
        // SAFETY: The page is valid, and borrowed exclusively.
        unsafe { shims::dmirror_shim_clear_page(self.0.as_ptr()) };
    }

    /// Fills the page with the bytes of the part of `from` with the number `part`: 0, or less than
    /// [`BLOCK_PAGES`](super::range::BLOCK_PAGES) if it is huge.
    pub(crate) fn copy_from(&mut self, from: &SourcePage<'_>, part: usize) {
        if part >= from.pages {
            return;
        }
        // SAFETY: By the invariant of `from` the folio has that many pages.
        let page = unsafe { from.page.add(part) };
        // SAFETY: Both pages are valid, and `self` is borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_page(self.0.as_ptr(), page.as_ptr()) };
    }

    /// The page, for accesses of the device.
    pub(crate) fn as_device(&self) -> DevicePtr<'_> {
        // SAFETY: It is kernel memory of our own, valid for as long as `self` is borrowed, and its
        // bytes are accessed by C functions only.
        unsafe { DevicePtr::new(self.0, Leave::Own) }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is ours; nothing uses it afterwards.
        unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
    }
}

/// What a device may do to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// All: it is kernel memory of its own.
    Own,
    /// Read and write it: a process has it mapped writable.
    Write,
    /// Read it.
    Read,
}

/// A page whose bytes a device may access now.
///
/// # Invariants
///
/// The page is valid and in the direct map for `'a`, and no Rust reference to its bytes exists.
/// What may be done to it is `leave`.
pub(crate) struct DevicePtr<'a> {
    page: NonNull<bindings::page>,
    leave: Leave,
    _page: PhantomData<&'a bindings::page>,
}

impl<'a> DevicePtr<'a> {
    /// Takes `page` for a page that may be accessed.
    ///
    /// # Safety
    ///
    /// * `page` stays valid and in the direct map for `'a`, and no Rust reference to its bytes is
    ///   made.
    /// * If `leave` is [`Leave::Own`], it is kernel memory of the caller's. Else a process has it
    ///   mapped for `'a`, writable if `leave` says so, and nobody can unmap it before that ends.
    pub(super) unsafe fn new(page: NonNull<bindings::page>, leave: Leave) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            page,
            leave,
            _page: PhantomData,
        }
    }

    /// Copies the page to the user address `to` without faulting. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if `to` is not mapped writable in the current process now; part of it may have
    /// been written.
    pub(crate) fn copy_to_user(&self, to: UserPtr) -> Result {
        // SAFETY: The page is valid and mapped by the type invariant; a bad user address is an
        // error.
        to_result(unsafe {
            shims::dmirror_shim_copy_page_to_user(to.as_mut_ptr(), self.page.as_ptr())
        })
    }

    /// Fills the page from the user address `from` without faulting, and tells mm that a device
    /// wrote it, so that it is not dropped as clean. Does not sleep.
    ///
    /// # Errors
    ///
    /// * [`EPERM`][]: the page may only be read.
    /// * [`EFAULT`][]: `from` is not mapped in the current process now; part of the page may have
    ///   been written.
    pub(crate) fn copy_from_user(&self, from: UserPtr) -> Result {
        if self.leave == Leave::Read {
            return Err(EPERM);
        }
        // SAFETY: The page is valid and mapped by the type invariant, and may be written; a bad
        // user address is an error.
        let result = to_result(unsafe {
            shims::dmirror_shim_copy_page_from_user(self.page.as_ptr(), from.as_const_ptr())
        });
        if self.leave == Leave::Write {
            // SAFETY: The page is valid by the type invariant. It cannot be truncated meanwhile:
            // that would have to unmap it first.
            unsafe { bindings::set_page_dirty(self.page.as_ptr()) };
        }
        result
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
