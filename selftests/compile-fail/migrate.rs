// SPDX-License-Identifier: GPL-2.0

//! Misuse of a migration: `Collected`, `Committed`, and the pages that go into it.

use crate::hmm::{
    buffer::MigrateBuffer,
    contents::Contents,
    migrate::{
        Collected,
        Select,
        Source, //
    },
    mm::MmapRead,
    notifier::Active,
    page::{
        LockedPage,
        LockedPages, //
    },
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::PageRange,
    sources::SmallSources, //
};
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

fn fault_buffer_with_pages_locked<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    owner: &DeviceOwner<O>,
    buffer: &mut MigrateBuffer,
    to: UserPtr,
) -> Result {
    let mut mmap = active.mmap_read()?;
    let collected = mmap.migrate(range, Select::System, false, owner, buffer)?;
    active.fault_in_buffer(to, true)?; //~ E0499
    drop(collected);
    Ok(())
}

// The second may wait for a page that is locked by somebody who waits for one of the first.
fn collect_with_pages_locked<O: PagemapOps>(
    mut mmap: MmapRead<'_>,
    range: PageRange,
    owner: &DeviceOwner<O>,
    one: &mut MigrateBuffer,
    other: &mut MigrateBuffer,
) -> Result {
    let collected = mmap.migrate(range, Select::System, false, owner, one)?;
    drop(mmap.migrate(range, Select::System, false, owner, other)?); //~ E0499
    drop(collected);
    Ok(())
}

// The lock is what keeps the VMA that mm will use to map the pages again.
fn unlock_mmap_with_pages_locked<O: PagemapOps>(
    mut mmap: MmapRead<'_>,
    range: PageRange,
    owner: &DeviceOwner<O>,
    buffer: &mut MigrateBuffer,
) -> Result {
    let collected = mmap.migrate(range, Select::System, false, owner, buffer)?;
    drop(mmap); //~ E0505
    drop(collected.commit());
    Ok(())
}

// Nor may its arrays go.
fn free_buffer_with_pages_locked<O: PagemapOps>(
    mut mmap: MmapRead<'_>,
    range: PageRange,
    owner: &DeviceOwner<O>,
    mut buffer: MigrateBuffer,
) -> Result {
    let collected = mmap.migrate(range, Select::System, false, owner, &mut buffer)?;
    drop(buffer); //~ E0505
    drop(collected.commit());
    Ok(())
}

// What is offered after the commit would be mapped without ever having been filled in by mm.
fn offer_after_commit<O: PagemapOps>(mut collected: Collected<'_, O>) {
    let committed = collected.commit();
    collected.offer(|_, _| None); //~ E0382
    drop(committed);
}

fn commit_twice<O: PagemapOps>(collected: Collected<'_, O>) {
    drop(collected.commit());
    drop(collected.commit()); //~ E0382
}

// `offer` asks once for each page: one target would be given to all of them.
fn one_target_for_all<O: PagemapOps>(mut collected: Collected<'_, O>, target: LockedPage) {
    let mut target = Some(target);
    collected.offer(|_, _| {
        return target; //~ E0507
        target.take()
    });
}

fn target_after_use<O: PagemapOps>(mut collected: Collected<'_, O>, target: LockedPage) {
    let mut once = Some(target);
    collected.offer(|_, _| once.take());
    drop(target); //~ E0382
}

// A source is stable while it is locked; afterwards it may be free.
fn source_after_commit<O: PagemapOps>(mut collected: Collected<'_, O>, contents: &mut Contents) {
    let mut kept = None;
    collected.offer(|_, source| {
        if let Source::System(page) = source {
            kept = Some(page); //~ E0521
        }
        None
    });
    drop(collected.commit());
    if let Some(page) = kept {
        contents.copy_from(&page, 0);
    }
}

// Nor may what stands for several be kept: its places for targets are those of the batch.
fn sources_after_offer<O: PagemapOps>(mut collected: Collected<'_, O>) {
    let mut kept: Option<SmallSources<'_>> = None;
    collected.offer_small(|sources| {
        kept = Some(sources); //~ E0521
        true
    });
    drop(collected.commit());
    let _ = kept.map(|sources| sources.len());
}

// Pages that have been offered are mm's.
fn targets_after_offer(mut sources: SmallSources<'_>, targets: LockedPages) {
    sources.offer(targets);
    sources.offer(targets); //~ E0382
}

fn targets_for_two<O: PagemapOps>(mut collected: Collected<'_, O>, targets: LockedPages) {
    collected.offer_small(|mut sources| {
        sources.offer(targets); //~ E0507
        true
    });
}

fn offer_small_after_commit<O: PagemapOps>(mut collected: Collected<'_, O>) {
    let committed = collected.commit();
    collected.offer_small(|_| true); //~ E0382
    drop(committed);
}

// The reference is what keeps the page, and it has been given away.
fn page_of_a_target(target: LockedPage) {
    let _ = target.page; //~ E0616
}

// `kernel::page::Page` would lend the bytes, while a device or a CPU may write them.
fn page_of_contents(contents: &Contents) {
    let _ = &contents.0; //~ E0616
}

// What is in a page is there for as long as the page.
fn bytes_after_contents(contents: Contents) {
    let bytes = contents.bytes();
    drop(contents); //~ E0505
    let _ = bytes.pages();
}

// The way home may begin only where mm, or this folder, has collected pages of the device.
fn collect_without_lock() {
    use crate::hmm::evict::evict; //~ E0603
}
