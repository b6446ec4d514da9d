// SPDX-License-Identifier: GPL-2.0

//! Pages come home from the device, as their process asks.

use crate::{
    device::DeviceMemory,
    hmm::{
        buffer::{
            FewWords,
            MigrateBuffer, //
        },
        home::{
            bring_home,
            HomePages, //
        },
        mm::{
            has_anonymous_pages,
            killed, //
        },
        outcome::Outcome,
        range::{
            PageRange,
            BLOCK_PAGES, //
        },
        table::Target, //
    },
    ioctl::Progress,
    mirror::{
        HugePages,
        Space, //
    },
};
use kernel::{
    mm::virt::VmaRef,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Pages that are passed over at a time, if they are not there (64 GiB of addresses).
const STRIDE_PAGES: usize = 1 << 24;

/// Moves those pages of `range` back to system memory that are on the device.
///
/// # Errors
///
/// * [`EINVAL`][]: a gap between VMAs, or a VMA whose pages are never on a device.
/// * [`EIO`], [`EINTR`], [`ENOMEM`].
pub(crate) fn to_system(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    huge: &HugePages,
    range: PageRange,
    progress: &mut Progress,
) -> Result {
    let mut few = FewWords::new();
    let mut home = Home::new(huge, range.pages(), &mut few)?;
    let mut rest = Some(range);

    while let Some(range) = rest {
        rest = home.step(active, memory, range, progress, |_| true)?;
    }
    Ok(())
}

/// Moves those pages of `range` back to system memory that are on the device, for a fault of the
/// device that cannot be served there. What has been unmapped meanwhile the next fault finds out.
///
/// # Errors
///
/// [`EIO`], [`EINTR`], [`ENOMEM`].
pub(crate) fn fetch(active: &mut Space<'_>, memory: &DeviceMemory, range: PageRange) -> Result {
    let (huge, mut progress) = (HugePages::new(), Progress::default());

    match to_system(active, memory, &huge, range, &mut progress) {
        Err(error) if error == EINVAL => Ok(()),
        result => result,
    }
}

/// Moves all pages of the process back to system memory that are on the device.
///
/// # Errors
///
/// [`EIO`], [`EINTR`], [`ENOMEM`].
pub(crate) fn release(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    huge: &HugePages,
    progress: &mut Progress,
) -> Result {
    let mut few = FewWords::new();
    let mut home = Home::new(huge, BLOCK_PAGES, &mut few)?;
    let mut next = 0;

    // The address space may change between the steps, and so each looks anew.
    while let Some(range) = next_candidate(active, next)? {
        let rest = match home.step(active, memory, range, progress, has_anonymous_pages) {
            // Unmapped or replaced meanwhile.
            Err(error) if error == EINVAL => range.split_block().1,
            rest => rest?,
        };
        next = rest.map_or(range.end(), PageRange::start);
    }
    Ok(())
}

/// The part at or above the address `from` of the first VMA that may hold device pages.
fn next_candidate(active: &mut Space<'_>, mut from: usize) -> Result<Option<PageRange>> {
    let mmap = active.mmap_read()?;

    while let Some(vma) = mmap.find_vma(from) {
        // There may be tens of thousands.
        if killed() {
            return Err(EINTR);
        }
        if has_anonymous_pages(vma) {
            let start = vma.start().max(from);
            let pages = (vma.end() - start) / PAGE_SIZE;
            return PageRange::new(start as u64, pages as u64, usize::MAX).map(Some);
        }
        from = vma.end();
    }
    Ok(None)
}

/// What moving pages home needs, kept from block to block.
struct Home<'a> {
    huge_pages: &'a HugePages,
    pages: HomePages,
    buffer: MigrateBuffer<'a>,
    /// The address of a block that was taken for a huge page, and is none.
    small: Option<usize>,
}

impl<'a> Home<'a> {
    /// For ranges of up to `pages` pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    fn new(huge_pages: &'a HugePages, pages: usize, few: &'a mut FewWords) -> Result<Self> {
        Ok(Self {
            huge_pages,
            pages: HomePages::new(),
            buffer: MigrateBuffer::with(pages, few)?,
            small: None,
        })
    }

    /// Moves the first piece of `range` that lies in one block and one VMA, if `wanted` wants that
    /// VMA, and returns what is left, without what is not there.
    fn step(
        &mut self,
        active: &mut Space<'_>,
        memory: &DeviceMemory,
        range: PageRange,
        progress: &mut Progress,
        wanted: impl FnOnce(&VmaRef) -> bool,
    ) -> Result<Option<PageRange>> {
        if killed() {
            return Err(EINTR);
        }
        let (block, _) = range.split_block();
        let may_be_huge = block.is_block() && memory.has_huge_pages();
        if may_be_huge && !self.pages.has_huge() && self.huge_pages.may_allocate() {
            self.pages.fill_huge();
        }
        // A huge page needs no small ones. The device may be wrong: then again, with small ones.
        let is_huge = self.pages.has_huge()
            && self.small != Some(block.start())
            && is_huge(active, memory, block);
        if !is_huge {
            self.pages.fill(block.pages())?;
        }

        let mut mmap = active.mmap_read()?;
        let vma = mmap.vma_at(range.start()).ok_or(EINVAL)?;
        let area_end = vma.end();
        let (piece, _) = block.split_at(area_end);

        if wanted(vma) {
            let (whole, owner) = (self.pages.has_huge(), memory.owner());
            match mmap.migrate(piece, memory.select(), whole, owner, &mut self.buffer) {
                Ok(collected) => {
                    let mut outcome = Outcome::default();
                    let result = bring_home(collected, &mut self.pages, &mut outcome);

                    memory.statistics().to_system.add(outcome);
                    progress.pages += outcome.moved;
                    result?;
                    if is_huge && outcome.moved < block.pages() {
                        self.small = Some(block.start());
                        return Ok(Some(range));
                    }
                }
                // Others changed it meanwhile: again.
                Err(error) if error == EAGAIN => return Ok(Some(range)),
                Err(error) => return Err(error),
            }
        }
        let Some(rest) = range.skip_pages(piece.pages()) else {
            return Ok(None);
        };
        // The next area may be one that is refused, be it empty.
        let next = match rest.first_pages(STRIDE_PAGES).clamp(0, area_end) {
            Some(area) => mmap.first_populated(area),
            None => area_end,
        };
        Ok(rest.clamp(next, rest.end()))
    }
}

/// Whether the device has one huge page at the start of `block`, as far as it knows.
fn is_huge(active: &mut Space<'_>, memory: &DeviceMemory, block: PageRange) -> bool {
    let table = active.lock();
    let first = table.run(block.first_pages(1)).next();

    match first.map(|page| page.target()) {
        Some(Target::Device(index)) => memory.is_huge(index),
        _ => false,
    }
}
