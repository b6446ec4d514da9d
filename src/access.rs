// SPDX-License-Identifier: GPL-2.0

//! The device reads and writes memory.
//!
//! Data go straight between the page and the caller's buffer, with page faults disabled: the
//! notifier lock is held meanwhile, and a fault on the buffer may need it. If the buffer is not
//! there, the lock is dropped, the buffer faulted in, and the page copied again.
//!
//! # Lock order
//!
//! The notifier lock, then that of a chunk, for its contents. Nothing is waited for with either held:
//! see [`notifier`](crate::hmm::notifier).

use crate::{
    chunk::Chunk,
    device::DeviceMemory,
    fault::Migrator,
    hmm::{
        answer::Validated,
        buffer::FewWords,
        frame::{
            DeviceIndex,
            Frame, //
        },
        mapping::{
            Access,
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        mm::killed,
        notifier::Locked,
        range::PageRange,
        table::{
            Target,
            Translation, //
        }, //
    },
    homecoming,
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
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    uaccess::UserPtr, //
};

/// Pages copied in one hold of the notifier lock; what a change of the address space may wait for.
const PAGES_PER_LOCK: usize = 64;

/// The way that the data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From memory to the caller's buffer.
    Read,
    /// From the caller's buffer to memory.
    Write,
}

impl Direction {
    const fn access(self) -> Access {
        match self {
            Self::Read => Access::Read,
            Self::Write => Access::Write,
        }
    }
}

/// Why copying stopped.
enum Stop {
    /// All is done.
    Done,
    /// The device does not find the page at this address, or may not write it.
    Missing(usize),
    /// The caller's buffer at this address is not there.
    Buffer(UserPtr),
}

/// Reads or writes the pages of `request`, faulting them as needed. With `migrates`, the pages move
/// to the device where they can, into huge pages if these may be had.
///
/// # Errors
///
/// Those of [`Active::fault`]; [`EFAULT`] also for a bad buffer; [`EBUSY`] if pages are taken away
/// faster than the device can use them.
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
pub(crate) fn copy(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    direction: Direction,
    migrates: Option<&HugePages>,
    request: &Request,
    progress: &mut Progress,
) -> Result {
    let access = direction.access();
    let pages = request.range.pages();
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(pages, &mut few)?;
    let mut few_words = FewWords::new();
    let mut migrator = migrates
        .map(|huge| Migrator::new(memory, huge, pages, &mut few_words))
        .transpose()?;
    // Where the run of missing pages ends that the device faulted last.
    let mut faulted_to = 0;
    let mut patience = Patience::new();

    for block in request.range.blocks() {
        let mut rest = Some(block);

        while let Some(range) = rest {
            if killed() {
                return Err(EINTR);
            }
            let piece = range.first_pages(PAGES_PER_LOCK);
            let allows =
                |page: &Translation<'_>| direction == Direction::Read || page.is_writable();
            let (done, stop) =
                copy_piece(&active.lock(), memory, direction, request, piece, allows);

            progress.pages += done;
            rest = range.skip_pages(done);
            if done > 0 {
                patience.renew();
            }
            match stop {
                Stop::Done => {}
                Stop::Buffer(pointer) => {
                    patience.again()?;
                    active.fault_in_buffer(pointer, direction == Direction::Read)?;
                }
                Stop::Missing(address) => {
                    if address > faulted_to || progress.faults == 0 {
                        progress.faults += 1;
                    }
                    patience.again()?;
                    // To fault what the device has for itself would take it away.
                    let missing = rest.and_then(|rest| active.lock().before_exclusive(rest));
                    let Some(missing) = missing else {
                        continue;
                    };
                    faulted_to = missing.end();
                    match &mut migrator {
                        Some(migrator) => migrator.fault_in(active, access, missing, &mut pfns)?,
                        None => fault_in(active, memory, access, missing, &mut pfns)?,
                    }
                }
            }
        }
    }
    Ok(())
}

/// Copies the pages of `piece`, a part of one block, for as long as the device finds them and
/// `wanted` wants them. Does not sleep.
fn copy_piece(
    table: &Locked<'_>,
    memory: &DeviceMemory,
    direction: Direction,
    request: &Request,
    piece: PageRange,
    wanted: impl Fn(&Translation<'_>) -> bool,
) -> (usize, Stop) {
    let mut found = table.run(piece);
    let mut done = 0;

    while done < piece.pages() {
        let address = piece.start() + done * PAGE_SIZE;
        let Some(pages) = found.next().filter(&wanted) else {
            return (done, Stop::Missing(address));
        };
        let buffer = request.buffer_at(address, PAGE_SIZE);
        let copied = copy_pages(&pages, memory, direction, buffer);

        done += copied;
        if copied < pages.pages() {
            let rest = buffer.wrapping_byte_add(copied * PAGE_SIZE);
            return (done, Stop::Buffer(rest));
        }
    }
    (done, Stop::Done)
}

/// Whether the device finds the first page of `range`, in one block, in its own memory: whether it is worth
/// a [`read_back`].
#[inline]
pub(crate) fn finds_own(active: &mut Space<'_>, range: PageRange) -> bool {
    let table = active.lock();
    let first = table.run(range.first_pages(1)).next();

    first.is_some_and(|page| page.is_on_device())
}

/// Copies the pages of `block` to the caller's buffer, up to the first that is not on the device.
/// Returns how many.
///
/// # Errors
///
/// [`EFAULT`] for a bad buffer; [`EBUSY`], [`EINTR`].
pub(crate) fn read_back(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    request: &Request,
    block: PageRange,
) -> Result<usize> {
    let mut copied = 0;
    let mut patience = Patience::new();

    while let Some(rest) = block.skip_pages(copied) {
        let (done, stop) = copy_piece(
            &active.lock(),
            memory,
            Direction::Read,
            request,
            rest.first_pages(PAGES_PER_LOCK),
            |page| page.is_on_device(),
        );

        copied += done;
        if done > 0 {
            patience.renew();
        }
        match stop {
            Stop::Done => {}
            Stop::Missing(_) => break,
            Stop::Buffer(pointer) => {
                patience.again()?;
                active.fault_in_buffer(pointer, true)?;
            }
        }
    }
    Ok(copied)
}

/// Copies pages that the device has found. Returns how many, up to the first for which the buffer is not
/// there now. Does not sleep.
// A loop over pages calls it.
#[inline(always)]
fn copy_pages(
    found: &Translation<'_>,
    memory: &DeviceMemory,
    direction: Direction,
    buffer: UserPtr,
) -> usize {
    match found.target() {
        Target::System(pages) => match direction {
            Direction::Read => pages.copy_to_user(buffer),
            Direction::Write => pages.copy_from_user(buffer),
        },
        Target::Device(first) => copy_own(first, found.pages(), memory, direction, buffer),
    }
}

/// The same, for `pages` pages of the device's private memory.
fn copy_own(
    first: DeviceIndex,
    pages: usize,
    memory: &DeviceMemory,
    direction: Direction,
    buffer: UserPtr,
) -> usize {
    let mut done = 0;

    while done < pages {
        let index = DeviceIndex::new(first.number() + done);
        let before = done;
        let lent = memory.lend(index, pages - done, |bytes| {
            let buffer = buffer.wrapping_byte_add(done * PAGE_SIZE);
            let copied = match direction {
                Direction::Read => bytes.copy_to_user(buffer),
                Direction::Write => bytes.copy_from_user(buffer),
            };
            done += copied;
            copied == bytes.pages()
        });
        if lent == 0 || done < before + lent {
            break;
        }
    }
    done
}

/// Makes the pages of `range` present for the device, and enters them into its table. Does nothing
/// if others change them meanwhile.
///
/// # Errors
///
/// Those of [`Active::fault`], but for [`EBUSY`].
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
pub(crate) fn fault_in(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    access: Access,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
) -> Result {
    let mut reserve = active.reserve()?;
    let Some(found) = find(active, memory, range, access, pfns)? else {
        return Ok(());
    };

    let mut unusable = false;
    // The first run of pages of our own private memory that may not be written, if they shall be:
    // its start and its end.
    let mut read_only: Option<(usize, usize)> = None;

    found.publish(&mut reserve, |run| match *run.first() {
        Mapping::Error => {
            unusable = true;
            false
        }
        Mapping::Page {
            frame: Frame::Device(_),
            writable: false,
            ..
        } if access == Access::Write => {
            let (_, end) = read_only.get_or_insert((run.start(), run.start()));
            if *end == run.start() {
                *end += run.pages() * PAGE_SIZE;
            }
            false
        }
        Mapping::Page { .. } | Mapping::Absent => true,
    });

    if unusable {
        return Err(EFAULT);
    }
    // mm takes a page of our own private memory for good even if it is read-only, as after fork():
    // only a page that the CPU can address is made writable by a fault.
    match read_only.and_then(|(start, end)| range.clamp(start, end)) {
        Some(range) => homecoming::fetch(active, memory, range),
        None => Ok(()),
    }
}

/// Asks mm where the pages of `range` are, and has it make them present unless this is a mere look.
/// `None` if others change them meanwhile.
///
/// # Errors
///
/// Those of [`Active::fault`], but for [`EBUSY`].
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
// Not to copy the answer from one to the next: a look at one page would pay for it.
#[inline(always)]
pub(crate) fn find<'a>(
    active: &'a mut Space<'_>,
    memory: &DeviceMemory,
    range: PageRange,
    access: Access,
    pfns: &'a mut PfnBuffer<'_>,
) -> Result<Option<Validated<'a, Chunk>>> {
    let found = match access {
        Access::Look => active.look(range, pfns),
        Access::Read | Access::Write => {
            memory.statistics().range_faults.add(1);
            active.fault(range, access, pfns)
        }
    };
    let found = match found {
        Err(error) if error == EBUSY => None,
        faulted => faulted?.validate().ok(),
    };
    if found.is_none() {
        memory.statistics().retries.add(1);
    }
    Ok(found)
}

/// Calls `then` with where the pages of `range` are, without faulting them. The notifier lock is
/// held meanwhile.
///
/// # Errors
///
/// [`EINTR`] if killed, [`EBUSY`] if they change for too long.
// As `find()`.
#[inline(always)]
pub(crate) fn look<R>(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    then: impl FnOnce(Validated<'_, Chunk>) -> R,
) -> Result<R> {
    let mut patience = Patience::new();

    loop {
        if let Some(found) = find(active, memory, range, Access::Look, pfns)? {
            return Ok(then(found));
        }
        patience.again()?;
    }
}
