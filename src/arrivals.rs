// SPDX-License-Identifier: GPL-2.0

//! What pages need that arrive on the device.

use crate::{
    chunk::Chunk,
    device::DeviceMemory,
    hmm::{
        contents::{
            BlockContents,
            Contents, //
        },
        migrate::Source,
        page::LockedPage,
        range::{
            PageRange,
            BLOCK_PAGES, //
        },
        sources::SmallSources,
        stock::Stock,
        watched::Batch, //
    },
    memory::PrivateMemory,
    mirror::HugePages,
    spare::Spare, //
};
use kernel::prelude::*;

/// What pages need that move to the device, allocated before any page is locked. Pages that move to
/// coherent memory need nothing.
pub(crate) struct Arrivals<'m> {
    memory: &'m DeviceMemory,
    huge_pages: &'m HugePages,
    /// Kernel pages for the contents of private pages.
    stock: Stock<Contents>,
    /// Those for a block, in pieces.
    block: Option<BlockContents>,
    /// For a huge page, or as many small ones.
    spare: Option<Spare<'m>>,
}

impl<'m> Arrivals<'m> {
    /// Nothing as yet.
    pub(crate) fn new(memory: &'m DeviceMemory, huge_pages: &'m HugePages) -> Self {
        Self {
            memory,
            huge_pages,
            stock: Stock::new(),
            block: None,
            spare: None,
        }
    }

    /// Sees to it that the device has room for the pages of `range`, which lies in one block, if
    /// there can be; for a huge page, if it is a whole block. May sleep long; no lock may be held.
    ///
    /// # Errors
    ///
    /// Those of [`DeviceMemory::make_room`].
    #[inline]
    pub(crate) fn make_room(&mut self, range: PageRange) -> Result {
        if range.is_block() {
            self.set_aside();
        }
        match self.spare {
            // Small pages may have it too.
            Some(_) => Ok(()),
            None => self.memory.make_room(range.pages()),
        }
    }

    /// Sets a block aside, if there is none and a huge page may be allocated.
    // Apart, to spare smaller ranges what it needs.
    #[inline(never)]
    fn set_aside(&mut self) {
        if self.spare.is_none() && self.huge_pages.may_allocate() {
            self.spare = self.memory.set_aside();
        }
    }

    /// Allocates until there is kernel memory for each page of `range`: in pieces, if there is room for a
    /// huge page, and if such memory is at hand. May sleep and reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, range: PageRange) -> Result {
        let DeviceMemory::Private(memory) = self.memory else {
            return Ok(());
        };
        if self.spare.is_some() || self.block.is_some() {
            return self.fill_block(memory, range.pages());
        }
        self.fill_stock(memory, range.pages())
    }

    /// Allocates memory for a block, unless there is some, or else for `count` pages.
    #[inline(never)]
    fn fill_block(&mut self, memory: &PrivateMemory, count: usize) -> Result {
        if self.block.is_none() {
            self.block = BlockContents::new();
        }
        match self.block {
            // It may have to be cut, when nothing can be allocated.
            Some(_) => self.stock.reserve(BLOCK_PAGES, GFP_KERNEL_ACCOUNT),
            None => self.fill_stock(memory, count),
        }
    }

    /// Takes what the device has kept of other pages, and allocates, until there are `count` pages for
    /// contents.
    fn fill_stock(&mut self, memory: &PrivateMemory, count: usize) -> Result {
        let missing = count.saturating_sub(self.stock.len());
        if missing == 0 {
            return Ok(());
        }
        self.stock.reserve(count, GFP_KERNEL_ACCOUNT)?;
        memory.kept().take(&mut self.stock, missing);
        self.stock.fill(count)
    }

    /// Whether there is room for a huge page.
    pub(crate) fn has_huge(&self) -> bool {
        self.spare.is_some()
    }

    /// Offers the pages of `batch`, and its holes, pages of the device with the same contents, while it
    /// has any.
    pub(crate) fn offer(&mut self, batch: &mut Batch<'_, Chunk>) {
        match self.memory {
            DeviceMemory::Private(_) if batch.is_huge() => {
                batch.offer(|_, source| self.huge_target(&source));
            }
            DeviceMemory::Private(memory) if self.spare.is_none() => {
                batch.offer_small(|sources| self.offer_small(memory, sources));
            }
            DeviceMemory::Private(memory) => self.offer_in_block(memory, batch),
            DeviceMemory::Coherent(memory, _) => batch.offer(|_, source| match source {
                Source::Hole => memory.zeroed(),
                Source::System(source) => memory.copy_of(&source),
                Source::Coherent(_) => None,
            }),
        }
    }

    /// Offers small pages: of the block that is set aside, if there are enough to fill half of it.
    #[inline(never)]
    fn offer_in_block(&mut self, memory: &PrivateMemory, batch: &mut Batch<'_, Chunk>) {
        let mut open = None;

        batch.offer_small(|mut sources| {
            // A block that has small pages is not a huge one. Only what fills half of it gets it.
            let most = sources.len() >= BLOCK_PAGES / 2;
            if let Some(spare) = self.spare.take().filter(|_| most) {
                open = self.block.take().and_then(|block| spare.open(block));
            }
            match &mut open {
                Some(block) => {
                    block.offer(&mut sources);
                    true
                }
                None => self.offer_small(memory, sources),
            }
        });
    }

    /// Offers small pages of private memory. Returns false if it is full.
    fn offer_small(&mut self, memory: &PrivateMemory, mut sources: SmallSources<'_>) -> bool {
        while sources.len() > 0 {
            let ready = match self.stock.len() {
                0 => self.cut_block(),
                ready => ready,
            };
            let most = ready.min(sources.len());
            if most == 0 {
                break;
            }
            let Some(vacant) = memory.take(most) else {
                return false;
            };
            let copy = |contents: &mut _| Contents::copy_all(contents, &sources);
            let Some(targets) = vacant.store(&mut self.stock, copy) else {
                break;
            };
            sources.offer(targets);
        }
        true
    }

    /// Puts the kernel memory for a block, if there is any, into the stock, page by page. Returns how many
    /// there are then.
    #[inline(never)]
    fn cut_block(&mut self) -> usize {
        for page in self.block.take().into_iter().flat_map(BlockContents::cut) {
            self.stock.put(page);
        }
        self.stock.len()
    }

    /// A huge page of the device with the contents of `source`.
    fn huge_target(&mut self, source: &Source<'_>) -> Option<LockedPage> {
        let spare = self.spare.take()?;

        if let Some(mut block) = self.block.take() {
            match source {
                Source::Hole => block.clear(),
                Source::System(source) => block.copy_from(source),
                Source::Coherent(_) => return None,
            }
            return spare.store_whole(block);
        }
        for (part, page) in (0..).zip(self.stock.last_mut(BLOCK_PAGES)?) {
            match source {
                Source::Hole => page.clear(),
                Source::System(source) => page.copy_from(source, part),
                Source::Coherent(_) => return None,
            }
        }
        spare.store(&mut self.stock)
    }
}
