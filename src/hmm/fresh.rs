// SPDX-License-Identifier: GPL-2.0

//! New pages of system memory, for those that leave a device.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use super::{
    contents::Bytes,
    page::{
        LockedPage,
        SourcePage, //
    },
    range::BLOCK_ORDER, //
};
use crate::bindings as shims;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*, //
};

/// How many small pages are allocated at a time.
const BULK: usize = 16;

/// Allocates small pages until there are `count` of them in `pages`, which has room for them.
/// `allocate` is asked for so many, writes them to an array and returns their number; `wrap` takes
/// them over.
///
/// # Errors
///
/// [`ENOMEM`]; those that there are stay.
pub(super) fn fill<T>(
    pages: &mut KVec<T>,
    count: usize,
    allocate: impl Fn(usize, *mut *mut bindings::page) -> usize,
    wrap: impl Fn(NonNull<bindings::page>) -> T,
) -> Result {
    while pages.len() < count {
        let wanted = (count - pages.len()).min(BULK);
        let mut raw = [core::ptr::null_mut(); BULK];
        let got = allocate(wanted, raw.as_mut_ptr());
        if got == 0 {
            return Err(ENOMEM);
        }
        let mut result = Ok(());
        for page in raw.into_iter().take(got).filter_map(NonNull::new) {
            // Without room for it, it would be freed.
            let pushed = pages.push_within_capacity(wrap(page));
            result = result.and(pushed.map_err(|_| ENOMEM));
        }
        result?;
    }
    Ok(())
}

/// A new page of system memory, small or huge, for one that leaves the device.
///
/// # Invariants
///
/// `page` is the first of `1 << order` pages of a valid folio of system memory, of which one reference is
/// ours, and which nobody else knows.
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
        let mut page = core::ptr::null_mut();
        // SAFETY: There is room for one page, and none there yet. It is allowed to sleep here.
        unsafe { shims::dmirror_shim_alloc_movable_pages(1, &mut page, true) };
        // INVARIANT: The folio is new, and the reference of the allocation is ours.
        Ok(Self {
            page: NonNull::new(page).ok_or(ENOMEM)?,
            order: 0,
        })
    }

    /// Allocates small ones until there are `count` of them in `pages`, for which there must be
    /// room: as [`new`](Self::new) does or, if it may not `wait`, of memory that is at hand.
    ///
    /// C: `alloc_pages_bulk()`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; those that there are stay.
    pub(super) fn fill(pages: &mut KVec<Self>, count: usize, wait: bool) -> Result {
        fill(
            pages,
            count,
            // SAFETY: The array has room for so many, and names no page as yet. With `wait` it is
            // allowed to sleep here.
            |wanted, raw| unsafe { shims::dmirror_shim_alloc_movable_pages(wanted, raw, wait) },
            // INVARIANT: The folio is new, and the reference of the allocation is ours.
            |page| Self { page, order: 0 },
        )
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

    /// Fills the parts from the number `part` on with the bytes of `from`, as many as there are, and
    /// tells mm that they are not to be dropped as clean: the device may have written them, of which mm
    /// has heard nothing.
    pub(crate) fn copy_from(&mut self, part: usize, from: Bytes<'_>) {
        let left = self.pages().checked_sub(part).filter(|left| *left > 0);
        let Some(count) = left.map(|left| from.pages().min(left)) else {
            return;
        };
        // SAFETY: By the type invariant the folio has that many pages.
        let page = unsafe { self.page.add(part) };
        // SAFETY: By the type invariants there are so many pages on both sides, one behind the other and
        // in the direct map, and nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_pages(page.as_ptr(), from.as_ptr(), count) };
        // SAFETY: The folio is valid. It is of no file that could be truncated.
        unsafe { bindings::set_page_dirty(self.page.as_ptr()) };
    }

    /// Fills the first small page with the bytes of that of `from`.
    pub(super) fn copy_from_page(&mut self, from: &SourcePage<'_>) {
        // SAFETY: Both pages are valid; by the type invariant nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_page(self.page.as_ptr(), from.as_ptr()) };
    }

    /// The page as a target. Never waits: nobody else can have locked the page.
    pub(super) fn into_locked(self) -> LockedPage {
        let pages = self.pages();
        let page = core::mem::ManuallyDrop::new(self).page;

        // SAFETY: The page is valid and new.
        unsafe { shims::dmirror_shim_lock_page(page.as_ptr()) };
        // SAFETY: The page is locked now, and the reference is given up. By the type invariant it is
        // the first of that many.
        unsafe { LockedPage::from_raw(page, pages) }
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
