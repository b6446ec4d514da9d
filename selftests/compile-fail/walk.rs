// SPDX-License-Identifier: GPL-2.0

//! Misuse of a walk that faults and migrates: `Walk`, `Batch`.

use crate::hmm::{
    answer::Validated,
    buffer::MigrateBuffer,
    leaf::Reserve,
    mapping::{
        Access,
        PfnBuffer, //
    },
    notifier::Active,
    pagemap::PagemapOps,
    range::PageRange,
    walk::Walk,
    watched::Batch, //
};
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

// While pages are collected their thread must wait for no other: who has it may wait for one of
// these. All that waits borrows `Active`, and so does the batch.
fn fault_with_pages_collected<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    other: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let batch = active
        .walk(range, Access::Read, false, pfns, buffer)?
        .collect(&mut 0)?;
    let _ = active.fault(range, Access::Read, other)?; //~ E0499
    drop(batch);
    Ok(())
}

fn fault_with_pages_collected_without_a_walk<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    other: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let batch = active.collect(range, false, pfns, buffer)?;
    let _ = active.fault(range, Access::Read, other)?; //~ E0499
    drop(batch);
    Ok(())
}

fn fault_buffer_with_pages_collected<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
    to: UserPtr,
) -> Result {
    let batch = active
        .walk(range, Access::Read, false, pfns, buffer)?
        .collect(&mut 0)?;
    active.fault_in_buffer(to, true)?; //~ E0499
    drop(batch);
    Ok(())
}

fn lock_table_with_pages_collected<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let batch = active
        .walk(range, Access::Read, false, pfns, buffer)?
        .collect(&mut 0)?;
    drop(active.lock()); //~ E0499
    drop(batch);
    Ok(())
}

fn lock_mmap_with_pages_collected<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let batch = active
        .walk(range, Access::Read, false, pfns, buffer)?
        .collect(&mut 0)?;
    drop(active.mmap_read()?); //~ E0499
    drop(batch);
    Ok(())
}

fn walk_with_pages_collected<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: (&mut PfnBuffer<'_>, &mut PfnBuffer<'_>),
    buffers: (&mut MigrateBuffer, &mut MigrateBuffer),
) -> Result {
    let batch = active
        .walk(range, Access::Read, false, pfns.0, buffers.0)?
        .collect(&mut 0)?;
    drop(active.walk(range, Access::Read, false, pfns.1, buffers.1)?); //~ E0499
    drop(batch);
    Ok(())
}

// A walk holds the mmap lock before it has collected anything.
fn fault_with_walk_begun<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    other: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let walk = active.walk(range, Access::Read, false, pfns, buffer)?;
    let _ = active.fault(range, Access::Read, other)?; //~ E0499
    let _ = walk.collect(&mut 0)?;
    Ok(())
}

// While the driver publishes, the pages are locked, and so is the table.
fn fault_while_publishing<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
    to: UserPtr,
) -> Result {
    if let Some(batch) = active
        .walk(range, Access::Read, false, pfns, buffer)?
        .collect(&mut 0)?
    {
        let _ = batch.finish(|_| active.fault_in_buffer(to, true)); //~ E0500
    }
    Ok(())
}

// With the lock gone, or pages collected, nothing can be collected with the same walk.
fn collect_twice<O: PagemapOps>(walk: Walk<'_, O>) -> Result {
    let _ = walk.collect(&mut 0)?;
    let _ = walk.collect(&mut 0)?; //~ E0382
    Ok(())
}

fn offer_after_finish<O: PagemapOps>(mut batch: Batch<'_, O>) {
    let _ = batch.finish(|_| ());
    batch.offer(|_, _| None); //~ E0382
}

fn finish_twice<O: PagemapOps>(batch: Batch<'_, O>) {
    let _ = batch.finish(|_| ());
    let _ = batch.finish(|_| ()); //~ E0382
}

// The pages are where they are said to be until they are unlocked.
fn publish_after_finish<O: PagemapOps>(batch: Batch<'_, O>, reserve: &mut Reserve) {
    let mut kept: Option<Validated<'_, O>> = None;
    let _ = batch.finish(|found| {
        kept = Some(found); //~ E0521
    });
    if let Some(found) = kept {
        found.publish(reserve, |_| true);
    }
}

fn forget_the_walk<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    pfns: &mut PfnBuffer<'_>,
    buffer: &mut MigrateBuffer,
) -> Result {
    active.walk(range, Access::Read, false, pfns, buffer)?; //~ unused_must_use
    Ok(())
}
