// SPDX-License-Identifier: GPL-2.0

//! Which pages of a chunk are free, and what the others hold.
//!
//! Small and huge pages come from the same blocks of 2 MiB. A block that is given away in small
//! pages is whole again when the last of them has come back. To keep blocks whole, small pages are
//! taken from those of which some pages are in use already, and from the lowest of these; but for as many
//! as fill half of a block or more, which may get one.

use crate::{
    chunk::CHUNK_PAGES,
    hmm::{
        free::{
            FreeBlock,
            FreePage,
            FreePages, //
        },
        range::{
            BLOCK_PAGES,
            BLOCK_PIECES,
            PIECE_PAGES, //
        }, //
    }, //
};
use core::ops::Range;
use kernel::prelude::*;

/// What a page holds, or several that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held<'p, P, W> {
    /// This, of its own.
    Own(&'p P),
    /// The parts of this piece with these numbers, one each.
    Parts(&'p W, Range<usize>),
}

/// From where a small page may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A block of which not all pages are free.
    Rest,
    /// Such a block or, if there is none, a whole one.
    Any,
}

/// What the pages of a block hold in pieces.
pub(crate) type Pieces<W> = [Option<W>; BLOCK_PIECES];

/// The pages of a chunk: their blocks, and for each page in use its contents, a `P` of its own or a part
/// of a `W`, which [`PIECE_PAGES`] pages share.
///
/// # Invariants
///
/// * `blocks` has room for all blocks of the chunk, `contents` a place for each page, and `shared` one for
///   each [`PIECE_PAGES`] pages.
/// * What is free has nothing in `contents`.
/// * Those blocks are in `whole` that are whole; those in `rests` that are not, but have free pages.
/// * `free` is how many pages are free.
/// * `news` is set if `whole` or `rests` has changed since others were told.
pub(crate) struct Pool<P, W> {
    blocks: KVVec<FreeBlock>,
    whole: Blocks,
    rests: Blocks,
    free: usize,
    news: bool,
    contents: KVVec<Option<P>>,
    shared: KVVec<Shared<W>>,
}

/// What some pages share.
///
/// # Invariants
///
/// `sharers` is how many of them hold a part of `piece`, at least one if it is there. `others` is how many
/// have contents of their own.
struct Shared<W> {
    piece: Option<W>,
    sharers: u32,
    others: u32,
}

impl<W> Shared<W> {
    /// Nothing.
    fn new() -> Self {
        // INVARIANT: No page has any contents.
        Self {
            piece: None,
            sharers: 0,
            others: 0,
        }
    }

    /// Lets `count` of the pages go that hold parts. Returns the piece if these were the last.
    #[inline]
    fn release(&mut self, count: u32) -> Option<W> {
        self.piece.as_ref()?;
        // INVARIANT: There is no piece without a page that holds a part of it.
        self.sharers = self.sharers.saturating_sub(count);
        match self.sharers {
            0 => self.piece.take(),
            _ => None,
        }
    }
}

impl<P, W> Pool<P, W> {
    /// A pool for a chunk of `pages` pages, none of which are there yet. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`], if a chunk cannot have so many.
    pub(crate) fn new(pages: usize) -> Result<Self> {
        if pages > CHUNK_PAGES {
            return Err(EINVAL);
        }
        let blocks = pages.div_ceil(BLOCK_PAGES);
        // INVARIANT: There is nothing in it, but room for all.
        Ok(Self {
            blocks: KVVec::with_capacity(blocks, GFP_KERNEL)?,
            whole: Blocks::new(),
            rests: Blocks::new(),
            free: 0,
            news: false,
            contents: filled(pages, || None)?,
            shared: filled(pages.div_ceil(PIECE_PAGES), Shared::new)?,
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
        (!self.rests.is_empty(), !self.whole.is_empty())
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

    /// Gives `contents` to the page with this number, which is in use and has none. Does not sleep.
    pub(crate) fn fill(&mut self, number: usize, contents: P) {
        let shared = self.shared.get_mut(number / PIECE_PAGES);

        if let (Some(slot), Some(shared)) = (self.contents.get_mut(number), shared) {
            // INVARIANT: It is one more. OVERFLOW: There is but one for each page.
            shared.others += 1;
            *slot = Some(contents);
        }
    }

    /// Gives parts of `pieces` to those pages of the block that begins with this number that are in use: none
    /// of them has been taken by anybody else, who may store in it. Returns the pieces of which no page has a
    /// part. Does not sleep.
    #[must_use = "is freed when the lock is not held"]
    pub(crate) fn fill_block(&mut self, number: usize, mut pieces: Pieces<W>) -> Pieces<W> {
        let (first, block) = (number / PIECE_PAGES, self.blocks.get(number / BLOCK_PAGES));
        let places = self.shared.iter_mut().skip(first);

        if let Some(block) = block {
            for ((part, piece), shared) in (0..).zip(&mut pieces).zip(places) {
                let used = block.used_in_piece(part * PIECE_PAGES);
                let sharers = used.saturating_sub(shared.others);
                if sharers > 0 && shared.piece.is_none() {
                    // INVARIANT: Those in use that have none of their own.
                    shared.piece = piece.take();
                    shared.sharers = sharers;
                }
            }
        }
        pieces
    }

    /// What the page with this number holds, and those after it that hold parts of the same, at most `most`
    /// in all. `None` if it is not in use. What has been taken and is not filled yet holds anything: nobody
    /// may ask.
    #[inline]
    pub(crate) fn get(&self, number: usize, most: usize) -> Option<Held<'_, P, W>> {
        let slots = self.contents.get(number..)?;
        if let Some(own) = slots.first()? {
            return Some(Held::Own(own));
        }
        let shared = self.shared.get(number / PIECE_PAGES)?;
        let piece = shared.piece.as_ref()?;
        let block = self.blocks.get(number / BLOCK_PAGES)?;
        let used = block.used_from(number % BLOCK_PAGES, most);
        let count = match shared.others {
            0 => used,
            _ => {
                let parts = slots.iter().take(used);
                parts.take_while(|slot| slot.is_none()).count()
            }
        };
        let part = number % PIECE_PAGES;

        (count > 0).then_some(Held::Parts(piece, part..part + count))
    }

    /// Whether the page with this number has contents of its own.
    pub(crate) fn has_own(&self, number: usize) -> bool {
        self.contents.get(number).is_some_and(Option::is_some)
    }

    /// Takes away what the page with this number holds: its own, or the piece, if no other page has a part
    /// of it. Does not sleep.
    #[inline]
    #[must_use = "is freed when the lock is not held"]
    pub(crate) fn clear(&mut self, number: usize) -> (Option<P>, Option<W>) {
        let Some(shared) = self.shared.get_mut(number / PIECE_PAGES) else {
            return (None, None);
        };
        let own = self.contents.get_mut(number).and_then(Option::take);

        if own.is_some() {
            // INVARIANT: It is one less; this was one.
            shared.others = shared.others.saturating_sub(1);
            return (own, None);
        }
        (None, shared.release(1))
    }

    /// The same for `count` pages from this one on, a power of two, none of which has contents of its own.
    #[must_use = "is freed when the lock is not held"]
    pub(crate) fn clear_shared(&mut self, number: usize, count: usize) -> Pieces<W> {
        let mut pieces = [const { None }; BLOCK_PIECES];
        let places = self.shared.iter_mut().skip(number / PIECE_PAGES);
        // CAST: It fits.
        let each = count.min(PIECE_PAGES) as u32;

        for (piece, shared) in pieces
            .iter_mut()
            .zip(places)
            .take(count.div_ceil(PIECE_PAGES))
        {
            *piece = shared.release(each);
        }
        pieces
    }

    /// Takes `page` back, which may be a part of what was taken. It must have no contents any more.
    /// Does not sleep.
    #[inline]
    pub(crate) fn put(&mut self, page: FreePage) {
        // A page of another pool is not put anywhere.
        self.change(page.offset() / BLOCK_PAGES, |block| block.put(page).is_ok());
    }

    /// The same for several pages that follow each other.
    pub(crate) fn put_all(&mut self, pages: FreePages) {
        let index = pages.offsets().start / BLOCK_PAGES;

        self.change(index, |block| block.put_all(pages).is_ok());
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

/// A set of blocks of a chunk, by their numbers: a bit for each.
struct Blocks([u64; WORDS]);

/// How many words these are.
const WORDS: usize = (CHUNK_PAGES / BLOCK_PAGES).div_ceil(WORD);

/// How many bits there are in a word.
const WORD: usize = u64::BITS as usize;

impl Blocks {
    /// None.
    const fn new() -> Self {
        Self([0; WORDS])
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    /// The lowest.
    #[inline]
    fn first(&self) -> Option<usize> {
        let (word, bits) = (0..).zip(&self.0).find(|(_, bits)| **bits != 0)?;

        Some(word * WORD + bits.trailing_zeros() as usize)
    }

    /// Adds the block `index`.
    fn insert(&mut self, index: usize) {
        if let Some(bits) = self.0.get_mut(index / WORD) {
            *bits |= 1 << (index % WORD);
        }
    }

    /// Removes the block `index`.
    fn remove(&mut self, index: usize) {
        if let Some(bits) = self.0.get_mut(index / WORD) {
            *bits &= !(1 << (index % WORD));
        }
    }
}

/// `count` entries, each as `make` makes it. May sleep.
fn filled<T>(count: usize, make: impl Fn() -> T) -> Result<KVVec<T>> {
    let mut entries = KVVec::with_capacity(count, GFP_KERNEL)?;

    for _ in 0..count {
        entries.push(make(), GFP_KERNEL)?;
    }
    Ok(entries)
}

#[kunit_tests(dmirror_pool)]
mod tests {
    use super::*;

    /// Each page holds a letter, or a part of a word.
    type Letters = Pool<char, &'static str>;

    /// A word for each piece.
    fn words() -> Pieces<&'static str> {
        ["a", "b", "c", "d", "e", "f", "g", "h"].map(Some)
    }

    const NOTHING: Pieces<&str> = [None; BLOCK_PIECES];

    /// A pool with this many blocks, the last of which has only `last` pages.
    fn pool(blocks: u32, last: usize) -> Result<Letters> {
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

    fn take(pool: &mut Letters, from: From) -> Option<FreePage> {
        pool.take(from, 1)?.take_page()
    }

    fn put(pool: &mut Letters, page: FreePage) {
        for number in page.offset()..page.offset() + page.pages() {
            let _ = pool.clear(number);
        }
        pool.put(page);
    }

    #[test]
    fn page_has_its_contents_until_it_is_cleared() -> Result {
        let mut pool = pool(1, 2)?;
        assert_eq!(pool.get(0, 1), None);
        let page = take(&mut pool, From::Any).ok_or(ENOSPC)?;
        assert_eq!(pool.get(page.offset(), 1), None);
        pool.fill(page.offset(), 'a');
        assert_eq!(pool.get(page.offset(), 4), Some(Held::Own(&'a')));
        assert_eq!(pool.free_pages(), 1);

        assert!(pool.has_own(page.offset()));
        assert_eq!(pool.clear(page.offset()), (Some('a'), None));
        assert!(!pool.has_own(page.offset()));
        assert_eq!(pool.get(page.offset(), 1), None);
        pool.put(page);
        assert_eq!(pool.free_pages(), 2);
        Ok(())
    }

    #[test]
    fn blocks_are_taken_from_the_lowest_on() -> Result {
        const BLOCKS: usize = 70;
        let mut pool = pool(BLOCKS as u32, BLOCK_PAGES)?;
        let mut pages = KVec::with_capacity(BLOCKS, GFP_KERNEL)?;
        while let Some(page) = pool.take_whole() {
            assert_eq!(page.offset(), pages.len() * BLOCK_PAGES);
            pages.push(page, GFP_KERNEL)?;
        }
        assert_eq!((pages.len(), pool.news()), (BLOCKS, (false, false)));
        while let Some(page) = pages.pop() {
            let lowest = page.offset();
            pool.put(page);
            let page = pool.take_whole().ok_or(ENOSPC)?;
            assert_eq!(page.offset(), lowest);
            pool.put(page);
        }
        assert_eq!(pool.news(), (false, true));
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
        pool.put_all(pages.take_all());
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
    fn pages_share_pieces_until_the_last_has_gone() -> Result {
        let mut pool = pool(2, BLOCK_PAGES)?;
        pool.take_whole();
        let huge = pool.take_whole().ok_or(ENOSPC)?;
        let number = huge.offset();
        assert_eq!(pool.fill_block(number, words()), NOTHING);
        assert_eq!(pool.get(number + 1, 1), Some(Held::Parts(&"a", 1..2)));
        assert_eq!(pool.get(number + 126, 9), Some(Held::Parts(&"b", 62..64)));
        assert_eq!(pool.get(number - 1, 1), None);
        assert!(!pool.has_own(number));

        // mm has cut it, and gives it back in whatever pieces.
        let mut pages = huge.into_small();
        let mut left = pages.take_pages(3);
        for offset in pages.offsets() {
            let is_last = offset % PIECE_PAGES == PIECE_PAGES - 1 && offset - number >= 64;
            let mut words = words().into_iter().skip((offset - number) / PIECE_PAGES);
            let last = words.next().flatten().filter(|_| is_last);
            assert_eq!(pool.clear(offset), (None, last));
        }
        pool.put_all(pages);
        assert_eq!(pool.get(number, 9), Some(Held::Parts(&"a", 0..3)));
        assert_eq!(pool.get(number + 64, 1), None);
        for last in [None, None, Some("a")] {
            let page = left.take_page().ok_or(ENOSPC)?;
            assert_eq!(pool.clear(page.offset()), (None, last));
            pool.put(page);
        }
        assert_eq!(pool.get(number, 1), None);
        assert_eq!(pool.clear(number), (None, None));
        Ok(())
    }

    #[test]
    fn large_pages_give_their_pieces_back() -> Result {
        let mut pool = pool(1, BLOCK_PAGES)?;
        pool.take_whole();
        assert_eq!(pool.fill_block(0, words()), NOTHING);
        let mut pieces = NOTHING;
        for (number, count) in [(0, 32), (64, 2), (480, 32)] {
            assert_eq!(pool.clear_shared(number, count), NOTHING);
        }
        pieces[0] = Some("a");
        assert_eq!(pool.clear_shared(32, 32), pieces);
        (pieces[0], pieces[1]) = (Some("c"), Some("d"));
        assert_eq!(pool.clear_shared(128, 128), pieces);
        assert_eq!(pool.clear_shared(128, 128), NOTHING);
        assert_eq!(pool.get(66, 1), Some(Held::Parts(&"b", 2..3)));
        Ok(())
    }

    #[test]
    fn page_of_its_own_contents_lies_among_those_that_share() -> Result {
        let mut pool = pool(1, BLOCK_PAGES)?;
        let mut pages = pool.take_whole().ok_or(ENOSPC)?.into_small();
        let first = pages.take_pages(2);
        let shared = pages.take_pages(5);
        pool.put_all(pages);
        pool.put_all(first);
        let mut unneeded = words();
        unneeded[0] = None;
        assert_eq!(pool.fill_block(0, words()), unneeded);

        let own = take(&mut pool, From::Rest).ok_or(ENOSPC)?;
        pool.fill(own.offset(), 'a');
        assert_eq!((own.offset(), pool.get(0, 9)), (0, Some(Held::Own(&'a'))));
        assert_eq!(pool.get(1, 9), None);
        let next = pool.take(From::Rest, 1).ok_or(ENOSPC)?;
        // Taken, and given back with nothing stored in it.
        pool.put_all(next);
        let next = take(&mut pool, From::Rest).ok_or(ENOSPC)?;
        pool.fill(next.offset(), 'b');
        assert_eq!(pool.get(1, 9), Some(Held::Own(&'b')));
        assert_eq!(pool.get(2, 9), Some(Held::Parts(&"a", 2..7)));
        let last = pool.take(From::Rest, 2).ok_or(ENOSPC)?;
        pool.fill(last.offsets().start, 'c');
        assert_eq!(pool.get(2, 9), Some(Held::Parts(&"a", 2..7)));

        // The piece goes with those that have a part, whatever else is in use.
        for (offset, last) in shared.offsets().zip([None, None, None, None, Some("a")]) {
            assert_eq!(pool.clear(offset), (None, last));
        }
        pool.put_all(shared);
        assert_eq!(pool.get(2, 1), None);
        assert_eq!(pool.get(1, 1), Some(Held::Own(&'b')));
        Ok(())
    }

    #[test]
    fn pieces_are_stored_once_and_for_pages_in_use() -> Result {
        let mut pool = pool(1, BLOCK_PAGES)?;
        let huge = pool.take_whole().ok_or(ENOSPC)?;
        assert_eq!(pool.fill_block(0, words()), NOTHING);
        assert_eq!(pool.fill_block(0, words()), words());
        assert_eq!(pool.clear_shared(0, BLOCK_PAGES), words());
        pool.put(huge);
        assert_eq!(pool.free_pages(), BLOCK_PAGES);

        assert_eq!(pool.fill_block(0, words()), words());
        assert_eq!(pool.fill_block(BLOCK_PAGES, words()), words());
        assert_eq!(pool.get(0, 1), None);
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
        assert_eq!(here.get(2 * BLOCK_PAGES, 1), None);
        Ok(())
    }
}
