// SPDX-License-Identifier: GPL-2.0

//! What holds a lock of the thread's, handed to another thread; and code that is bound to the rules
//! of the folder, in a driver.

use crate::hmm::{
    answer::Validated,
    contents::Bytes,
    migrate::{
        Collected,
        Committed, //
    },
    mm::MmapRead,
    notifier::Locked,
    page::{
        LockedPage,
        LockedPages, //
    },
    pagemap::PagemapOps,
    walk::Walk,
    watched::Batch, //
};
use kernel::page::Page;

fn hand_over<T: Send>(_what: T) {}

// Whoever takes the mmap lock must release it.
fn hand_over_mmap_lock(mmap: MmapRead<'_>) {
    hand_over(mmap); //~ E0277
}

fn hand_over_table_lock(table: Locked<'_>) {
    hand_over(table); //~ E0277
}

fn hand_over_proof<O: PagemapOps>(found: Validated<'_, O>) {
    hand_over(found); //~ E0277
}

// A walk watches for changes by the thread that it runs in.
fn hand_over_walk<O: PagemapOps>(walk: Walk<'_, O>) {
    hand_over(walk); //~ E0277
}

fn hand_over_batch<O: PagemapOps>(batch: Batch<'_, O>) {
    hand_over(batch); //~ E0277
}

fn hand_over_collected<O: PagemapOps>(collected: Collected<'_, O>) {
    hand_over(collected); //~ E0277
}

fn hand_over_committed(committed: Committed<'_>) {
    hand_over(committed); //~ E0277
}

fn hand_over_locked_page(page: LockedPage) {
    hand_over(page); //~ E0277
}

fn hand_over_locked_pages(pages: LockedPages) {
    hand_over(pages); //~ E0277
}

fn hand_over_lent_bytes(bytes: Bytes<'_>) {
    hand_over(bytes); //~ E0277
}

// Drivers have no unsafe code.
fn call_c_directly(page: &Page) {
    unsafe { crate::bindings::dmirror_shim_lock_page(page.as_ptr()) } //~ unsafe_code
}

// Another registration of it would have no data at its side.
fn register_without_data() {
    use crate::hmm::minor::Adapter; //~ E0603
}
