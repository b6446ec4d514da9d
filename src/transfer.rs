// SPDX-License-Identifier: GPL-2.0

//! Pages move to the device.

use crate::{
    access::{
        finds_own,
        look,
        read_back, //
    },
    arrivals::Arrivals,
    chunk::Chunk,
    device::DeviceMemory,
    hmm::{
        answer::Validated,
        buffer::{
            FewWords,
            MigrateBuffer, //
        },
        leaf::Reserve,
        mapping::{
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        mm::killed,
        range::PageRange, //
    },
    ioctl::{
        Progress,
        Request, //
    },
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
        let known = if missing || !finds_own(active, block) {
            0
        } else {
            read_back(active, memory, request, block)?
        };
        progress.pages += known;
        let Some(rest) = block.skip_pages(known) else {
            continue;
        };

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

/// Moves what can be moved of `piece`, which lies in one block, and enters it into the page table of
/// the device.
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

    arrivals.make_room(piece)?;
    arrivals.fill(piece)?;
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
        rest = range.skip_pages(batch.walked().pages());
        memory.statistics().pause.wait();
        arrivals.offer(&mut batch);
        let (outcome, _) = batch.finish(|found| enter(found, reserve));

        memory.statistics().to_device.add(outcome);
        // Another VMA: this one may have used all.
        if let Some(range) = rest {
            arrivals.make_room(range)?;
            arrivals.fill(range)?;
        }
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
