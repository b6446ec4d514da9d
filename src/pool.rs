// SPDX-License-Identifier: GPL-2.0

//! Which pages of a chunk are free, and what the others hold.
//!
//! Small and huge pages come from the same blocks of 2 MiB. A block that is given away in small
//! pages is whole again when the last of them has come back. To keep blocks whole, small pages are
//! taken from those of which some pages are in use already, and from the lowest of these.

use crate::hmm::{
    free::{
        FreeBlock,
        FreePage, //
    },
    range::BLOCK_PAGES, //
};
use kernel::{
    bitmap::BitmapVec,
    prelude::*, //
};

/// From where a small page may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A block of which not all pages are free.
    Rest,
    /// Such a block or, if there is none, a whole one.
    Any,
}

/// The pages of a chunk: their blocks, and for each page in use its contents, a `C`.
///
/// # Invariants
///
/// * `blocks` has room for all blocks of the chunk, and `contents` a place for each page.
/// * Those blocks have their bit set in `whole` that are whole; those in `rests` that are not, but
///   have free pages.
/// * `free` is how many pages are free.
pub(crate) struct Pool<C> {
    blocks: KVVec<FreeBlock>,
    whole: BitmapVec,
    rests: BitmapVec,
    free: usize,
    contents: KVVec<Option<C>>,
}

impl<C> Pool<C> {
    /// A pool for a chunk of `pages` pages, none of which are there yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pages: usize) -> Result<Self> {
        let blocks = pages.div_ceil(BLOCK_PAGES);
        let mut contents = KVVec::with_capacity(pages, GFP_KERNEL)?;
        for _ in 0..pages {
            contents.push(None, GFP_KERNEL)?;
        }
        // INVARIANT: There is nothing in it, but room for all.
        Ok(Self {
            blocks: KVVec::with_capacity(blocks, GFP_KERNEL)?,
            whole: BitmapVec::new(blocks, GFP_KERNEL)?,
            rests: BitmapVec::new(blocks, GFP_KERNEL)?,
            free: 0,
            contents,
        })
    }

    /// Adds the next block of the chunk. Does not sleep.
    pub(crate) fn add(&mut self, block: FreeBlock) {
        let (index, pages) = (self.blocks.len(), block.free_pages());

        // By the type invariant there is room.
        if self.blocks.push_within_capacity(block).is_ok() {
            self.free += pages;
            self.classify(index);
        }
    }

    /// How many pages are free.
    pub(crate) fn free_pages(&self) -> usize {
        self.free
    }

    /// Takes a small page, and gives it `contents`. Does not sleep.
    ///
    /// # Errors
    ///
    /// Gives the contents back if no page is free there.
    pub(crate) fn take(&mut self, from: From, contents: C) -> core::result::Result<FreePage, C> {
        let index = match (self.rests.next_bit(0), from) {
            (Some(index), _) => Some(index),
            (None, From::Rest) => None,
            (None, From::Any) => self.whole.next_bit(0),
        };
        let page = index.and_then(|index| {
            let page = self.blocks.get_mut(index)?.take_page();
            self.taken(index, page)
        });
        match page {
            Some(page) => {
                self.fill(page.offset(), contents);
                Ok(page)
            }
            None => Err(contents),
        }
    }

    /// Takes a whole block, which has no contents as yet. Does not sleep.
    pub(crate) fn take_whole(&mut self) -> Option<FreePage> {
        let index = self.whole.next_bit(0)?;
        let page = self.blocks.get_mut(index)?.take_whole();

        self.taken(index, page)
    }

    /// Gives `contents` to the page with this number. Does not sleep.
    pub(crate) fn fill(&mut self, number: usize, contents: C) {
        if let Some(slot) = self.contents.get_mut(number) {
            *slot = Some(contents);
        }
    }

    /// What the page with this number holds; `None` if it is not in use.
    pub(crate) fn get(&self, number: usize) -> Option<&C> {
        self.contents.get(number)?.as_ref()
    }

    /// Takes away what the page with this number holds. Does not sleep.
    pub(crate) fn clear(&mut self, number: usize) -> Option<C> {
        self.contents.get_mut(number)?.take()
    }

    /// Takes `page` back, which may be a part of what was taken. It must have no contents any more.
    /// Does not sleep.
    pub(crate) fn put(&mut self, page: FreePage) {
        let (index, pages) = (page.offset() / BLOCK_PAGES, page.pages());
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        if block.put(page).is_ok() {
            self.free += pages;
            self.classify(index);
        }
    }

    /// Accounts for `page`, which was taken from the block `index`.
    fn taken(&mut self, index: usize, page: Option<FreePage>) -> Option<FreePage> {
        let page = page?;

        self.free -= page.pages();
        self.classify(index);
        Some(page)
    }

    /// Sets the bits of the block `index`, whose free pages are others now.
    fn classify(&mut self, index: usize) {
        let Some(block) = self.blocks.get(index) else {
            return;
        };
        let (whole, some) = (block.is_whole(), block.free_pages() > 0);

        for (bits, set) in [
            (&mut self.whole, whole),
            (&mut self.rests, some && !whole), //
        ] {
            if set {
                bits.set_bit(index);
            } else {
                bits.clear_bit(index);
            }
        }
    }
}

#[kunit_tests(dmirror_pool)]
mod tests {
    use super::*;

    /// A pool with this many blocks, the last of which has only `last` pages.
    fn pool(blocks: u32, last: usize) -> Result<Pool<char>> {
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

    fn take(pool: &mut Pool<char>, from: From) -> Option<FreePage> {
        pool.take(from, 'x').ok()
    }

    fn put(pool: &mut Pool<char>, page: FreePage) {
        for number in page.offset()..page.offset() + page.pages() {
            pool.clear(number);
        }
        pool.put(page);
    }

    #[test]
    fn page_has_its_contents_until_it_is_cleared() -> Result {
        let mut pool = pool(1, 2)?;
        assert_eq!(pool.get(0), None);
        let page = pool.take(From::Any, 'a').map_err(|_| ENOSPC)?;
        assert_eq!(pool.get(page.offset()), Some(&'a'));
        assert_eq!(pool.free_pages(), 1);

        assert_eq!(pool.clear(page.offset()), Some('a'));
        assert_eq!(pool.get(page.offset()), None);
        pool.put(page);
        assert_eq!(pool.free_pages(), 2);
        Ok(())
    }

    #[test]
    fn full_pool_gives_contents_back() -> Result {
        let mut pool = pool(1, 1)?;
        assert!(pool.take(From::Any, 'a').is_ok());
        assert_eq!(pool.take(From::Any, 'b').err(), Some('b'));
        assert_eq!(pool.get(0), Some(&'a'));
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
