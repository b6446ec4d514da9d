// SPDX-License-Identifier: GPL-2.0

//! Device memory that goes away: its pages move home, wherever they are mapped.

use super::{
    batch::Pages,
    buffer::{
        cleared,
        Arrays,
        MigrateBuffer, //
    },
    home::{
        bring_home,
        HomePages, //
    },
    migrate::Collected,
    outcome::Outcome,
    page::order_at,
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::{
        BLOCK_ORDER,
        BLOCK_PAGES, //
    }, //
};
use crate::bindings as shims;
use kernel::{
    bindings,
    pr_err_once,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How long to wait before pages are tried again that somebody else has locked.
const RETRY: Delta = Delta::from_millis(10);

/// Brings all `pages` pages of the device memory `pagemap` home, trying again until none is left in
/// use, as `in_use` counts them.
///
/// A page may be locked or under migration by others for a while; one of coherent memory may also
/// be in use by I/O, for as long as that takes. Without memory this waits for memory: there is no
/// other place for the data. A huge page waits for a huge page: by its place on the device mm cannot
/// split it.
///
/// # Safety
///
/// `pagemap` is registered memory of the device `owner`, of so many pages, from the start of a block
/// on, and no page of it is taken into use any more.
pub(super) unsafe fn evict<O: PagemapOps>(
    owner: &DeviceOwner<O>,
    pagemap: *const bindings::dev_pagemap,
    pages: usize,
    in_use: impl Fn() -> usize,
) {
    let mut home = HomePages::new();

    while in_use() > 0 {
        let Ok(mut buffer) = MigrateBuffer::new(BLOCK_PAGES) else {
            fsleep(RETRY);
            continue;
        };
        for first in (0..pages).step_by(BLOCK_PAGES) {
            let count = (pages - first).min(BLOCK_PAGES);
            // If the answer is out of date, what is collected finds no target, and stays for the next
            // time.
            // SAFETY: By the safety requirements.
            let filled = if unsafe { order_at(pagemap, first) } == BLOCK_ORDER {
                home.try_huge(true);
                home.has_huge()
            } else {
                home.fill(count.min(in_use())).is_ok()
            };
            let (true, Ok(Arrays { src, dst, raw })) = (filled, buffer.arrays(count)) else {
                continue;
            };
            let (Some(src), Some(dst)) = (src.get_mut(..count), dst.get_mut(..count)) else {
                continue;
            };
            let (src, dst) = (cleared(src), cleared(dst));
            let src_entries = src.as_mut_ptr();
            // SAFETY: By the safety requirements; `src` has room for all.
            unsafe { shims::dmirror_shim_migrate_device_range(src_entries, pagemap, first, count) };
            // SAFETY: That has collected the pages in use into `src`; `dst` is all zeroes.
            let pages = unsafe { Pages::of_device(raw, src, dst) };
            let collected = Collected::new(pages, owner);

            if let Err(error) = bring_home(collected, &mut home, &mut Outcome::default()) {
                pr_err_once!("cannot copy a page home, trying again: {error:?}\n");
            }
        }
        if in_use() > 0 {
            fsleep(RETRY);
        }
    }
}
