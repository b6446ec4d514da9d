// SPDX-License-Identifier: GPL-2.0

//! Device pages that nobody uses.
//!
//! A driver gets them from mm, and cannot make, copy, or use one twice. [`FreePage`] is what one
//! device page is made of, of whatever size; [`FreePages`] are several small ones; [`FreeBlock`] is a
//! set of these, which may become a huge one once all pages of the block are together.
//!
//! mm may cut a huge device page into small ones at any time, and gives these back one by one. For
//! that nothing has to be done here: a set takes them in whatever pieces they come.

use super::range::{
    BLOCK_ORDER,
    BLOCK_PAGES,
    PIECE_PAGES, //
};
use kernel::prelude::*;

/// Pages of the device that nobody uses, in one piece: what one device page is made of.
///
/// # Invariants
///
/// The `1 << order` pages from the number `offset` of the pagemap `pagemap` are in nobody else's
/// hands. They lie in one block, and `offset` is a multiple of their count.
pub(crate) struct FreePage {
    pagemap: u32,
    offset: u32,
    order: u32,
}

impl FreePage {
    /// The pages with these numbers.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(pagemap: u32, offset: u32, order: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            pagemap,
            offset,
            order,
        }
    }

    /// The number of the pagemap that it is a page of.
    pub(super) fn pagemap(&self) -> u32 {
        self.pagemap
    }

    /// The binary logarithm of how many small pages it is as large as.
    pub(super) fn order(&self) -> u32 {
        self.order
    }

    /// The number of the first small page in its pagemap.
    pub(crate) fn offset(&self) -> usize {
        self.offset as usize
    }

    /// How many small pages it is as large as: 1, or [`BLOCK_PAGES`] for a huge one. What mm gives back of a
    /// huge one that it has cut may be something between.
    pub(crate) fn pages(&self) -> usize {
        1 << self.order
    }

    /// The same pages as small ones.
    pub(crate) fn into_small(self) -> FreePages {
        // INVARIANT: By the type invariant. A page is as large as a block at most, and lies in one.
        FreePages {
            pagemap: self.pagemap,
            first: self.offset,
            count: 1 << self.order,
        }
    }
}

/// Small pages of the device that nobody uses and that follow each other. What is left of them must be put
/// back page by page, or nobody will ever use it.
///
/// # Invariants
///
/// The `count` pages from the number `first` of the pagemap `pagemap` are in nobody else's hands. They lie
/// in one block.
#[must_use = "pages that are not put back are lost"]
pub(crate) struct FreePages {
    pagemap: u32,
    first: u32,
    count: u32,
}

impl FreePages {
    /// The number of the pagemap that they are pages of.
    pub(super) fn pagemap(&self) -> u32 {
        self.pagemap
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// The numbers that they have in their pagemap.
    pub(crate) fn offsets(&self) -> core::ops::Range<usize> {
        let first = self.first as usize;

        first..first + self.len()
    }

    /// Takes out all.
    pub(crate) fn take_all(&mut self) -> Self {
        self.take_pages(self.len())
    }

    /// Takes out the first ones: `most`, if there are so many.
    pub(crate) fn take_pages(&mut self, most: usize) -> Self {
        let first = self.first;
        // CAST: There are no more than `u32` can count.
        let count = most.min(self.len()) as u32;

        // INVARIANT: Those that are in the other now are not in it any more.
        self.first += count;
        self.count -= count;
        Self {
            pagemap: self.pagemap,
            first,
            count,
        }
    }
}

/// Bits in one word of a set.
const WORD: usize = u64::BITS as usize;

static_assert!(WORD == PIECE_PAGES);

/// The free pages of one block.
///
/// # Invariants
///
/// The block has the [`BLOCK_PAGES`] pages from `first` on, a multiple of that number. Those whose bits
/// are set in `free`, which are `count`, are in nobody else's hands.
pub(crate) struct FreeBlock {
    pagemap: u32,
    first: u32,
    count: usize,
    free: [u64; BLOCK_PAGES / WORD],
}

impl FreeBlock {
    /// The first `pages` pages of the block that begins with the page `first`.
    ///
    /// # Safety
    ///
    /// They exist, and are in nobody else's hands. `first` is a multiple of [`BLOCK_PAGES`].
    pub(super) unsafe fn new(pagemap: u32, first: u32, pages: usize) -> Self {
        let mut free = [0; BLOCK_PAGES / WORD];
        for (word, bits) in free.iter_mut().enumerate() {
            *bits = match pages.saturating_sub(word * WORD) {
                WORD.. => u64::MAX,
                pages => (1 << pages) - 1,
            };
        }
        // INVARIANT: By the safety requirements.
        Self {
            pagemap,
            first,
            count: pages.min(BLOCK_PAGES),
            free,
        }
    }

    /// How many pages are free.
    pub(crate) fn free_pages(&self) -> usize {
        self.count
    }

    /// Whether all pages of the block are free, and so can become a huge one.
    pub(crate) fn is_whole(&self) -> bool {
        self.count == BLOCK_PAGES
    }

    /// How many pages of the piece that the page number `part` of the block is in are not free.
    pub(crate) fn used_in_piece(&self, part: usize) -> u32 {
        self.free
            .get(part / WORD)
            .map_or(0, |bits| bits.count_zeros())
    }

    /// How many pages from the number `part` of the block on, to the end of its piece and at most `most`, are
    /// not free, one behind the other. In a short block those behind its end are not, either.
    #[inline]
    pub(crate) fn used_from(&self, part: usize, most: usize) -> usize {
        let (word, bit) = (part / WORD, part % WORD);
        let free = self.free.get(word).map_or(u64::MAX, |bits| bits >> bit);

        (free.trailing_zeros() as usize).min(WORD - bit).min(most)
    }

    /// Takes out the first free pages that follow each other, up to `most`, at least one, and 64.
    pub(crate) fn take_pages(&mut self, most: usize) -> Option<FreePages> {
        let (word, bits) = (0..).zip(&mut self.free).find(|(_, bits)| **bits != 0)?;
        let bit = bits.trailing_zeros();
        // CAST: It fits.
        let most = most.clamp(1, WORD) as u32;
        let count = (!(*bits >> bit)).trailing_zeros().min(most);
        let first = self.first + word * u64::BITS + bit;

        // INVARIANT: The pages are not in the set any more, of which they were. OVERFLOW: There is at least
        // one, and `bit + count` is at most the bits of a word.
        *bits &= !(u64::MAX >> (u64::BITS - count) << bit);
        self.count -= count as usize;
        // INVARIANT: The pages were in the set, and so in nobody else's hands.
        Some(FreePages {
            pagemap: self.pagemap,
            first,
            count,
        })
    }

    /// Takes out all pages of the block in one piece; nothing if one is missing.
    pub(crate) fn take_whole(&mut self) -> Option<FreePage> {
        if !self.is_whole() {
            return None;
        }
        // INVARIANT: The set is empty.
        self.free = [0; BLOCK_PAGES / WORD];
        self.count = 0;
        // SAFETY: All pages of the block were in the set, and so in nobody else's hands.
        Some(unsafe { FreePage::new(self.pagemap, self.first, BLOCK_ORDER) })
    }

    /// Takes `page` back.
    ///
    /// # Errors
    ///
    /// Returns a page that is of another block.
    pub(crate) fn put(&mut self, page: FreePage) -> core::result::Result<(), FreePage> {
        let Some(first) = page.offset.checked_sub(self.first) else {
            return Err(page);
        };
        let first = first as usize;
        if page.pagemap != self.pagemap || first >= BLOCK_PAGES {
            return Err(page);
        }
        // INVARIANT: What was in the hands of `page` was not in the set, and lies in this block.
        match page.pages() {
            1 => self.mark(first),
            pages => self.mark_all(first, pages),
        }
        self.count += page.pages();
        Ok(())
    }

    /// Takes small pages back.
    ///
    /// # Errors
    ///
    /// Returns pages that are of another block.
    pub(crate) fn put_all(&mut self, pages: FreePages) -> core::result::Result<(), FreePages> {
        let (first, count) = (pages.first.wrapping_sub(self.first) as usize, pages.len());
        if pages.pagemap != self.pagemap || first >= BLOCK_PAGES {
            return Err(pages);
        }
        // INVARIANT: What was in the hands of `pages` was not in the set, and lies in this block.
        self.mark_all(first, count);
        self.count += count;
        Ok(())
    }

    /// Sets the bit of the page `number` of the block.
    fn mark(&mut self, number: usize) {
        if let Some(bits) = self.free.get_mut(number / WORD) {
            *bits |= 1 << (number % WORD);
        }
    }

    /// The same for `count` pages from this one on, a word at a time.
    fn mark_all(&mut self, first: usize, count: usize) {
        let (mut next, end) = (first, first + count);

        while next < end {
            let (word, bit) = (next / WORD, next % WORD);
            let count = (WORD - bit).min(end - next);
            if let Some(bits) = self.free.get_mut(word) {
                *bits |= u64::MAX >> (WORD - count) << bit;
            }
            next += count;
        }
    }
}

/// Pages one by one, for tests.
#[cfg(CONFIG_KUNIT = "y")]
impl FreePages {
    /// Takes out the first.
    pub(crate) fn take_page(&mut self) -> Option<FreePage> {
        let count = self.count.checked_sub(1)?;
        let first = self.first;

        // INVARIANT: That page is not among them any more.
        self.first += 1;
        self.count = count;
        // SAFETY: By the type invariant it was in nobody else's hands.
        Some(unsafe { FreePage::new(self.pagemap, first, 0) })
    }
}

/// Blocks for tests of what uses them.
#[cfg(CONFIG_KUNIT = "y")]
impl FreeBlock {
    /// The block with this number, of a pagemap that does not exist.
    pub(crate) fn of_nothing(number: u32, pages: usize) -> Self {
        // SAFETY: No pagemap has this number, and so none makes use of the pages. By the shift the first
        // is one of a block.
        unsafe { Self::new(u32::MAX, number << BLOCK_ORDER, pages) }
    }
}

#[kernel::macros::kunit_tests(dmirror_free)]
mod tests {
    use super::*;

    /// Pages of no pagemap, or of one that does not exist.
    fn page(pagemap: u32, offset: u32, order: u32) -> FreePage {
        // SAFETY: As for `FreeBlock::of_nothing()`; those of another number are never put to use.
        unsafe { FreePage::new(pagemap, offset, order) }
    }

    fn take_page(block: &mut FreeBlock) -> Option<FreePage> {
        block.take_pages(1)?.take_page()
    }

    fn put(block: &mut FreeBlock, page: FreePage) -> Result {
        block.put(page).map_err(|_| EINVAL)
    }

    #[test]
    fn gives_each_page_once_in_order() {
        let mut block = FreeBlock::of_nothing(3, BLOCK_PAGES);
        for number in 0..BLOCK_PAGES {
            let page = take_page(&mut block);
            assert_eq!(
                page.map(|page| (page.offset(), page.pages())),
                Some((3 * BLOCK_PAGES + number, 1))
            );
        }
        assert!(take_page(&mut block).is_none());
        assert_eq!(block.free_pages(), 0);
    }

    #[test]
    fn gives_pages_that_follow_each_other() -> Result {
        let mut block = FreeBlock::of_nothing(0, BLOCK_PAGES);
        // Two of the first word, and of the second one from its start on.
        block.take_pages(10);
        block.take_pages(64);
        for offset in [3, 4] {
            put(&mut block, page(u32::MAX, offset, 0))?;
        }
        assert_eq!(block.free_pages(), BLOCK_PAGES - 62);

        for (most, offsets) in [
            (0, 3..4),
            (1 << 32, 4..5),
            (63, 64..127),
            (usize::MAX, 127..128),
        ] {
            let mut pages = block.take_pages(most).ok_or(EINVAL)?;
            let (first, count) = (offsets.start, offsets.len());
            for offset in offsets {
                assert_eq!(pages.take_page().map(|page| page.offset()), Some(offset));
            }
            assert!(pages.take_page().is_none());
            assert_eq!((pages.first as usize, pages.count), (first + count, 0));
        }
        assert_eq!(block.free_pages(), BLOCK_PAGES - 128);
        Ok(())
    }

    #[test]
    fn pages_are_taken_out_together_once() -> Result {
        let mut block = FreeBlock::of_nothing(2, BLOCK_PAGES);
        block.take_pages(3);
        let mut pages = block.take_pages(5).ok_or(EINVAL)?;
        let first = 2 * BLOCK_PAGES + 3;
        assert_eq!((pages.len(), pages.offsets()), (5, first..first + 5));
        assert!(pages.take_page().is_some());

        let rest = pages.take_all();
        assert_eq!((rest.len(), rest.offsets()), (4, first + 1..first + 5));
        assert_eq!(rest.pagemap(), u32::MAX);
        assert_eq!(pages.len(), 0);
        assert!(pages.take_page().is_none());
        Ok(())
    }

    #[test]
    fn used_pages_are_counted_to_the_end_of_a_word() -> Result {
        let mut block = FreeBlock::of_nothing(0, BLOCK_PAGES);
        assert_eq!(block.used_from(0, 9), 0);
        let huge = block.take_whole().ok_or(EINVAL)?;
        put(&mut block, page(huge.pagemap(), 70, 0))?;
        for (part, most, used) in [(0, 99, 64), (63, 9, 1), (64, 9, 6), (64, 4, 4), (70, 9, 0)] {
            assert_eq!(block.used_from(part, most), used);
        }
        assert_eq!(block.used_from(71, 99), 57);
        assert_eq!(block.used_from(BLOCK_PAGES, 1), 0);
        assert_eq!((block.used_in_piece(0), block.used_in_piece(127)), (64, 63));
        assert_eq!(block.used_in_piece(BLOCK_PAGES), 0);
        Ok(())
    }

    #[test]
    fn huge_page_becomes_small_ones() -> Result {
        let mut block = FreeBlock::of_nothing(2, BLOCK_PAGES);
        let mut pages = block.take_whole().ok_or(EINVAL)?.into_small();
        let first = 2 * BLOCK_PAGES;
        assert_eq!((pages.len(), pages.offsets()), (512, first..first + 512));
        assert_eq!(pages.take_pages(3).offsets(), first..first + 3);
        assert_eq!(pages.take_pages(0).len(), 0);
        let mut rest = pages.take_pages(999);
        assert_eq!(rest.offsets(), first + 3..first + 512);
        assert!(pages.take_page().is_none());

        // Back in three pieces, of which two do not end with a word.
        for count in [70, 400, 999] {
            let pages = rest.take_pages(count);
            assert!(block.put_all(pages).is_ok());
        }
        assert_eq!(block.free_pages(), 509);
        assert_eq!((block.used_from(0, 9), block.used_in_piece(0)), (3, 3));
        assert_eq!(block.used_from(3, 9), 0);
        Ok(())
    }

    #[test]
    fn whole_until_one_is_missing() -> Result {
        let mut block = FreeBlock::of_nothing(1, BLOCK_PAGES);
        let page = take_page(&mut block).ok_or(EINVAL)?;
        assert!(!block.is_whole());
        assert!(block.take_whole().is_none());

        put(&mut block, page)?;
        assert!(block.is_whole());
        let huge = block.take_whole().ok_or(EINVAL)?;
        assert_eq!(
            (huge.offset(), huge.pages(), huge.order()),
            (BLOCK_PAGES, BLOCK_PAGES, BLOCK_ORDER)
        );
        assert!(take_page(&mut block).is_none());
        put(&mut block, huge)?;
        assert!(block.is_whole());
        for number in 0..BLOCK_PAGES {
            let page = take_page(&mut block).ok_or(EINVAL)?;
            assert_eq!(page.offset(), BLOCK_PAGES + number);
        }
        Ok(())
    }

    #[test]
    fn huge_page_comes_back_in_pieces() -> Result {
        let mut block = FreeBlock::of_nothing(0, BLOCK_PAGES);
        let huge = block.take_whole().ok_or(EINVAL)?;
        // As mm does it.
        for (offset, order) in [(0, 8), (256, 7), (384, 0)] {
            put(&mut block, page(huge.pagemap(), offset, order))?;
        }
        assert_eq!(block.free_pages(), 385);
        for offset in 385..512 {
            assert!(!block.is_whole());
            put(&mut block, page(huge.pagemap(), offset, 0))?;
        }
        assert!(block.is_whole());
        Ok(())
    }

    #[test]
    fn short_block_is_never_whole() {
        let mut block = FreeBlock::of_nothing(0, 100);
        assert_eq!(block.free_pages(), 100);
        assert!(block.take_whole().is_none());
        for _ in 0..100 {
            assert!(take_page(&mut block).is_some());
        }
        assert!(take_page(&mut block).is_none());
    }

    #[test]
    fn foreign_page_is_given_back() {
        let mut block = FreeBlock::of_nothing(1, BLOCK_PAGES);
        for (pagemap, offset) in [(u32::MAX, 0), (u32::MAX, 1024), (7, 512)] {
            let back = block.put(page(pagemap, offset, 0));
            assert_eq!(back.map_err(|page| page.offset()), Err(offset as usize));
            let back = block.put_all(page(pagemap, offset, 0).into_small());
            assert_eq!(back.map_err(|pages| pages.len()), Err(1));
        }
        assert_eq!(block.free_pages(), BLOCK_PAGES);
    }
}
