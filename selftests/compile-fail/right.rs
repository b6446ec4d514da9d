// SPDX-License-Identifier: GPL-2.0

//! Right use of the abstractions: nothing here is refused.

use crate::hmm::{
    buffer::MigrateBuffer,
    home::{
        bring_home,
        HomePages, //
    },
    mapping::{
        Access,
        FewPfns,
        Mapping,
        PfnBuffer, //
    },
    migrate::Select,
    notifier::Active,
    outcome::Outcome,
    page::{
        LockedPage,
        LockedPages, //
    },
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::PageRange,
    table::Target, //
};
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// Looks for a page, faults it if it is not there, and reads it.
fn read<O: PagemapOps>(active: &mut Active<'_, O>, range: PageRange, to: UserPtr) -> Result<usize> {
    let mut few = FewPfns::new();
    let mut buffer = PfnBuffer::new(range.pages(), &mut few)?;
    loop {
        if let Some(page) = active.lock().run(range).next() {
            if let Target::System(page) = page.target() {
                // It may be the first of several; a short copy is for the caller to go on with.
                return match page.copy_to_user(to) {
                    0 => Err(EFAULT),
                    copied => Ok(copied),
                };
            }
        }
        let mut reserve = active.reserve()?;
        if let Ok(found) = active.fault(range, Access::Read, &mut buffer)?.validate() {
            found.publish(&mut reserve, |run| *run.first() != Mapping::Error);
        }
    }
}

/// Moves pages to the device with `target`, and brings them home.
fn to_and_fro<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    owner: &DeviceOwner<O>,
    mut target: impl FnMut() -> Option<LockedPage>,
) -> Result<usize> {
    let mut buffer = MigrateBuffer::new(range.pages())?;
    let mut pages = HomePages::new();
    let mut outcome = Outcome::default();

    pages.fill(range.pages())?;
    let mut mmap = active.mmap_read()?;
    let mut collected = mmap.migrate(range, Select::System, false, owner, &mut buffer)?;
    collected.offer(|_, _| target());
    drop(collected.commit());
    let collected = mmap.migrate(range, Select::Device, false, owner, &mut buffer)?;
    bring_home(collected, &mut pages, &mut outcome)?;
    Ok(outcome.moved)
}

/// The same way there, for as many small pages at a time as follow each other.
fn several<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    mut targets: impl FnMut(usize) -> Option<LockedPages>,
) -> Result {
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(range.pages(), &mut few)?;
    let mut buffer = MigrateBuffer::new(range.pages())?;
    let mut reserve = active.reserve()?;

    let mut batch = active.collect(range, false, &mut pfns, &mut buffer)?;
    batch.offer_small(|mut sources| {
        while let Some(targets) = targets(sources.len()) {
            sources.offer(targets);
        }
        true
    });
    let _ = batch.finish(|found| found.publish(&mut reserve, |_| true));
    Ok(())
}

/// The same, in one walk.
fn walk<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    mut target: impl FnMut() -> Option<LockedPage>,
) -> Result {
    let mut few = FewPfns::new();
    let mut pfns = PfnBuffer::new(range.pages(), &mut few)?;
    let mut buffer = MigrateBuffer::new(range.pages())?;
    let mut reserve = active.reserve()?;

    let walk = active.walk(range, Access::Write, false, &mut pfns, &mut buffer)?;
    if let Some(mut batch) = walk.collect(&mut 0)? {
        batch.offer(|_, _| target());
        let _ = batch.finish(|found| found.publish(&mut reserve, |_| true));
    }
    active
        .lock()
        .run(range)
        .next()
        .map_or(Err(EAGAIN), |_| Ok(()))
}
