// SPDX-License-Identifier: GPL-2.0

//! Faults of the device that bring the pages into its memory.
//!
//! One walk of the page tables makes the pages of a block present and collects them. What can move
//! moves; the rest is mapped in place. Then each page is in the device's page table and allows what
//! the device faulted for, as it is after a fault of a CPU, or the request goes on.
//!
//! # Lock order
//!
//! Nothing is locked here for longer than a call. What is allocated is allocated before the walk
//! takes the mmap lock, and while pages are collected nothing is waited for, but for what tests ask
//! for (`pause.rs`).

use crate::{
    access::{
        fault_in,
        look, //
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
            Access,
            FewPfns,
            Mapping,
            PfnBuffer, //
        },
        mm::killed,
        range::PageRange, //
    },
    ioctl::Progress,
    mirror::{
        HugePages,
        Space, //
    },
    patience::Patience,
};
use kernel::prelude::*;

/// Serves a fault of the device on all pages of `range`, and moves those to it that can move.
///
/// `progress.pages` tells how many pages of the range are on the device, with those that were there
/// already; `progress.faults`, how many faults of the CPU the walks took.
///
/// # Errors
///
/// All pages before the one that is refused have been served.
///
/// * [`EFAULT`][]: a gap between VMAs, a VMA that cannot be read, or a page that cannot be had.
/// * [`EPERM`][]: to be written, where the VMA forbids it.
/// * [`EINVAL`][]: a VMA whose pages never move.
/// * [`EBUSY`], [`EINTR`], [`ENOMEM`]: as for [`Active::fault`].
///
/// [`Active::fault`]: crate::hmm::notifier::Active::fault
pub(crate) fn to_device(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    huge: &HugePages,
    access: Access,
    range: PageRange,
    progress: &mut Progress,
) -> Result {
    let mut few_words = FewWords::new();
    let mut migrator = Migrator::new(memory, huge, range.pages(), &mut few_words)?;
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(range.pages(), &mut few)?;

    for block in range.blocks() {
        let mut rest = Some(block);

        while let Some(range) = rest {
            let faults = &mut progress.faults;
            let served = migrator.serve(active, access, range, &mut pfns, faults)?;

            progress.pages += served.on_device;
            rest = served.rest;
        }
    }
    Ok(())
}

/// What such faults need, kept from one to the next.
pub(crate) struct Migrator<'m> {
    memory: &'m DeviceMemory,
    buffer: MigrateBuffer<'m>,
    arrivals: Arrivals<'m>,
    reserve: Reserve,
    /// The address to which [`fault_in`](Self::fault_in) has got.
    moved_to: usize,
}

/// What one walk has done.
struct Walked {
    /// The pages that it has handled.
    pages: PageRange,
    /// What is left of the range.
    rest: Option<PageRange>,
    /// What the device has learned of them; nothing if others have changed them meanwhile.
    entered: Option<Entered>,
}

/// What a fault has done.
struct Served {
    /// How many of the pages are on the device.
    on_device: usize,
    /// What is left of the range.
    rest: Option<PageRange>,
}

impl<'m> Migrator<'m> {
    /// For ranges of up to `pages` pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(
        memory: &'m DeviceMemory,
        huge: &'m HugePages,
        pages: usize,
        few: &'m mut FewWords,
    ) -> Result<Self> {
        Ok(Self {
            memory,
            buffer: MigrateBuffer::with(pages, few)?,
            arrivals: Arrivals::new(memory, huge),
            reserve: Reserve::empty(),
            moved_to: 0,
        })
    }

    /// Serves a fault on `range`, at least on its first page: as [`access::fault_in`] does, and
    /// moves what can move. To be called for one range after another, upwards.
    ///
    /// Where pages never move, it is the same; and also where this has moved them once. Who brings
    /// them home may need them there: a READ of pages into themselves, for one.
    ///
    /// # Errors
    ///
    /// Those of [`Active::fault`].
    ///
    /// [`access::fault_in`]: fault_in
    /// [`Active::fault`]: crate::hmm::notifier::Active::fault
    pub(crate) fn fault_in(
        &mut self,
        active: &mut Space<'_>,
        access: Access,
        range: PageRange,
        pfns: &mut PfnBuffer<'_>,
    ) -> Result {
        if let Some(again) = range.clamp(range.start(), self.moved_to) {
            return fault_in(active, self.memory, access, again, pfns);
        }
        match self.serve(active, access, range, pfns, &mut 0) {
            Ok(Served { rest, .. }) => {
                self.moved_to = rest.map_or(range.end(), PageRange::start);
                Ok(())
            }
            Err(error) if error == EINVAL => fault_in(active, self.memory, access, range, pfns),
            Err(error) => Err(error),
        }
    }

    /// Serves a fault on the first part of `range`, up to where one walk gets, and adds the faults
    /// that it took to `faults`.
    fn serve(
        &mut self,
        active: &mut Space<'_>,
        access: Access,
        range: PageRange,
        pfns: &mut PfnBuffer<'_>,
        faults: &mut usize,
    ) -> Result<Served> {
        let mut patience = Patience::new();

        loop {
            if killed() {
                return Err(EINTR);
            }
            let statistics = self.memory.statistics();
            statistics.range_faults.add(1);

            match self.walk(active, access, range, pfns, faults) {
                Ok(Some(walked)) => {
                    let Walked { pages, entered, .. } = walked;
                    statistics.retries.add(usize::from(entered.is_none()));
                    return Ok(Served {
                        on_device: settle(active, self.memory, access, pages, pfns, entered)?,
                        rest: walked.rest,
                    });
                }
                // The fault handler that waited has made progress.
                Ok(None) => patience.renew(),
                Err(error) if error == EBUSY => {
                    statistics.retries.add(1);
                    patience.again()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One walk, and the migration of what it collects. `None` if it had to wait.
    fn walk(
        &mut self,
        active: &mut Space<'_>,
        access: Access,
        range: PageRange,
        pfns: &mut PfnBuffer<'_>,
        faults: &mut usize,
    ) -> Result<Option<Walked>> {
        // What the device has no room for stays in system memory.
        let _ = self.arrivals.make_room(range);
        self.arrivals.fill(range)?;

        active.fill(&mut self.reserve)?;

        let whole = self.arrivals.has_huge();
        let walk = active.walk(range, access, whole, pfns, &mut self.buffer)?;
        let Some(mut batch) = walk.collect(faults)? else {
            return Ok(None);
        };
        self.memory.statistics().pause.wait();
        let pages = batch.walked();
        self.arrivals.offer(&mut batch);
        let (outcome, entered) = batch.finish(|found| enter(found, access, &mut self.reserve));

        self.memory.statistics().to_device.add(outcome);
        Ok(Some(Walked {
            pages,
            rest: range.skip_pages(pages.pages()),
            entered,
        }))
    }
}

/// What the device has learned of some pages.
struct Entered {
    /// How many are on the device.
    on_device: usize,
    /// The address of the first that does not allow the access.
    missing: Option<usize>,
}

/// Enters the pages into the page table of the device that allow `access`.
fn enter(found: Validated<'_, Chunk>, access: Access, reserve: &mut Reserve) -> Entered {
    let mut entered = Entered {
        on_device: 0,
        missing: None,
    };
    found.publish(reserve, |run| {
        let (allowed, on_device) = match *run.first() {
            Mapping::Page {
                frame, writable, ..
            } => (writable || access != Access::Write, frame.is_on_device()),
            Mapping::Absent | Mapping::Error => (false, false),
        };
        if on_device {
            entered.on_device += run.pages();
        }
        if !allowed {
            entered.missing.get_or_insert(run.start());
        }
        allowed
    });
    entered
}

/// Sees to it that the device has been given each page of `range` for `access`. If it has not
/// `entered` them all, looks where the pages are now, and faults those in that are not there, as a
/// device does that cannot move them. Returns how many are on the device.
///
/// What was not entered may well be there: a page that was mapped anew, because it could not move
/// after all. So this looks before it faults.
///
/// # Errors
///
/// Those of [`fault_in`]; [`EBUSY`] if the pages are taken away again and again.
fn settle(
    active: &mut Space<'_>,
    memory: &DeviceMemory,
    access: Access,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    entered: Option<Entered>,
) -> Result<usize> {
    if let Some(Entered {
        on_device,
        missing: None,
    }) = entered
    {
        return Ok(on_device);
    }
    let mut patience = Patience::new();
    let mut reserve = Reserve::empty();

    loop {
        active.fill(&mut reserve)?;
        let Entered { on_device, missing } = look(active, memory, range, pfns, |found| {
            enter(found, access, &mut reserve)
        })?;
        let Some(missing) = missing else {
            return Ok(on_device);
        };
        patience.again()?;
        if let Some(missing) = range.clamp(missing, range.end()) {
            fault_in(active, memory, access, missing, pfns)?;
        }
    }
}
