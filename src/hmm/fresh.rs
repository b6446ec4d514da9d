// SPDX-License-Identifier: GPL-2.0

//! New pages: of system memory, for those that leave a device, and of the kernel, in which a driver
//! keeps what its pages hold.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use super::{
    page::{
        DevicePtr,
        Leave,
        LockedPage,
        SourcePage, //
    },
    range::{
        BLOCK_ORDER,
        BLOCK_PAGES, //
    }, //
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
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
fn fill<T>(
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
        let Some(count) = left.map(|left| from.pages.min(left)) else {
            return;
        };
        // SAFETY: By the type invariant the folio has that many pages.
        let page = unsafe { self.page.add(part) };
        // SAFETY: By the type invariants there are so many pages on both sides, one behind the other and
        // in the direct map, and nobody else accesses the target.
        unsafe { shims::dmirror_shim_copy_pages(page.as_ptr(), from.page.as_ptr(), count) };
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

/// The bytes of some small pages of a device that follow each other, in the kernel's memory.
///
/// Like pages of a process they may be accessed by several at a time, and so the bytes are never lent
/// as a Rust reference.
///
/// # Invariants
///
/// The `pages` pages from `page` on, at least one, are kernel memory of the driver's own, valid for
/// `'c`.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'c> {
    page: NonNull<bindings::page>,
    pages: usize,
    _contents: PhantomData<&'c Contents>,
}

impl<'c> Bytes<'c> {
    /// How many pages there are.
    pub(crate) fn pages(self) -> usize {
        self.pages
    }

    /// The pages, for accesses of the device.
    pub(crate) fn as_device(self) -> DevicePtr<'c> {
        // SAFETY: By the type invariant they are kernel memory of the driver's own, valid for `'c`, and
        // their bytes are accessed by C functions only.
        unsafe { DevicePtr::new(self.page, self.pages, Leave::Own) }
    }
}

/// A page of kernel memory in which a driver keeps the bytes of a page of its device.
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

        fill(
            pages,
            count,
            // SAFETY: The array has room for so many, and names no page as yet. It is allowed to
            // sleep here.
            |wanted, raw| unsafe { shims::dmirror_shim_alloc_kernel_pages(wanted, raw) },
            // INVARIANT: The page is new, and nobody else knows it.
            Self,
        )
    }

    /// Fills the page with zeroes.
    pub(crate) fn clear(&mut self) {
        // SAFETY: By the type invariant the page is valid; it is borrowed exclusively.
        unsafe { shims::dmirror_shim_clear_page(self.0.as_ptr()) };
    }

    /// Fills the page with the bytes of the part of `from` with the number `part`: 0, or less than
    /// [`BLOCK_PAGES`] if it is huge.
    #[inline]
    pub(crate) fn copy_from(&mut self, from: &SourcePage<'_>, part: usize) {
        if part >= from.pages() {
            return;
        }
        // SAFETY: By the invariant of `from` the folio has that many pages.
        let page = unsafe { from.as_ptr().add(part) };
        // SAFETY: By the type invariants both pages are in the direct map, and nobody else accesses ours,
        // which is borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_page(self.0.as_ptr(), page) };
    }

    /// What is in it.
    pub(crate) fn bytes(&self) -> Bytes<'_> {
        // INVARIANT: By the type invariant; it stays for as long as `self` is borrowed.
        Bytes {
            page: self.0,
            pages: 1,
            _contents: PhantomData,
        }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the page is ours; nothing uses it afterwards.
        unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
    }
}

/// Kernel memory for the bytes of a huge page of a device, in one piece: that is allocated, and freed,
/// much faster than in small pages. It can be cut into these.
///
/// # Invariants
///
/// The [`BLOCK_PAGES`] pages from this one on are valid kernel memory, one allocation that is not
/// compound, and ours alone.
pub(crate) struct BlockContents(NonNull<bindings::page>);

// SAFETY: Pages may be used and freed by any thread.
unsafe impl Send for BlockContents {}

// SAFETY: As for `Contents`.
unsafe impl Sync for BlockContents {}

impl BlockContents {
    /// Allocates one, with any bytes in it, if there is such memory at hand: of the same node as
    /// [`Contents`], charged to the current process. Does not wait.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: May be called wherever it is allowed to allocate.
        let page = unsafe { shims::dmirror_shim_alloc_kernel_block(BLOCK_ORDER) };
        // INVARIANT: The allocation is new, and nobody else knows it.
        NonNull::new(page).map(Self)
    }

    /// Fills it with zeroes.
    pub(crate) fn clear(&mut self) {
        // SAFETY: By the type invariant there are so many pages; they are borrowed exclusively.
        unsafe { shims::dmirror_shim_clear_pages(self.0.as_ptr(), BLOCK_PAGES) };
    }

    /// Fills it with the bytes of `from`, a huge page.
    pub(crate) fn copy_from(&mut self, from: &SourcePage<'_>) {
        let count = from.pages().min(BLOCK_PAGES);
        // SAFETY: By the type invariants there are so many pages on both sides, one behind the other and
        // in the direct map; ours nobody else accesses, as they are borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_pages(self.0.as_ptr(), from.as_ptr(), count) };
    }

    /// What is in the small pages from the number `part` on, below [`BLOCK_PAGES`]: in `pages` of them,
    /// at least one, if there are so many.
    pub(crate) fn bytes(&self, part: usize, pages: usize) -> Option<Bytes<'_>> {
        let left = BLOCK_PAGES.checked_sub(part).filter(|left| *left > 0)?;

        // INVARIANT: By the type invariant; it stays for as long as `self` is borrowed.
        Some(Bytes {
            // SAFETY: By the type invariant there are so many.
            page: unsafe { self.0.add(part) },
            pages: pages.clamp(1, left),
            _contents: PhantomData,
        })
    }

    /// Cuts it into small pages, which keep their bytes. Does not sleep or allocate.
    ///
    /// C: `split_page()`.
    pub(crate) fn cut(self) -> Pieces {
        let first = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: By the type invariant it is one allocation, not compound, and ours alone.
        unsafe { bindings::split_page(first.as_ptr(), BLOCK_ORDER) };
        // INVARIANT: They are small pages of their own now, and all still here.
        Pieces { first, taken: 0 }
    }
}

impl Drop for BlockContents {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the pages are ours; nothing uses them afterwards.
        unsafe { bindings::__free_pages(self.0.as_ptr(), BLOCK_ORDER) };
    }
}

/// The small pages that a [`BlockContents`] has been cut into.
///
/// # Invariants
///
/// Of the [`BLOCK_PAGES`] pages from `first` on, those with the number `taken` and above are valid
/// kernel memory, small pages of their own, and ours alone.
pub(crate) struct Pieces {
    first: NonNull<bindings::page>,
    taken: usize,
}

impl Iterator for Pieces {
    type Item = Contents;

    fn next(&mut self) -> Option<Contents> {
        if self.taken >= BLOCK_PAGES {
            return None;
        }
        // SAFETY: By the type invariant there is such a page.
        let page = unsafe { self.first.add(self.taken) };
        // INVARIANT: It is not ours any more.
        self.taken += 1;
        // INVARIANT: By the type invariant, and it was still here.
        Some(Contents(page))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // Those that nobody has taken.
        self.for_each(drop);
    }
}
