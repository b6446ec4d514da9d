// SPDX-License-Identifier: GPL-2.0

//! Which pages of a chunk are free, and what the others hold.
//!
//! Small and huge pages come from the same blocks of 2 MiB. A block that is given away in small
//! pages is whole again when the last of them has come back. To keep blocks whole, small pages are
//! taken from those of which some pages are in use already, and from the lowest of these.

use crate::hmm::{
    free::{
        FreeBlock,
        FreePage,
        FreePages, //
    },
    range::BLOCK_PAGES, //
};
use kernel::{
    bitmap::BitmapVec,
    prelude::*, //
};

/// What all pages of a block hold, in one piece.
pub(crate) trait Whole {
    /// What one page holds.
    type Part;

    /// Cuts it: a part for each page. Must not sleep.
    fn cut(self) -> impl Iterator<Item = Self::Part>;
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held<'p, W: Whole> {
    /// This, of its own.
    Part(&'p W::Part),
    /// The part with this number.
    OfWhole(&'p W, usize),
}

/// From where a small page may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A block of which not all pages are free.
    Rest,
    /// Such a block or, if there is none, a whole one.
    Any,
}

/// The pages of a chunk: their blocks, and for each page in use its contents, of its own or as a part
/// of a `W`.
///
/// # Invariants
///
/// * `blocks` has room for all blocks of the chunk, `wholes` a place for each block, and `contents`
///   one for each page.
/// * The pages of a block that has something in `wholes` have nothing in `contents`.
/// * Those blocks are in `whole` that are whole; those in `rests` that are not, but have free pages.
/// * `free` is how many pages are free.
/// * `news` is set if `whole` or `rests` has changed since others were told.
pub(crate) struct Pool<W: Whole> {
    blocks: KVVec<FreeBlock>,
    whole: Blocks,
    rests: Blocks,
    free: usize,
    news: bool,
    contents: KVVec<Option<W::Part>>,
    wholes: KVVec<Option<W>>,
}

impl<W: Whole> Pool<W> {
    /// A pool for a chunk of `pages` pages, none of which are there yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pages: usize) -> Result<Self> {
        let blocks = pages.div_ceil(BLOCK_PAGES);
        // INVARIANT: There is nothing in it, but room for all.
        Ok(Self {
            blocks: KVVec::with_capacity(blocks, GFP_KERNEL)?,
            whole: Blocks::new(blocks)?,
            rests: Blocks::new(blocks)?,
            free: 0,
            news: false,
            contents: nothing(pages)?,
            wholes: nothing(blocks)?,
        })
    }

    /// Adds the next block of the chunk. Does not sleep.
    pub(crate) fn add(&mut self, block: FreeBlock) {
        let (index, pages) = (self.blocks.len(), block.free_pages());

        // By the type invariant there is room.
        if self.blocks.push_within_capacity(block).is_ok() {
            self.free += pages;
            self.reclassify(index, 0, pages);
        }
    }

    /// How many pages are free.
    pub(crate) fn free_pages(&self) -> usize {
        self.free
    }

    /// Whether others may not know yet what can be had here.
    pub(crate) fn has_news(&self) -> bool {
        self.news
    }

    /// Whether a page can be had without breaking up a whole block, and whether there is a whole block.
    /// That is known then.
    pub(crate) fn news(&mut self) -> (bool, bool) {
        self.news = false;
        (self.rests.count > 0, self.whole.count > 0)
    }

    /// Takes small pages that follow each other, up to `most`, which have no contents as yet. Does not
    /// sleep.
    pub(crate) fn take(&mut self, from: From, most: usize) -> Option<FreePages> {
        let index = match (self.rests.first(), from) {
            (Some(index), _) => index,
            (None, From::Rest) => return None,
            (None, From::Any) => self.whole.first()?,
        };

        self.change(index, |block| block.take_pages(most))?
    }

    /// Takes a whole block, which has no contents as yet. Does not sleep.
    pub(crate) fn take_whole(&mut self) -> Option<FreePage> {
        let index = self.whole.first()?;

        self.change(index, FreeBlock::take_whole)?
    }

    /// Gives `contents` to the page with this number, which has none. Does not sleep.
    pub(crate) fn fill(&mut self, number: usize, contents: W::Part) {
        if let Some(slot) = self.contents.get_mut(number) {
            *slot = Some(contents);
        }
    }

    /// Gives `contents` to all pages of the block that begins with this number, which have none. Does
    /// not sleep.
    pub(crate) fn fill_whole(&mut self, number: usize, contents: W) {
        if let Some(slot) = self.wholes.get_mut(number / BLOCK_PAGES) {
            // INVARIANT: So says the caller.
            *slot = Some(contents);
        }
    }

    /// What the page with this number holds; `None` if it is not in use.
    pub(crate) fn get(&self, number: usize) -> Option<Held<'_, W>> {
        if let Some(part) = self.contents.get(number)? {
            return Some(Held::Part(part));
        }
        let whole = self.wholes.get(number / BLOCK_PAGES)?.as_ref()?;

        Some(Held::OfWhole(whole, number % BLOCK_PAGES))
    }

    /// Takes away what the page with this number holds. What its block holds in one piece is cut: that
    /// has become of the huge page. Does not sleep.
    pub(crate) fn clear(&mut self, number: usize) -> Option<W::Part> {
        if self.contents.get(number)?.is_none() {
            self.cut(number / BLOCK_PAGES);
        }
        self.contents.get_mut(number)?.take()
    }

    /// Cuts what the pages of the block `index` hold, if it is in one piece.
    #[cold]
    fn cut(&mut self, index: usize) {
        let whole = self.wholes.get_mut(index).and_then(Option::take);
        let slots = self.contents.iter_mut().skip(index * BLOCK_PAGES);

        for (slot, part) in slots.zip(whole.into_iter().flat_map(W::cut)) {
            *slot = Some(part);
        }
    }

    /// Takes away what the block that begins with this number holds in one piece, if it does so. Does
    /// not sleep.
    pub(crate) fn clear_whole(&mut self, number: usize) -> Option<W> {
        self.wholes.get_mut(number / BLOCK_PAGES)?.take()
    }

    /// Takes `page` back, which may be a part of what was taken. It must have no contents any more.
    /// Does not sleep.
    pub(crate) fn put(&mut self, page: FreePage) {
        // A page of another pool is not put anywhere.
        self.change(page.offset() / BLOCK_PAGES, |block| block.put(page).is_ok());
    }

    /// Has `change` take pages out of the block `index`, or put some back, and accounts for it.
    #[inline]
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut FreeBlock) -> R) -> Option<R> {
        let block = self.blocks.get_mut(index)?;
        let before = block.free_pages();
        let result = change(block);
        let now = block.free_pages();

        self.free = self.free - before + now;
        // Else there is a rest, as there was.
        if before % BLOCK_PAGES == 0 || now % BLOCK_PAGES == 0 {
            self.reclassify(index, before, now);
        }
        Some(result)
    }

    /// The block `index` has `now` free pages; it had `before`.
    #[cold]
    fn reclassify(&mut self, index: usize, before: usize, now: usize) {
        self.news = true;
        if let Some(blocks) = self.blocks_with(share(before)) {
            blocks.remove(index);
        }
        if let Some(blocks) = self.blocks_with(share(now)) {
            blocks.insert(index);
        }
    }

    /// The blocks with that much free, if they are kept.
    fn blocks_with(&mut self, share: Share) -> Option<&mut Blocks> {
        match share {
            Share::None => None,
            Share::Rest => Some(&mut self.rests),
            Share::Whole => Some(&mut self.whole),
        }
    }
}

/// How much of a block is free.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    Rest,
    Whole,
}

/// How much that is, with `free` free pages.
fn share(free: usize) -> Share {
    match free {
        0 => Share::None,
        BLOCK_PAGES => Share::Whole,
        _ => Share::Rest,
    }
}

/// A set of blocks, by their numbers.
///
/// # Invariants
///
/// `count` is how many bits are set.
struct Blocks {
    bits: BitmapVec,
    count: usize,
}

impl Blocks {
    /// None of `blocks` blocks. May sleep.
    fn new(blocks: usize) -> Result<Self> {
        // INVARIANT: The bitmap is clear.
        Ok(Self {
            bits: BitmapVec::new(blocks, GFP_KERNEL)?,
            count: 0,
        })
    }

    /// The lowest.
    fn first(&self) -> Option<usize> {
        self.bits.next_bit(0)
    }

    /// Adds the block `index`, which is not there.
    fn insert(&mut self, index: usize) {
        self.bits.set_bit(index);
        // INVARIANT: So says the caller.
        self.count += 1;
    }

    /// Removes the block `index`, which is there.
    fn remove(&mut self, index: usize) {
        self.bits.clear_bit(index);
        // INVARIANT: So says the caller.
        self.count -= 1;
    }
}

/// `count` empty places. May sleep.
fn nothing<T>(count: usize) -> Result<KVVec<Option<T>>> {
    let mut places = KVVec::with_capacity(count, GFP_KERNEL)?;

    for _ in 0..count {
        places.push(None, GFP_KERNEL)?;
    }
    Ok(places)
}

#[kunit_tests(dmirror_pool)]
mod tests {
    use super::*;

    /// The pages of a block hold one letter after the other, from this one on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Letters(char);

    impl Whole for Letters {
        type Part = char;

        fn cut(self) -> impl Iterator<Item = char> {
            let first = self.0 as u32;

            (0..BLOCK_PAGES as u32).map(move |part| char::from_u32(first + part).unwrap_or(self.0))
        }
    }

    /// A pool with this many blocks, the last of which has only `last` pages.
    fn pool(blocks: u32, last: usize) -> Result<Pool<Letters>> {
        let mut pool = Pool::new(blocks as usize * BLOCK_PAGES)?;
        for number in 0..blocks {
            let pages = if number + 1 < blocks {
                BLOCK_PAGES
            } else {
                last
            };
            pool.add(FreeBlock::of_nothing(number, pages));
        }
        Ok(pool)
    }

    fn take(pool: &mut Pool<Letters>, from: From) -> Option<FreePage> {
        pool.take(from, 1)?.take_page()
    }

    fn put(pool: &mut Pool<Letters>, page: FreePage) {
        for number in page.offset()..page.offset() + page.pages() {
            pool.clear(number);
        }
        pool.put(page);
    }

    #[test]
    fn page_has_its_contents_until_it_is_cleared() -> Result {
        let mut pool = pool(1, 2)?;
        assert_eq!(pool.get(0), None);
        let page = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!(pool.get(page.offset()), None);
        pool.fill(page.offset(), 'a');
        assert_eq!(pool.get(page.offset()), Some(Held::Part(&'a')));
        assert_eq!(pool.free_pages(), 1);

        assert_eq!(pool.clear(page.offset()), Some('a'));
        assert_eq!(pool.get(page.offset()), None);
        pool.put(page);
        assert_eq!(pool.free_pages(), 2);
        Ok(())
    }

    #[test]
    fn takes_no_more_than_there_are() -> Result {
        let mut pool = pool(2, 3)?;
        // The rest, though more are wanted.
        assert!(pool.take(From::Any, BLOCK_PAGES).is_some());
        assert_eq!(pool.free_pages(), BLOCK_PAGES);
        assert!(pool.take(From::Rest, 1).is_none());
        let mut pages = pool.take(From::Any, 2).ok_or(ENOSPC)?;
        assert_eq!(pool.free_pages(), BLOCK_PAGES - 2);
        while let Some(page) = pages.take_page() {
            pool.put(page);
        }
        assert!(pool.take_whole().is_some());
        assert!(pool.take(From::Any, 1).is_none());
        Ok(())
    }

    #[test]
    fn small_pages_come_from_rests_first() -> Result {
        let mut pool = pool(3, BLOCK_PAGES)?;
        assert!(take(&mut pool, From::Rest).is_none());
        let first = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        for number in 1..BLOCK_PAGES {
            let page = take(&mut pool, From::Rest).ok_or(ENOSPC)?;
            assert_eq!(page.offset(), number);
        }
        assert!(take(&mut pool, From::Rest).is_none());

        let second = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!(second.offset(), BLOCK_PAGES);
        // Lower than what is left of the second block.
        put(&mut pool, first);
        let page = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!(page.offset(), 0);
        assert_eq!(pool.free_pages(), 2 * BLOCK_PAGES - 1);
        Ok(())
    }

    #[test]
    fn news_are_told_once() -> Result {
        let mut pool = pool(2, BLOCK_PAGES)?;
        assert!(pool.has_news());
        assert_eq!(pool.news(), (false, true));
        assert!(!pool.has_news());

        let first = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!((pool.has_news(), pool.news()), (true, (true, true)));
        // Others of the same block change nothing.
        let second = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        put(&mut pool, second);
        assert!(!pool.has_news());
        for _ in 1..BLOCK_PAGES {
            take(&mut pool, From::Any);
        }
        assert_eq!((pool.has_news(), pool.news()), (true, (false, true)));
        pool.take_whole();
        assert_eq!((pool.has_news(), pool.news()), (true, (false, false)));
        put(&mut pool, first);
        assert_eq!((pool.has_news(), pool.news()), (true, (true, false)));
        Ok(())
    }

    #[test]
    fn small_pages_merge() -> Result {
        let mut pool = pool(1, BLOCK_PAGES)?;
        let mut pages = KVec::with_capacity(BLOCK_PAGES, GFP_KERNEL)?;
        while let Some(page) = take(&mut pool, From::Any) {
            pages.push(page, GFP_KERNEL)?;
        }
        assert_eq!(pages.len(), BLOCK_PAGES);
        for page in pages {
            assert!(pool.take_whole().is_none());
            put(&mut pool, page);
        }
        assert!(pool.take_whole().is_some());
        assert_eq!(pool.free_pages(), 0);
        Ok(())
    }

    #[test]
    fn huge_pages_are_cut_and_come_back() -> Result {
        let mut pool = pool(2, BLOCK_PAGES)?;
        let huge = pool.take_whole().ok_or(ENOSPC)?;
        assert_eq!((huge.offset(), huge.pages()), (0, BLOCK_PAGES));
        let page = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!(page.offset(), BLOCK_PAGES);
        assert!(pool.take_whole().is_none());

        put(&mut pool, huge);
        assert_eq!(pool.free_pages(), 2 * BLOCK_PAGES - 1);
        assert!(take(&mut pool, From::Rest).is_some());
        assert!(pool.take_whole().is_some());
        Ok(())
    }

    #[test]
    fn contents_in_one_piece_are_cut_by_the_first_small_page() -> Result {
        let mut pool = pool(2, BLOCK_PAGES)?;
        pool.take_whole();
        let huge = pool.take_whole().ok_or(ENOSPC)?;
        let number = huge.offset();
        pool.fill_whole(number, Letters('a'));
        assert_eq!(pool.get(number + 1), Some(Held::OfWhole(&Letters('a'), 1)));
        assert_eq!(pool.get(number - 1), None);

        assert_eq!(pool.clear(number + 2), Some('c'));
        assert_eq!(pool.get(number + 2), None);
        assert_eq!(pool.get(number), Some(Held::Part(&'a')));
        assert_eq!(pool.get(number + 3), Some(Held::Part(&'d')));
        assert_eq!(pool.get(number - 1), None);
        assert_eq!(pool.clear_whole(number), None);
        Ok(())
    }

    #[test]
    fn contents_in_one_piece_go_with_the_huge_page() -> Result {
        let mut pool = pool(1, BLOCK_PAGES)?;
        let huge = pool.take_whole().ok_or(ENOSPC)?;
        pool.fill_whole(huge.offset(), Letters('a'));
        assert_eq!(pool.clear_whole(huge.offset()), Some(Letters('a')));
        assert_eq!(pool.get(huge.offset()), None);
        assert_eq!(pool.clear(huge.offset()), None);
        pool.put(huge);
        assert_eq!(pool.free_pages(), BLOCK_PAGES);
        Ok(())
    }

    #[test]
    fn short_block_serves_small_pages_only() -> Result {
        let mut pool = pool(1, 10)?;
        assert!(pool.take_whole().is_none());
        let mut taken = 0;
        while take(&mut pool, From::Rest).is_some() {
            taken += 1;
        }
        assert_eq!(taken, 10);
        Ok(())
    }

    #[test]
    fn page_of_no_block_is_not_taken() -> Result {
        let mut here = pool(1, BLOCK_PAGES)?;
        let mut there = pool(2, BLOCK_PAGES)?;
        there.take_whole();
        let page = there.take_whole().ok_or(ENOSPC)?;
        here.put(page);
        assert_eq!(here.free_pages(), BLOCK_PAGES);
        assert_eq!(here.get(2 * BLOCK_PAGES), None);
        Ok(())
    }
}
