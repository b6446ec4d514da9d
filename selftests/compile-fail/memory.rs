// SPDX-License-Identifier: GPL-2.0

//! Misuse of device memory and of the names of pages: `Pagemap`, `FreePage`, `DeviceOwner`, `Pfn`,
//! `DeviceIndex`, `PageRange`.

use crate::hmm::{
    buffer::MigrateBuffer,
    frame::{
        DeviceIndex,
        Pfn, //
    },
    free::{
        FreePage,
        FreePages, //
    },
    migrate::Select,
    mm::MmapRead,
    notifier::IntervalNotifier,
    page::{
        LockedPage,
        LockedPages, //
    },
    pagemap::{
        DeviceOwner,
        Pagemap,
        PagemapOps, //
    },
    range::PageRange, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*, //
};

// A page is free if mm says so, or if it has never been used.
#[rustfmt::skip] // one line, one error
fn make_a_free_page(pagemap: u32, offset: u32, order: u32) {
    let _ = FreePage { pagemap, offset, order }; //~ E0451
}

#[rustfmt::skip] // one line, one error
fn make_free_pages(pagemap: u32, first: u32, count: u32) {
    let _ = FreePages { pagemap, first, count }; //~ E0451
}

fn use_a_free_page_twice<O: PagemapOps>(pagemap: &Pagemap<O>, page: FreePage) -> Result {
    drop(pagemap.lock_page(page)?);
    drop(pagemap.lock_page(page)?); //~ E0382
    Ok(())
}

fn use_free_pages_twice<O: PagemapOps>(pagemap: &Pagemap<O>, pages: FreePages) -> Result {
    drop(pagemap.lock_pages(pages)?);
    drop(pagemap.lock_pages(pages)?); //~ E0382
    Ok(())
}

#[rustfmt::skip] // one line, one error
fn make_locked_pages(first: NonNull<bindings::page>, count: usize) {
    let _ = LockedPages { first, count }; //~ E0451
}

fn copy_a_free_page(page: &FreePage) {
    let _: FreePage = page.clone(); //~ E0308
}

fn make_a_locked_page(page: NonNull<bindings::page>) {
    let _ = LockedPage(page); //~ E0423
}

// The address of an owner is what a pagemap is known by: it must be that of no other.
fn make_an_owner<O: PagemapOps>(token: kernel::sync::Arc<u8>) {
    let _ = DeviceOwner::<O>(token, core::marker::PhantomData); //~ E0423
}

// A page of owner P is no `Pagemap<O>`.
fn owner_of_another_kind<O: PagemapOps, P: PagemapOps>(
    mut mmap: MmapRead<'_>,
    range: PageRange,
    owner: &DeviceOwner<P>,
    buffer: &mut MigrateBuffer,
) -> Result {
    drop(mmap.migrate::<O>(range, Select::Device, false, owner, buffer)?); //~ E0308
    Ok(())
}

// mm knows where a pagemap is, and where a subscription.
fn move_a_pagemap<O: PagemapOps>(pagemap: Pin<KBox<Pagemap<O>>>) {
    let _ = Pin::into_inner(pagemap); //~ E0277
}

fn move_a_notifier<O: PagemapOps>(notifier: Pin<KBox<IntervalNotifier<O>>>) {
    let _ = Pin::into_inner(notifier); //~ E0277
}

// What callbacks use lives until the last page has come back.
fn ops_after_drop<O: PagemapOps>(pagemap: Pin<KBox<Pagemap<O>>>, index: DeviceIndex) {
    let ops = pagemap.ops();
    drop(pagemap); //~ E0505
    let _: (&O, DeviceIndex) = (ops, index);
}

// A frame number is an answer of mm's, and no arithmetic leads from one to another.
fn make_a_frame_number() {
    let _ = Pfn::new(1); //~ E0624
}

fn next_frame(pfn: Pfn) {
    let _ = pfn + 1; //~ E0369
}

// What is at a place of the device is not at that place of system memory.
fn device_place_as_frame(index: DeviceIndex) {
    let _: Pfn = index.into(); //~ E0277
}

fn frame_as_device_place(pfn: Pfn) {
    let _: DeviceIndex = pfn; //~ E0308
}

fn make_a_range(start: usize, end: usize) {
    let _ = PageRange { start, end }; //~ E0451
}
