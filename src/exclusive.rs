// SPDX-License-Identifier: GPL-2.0

//! The device takes pages for itself, and tells whether it has any.
//!
//! # Lock order
//!
//! As in [`hmm::exclusive`](crate::hmm::exclusive). What is allocated is allocated before a section
//! begins.

use crate::{
    access::{
        copy,
        find,
        Direction, //
    },
    device::DeviceMemory,
    hmm::{
        answer::Retry,
        mapping::{
            Access,
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        mm::killed,
        range::PageRange, //
    },
    homecoming,
    ioctl::{
        Progress,
        Request, //
    },
    mirror::Space,
    patience::Patience,
};
use kernel::prelude::*;

/// How often mm may refuse a page of which a fault has just said that it can be had. Once or twice
/// it may have been taken away between the two.
const REFUSALS: usize = 3;

/// Makes the pages of `request` exclusive for the device, and copies their contents to the caller's
/// buffer.
///
/// `progress.pages` tells how many pages from the start of the range have been exclusive and have
/// been copied. What has been taken away again in between is read as by a READ.
///
/// # Errors
///
/// * [`EOPNOTSUPP`][]: memory that is not anonymous, or of hugetlb.
/// * [`EFAULT`], [`EPERM`], [`EBUSY`], [`EINTR`], [`ENOMEM`]: as for [`copy`], of a WRITE and a
///   READ.
pub(crate) fn take(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(request.range.pages(), &mut few)?;

    for block in request.range.blocks() {
        take_block(active, memory, block, &mut pfns)?;

        let part = request.part(block);
        copy(active, memory, Direction::Read, None, &part, progress)?;
    }
    Ok(())
}

/// Whether the device has no page of `range` for itself.
///
/// # Errors
///
/// [`EPERM`] if it has, [`EINTR`] if killed.
pub(crate) fn check(active: &mut Space<'_>, range: PageRange) -> Result {
    let mut rest = Some(range);

    // The lock is dropped between blocks: there may be as many as fit into memory.
    while let Some(range) = rest {
        if killed() {
            return Err(EINTR);
        }
        let table = active.lock();
        let Some(block) = table.first_block(range) else {
            break;
        };
        if table.before_exclusive(block) != Some(block) {
            return Err(EPERM);
        }
        rest = range.split_at(block.end()).1;
    }
    Ok(())
}

/// Makes the pages of `block` exclusive that are not yet.
fn take_block(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    block: PageRange,
    pfns: &mut PfnBuffer<'_>,
) -> Result {
    let mut patience = Patience::new();
    let mut refusals = 0;
    let mut rest = Some(block);

    while let Some(range) = rest {
        // What is exclusive stays so: to fault it would take it away.
        let Some(missing) = active.lock().before_exclusive(range) else {
            rest = range.skip_pages(1);
            continue;
        };
        make_writable(active, memory, missing, pfns)?;
        let mut taken = 0;
        let result = take_some(active, missing, &mut taken);

        rest = range.skip_pages(taken);
        if taken > 0 {
            patience.renew();
            refusals = 0;
        }
        match result {
            Err(error) if error == EBUSY => memory.statistics().retries.add(1),
            Err(error) if error == EFAULT && refusals < REFUSALS => refusals += 1,
            result => result?,
        }
        if taken < missing.pages() {
            patience.again()?;
        }
    }
    Ok(())
}

/// Makes the pages of `range` present and writable, not in the memory of the device, if nobody
/// changes them meanwhile. One of coherent memory that is in use by I/O stays there.
///
/// # Errors
///
/// Those of [`Active::fault`], but for [`EBUSY`].
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
fn make_writable(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
) -> Result {
    let Some(found) = find(active, memory, range, Access::Write, pfns)? else {
        return Ok(());
    };
    let mut on_device = false;
    for run in found.runs() {
        match run.first() {
            Mapping::Error => return Err(EFAULT),
            Mapping::Page { frame, .. } => on_device |= frame.is_on_device(),
            Mapping::Absent => {}
        }
    }
    drop(found);

    if !on_device {
        return Ok(());
    }
    homecoming::fetch(active, memory, range)
}

/// Makes pages exclusive from the start of `range` on, for as long as nothing changes, and counts
/// them in `taken`.
///
/// # Errors
///
/// Those of [`ExclusiveSection::make`]; [`EFAULT`] also for a page that has just been taken away.
///
/// [`ExclusiveSection::make`]: crate::hmm::exclusive::ExclusiveSection::make
fn take_some(active: &mut Space<'_>, range: PageRange, taken: &mut usize) -> Result {
    let mut reserve = active.reserve()?;
    let mut section = active.exclusive()?;

    let mut result = Ok(());

    for address in range.addresses() {
        let page = section.make(address);
        match page.map(|page| page.enter(&mut reserve)) {
            Ok(Ok(())) => *taken += 1,
            // Something has changed.
            Ok(Err(Retry)) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    drop(section);
    active.keep(reserve);
    result
}
