// SPDX-License-Identifier: GPL-2.0

//! Pages move to the device.

use crate::{
    access::{
        look,
        read_back, //
    },
    chunk::Chunk,
    device::DeviceMemory,
    hmm::{
        answer::Validated,
        buffer::{
            FewWords,
            MigrateBuffer, //
        },
        contents::{
            BlockContents,
            Contents, //
        },
        leaf::Reserve,
        mapping::{
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        migrate::Source,
        mm::killed,
        page::LockedPage,
        range::{
            PageRange,
            BLOCK_PAGES, //
        }, //
    },
    ioctl::{
        Progress,
        Request, //
    },
    memory::Spare,
    mirror::{
        HugePages,
        Space, //
    },
    patience::Patience,
};
use kernel::prelude::*;

/// Moves the pages of `request` to the device, and copies their contents to the caller's buffer.
///
/// Pages that cannot move stay as they are. `progress.pages` tells how many pages from the start of
/// the range are on the device and have been copied.
///
/// # Errors
///
/// * [`ENOENT`][]: not all pages are on the device now.
/// * [`EINVAL`][]: a gap between VMAs, or a VMA that cannot be read or whose pages never move.
/// * [`EFAULT`][]: bad buffer.
/// * [`EBUSY`], [`EINTR`], [`ENOMEM`]: as for [`Active::fault`].
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
pub(crate) fn to_device(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    huge: &HugePages,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(request.range.pages(), &mut few)?;
    let mut few_words = FewWords::new();
    let mut buffer = MigrateBuffer::with(request.range.pages(), &mut few_words)?;
    let mut arrivals = Arrivals::new(memory, huge);
    let mut reserve = Reserve::empty();
    let mut missing = false;

    for block in request.range.blocks() {
        if killed() {
            return Err(EINTR);
        }
        // What the device knows to be there need not move.
        let known = match missing {
            true => 0,
            false => read_back(active, memory, request, block)?,
        };
        progress.pages += known;
        let Some(rest) = block.skip_pages(known) else {
            continue;
        };

        arrivals.make_room(rest)?;
        arrivals.fill(rest)?;
        let (arrivals, pfns, reserve) = (&mut arrivals, &mut pfns, &mut reserve);
        move_piece(active, memory, rest, arrivals, pfns, &mut buffer, reserve)?;

        if !missing {
            let copied = read_moved(active, memory, request, rest, pfns, reserve)?;
            progress.pages += copied;
            missing = copied < rest.pages();
        }
    }
    if missing {
        Err(ENOENT)
    } else {
        Ok(())
    }
}

/// What pages need that move to the device, allocated before any page is locked. Pages that move to
/// coherent memory need nothing.
pub(crate) struct Arrivals<'m> {
    memory: &'m DeviceMemory,
    huge_pages: &'m HugePages,
    /// Kernel pages for the contents of private pages.
    contents: KVec<Contents>,
    /// One more, for which the others need no memory: most faults are about just one page.
    one: Option<Contents>,
    /// Those for a huge page, in one piece.
    block: Option<BlockContents>,
    /// For a huge page.
    spare: Option<Spare<'m>>,
}

impl<'m> Arrivals<'m> {
    /// Nothing as yet.
    pub(crate) fn new(memory: &'m DeviceMemory, huge_pages: &'m HugePages) -> Self {
        Self {
            memory,
            huge_pages,
            contents: KVec::new(),
            one: None,
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
    pub(crate) fn make_room(&mut self, range: PageRange) -> Result {
        if range.is_block() && self.spare.is_none() && self.huge_pages.may_allocate() {
            self.spare = self.memory.set_aside();
        }
        match self.spare {
            // Small pages may have it too.
            Some(_) => Ok(()),
            None => self.memory.make_room(range.pages()),
        }
    }

    /// Allocates until there is a kernel page for each page of `range` that needs one: for a huge page,
    /// if there is room for it, in one piece if such is at hand. May sleep and reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, range: PageRange) -> Result {
        if matches!(self.memory, DeviceMemory::Coherent(..)) {
            return Ok(());
        }
        if self.spare.is_some() && self.block.is_none() {
            self.block = BlockContents::new();
        }
        match self.block {
            // It may have to be cut, when nothing can be allocated.
            Some(_) => Ok(self.contents.reserve(BLOCK_PAGES, GFP_KERNEL_ACCOUNT)?),
            None if range.pages() > 1 => Contents::fill(&mut self.contents, range.pages()),
            None if self.contents.is_empty() && self.one.is_none() => {
                self.one = Some(Contents::new()?);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The next page for the contents of a small page.
    fn take(&mut self) -> Option<Contents> {
        if let Some(page) = self.one.take() {
            return Some(page);
        }
        if self.contents.is_empty() {
            for page in self.block.take()?.cut() {
                // Without room for it, it would be freed.
                let _ = self.contents.push_within_capacity(page);
            }
        }
        self.contents.pop()
    }

    /// Whether there is room for a huge page.
    pub(crate) fn has_huge(&self) -> bool {
        self.spare.is_some()
    }

    /// What is offered to a batch of `pages` pages of 4 KiB: for each page of system memory, and each
    /// hole, a page of the device with the same contents, while it has any.
    pub(crate) fn targets(
        &mut self,
        pages: usize,
    ) -> impl FnMut(usize, Source<'_, Chunk>) -> Option<LockedPage> + use<'_, 'm> {
        let mut full = false;
        let mut supply = match self.memory {
            DeviceMemory::Private(memory) => Some(memory.supply(pages)),
            DeviceMemory::Coherent(..) => None,
        };

        move |size, source| match self.memory {
            DeviceMemory::Private(_) if size > 1 => self.huge_target(&source),
            DeviceMemory::Private(_) => {
                // A block that has small pages is not a huge one.
                self.spare = None;
                if full {
                    return None;
                }
                let mut page = self.take()?;
                match source {
                    Source::Hole => page.clear(),
                    Source::System(source) => page.copy_from(&source, 0),
                    Source::Device(..) | Source::Coherent(_) => return None,
                }
                let target = supply.as_mut()?.store(page);
                full = target.is_none();
                target
            }
            DeviceMemory::Coherent(memory, _) => match source {
                Source::Hole => memory.zeroed(),
                Source::System(source) => memory.copy_of(&source),
                Source::Device(..) | Source::Coherent(_) => None,
            },
        }
    }

    /// A huge page of the device with the contents of `source`.
    fn huge_target(&mut self, source: &Source<'_, Chunk>) -> Option<LockedPage> {
        let spare = self.spare.take()?;

        if let Some(mut block) = self.block.take() {
            match source {
                Source::Hole => block.clear(),
                Source::System(source) => block.copy_from(source),
                Source::Device(..) | Source::Coherent(_) => return None,
            }
            return spare.store_whole(block);
        }
        let first = self.contents.len().checked_sub(BLOCK_PAGES)?;

        for (part, page) in self.contents.iter_mut().skip(first).enumerate() {
            match source {
                Source::Hole => page.clear(),
                Source::System(source) => page.copy_from(source, part),
                Source::Device(..) | Source::Coherent(_) => return None,
            }
        }
        spare.store(&mut self.contents)
    }
}

/// Moves what can be moved of `piece`, which lies in one block, and enters it into the page table of
/// the device; `arrivals` has been filled for it.
fn move_piece(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    piece: PageRange,
    arrivals: &mut Arrivals<'_>,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer<'_>,
    reserve: &mut Reserve,
) -> Result {
    let mut patience = Patience::new();
    let mut rest = Some(piece);

    while let Some(range) = rest {
        active.fill(reserve)?;
        let mut batch = match active.collect(range, arrivals.has_huge(), pfns, buffer) {
            // Somebody else changes the very same pages.
            Err(error) if error == EAGAIN => {
                patience.again()?;
                continue;
            }
            batch => batch?,
        };
        rest = batch.rest();
        memory.statistics().pause.wait();
        batch.offer(arrivals.targets(batch.walked().pages()));
        let (outcome, _) = batch.finish(|found| enter(found, reserve));

        memory.statistics().to_device.add(outcome);
    }
    Ok(())
}

/// Copies the pages of `piece` to the caller's buffer, up to the first that is not on the device.
/// Returns how many.
///
/// # Errors
///
/// Those of [`read_back`].
fn read_moved(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    piece: PageRange,
    pfns: &mut PfnBuffer<'_>,
    reserve: &mut Reserve,
) -> Result<usize> {
    let copied = read_back(active, memory, request, piece)?;
    let Some(rest) = piece.skip_pages(copied) else {
        return Ok(copied);
    };
    // What the device has not just learned of may be there all the same.
    active.fill(reserve)?;
    look(active, memory, rest, pfns, |found| enter(found, reserve))?;
    Ok(copied + read_back(active, memory, request, rest)?)
}

/// Enters those pages into the page table of the device that are in its memory.
fn enter(found: Validated<'_, Chunk>, reserve: &mut Reserve) {
    found.publish(reserve, |run| is_on_device(run.first()));
}

fn is_on_device(page: &Mapping) -> bool {
    matches!(page, Mapping::Page { frame, .. } if frame.is_on_device())
}
