// SPDX-License-Identifier: GPL-2.0

//! Ranges of user addresses.

use core::ops::RangeInclusive;
use kernel::{
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Pages that one page-table page maps: the size of a piece of work, of a leaf of a
/// [`PageTable`](super::table::PageTable), and of a huge page.
pub(crate) const BLOCK_PAGES: usize = 1 << BLOCK_ORDER;

/// The binary logarithm of [`BLOCK_PAGES`].
pub(super) const BLOCK_ORDER: u32 = 9;

/// How many pages, aligned to that, may have their contents in one piece: enough to make it cheap, few
/// enough for one of them to keep it from being freed.
pub(crate) const PIECE_PAGES: usize = 1 << PIECE_ORDER;

/// The binary logarithm of [`PIECE_PAGES`].
pub(super) const PIECE_ORDER: u32 = 6;

/// How many pieces a block has.
pub(crate) const BLOCK_PIECES: usize = BLOCK_PAGES / PIECE_PAGES;

/// Bytes that one page-table page maps (2 MiB).
pub(crate) const BLOCK_SIZE: usize = BLOCK_PAGES * PAGE_SIZE;

/// A range of user addresses, in whole pages.
///
/// # Invariants
///
/// `start` and `end` are multiples of the page size, and `start < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRange {
    start: usize,
    end: usize,
}

impl PageRange {
    /// The range of `npages` pages of 4 KiB from the address `start`, which must end at or below
    /// the address `limit`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `start` is not a multiple of the page size, if there are no pages, or if the
    /// range passes `limit` or the end of the address space.
    pub(crate) fn new(start: u64, npages: u64, limit: usize) -> Result<Self> {
        let start = usize::try_from(start)?;
        let npages = usize::try_from(npages)?;
        let len = npages.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        let end = start.checked_add(len).ok_or(EINVAL)?;

        if start % PAGE_SIZE != 0 || npages == 0 || end > limit {
            return Err(EINVAL);
        }
        // INVARIANT: `start` is aligned and `len` is a multiple of the page size that is not 0.
        Ok(Self { start, end })
    }

    /// The first address.
    #[inline]
    pub(crate) const fn start(self) -> usize {
        self.start
    }

    /// The address after the last.
    #[inline]
    pub(crate) const fn end(self) -> usize {
        self.end
    }

    /// The number of pages; at least 1.
    #[inline]
    pub(crate) const fn pages(self) -> usize {
        (self.end - self.start) >> PAGE_SHIFT
    }

    /// The part of this range in `start..end`, whole pages; `None` if there is none.
    pub(crate) fn clamp(self, start: usize, end: usize) -> Option<Self> {
        let start = self.start.max(start.checked_next_multiple_of(PAGE_SIZE)?);
        let end = self.end.min(end - end % PAGE_SIZE);

        // INVARIANT: Both are multiples of the page size, and compared here.
        (start < end).then_some(Self { start, end })
    }

    /// Whether this is a whole block, for which there may be a huge page.
    pub(crate) const fn is_block(self) -> bool {
        self.start % BLOCK_SIZE == 0 && self.pages() == BLOCK_PAGES
    }

    /// Splits the range at the address `at`, rounded up to a whole page: the part below it, which
    /// is the whole if `at` is not inside, and what is left.
    pub(crate) fn split_at(self, at: usize) -> (Self, Option<Self>) {
        match at.checked_next_multiple_of(PAGE_SIZE) {
            // INVARIANT: `at` is a multiple of the page size, strictly between `start` and `end`.
            Some(at) if self.start < at && at < self.end => {
                (Self { end: at, ..self }, Some(Self { start: at, ..self }))
            }
            _ => (self, None),
        }
    }

    /// Splits off the part that lies in one block of [`BLOCK_SIZE`] bytes, and what is left.
    pub(crate) fn split_block(self) -> (Self, Option<Self>) {
        if self.is_in_one_block() {
            return (self, None);
        }
        // INVARIANT: The next block begins behind `start`, with a whole page, and before `end`.
        let at = self.start - self.start % BLOCK_SIZE + BLOCK_SIZE;
        (Self { end: at, ..self }, Some(Self { start: at, ..self }))
    }

    /// Whether it lies in one block of [`BLOCK_SIZE`] bytes.
    #[inline]
    pub(crate) fn is_in_one_block(self) -> bool {
        self.start / BLOCK_SIZE == (self.end - 1) / BLOCK_SIZE
    }

    /// The first `count` pages; at least one, and not more than there are.
    #[inline]
    pub(crate) fn first_pages(self, count: usize) -> Self {
        // INVARIANT: Whole pages, at least one. OVERFLOW: No more than there are.
        let end = self.start + count.max(1).min(self.pages()) * PAGE_SIZE;

        Self { end, ..self }
    }

    /// All but the first `count` pages; `None` if that is all.
    #[inline]
    pub(crate) fn skip_pages(self, count: usize) -> Option<Self> {
        // INVARIANT: Whole pages, at least one. OVERFLOW: Less than there are.
        (count < self.pages()).then(|| Self {
            start: self.start + count * PAGE_SIZE,
            ..self
        })
    }

    /// The pieces of this range, each in one block, in order.
    pub(crate) fn blocks(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);

        core::iter::from_fn(move || {
            let (block, after) = rest?.split_block();
            rest = after;
            Some(block)
        })
    }

    /// The addresses of the pages, in order.
    pub(crate) fn addresses(self) -> impl Iterator<Item = usize> {
        (self.start..self.end).step_by(PAGE_SIZE)
    }
}

/// The virtual page numbers in the bytes `start..end`, as mm's notifiers give them.
///
/// The end is exclusive, except that the notification of a process's exit ends at `ULONG_MAX`: both
/// give the number of the last page touched. An empty range touches nothing.
pub(super) fn pages_touched(start: usize, end: usize) -> Option<RangeInclusive<usize>> {
    let last = end.checked_sub(1)?;

    (start <= last).then_some((start >> PAGE_SHIFT)..=(last >> PAGE_SHIFT))
}

#[kernel::macros::kunit_tests(dmirror_range)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 47;

    #[test]
    fn bad_requests_are_refused() {
        for (start, npages) in [
            (0, 0),
            (1, 1),
            (4095, 1),
            (0x1000, 1 << 52),
            (0x1000, (1 << 52) + 1),
            (0, u64::MAX),
            (u64::MAX - 4095, 1),
            (u64::MAX - 4095, 2),
            (LIMIT as u64, 1),
            (LIMIT as u64 - 4096, 2),
        ] {
            assert!(PageRange::new(start, npages, LIMIT).is_err());
        }
    }

    #[test]
    fn good_requests_are_kept() -> Result {
        let all = PageRange::new(0, LIMIT as u64 >> PAGE_SHIFT, LIMIT)?;
        assert_eq!((all.start(), all.end()), (0, LIMIT));

        let one = PageRange::new(0x7000, 1, LIMIT)?;
        assert_eq!(one.pages(), 1);
        assert!(one.addresses().eq([0x7000]));
        Ok(())
    }

    #[test]
    fn blocks_meet_at_block_boundaries() -> Result {
        let range = PageRange::new(0x1ff000, 514, LIMIT)?;
        let mut blocks = range.blocks();
        assert_eq!(blocks.next(), Some(PageRange::new(0x1ff000, 1, LIMIT)?));
        assert_eq!(blocks.next(), Some(PageRange::new(0x200000, 512, LIMIT)?));
        assert_eq!(blocks.next(), Some(PageRange::new(0x400000, 1, LIMIT)?));
        assert_eq!(blocks.next(), None);

        assert!(!range.is_in_one_block());
        assert!(range.blocks().all(PageRange::is_in_one_block));
        // Not longer than a block, and yet in two.
        assert!(!PageRange::new(0x1ff000, 2, LIMIT)?.is_in_one_block());
        Ok(())
    }

    #[test]
    fn whole_blocks_are_aligned() -> Result {
        for (start, pages, whole) in [
            (0x200000, 512, true),
            (0x200000, 511, false),
            (0x201000, 512, false),
            (0x200000, 1024, false),
        ] {
            assert_eq!(PageRange::new(start, pages, LIMIT)?.is_block(), whole);
        }
        Ok(())
    }

    #[test]
    fn splits_add_up() -> Result {
        let range = PageRange::new(0x10000, 4, LIMIT)?;
        let (low, high) = range.split_at(0x12000);
        assert_eq!(low, PageRange::new(0x10000, 2, LIMIT)?);
        assert_eq!(high, Some(PageRange::new(0x12000, 2, LIMIT)?));
        assert_eq!(range.split_at(0x10000), (range, None));
        assert_eq!(range.split_at(0x14000), (range, None));

        assert_eq!(range.first_pages(0).pages(), 1);
        assert_eq!(range.first_pages(3).pages(), 3);
        assert_eq!(range.first_pages(usize::MAX), range);
        assert_eq!(range.skip_pages(0), Some(range));
        assert_eq!(
            range.skip_pages(3),
            Some(PageRange::new(0x13000, 1, LIMIT)?)
        );
        assert_eq!(range.skip_pages(4), None);
        assert_eq!(range.skip_pages(usize::MAX), None);
        Ok(())
    }

    #[test]
    fn clamp_keeps_whole_pages() -> Result {
        let range = PageRange::new(0x10000, 16, LIMIT)?;
        assert_eq!(range.clamp(0, LIMIT), Some(range));
        assert_eq!(
            range.clamp(0x10001, 0x12fff),
            Some(PageRange::new(0x11000, 1, LIMIT)?)
        );
        assert_eq!(range.clamp(0x20000, 0x30000), None);
        assert_eq!(range.clamp(usize::MAX, usize::MAX), None);
        Ok(())
    }

    #[test]
    fn notifier_ends_are_exclusive() {
        assert_eq!(pages_touched(0x1000, 0x2000), Some(1..=1));
        assert_eq!(pages_touched(0x1000, 0x2001), Some(1..=2));
        assert_eq!(
            pages_touched(0, usize::MAX),
            Some(0..=usize::MAX >> PAGE_SHIFT)
        );
        assert_eq!(pages_touched(0x1000, 0x1000), None);
        assert_eq!(pages_touched(0, 0), None);
    }
}
