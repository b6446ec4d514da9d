// SPDX-License-Identifier: GPL-2.0

//! Which pages of a chunk are free, and what the others hold.

use kernel::prelude::*;

/// Something that stands for one page of a chunk.
pub(crate) trait Numbered {
    /// The number of the page in its chunk.
    fn number(&self) -> usize;
}

/// The pages of a chunk: `P` stands for a free page, `C` for the contents of one in use.
///
/// Pages that have never been used are not kept here; they come from the chunk, in order.
///
/// # Invariants
///
/// `free` has room for all pages of the chunk, and `contents` a place for each.
pub(crate) struct Pool<P, C> {
    free: KVVec<P>,
    contents: KVVec<Option<C>>,
}

impl<P: Numbered, C> Pool<P, C> {
    /// A pool for a chunk of `pages` pages. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pages: usize) -> Result<Self> {
        let mut contents = KVVec::with_capacity(pages, GFP_KERNEL)?;
        for _ in 0..pages {
            contents.push(None, GFP_KERNEL)?;
        }
        // INVARIANT: Both have been made for `pages` pages.
        Ok(Self {
            free: KVVec::with_capacity(pages, GFP_KERNEL)?,
            contents,
        })
    }

    /// How many pages have been used and are free again.
    pub(crate) fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// Takes a free page, the one freed last or else one from `fresh`, and gives it `contents`.
    /// Does not sleep.
    ///
    /// # Errors
    ///
    /// Gives the contents back if no page is free.
    pub(crate) fn take(
        &mut self,
        fresh: impl FnOnce() -> Option<P>,
        contents: C,
    ) -> core::result::Result<P, C> {
        let Some(page) = self.free.pop().or_else(fresh) else {
            return Err(contents);
        };
        let Some(slot) = self.contents.get_mut(page.number()) else {
            return Err(contents);
        };
        *slot = Some(contents);
        Ok(page)
    }

    /// Takes `page` back, and returns what it held. Does not sleep.
    pub(crate) fn put(&mut self, page: P) -> Option<C> {
        let contents = self.contents.get_mut(page.number())?.take();
        // By the type invariant there is room.
        let _ = self.free.push_within_capacity(page);
        contents
    }

    /// What the page with this number holds; `None` if it is free.
    pub(crate) fn get(&self, number: usize) -> Option<&C> {
        self.contents.get(number)?.as_ref()
    }
}

#[kunit_tests(dmirror_pool)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Page(usize);

    impl Numbered for Page {
        fn number(&self) -> usize {
            self.0
        }
    }

    fn none() -> Option<Page> {
        None
    }

    #[test]
    fn takes_fresh_pages_first() -> Result {
        let mut pool = Pool::new(4)?;
        assert_eq!(pool.take(|| Some(Page(0)), 'a'), Ok(Page(0)));
        assert_eq!(pool.take(|| Some(Page(1)), 'b'), Ok(Page(1)));
        assert_eq!(pool.get(0), Some(&'a'));
        assert_eq!(pool.get(1), Some(&'b'));
        assert_eq!(pool.get(2), None);
        assert_eq!(pool.free_pages(), 0);
        Ok(())
    }

    #[test]
    fn full_pool_gives_contents_back() -> Result {
        let mut pool = Pool::new(1)?;
        assert_eq!(pool.take(none, 'a'), Err('a'));
        Ok(())
    }

    #[test]
    fn freed_page_is_empty_and_used_again() -> Result {
        let mut pool = Pool::new(2)?;
        let page = pool.take(|| Some(Page(1)), 'a').map_err(|_| ENOSPC)?;
        assert_eq!(pool.put(page), Some('a'));
        assert_eq!(pool.get(1), None);
        assert_eq!(pool.free_pages(), 1);

        assert_eq!(pool.take(none, 'b'), Ok(Page(1)));
        assert_eq!(pool.get(1), Some(&'b'));
        assert_eq!(pool.free_pages(), 0);
        Ok(())
    }

    #[test]
    fn foreign_page_is_not_taken() -> Result {
        let mut pool = Pool::new(1)?;
        assert_eq!(pool.take(|| Some(Page(7)), 'a'), Err('a'));
        assert_eq!(pool.put(Page(7)), None);
        assert_eq!(pool.get(7), None);
        assert_eq!(pool.free_pages(), 0);
        Ok(())
    }
}
