// SPDX-License-Identifier: GPL-2.0

//! New pages of system memory, for those that leave a device.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use super::{
    contents::Bytes,
    frame::MigratePfn,
    page::{
        LockedPage,
        SourcePage, //
    },
    range::BLOCK_ORDER,
    stock::Stock, //
};
use crate::bindings as shims;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*, //
};

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
    /// How many small pages it is as large as.
    pub(crate) fn pages(&self) -> usize {
        1 << self.order
    }

    /// Fills the parts from the number `part` on with the bytes of `from`, as many as there are, and
    /// tells mm that they are not to be dropped as clean: the device may have written them, of which mm
    /// has heard nothing.
    #[inline]
    pub(crate) fn copy_from(&mut self, part: usize, from: Bytes<'_>) {
        let left = self.pages().saturating_sub(part);
        let count = from.pages().min(left);
        if count == 0 {
            return;
        }
        // SAFETY: By the type invariant the folio has that many pages.
        let page = unsafe { self.page.add(part) };
        // SAFETY: By the type invariants there are so many pages on both sides, one behind the other and
        // in the direct map, and nobody else knows the target.
        unsafe { shims::dmirror_shim_copy_to_target(page.as_ptr(), from.as_ptr(), count) };
    }

    /// Fills the first small page with the bytes of that of `from`.
    pub(super) fn copy_from_page(&mut self, from: &SourcePage<'_>) {
        // SAFETY: Both pages are valid; by the type invariant nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_page(self.page.as_ptr(), from.as_ptr()) };
    }

    /// Gives the page to a migration: what names it as a target. Never waits: nobody else can have locked
    /// the page.
    #[inline]
    pub(super) fn into_target(self) -> MigratePfn {
        let pages = self.pages();
        let page = core::mem::ManuallyDrop::new(self).page;

        // SAFETY: The page is valid and new. Lock and reference go to whoever takes the entry.
        MigratePfn::target(
            unsafe { shims::dmirror_shim_lock_target(page.as_ptr()) },
            pages,
        )
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

impl Stock<SystemTarget> {
    /// Allocates until there are `count` small movable pages: of memory that is at hand or, if it may
    /// `wait`, also such as reclaim can make. Then no lock that reclaim takes may be held.
    ///
    /// A page is charged when it takes over the charge of the page that it replaces.
    ///
    /// C: `alloc_pages()` and `split_page()`, `alloc_pages_bulk()`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; those that there are stay.
    #[inline]
    pub(super) fn fill(&mut self, count: usize, wait: bool) -> Result {
        self.fill_with(
            count,
            if wait { GFP_KERNEL_ACCOUNT } else { GFP_NOWAIT },
            // SAFETY: The array has room for so many, and names no page as yet. With `wait` it is
            // allowed to sleep here.
            |wanted, raw| unsafe { shims::dmirror_shim_alloc_movable_pages(wanted, raw, wait) },
            // INVARIANT: The folio is new, and the reference of the allocation is ours.
            |page| SystemTarget { page, order: 0 },
        )
    }

    /// Allocates a huge movable page, if there is none: one that is at hand or, if it may `wait`, one that
    /// reclaim and compaction can make.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn fill_huge(&mut self, wait: bool) -> Result {
        self.fill_with(
            1,
            GFP_NOWAIT,
            |_, raw| {
                // SAFETY: May be called wherever it is allowed to sleep, which it does if it may wait.
                let page = unsafe { shims::dmirror_shim_alloc_huge_page(BLOCK_ORDER, wait) };
                // SAFETY: The array has room for one page.
                unsafe { raw.write(page) };
                usize::from(!page.is_null())
            },
            // INVARIANT: The folio is new, and the reference of the allocation is ours.
            |page| SystemTarget {
                page,
                order: BLOCK_ORDER,
            },
        )
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
