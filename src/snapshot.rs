// SPDX-License-Identifier: GPL-2.0

//! The device tells where pages are.
//!
//! # Lock order
//!
//! The notifier lock is held while the answers for a block are turned into bytes, and released before
//! these are copied to the caller.

use crate::{
    access::look,
    device::DeviceMemory,
    hmm::{
        frame::Frame,
        mapping::{
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        mm::killed,
        range::{
            PageRange,
            BLOCK_PAGES, //
        }, //
    },
    ioctl::{
        Progress,
        Request, //
    },
    mirror::Space,
    uapi::snapshot as bits, //
};
use kernel::{
    prelude::*,
    uaccess::UserSlice, //
};

/// Tells where each page of `request` is, one byte a page, without changing anything.
///
/// # Errors
///
/// Those of [`Active::fault`] for a look; [`EFAULT`] for a bad buffer.
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
pub(crate) fn snapshot(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    if !request.range.is_in_one_block() {
        return snapshot_blocks(active, memory, request, progress);
    }
    match request.range.pages() {
        ..=16 => snapshot_few::<16>(active, memory, request, progress),
        17..=64 => snapshot_few::<64>(active, memory, request, progress),
        _ => snapshot_blocks(active, memory, request, progress),
    }
}

/// The snapshot of a request for up to `ROOM` pages, all in one block, with room for the answers on the
/// stack.
// Not inlined, for that room.
#[inline(never)]
fn snapshot_few<const ROOM: usize>(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let mut few = FewPfns::<ROOM>::for_pages();
    let mut pfns = PfnBuffer::new(request.range.pages(), &mut few)?;
    // To clear a byte for each page of a block would take longer than to look at a few.
    let bytes = &mut [0; ROOM];

    snapshot_block(active, memory, request, request.range, &mut pfns, bytes)?;
    progress.pages = request.range.pages();
    Ok(())
}

/// The snapshot of a request, block by block.
#[inline(never)]
fn snapshot_blocks(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let mut few = FewPfns::<0>::for_pages();
    let mut pfns = PfnBuffer::new(request.range.pages(), &mut few)?;
    let bytes = &mut [0; BLOCK_PAGES];

    for block in request.range.blocks() {
        if killed() {
            return Err(EINTR);
        }
        snapshot_block(active, memory, request, block, &mut pfns, bytes)?;
        progress.pages += block.pages();
    }
    Ok(())
}

/// The snapshot of `block`, a part of the request, for which there is room in `bytes`.
// The few and the many share it.
#[inline(never)]
fn snapshot_block(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    block: PageRange,
    pfns: &mut PfnBuffer<'_>,
    bytes: &mut [u8],
) -> Result {
    look(active, memory, block, pfns, |found| {
        let mut slots = bytes.iter_mut();
        for run in found.runs() {
            let byte = snapshot_byte(run.first());
            if let Some(slot) = slots.next() {
                *slot = byte;
            }
            for slot in slots.by_ref().take(run.pages() - 1) {
                *slot = byte;
            }
        }
    })?;

    let bytes = bytes.get(..block.pages()).ok_or(EINVAL)?;
    UserSlice::new(request.buffer_at(block.start(), 1), bytes.len())
        .writer()
        .write_slice(bytes)
}

/// The byte of a snapshot for one page.
fn snapshot_byte(page: &Mapping) -> u8 {
    const PMD_ORDER: usize = 9;
    const PUD_ORDER: usize = 18;

    let Mapping::Page {
        frame,
        writable,
        order,
        zero,
    } = *page
    else {
        return match page {
            Mapping::Error => bits::ERROR,
            _ => bits::NONE,
        };
    };
    let place = match frame {
        Frame::Device(_) => bits::DEVICE_LOCAL,
        Frame::Coherent(_) => bits::COHERENT_LOCAL,
        Frame::Remote(_) => bits::COHERENT_REMOTE,
        Frame::System(_) if zero => bits::ZERO,
        Frame::System(_) => 0,
    };
    let size = match order {
        0 => 0,
        PUD_ORDER.. => bits::PUD,
        PMD_ORDER.. => bits::PMD,
        _ => 0,
    };
    place | size | if writable { bits::WRITE } else { bits::READ }
}

#[kunit_tests(dmirror_snapshot)]
mod tests {
    use super::*;
    use crate::hmm::frame::DeviceIndex;

    fn device_page(writable: bool, order: usize) -> Mapping {
        Mapping::Page {
            frame: Frame::Device(DeviceIndex::new(7)),
            writable,
            order,
            zero: false,
        }
    }

    #[test]
    fn snapshot_bytes_are_those_of_the_c_driver() {
        assert_eq!(snapshot_byte(&Mapping::Error), 0xff);
        assert_eq!(snapshot_byte(&Mapping::Absent), 0x00);
        assert_eq!(snapshot_byte(&device_page(true, 0)), 0x22);
        assert_eq!(snapshot_byte(&device_page(false, 0)), 0x21);
        assert_eq!(snapshot_byte(&device_page(true, 9)), 0x26);
    }
}
