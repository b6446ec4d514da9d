// SPDX-License-Identifier: GPL-2.0

//! A block of a device's private memory that is set aside.

use crate::{
    chunk::Chunk,
    hmm::{
        contents::{
            BlockContents,
            Contents, //
        },
        free::{
            FreePage,
            FreePages, //
        },
        page::LockedPage,
        pagemap::Pagemap,
        sources::SmallSources,
        stock::Stock, //
    }, //
};

/// A block that is set aside for a huge page, or as many small ones, and free again if none is made.
pub(crate) struct Spare<'m> {
    chunk: &'m Pagemap<Chunk>,
    page: Option<FreePage>,
}

impl<'m> Spare<'m> {
    /// The block `page` of `chunk`, a whole one that was taken.
    pub(crate) fn new(chunk: &'m Pagemap<Chunk>, page: FreePage) -> Self {
        Self {
            chunk,
            page: Some(page),
        }
    }

    /// Makes a huge page with `contents` of it. Never waits.
    pub(crate) fn store_whole(mut self, contents: BlockContents) -> Option<LockedPage> {
        let page = self.page.take()?;

        self.chunk.ops().fill_block(page.offset(), contents, None);
        self.chunk.lock_page(page).ok()
    }

    /// The same, with what it takes, page by page, from the end of `stock`. `None` if these are too few.
    pub(crate) fn store(mut self, stock: &mut Stock<Contents>) -> Option<LockedPage> {
        if stock.len() < self.page.as_ref()?.pages() {
            return None;
        }
        let page = self.page.take()?;
        let first = page.offset();

        self.chunk.ops().fill(first..first + page.pages(), stock);
        self.chunk.lock_page(page).ok()
    }

    /// Makes small pages of it, which share `contents`.
    pub(crate) fn open(mut self, contents: BlockContents) -> Option<OpenBlock<'m>> {
        let page = self.page.take()?;

        Some(OpenBlock {
            chunk: self.chunk,
            first: page.offset(),
            pages: page.into_small(),
            contents: Some(contents),
        })
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if let Some(page) = self.page.take() {
            self.chunk.ops().change(|pages| pages.put(page));
        }
    }
}

/// A block that is given away in small pages, with memory for what all of them hold. When it is dropped, the
/// pages that are left are free again. That must be before the others are mapped: until then they hold
/// nothing that the device could look at.
///
/// # Invariants
///
/// `pages` are the last pages of the block of `chunk` that begins with the page `first`. `contents` is there
/// until it is dropped.
pub(crate) struct OpenBlock<'m> {
    chunk: &'m Pagemap<Chunk>,
    first: usize,
    pages: FreePages,
    contents: Option<BlockContents>,
}

impl OpenBlock<'_> {
    /// Offers `sources` pages with the same contents, as long as there are any. Never waits.
    pub(crate) fn offer(&mut self, sources: &mut SmallSources<'_>) {
        let pages = self.pages.take_pages(sources.len());
        if let Some(contents) = &mut self.contents {
            let part = pages.offsets().start - self.first;
            contents.copy_all(part, pages.len(), sources);
        }
        if let Ok(targets) = self.chunk.lock_pages(pages) {
            sources.offer(targets);
        }
    }
}

impl Drop for OpenBlock<'_> {
    fn drop(&mut self) {
        if let Some(contents) = self.contents.take() {
            let unused = self.pages.take_all();

            self.chunk
                .ops()
                .fill_block(self.first, contents, Some(unused));
        }
    }
}
