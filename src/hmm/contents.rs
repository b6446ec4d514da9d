// SPDX-License-Identifier: GPL-2.0

//! Kernel memory in which a driver keeps what the pages of its device hold, where the device has none
//! that could be used.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use super::{
    page::SourcePage,
    range::{
        BLOCK_PIECES,
        PIECE_ORDER,
        PIECE_PAGES, //
    },
    sources::SmallSources,
    stock::Stock, //
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    uaccess::UserPtr, //
};

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

    /// The same, page by page.
    #[inline]
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        (0..self.pages).map(move |number| {
            // INVARIANT: By the type invariant there is such a page.
            Self {
                // SAFETY: As just said.
                page: unsafe { self.page.add(number) },
                pages: 1,
                ..self
            }
        })
    }

    /// The first page.
    pub(super) fn as_ptr(self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// Copies the pages to the user address `to` without faulting. Does not sleep.
    ///
    /// Returns how many, up to the first of which not all could be copied, as `to` is not mapped
    /// writable in the current process now; part of that one may have been written. Where user addresses
    /// end, fewer may be copied than could be.
    pub(crate) fn copy_to_user(self, to: UserPtr) -> usize {
        // SAFETY: By the type invariant there are so many pages of kernel memory, one behind the other; a
        // bad user address is told.
        unsafe {
            shims::dmirror_shim_copy_pages_to_user(to.as_mut_ptr(), self.as_ptr(), self.pages)
        }
    }

    /// Fills the pages from the user address `from` without faulting. Does not sleep.
    ///
    /// Returns how many, as [`copy_to_user`](Self::copy_to_user) does, if `from` is not mapped.
    pub(crate) fn copy_from_user(self, from: UserPtr) -> usize {
        // SAFETY: By the type invariant there are so many pages of kernel memory, one behind the other,
        // which only C functions access; a bad user address is told.
        unsafe {
            shims::dmirror_shim_copy_pages_from_user(self.as_ptr(), from.as_const_ptr(), self.pages)
        }
    }
}

/// A page of kernel memory in which a driver keeps the bytes of a page of its device.
///
/// # Invariants
///
/// The page is valid kernel memory, a small page of its own, and ours alone.
#[repr(transparent)]
pub(crate) struct Contents(NonNull<bindings::page>);

// SAFETY: A page may be used and freed by any thread.
unsafe impl Send for Contents {}

// SAFETY: What can be done with a shared reference is to copy bytes, which C functions do as for
// memory that others may write.
unsafe impl Sync for Contents {}

impl Contents {
    /// Fills the page with zeroes.
    pub(crate) fn clear(&mut self) {
        // SAFETY: By the type invariant the page is valid; it is borrowed exclusively.
        unsafe { shims::dmirror_shim_clear_page(self.0.as_ptr()) };
    }

    /// Fills the page with the bytes of the part of `from` with the number `part`: 0, or less than
    /// [`BLOCK_PAGES`](super::range::BLOCK_PAGES) if it is huge.
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

    /// Fills pages with what the first of `sources` hold, one each: with zeroes for a hole.
    pub(crate) fn copy_all(pages: &mut [Self], sources: &SmallSources<'_>) {
        let entries = sources.entries();
        let count = pages.len().min(entries.len());
        let pages = pages.as_mut_ptr().cast();
        // SAFETY: There are so many of both. A `Contents` is a pointer to its page. By the type invariants
        // all pages are in the direct map, and nobody else accesses ours, which are borrowed exclusively.
        unsafe { shims::dmirror_shim_copy_sources(pages, entries.as_ptr(), count) };
    }

    /// Whether it is as good as what the current process would allocate instead: charged to the same control
    /// group, or to none if that would not be, either; and no defective memory.
    pub(crate) fn may_be_reused(&self) -> bool {
        // SAFETY: By the type invariant it is a page of kernel memory, which nobody frees meanwhile.
        unsafe { shims::dmirror_shim_page_may_be_reused(self.0.as_ptr()) }
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

impl Stock<Contents> {
    /// Allocates until there are `count` of them, with any bytes in them, charged to the current process.
    /// May sleep; no lock that reclaim takes may be held.
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
    #[inline]
    pub(crate) fn fill(&mut self, count: usize) -> Result {
        self.fill_with(
            count,
            GFP_KERNEL_ACCOUNT,
            // SAFETY: The array has room for so many, and names no page as yet. It is allowed to sleep
            // here.
            |wanted, raw| unsafe { shims::dmirror_shim_alloc_kernel_pages(wanted, raw) },
            // INVARIANT: The page is new, and nobody else knows it.
            Contents,
        )
    }
}

/// Kernel memory for the bytes of [`PIECE_PAGES`] small pages of a device, in one piece: that is allocated,
/// and freed, much faster than page by page.
///
/// # Invariants
///
/// The [`PIECE_PAGES`] pages from this one on are valid kernel memory, one allocation that is not compound,
/// and ours alone.
pub(crate) struct Piece(NonNull<bindings::page>);

// SAFETY: Pages may be used and freed by any thread.
unsafe impl Send for Piece {}

// SAFETY: As for `Contents`.
unsafe impl Sync for Piece {}

impl Piece {
    /// Allocates one, with any bytes in it, if there is such memory at hand: of the same node as
    /// [`Contents`], charged to the current process. Does not wait.
    fn new() -> Option<Self> {
        // SAFETY: May be called wherever it is allowed to allocate.
        let page = unsafe { shims::dmirror_shim_alloc_kernel_piece(PIECE_ORDER) };
        // INVARIANT: The allocation is new, and nobody else knows it.
        NonNull::new(page).map(Self)
    }

    /// The pages from the number `part` on, and how many there are, at most `count`.
    fn pages_from(&mut self, part: usize, count: usize) -> (*mut bindings::page, usize) {
        let part = part.min(PIECE_PAGES);

        // SAFETY: By the type invariant there are so many pages.
        let page = unsafe { self.0.add(part) };
        (page.as_ptr(), count.min(PIECE_PAGES - part))
    }

    /// What is in the small pages with the numbers `parts`, as far as there are such, at least one.
    #[inline]
    pub(crate) fn bytes(&self, parts: Range<usize>) -> Option<Bytes<'_>> {
        let end = parts.end.min(PIECE_PAGES);
        let pages = end.checked_sub(parts.start).filter(|pages| *pages > 0)?;

        // INVARIANT: By the type invariant; it stays for as long as `self` is borrowed.
        Some(Bytes {
            // SAFETY: By the type invariant there are so many.
            page: unsafe { self.0.add(parts.start) },
            pages,
            _contents: PhantomData,
        })
    }

    /// Cuts it into small pages, which keep their bytes. Does not sleep or allocate.
    ///
    /// C: `split_page()`.
    fn cut(self) -> Parts {
        let first = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: By the type invariant it is one allocation, not compound, and ours alone.
        unsafe { bindings::split_page(first.as_ptr(), PIECE_ORDER) };
        // INVARIANT: They are small pages of their own now, and all still here.
        Parts { first, taken: 0 }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the pages are ours; nothing uses them afterwards.
        unsafe { bindings::__free_pages(self.0.as_ptr(), PIECE_ORDER) };
    }
}

/// The small pages that a [`Piece`] has been cut into.
///
/// # Invariants
///
/// Of the [`PIECE_PAGES`] pages from `first` on, those with the number `taken` and above are valid kernel
/// memory, small pages of their own, and ours alone.
struct Parts {
    first: NonNull<bindings::page>,
    taken: usize,
}

impl Iterator for Parts {
    type Item = Contents;

    fn next(&mut self) -> Option<Contents> {
        if self.taken >= PIECE_PAGES {
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

impl Drop for Parts {
    fn drop(&mut self) {
        // Those that nobody has taken.
        self.for_each(drop);
    }
}

/// Kernel memory for the bytes of a huge page of a device, or of as many small ones: all pieces of it.
pub(crate) struct BlockContents([Option<Piece>; BLOCK_PIECES]);

impl BlockContents {
    /// Allocates all, with any bytes in them, if there is such memory at hand. Does not wait.
    pub(crate) fn new() -> Option<Self> {
        let mut pieces = [const { None }; BLOCK_PIECES];

        for piece in &mut pieces {
            *piece = Some(Piece::new()?);
        }
        Some(Self(pieces))
    }

    /// The pieces, in order.
    pub(crate) fn into_pieces(self) -> [Option<Piece>; BLOCK_PIECES] {
        self.0
    }

    /// Cuts all into small pages, which keep their bytes. Does not sleep or allocate.
    pub(crate) fn cut(self) -> impl Iterator<Item = Contents> {
        self.0.into_iter().flatten().flat_map(Piece::cut)
    }

    /// Fills it with zeroes.
    pub(crate) fn clear(&mut self) {
        for piece in self.0.iter_mut().flatten() {
            let (page, count) = piece.pages_from(0, PIECE_PAGES);
            // SAFETY: There are so many pages; they are borrowed exclusively.
            unsafe { shims::dmirror_shim_clear_pages(page, count) };
        }
    }

    /// Fills it with the bytes of `from`, a huge page.
    pub(crate) fn copy_from(&mut self, from: &SourcePage<'_>) {
        let firsts = (0..from.pages()).step_by(PIECE_PAGES);

        for (piece, first) in self.0.iter_mut().flatten().zip(firsts) {
            let (page, count) = piece.pages_from(0, from.pages() - first);
            // SAFETY: By the invariant of `from` the folio has that many pages.
            let source = unsafe { from.as_ptr().add(first) };
            // SAFETY: There are so many pages on both sides, one behind the other and in the direct map; ours
            // nobody else accesses, as they are borrowed exclusively.
            unsafe { shims::dmirror_shim_copy_pages(page, source, count) };
        }
    }

    /// Fills the parts from the number `part` on with what the first `count` of `sources` hold, one each:
    /// with zeroes for a hole. As far as there are such parts and sources.
    pub(crate) fn copy_all(&mut self, part: usize, count: usize, sources: &SmallSources<'_>) {
        let mut entries = sources.entries();
        let pieces = self.0.iter_mut().skip(part / PIECE_PAGES).flatten();
        let (mut part, mut left) = (part % PIECE_PAGES, count.min(entries.len()));

        for piece in pieces {
            let (page, count) = piece.pages_from(part, left);
            // SAFETY: There are so many of both, ours one behind the other. All are in the direct map, and
            // nobody else accesses ours, which are borrowed exclusively.
            unsafe { shims::dmirror_shim_copy_sources_to(page, entries.as_ptr(), count) };
            entries = entries.get(count..).unwrap_or_default();
            (part, left) = (0, left - count);
        }
    }
}
