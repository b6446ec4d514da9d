// SPDX-License-Identifier: GPL-2.0

//! Misuse of what mirrors an address space: `Active`, `Faulted`, `Validated`, `Locked`, `PageTable`,
//! `Translation`.

use crate::hmm::{
    answer::{
        Faulted,
        Validated, //
    },
    leaf::Reserve,
    mapping::{
        Access,
        Mapping,
        PfnBuffer,
        Run, //
    },
    notifier::{
        Active,
        IntervalNotifier, //
    },
    pagemap::PagemapOps,
    range::PageRange,
    table::Target, //
};
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

// The table is locked while the thread waits for pages, and who brings them needs the lock.
fn fault_under_table_lock<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    buffer: &mut PfnBuffer<'_>,
) -> Result {
    let table = active.lock();
    let _ = active.fault(range, Access::Read, buffer)?; //~ E0499
    drop(table);
    Ok(())
}

fn fault_buffer_under_table_lock<O: PagemapOps>(active: &mut Active<'_, O>, to: UserPtr) -> Result {
    let table = active.lock();
    active.fault_in_buffer(to, true)?; //~ E0499
    drop(table);
    Ok(())
}

// A fault takes the mmap lock: twice in one thread, with a writer between, is a deadlock.
fn fault_under_mmap_lock<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    buffer: &mut PfnBuffer<'_>,
) -> Result {
    let mmap = active.mmap_read()?;
    let _ = active.fault(range, Access::Read, buffer)?; //~ E0499
    drop(mmap);
    Ok(())
}

fn fault_buffer_under_mmap_lock<O: PagemapOps>(active: &mut Active<'_, O>, to: UserPtr) -> Result {
    let mmap = active.mmap_read()?;
    active.fault_in_buffer(to, true)?; //~ E0499
    drop(mmap);
    Ok(())
}

fn lock_table_twice<O: PagemapOps>(active: &mut Active<'_, O>) {
    let first = active.lock();
    drop(active.lock()); //~ E0499
    drop(first);
}

fn lock_mmap_twice<O: PagemapOps>(active: &mut Active<'_, O>) -> Result {
    let first = active.mmap_read()?;
    drop(active.mmap_read()?); //~ E0499
    drop(first);
    Ok(())
}

// The mmap lock comes first.
fn lock_mmap_under_table_lock<O: PagemapOps>(active: &mut Active<'_, O>) -> Result {
    let table = active.lock();
    drop(active.mmap_read()?); //~ E0499
    drop(table);
    Ok(())
}

// `Validated` holds the lock of the table, too.
fn fault_while_valid<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    buffer: &mut PfnBuffer<'_>,
    other: &mut PfnBuffer<'_>,
) -> Result {
    if let Ok(found) = active.fault(range, Access::Read, buffer)?.validate() {
        let _ = active.fault(range, Access::Read, other)?; //~ E0499
        drop(found);
    }
    Ok(())
}

// What a walk has found may have gone since.
fn use_without_validation<O: PagemapOps>(found: Faulted<'_, O>) {
    let _ = found.runs().count(); //~ E0599
}

fn publish_without_validation<O: PagemapOps>(found: Faulted<'_, O>, reserve: &mut Reserve) {
    found.publish(reserve, |_| true); //~ E0599
}

fn forget_the_answer<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    buffer: &mut PfnBuffer<'_>,
) -> Result {
    active.fault(range, Access::Read, buffer)?; //~ unused_must_use
    Ok(())
}

// One answer, one proof: after `Retry` there must be another walk.
fn validate_twice<O: PagemapOps>(found: Faulted<'_, O>) {
    if found.validate().is_err() {
        let _ = found.validate(); //~ E0382
    }
}

// The proof ends with the lock.
fn publish_twice<O: PagemapOps>(found: Validated<'_, O>, reserve: &mut Reserve) {
    found.publish(reserve, |_| true);
    found.publish(reserve, |_| true); //~ E0382
}

fn keep_a_run<'a, O: PagemapOps>(
    found: Validated<'a, O>,
    reserve: &mut Reserve,
    kept: &mut Option<Run<'a>>,
) {
    found.publish(reserve, |run| {
        *kept = Some(*run); //~ E0521
        true
    });
}

#[rustfmt::skip] // one line, one error
fn make_a_run(start: usize, pages: usize, first: Mapping, small: &[usize]) {
    let _ = Run { start, pages, first, small }; //~ E0451
}

fn runs_after_unlock<O: PagemapOps>(found: Validated<'_, O>) -> usize {
    let runs = found.runs();
    drop(found); //~ E0505
    runs.count()
}

// A second walk would write its answer over that of the first.
fn share_the_buffer<'a, O: PagemapOps>(
    one: &'a mut Active<'_, O>,
    other: &'a mut Active<'_, O>,
    range: PageRange,
    buffer: &'a mut PfnBuffer<'_>,
) -> Result {
    let found = one.fault(range, Access::Read, buffer)?;
    let _ = other.fault(range, Access::Read, buffer)?; //~ E0499
    let _ = found.validate();
    Ok(())
}

// An answer is that of a walk, for the notifier whose sequence it began with.
fn change_an_answer<O: PagemapOps>(found: Faulted<'_, O>) {
    let _ = Faulted { seq: 0, ..found }; //~ E0451
}

// The page table gains entries by `publish()` and loses them by notification.
fn map_directly<O: PagemapOps>(active: &mut Active<'_, O>, page: &Mapping, reserve: &mut Reserve) {
    let mut table = active.lock();
    table.map(0, page, reserve); //~ E0624
    drop(table);
}

fn invalidate_directly<O: PagemapOps>(active: &mut Active<'_, O>) {
    let mut table = active.lock();
    table.invalidate(0..=1); //~ E0624
    drop(table);
}

// Who unmaps a page waits for the lock of the table, and then the page goes.
fn translation_after_unlock<O: PagemapOps>(active: &mut Active<'_, O>, range: PageRange) -> bool {
    let table = active.lock();
    let page = table.run(range).next();
    drop(table); //~ E0505
    page.is_some_and(|page| page.is_writable())
}

fn page_after_unlock<O: PagemapOps>(
    active: &mut Active<'_, O>,
    range: PageRange,
    to: UserPtr,
) -> usize {
    let table = active.lock();
    let Some(Target::System(page)) = table.run(range).next().map(|page| page.target()) else {
        return 0;
    };
    drop(table); //~ E0505
    page.copy_to_user(to)
}

// The mmap lock is what keeps a VMA.
fn vma_after_unlock<O: PagemapOps>(active: &mut Active<'_, O>) -> Result<usize> {
    let mmap = active.mmap_read()?;
    let vma = mmap.vma_at(0).ok_or(EINVAL)?;
    drop(mmap); //~ E0505
    Ok(vma.start())
}

// A request must not outlive the file whose address space it works on.
fn active_after_close<O: PagemapOps>(file: Pin<KBox<IntervalNotifier<O>>>) -> Result<usize> {
    let active = file.active()?;
    drop(file); //~ E0505
    Ok(active.task_size())
}
