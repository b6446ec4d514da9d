// SPDX-License-Identifier: GPL-2.0

//! Pages move to the device and back.

use crate::{
    access::{
        copy_page,
        look,
        Direction, //
    },
    device::DeviceMemory,
    hmm::{
        home::{
            bring_home,
            HomePages, //
        },
        leaf::Reserve,
        mapping::{
            Mapping,
            PfnBuffer, //
        },
        migrate::{
            MigrateBuffer,
            Select,
            Source, //
        },
        mm::{
            has_anonymous_pages,
            killed, //
        },
        page::{
            Contents,
            LockedPage, //
        },
        range::{
            PageRange,
            BLOCK_PAGES, //
        }, //
    },
    ioctl::{
        Progress,
        Request, //
    },
    memory::Chunk,
    mirror::Space,
    patience::Patience,
};
use kernel::{
    mm::virt::{
        flags,
        VmaRef, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

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
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let mut pfns = PfnBuffer::new()?;
    let mut buffer = MigrateBuffer::new()?;
    let mut arrivals = Arrivals::new();
    let mut missing = false;

    for block in request.range.blocks() {
        if killed() {
            return Err(EINTR);
        }
        memory.make_room(block.pages())?;
        arrivals.fill(memory, block.pages())?;
        block_to_device(active, memory, block, &mut arrivals, &mut buffer)?;

        // Learn where the pages are now, like everyone else: they may have changed again.
        let mut reserve = Reserve::new()?;
        look(active, block, &mut pfns, |found| {
            found.publish(&mut reserve, |_, page| is_on_device(page))
        })?;

        if !missing {
            let copied = read_back(active, memory, request, block)?;
            progress.pages += copied;
            missing = copied < block.pages();
        }
    }
    if missing {
        Err(ENOENT)
    } else {
        Ok(())
    }
}

/// Kernel pages for the contents of pages that move to private memory of the device, allocated
/// before any page is locked. Pages that move to coherent memory need none.
pub(crate) struct Arrivals(KVec<Contents>);

impl Arrivals {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    /// Allocates until there are pages for `count` pages that move to `memory`. May sleep and
    /// reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, memory: &DeviceMemory, count: usize) -> Result {
        let count = match memory {
            DeviceMemory::Private(_) => count,
            DeviceMemory::Coherent(_) => 0,
        };
        while self.0.len() < count {
            self.0.push(Contents::new()?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// What is offered to a batch: for each page of system memory, and each hole, a page of the
    /// device with the same contents, while it has any.
    pub(crate) fn targets<'m>(
        &'m mut self,
        memory: &'m DeviceMemory,
    ) -> impl FnMut(usize, Source<'_, Chunk>) -> Option<LockedPage> + 'm {
        let mut full = false;

        move |_, source| match memory {
            DeviceMemory::Private(memory) => {
                if full {
                    return None;
                }
                let mut page = self.0.pop()?;
                match source {
                    Source::Hole => page.clear(),
                    Source::System(source) => page.copy_from(&source),
                    Source::Device(..) | Source::Coherent(_) => return None,
                }
                let target = memory.store(page);
                full = target.is_none();
                target
            }
            DeviceMemory::Coherent(memory) => match source {
                Source::Hole => memory.zeroed(),
                Source::System(source) => memory.copy_of(&source),
                Source::Device(..) | Source::Coherent(_) => None,
            },
        }
    }
}

/// Moves what can be moved of one block; `arrivals` has a page for each page of it.
fn block_to_device(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    block: PageRange,
    arrivals: &mut Arrivals,
    buffer: &mut MigrateBuffer,
) -> Result {
    let mut mmap = active.mmap_read()?;
    let mut rest = Some(block);

    while let Some(range) = rest {
        let vma = mmap.vma_at(range.start()).ok_or(EINVAL)?;
        if vma.flags() & flags::READ == 0 {
            return Err(EINVAL);
        }
        let (piece, after) = range.split_at(vma.end());
        rest = after;

        let mut collected = match mmap.migrate(piece, Select::System, memory.owner(), buffer) {
            // Somebody else changes the very same pages: they stay where they are.
            Err(error) if error == EAGAIN => continue,
            collected => collected?,
        };
        collected.offer(arrivals.targets(memory));
        let _ = collected.commit();
    }
    Ok(())
}

fn is_on_device(page: &Mapping) -> bool {
    matches!(page, Mapping::Page { frame, .. } if frame.is_on_device())
}

/// Copies the pages of `block` to the caller's buffer, up to the first that is not on the device.
/// Returns how many.
fn read_back(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    block: PageRange,
) -> Result<usize> {
    for (done, address) in block.addresses().enumerate() {
        let buffer = request.buffer_at(address, PAGE_SIZE);
        let mut patience = Patience::new();
        loop {
            let table = active.lock();
            let Some(page) = table.get(address).filter(|page| page.is_on_device()) else {
                return Ok(done);
            };
            if copy_page(&page, memory, Direction::Read, buffer).is_ok() {
                break;
            }
            drop(table);
            patience.again()?;
            active.fault_in_buffer(buffer, true)?;
        }
    }
    Ok(block.pages())
}

/// Moves those pages of `range` back to system memory that are on the device.
///
/// # Errors
///
/// * [`EINVAL`][]: a gap between VMAs, or a VMA whose pages are never on a device.
/// * [`EIO`], [`EINTR`], [`ENOMEM`].
pub(crate) fn to_system(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    range: PageRange,
    progress: &mut Progress,
) -> Result {
    let mut home = Home::new()?;
    let mut rest = Some(range);

    while let Some(range) = rest {
        rest = home.step(active, memory, range, progress, |_| true)?;
    }
    Ok(())
}

/// Moves all pages of the process back to system memory that are on the device.
///
/// # Errors
///
/// [`EIO`], [`EINTR`], [`ENOMEM`].
pub(crate) fn release(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    progress: &mut Progress,
) -> Result {
    let mut home = Home::new()?;
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
struct Home {
    pages: HomePages,
    buffer: MigrateBuffer,
}

impl Home {
    fn new() -> Result<Self> {
        Ok(Self {
            pages: HomePages::new(),
            buffer: MigrateBuffer::new()?,
        })
    }

    /// Moves the first piece of `range` that lies in one block and one VMA, if `wanted` wants that
    /// VMA, and returns what is left.
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
        self.pages.fill(range.pages().min(BLOCK_PAGES))?;

        let mut mmap = active.mmap_read()?;
        let vma = mmap.vma_at(range.start()).ok_or(EINVAL)?;
        let (block, _) = range.split_block();
        let (piece, _) = block.split_at(vma.end());

        if wanted(vma) {
            match mmap.migrate(piece, memory.select(), memory.owner(), &mut self.buffer) {
                Ok(collected) => bring_home(collected, &mut self.pages, &mut progress.pages)?,
                // Others changed it meanwhile: again.
                Err(error) if error == EAGAIN => return Ok(Some(range)),
                Err(error) => return Err(error),
            }
        }
        Ok(range.skip_pages(piece.pages()))
    }
}
