// SPDX-License-Identifier: GPL-2.0

//! The way home: pages of the device move back to system memory.
//!
//! Because the device asks for it ([`bring_home`]), because the CPU touches a page
//! ([`serve_fault`]), or because the memory goes away ([`evict`]).

use super::{
    batch::Pages,
    migrate::{
        Collected,
        Select,
        Source,
        WORDS_PER_PAGE, //
    },
    page::SystemTarget,
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::PageRange, //
};
use crate::bindings as shims;
use core::ops::Range;
use kernel::{
    bindings,
    page::PAGE_SIZE,
    pr_err_once,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Brings the device pages of a batch home, into `pages`, and adds how many moved to `moved`. Those
/// for which there is no page stay.
///
/// # Errors
///
/// That of the first page whose contents the driver could not copy; it stays, the others move.
pub(crate) fn bring_home<O: PagemapOps>(
    mut collected: Collected<'_, O>,
    pages: &mut HomePages,
    moved: &mut usize,
) -> Result {
    let mut result = Ok(());

    collected.offer(|_, source| {
        let copied = match source {
            Source::Device(ops, index) => ops.copy_to_system(index, pages.next()?),
            Source::Coherent(page) => {
                pages.next()?.copy_from_page(&page);
                Ok(())
            }
            Source::Hole | Source::System(_) => return None,
        };
        if let Err(error) = copied {
            result = result.and(Err(error));
            return None;
        }
        pages.take().map(SystemTarget::into_locked)
    });
    *moved += collected.commit().moved();
    result
}

/// New pages of system memory, allocated before any page is locked.
pub(crate) struct HomePages(KVec<SystemTarget>);

impl HomePages {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    /// Allocates until there are `count` pages. May sleep and reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, count: usize) -> Result {
        while self.0.len() < count {
            self.0.push(SystemTarget::new()?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// The page that [`take`](Self::take) will take, while there are any.
    fn next(&mut self) -> Option<&mut SystemTarget> {
        self.0.last_mut()
    }

    /// Takes the next page, while there are any.
    fn take(&mut self) -> Option<SystemTarget> {
        self.0.pop()
    }
}

/// A fault of the CPU on a page of the device.
///
/// # Invariants
///
/// `vmf` is valid for `'f`; its page is device-private, locked and referenced; the mmap lock is
/// held.
pub(super) struct Fault<'f, O> {
    vmf: &'f bindings::vm_fault,
    owner: &'f DeviceOwner<O>,
}

impl<'f, O: PagemapOps> Fault<'f, O> {
    /// The fault that mm hands to `migrate_to_ram`.
    ///
    /// # Safety
    ///
    /// The type invariants hold for `'f`.
    pub(super) unsafe fn new(vmf: *mut bindings::vm_fault, owner: &'f DeviceOwner<O>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: `vmf` is valid for `'f`, and nobody writes to it while the fault is served.
            vmf: unsafe { &*vmf },
            owner,
        }
    }
}

/// Brings the page home on which the CPU faulted.
///
/// Returns 0 when done, and also when somebody else held the page: the CPU then faults again.
pub(super) fn serve_fault<O: PagemapOps>(fault: &Fault<'_, O>) -> bindings::vm_fault_t {
    match try_serve(fault) {
        Ok(()) => 0,
        Err(error) if error == EAGAIN => 0,
        Err(error) if error == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

fn try_serve<O: PagemapOps>(fault: &Fault<'_, O>) -> Result {
    let place = &fault.vmf.__bindgen_anon_1;
    let address = place.address - place.address % PAGE_SIZE;
    let range = PageRange::new(address as u64, 1, usize::MAX)?;
    let mut buffer = [0; WORDS_PER_PAGE];
    let mut pages = HomePages::new();
    pages.fill(1)?;

    // SAFETY: By the type invariant the VMA is that of the fault, the mmap lock is held, and the
    // page is locked and referenced.
    let collected = unsafe {
        Collected::setup(
            place.vma,
            range,
            Select::Device,
            fault.owner,
            &mut buffer,
            fault.vmf.page,
        )
    }?;
    bring_home(collected, &mut pages, &mut 0)
}

/// Brings all pages of the device memory `frames` home, trying again until none is left in use, as
/// `in_use` counts them.
///
/// A page may be locked or under migration by others for a while; one of coherent memory may also
/// be in use by I/O, for as long as that takes. Without memory this waits for memory: there is no
/// other place for the data.
///
/// # Safety
///
/// `frames` are those of registered memory of the device `owner`, and no page of it is taken into use
/// any more.
pub(super) unsafe fn evict<O: PagemapOps>(
    owner: &DeviceOwner<O>,
    frames: Range<usize>,
    in_use: impl Fn() -> usize,
) {
    const BATCH: usize = 64;
    let mut src = [0usize; BATCH];
    let mut dst = [0usize; BATCH];

    while in_use() > 0 {
        for first in frames.clone().step_by(BATCH) {
            let count = (frames.end - first).min(BATCH);
            let (Some(src), Some(dst)) = (src.get_mut(..count), dst.get_mut(..count)) else {
                return;
            };
            let mut home = HomePages::new();
            if home.fill(count.min(in_use())).is_err() {
                break;
            }
            src.fill(0);
            dst.fill(0);
            // SAFETY: By the safety requirements; `src` has room for all. It always succeeds.
            unsafe { shims::migrate_device_range(src.as_mut_ptr(), first, count) };
            // SAFETY: That has collected the pages in use into `src`; `dst` is all zeroes.
            let pages = unsafe { Pages::of_device(src, dst) };
            let collected = Collected::new(pages, owner);

            if let Err(error) = bring_home(collected, &mut home, &mut 0) {
                pr_err_once!("cannot copy a page home, trying again: {error:?}\n");
            }
        }
        if in_use() > 0 {
            fsleep(Delta::from_millis(10));
        }
    }
}
