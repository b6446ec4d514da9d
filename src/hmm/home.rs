// SPDX-License-Identifier: GPL-2.0

//! The way home: pages of the device move back to system memory.
//!
//! Because the device asks for it ([`bring_home`]), because the CPU touches a page
//! ([`serve_fault`]), or because the memory goes away ([`evict`]).

use super::{
    batch::Pages,
    migrate::{
        Collected,
        MigrateBuffer,
        Select,
        Source,
        WORDS_PER_PAGE, //
    },
    outcome::Outcome,
    page::{
        order_at,
        SystemTarget, //
    },
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::{
        PageRange,
        BLOCK_ORDER,
        BLOCK_PAGES,
        BLOCK_SIZE, //
    },
    walk::SUPPORTED, //
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

/// How long to wait before pages are tried again that somebody else has locked.
const RETRY: Delta = Delta::from_millis(10);

/// Brings the device pages of a batch home, into `pages`, and adds to `outcome` what has become of
/// them. Those for which there is no page stay.
///
/// # Errors
///
/// That of the first page whose contents the driver could not copy; it stays, the others move.
pub(crate) fn bring_home<O: PagemapOps>(
    mut collected: Collected<'_, O>,
    pages: &mut HomePages,
    outcome: &mut Outcome,
) -> Result {
    let (mut result, mut unwanted) = (Ok(()), 0);

    collected.offer(|size, source| {
        let (mut target, copied);
        match source {
            Source::Device(ops, index) => {
                target = pages.take(size)?;
                copied = ops.copy_to_system(index, &mut target);
            }
            Source::Coherent(page) => {
                target = pages.take(size)?;
                target.copy_from_page(&page);
                copied = Ok(());
            }
            // mm collects holes with whatever is asked for.
            Source::Hole | Source::System(_) => {
                unwanted += size;
                return None;
            }
        }
        if let Err(error) = copied {
            result = result.and(Err(error));
            return None;
        }
        Some(target.into_locked())
    });
    *outcome += collected.commit().outcome().unwanted(unwanted);
    result
}

/// New pages of system memory, allocated before any page is locked.
pub(crate) struct HomePages {
    /// A small page, for which the others need no memory: most faults ask for just one.
    one: Option<SystemTarget>,
    small: KVec<SystemTarget>,
    huge: Option<SystemTarget>,
}

impl HomePages {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self {
            one: None,
            small: KVec::new(),
            huge: None,
        }
    }

    /// Allocates until there are `count` small pages. May sleep and reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, count: usize) -> Result {
        if count > 0 && self.one.is_none() {
            self.one = Some(SystemTarget::new()?);
        }
        let others = count.saturating_sub(1);
        self.small
            .reserve(others.saturating_sub(self.small.len()), GFP_KERNEL_ACCOUNT)?;
        while self.small.len() < others {
            self.small.push(SystemTarget::new()?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// Allocates a huge page, if there is none already and one is at hand.
    pub(crate) fn fill_huge(&mut self) {
        self.try_huge(false);
    }

    /// The same, with an effort if it may `wait`.
    fn try_huge(&mut self, wait: bool) {
        if self.huge.is_none() {
            self.huge = SystemTarget::new_huge(wait).ok();
        }
    }

    /// Whether there is a huge page, and so one can come home whole.
    pub(crate) fn has_huge(&self) -> bool {
        self.huge.is_some()
    }

    /// The next page that is as large as `size` small ones, while there are any.
    fn take(&mut self, size: usize) -> Option<SystemTarget> {
        match size {
            1 => self.small.pop().or_else(|| self.one.take()),
            BLOCK_PAGES => self.huge.take(),
            _ => None,
        }
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
    ops: &'f O,
    owner: &'f DeviceOwner<O>,
}

impl<'f, O: PagemapOps> Fault<'f, O> {
    /// The fault that mm hands to `migrate_to_ram`.
    ///
    /// # Safety
    ///
    /// The type invariants hold for `'f`.
    pub(super) unsafe fn new(
        vmf: *mut bindings::vm_fault,
        ops: &'f O,
        owner: &'f DeviceOwner<O>,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: `vmf` is valid for `'f`, and nobody writes to it while the fault is served.
            vmf: unsafe { &*vmf },
            ops,
            owner,
        }
    }
}

/// Brings the page home on which the CPU faulted.
///
/// Returns 0 when done, and also when somebody else held the page: the CPU then faults again.
pub(super) fn serve_fault<O: PagemapOps>(fault: &Fault<'_, O>) -> bindings::vm_fault_t {
    let mut outcome = Outcome::default();
    let result = try_serve(fault, &mut outcome);

    fault.ops.served_fault(outcome);
    match result {
        Ok(()) => 0,
        Err(error) if error == EAGAIN => 0,
        Err(error) if error == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// A huge page comes whole, if there is a huge page of system memory at hand. Else it is split, and
/// one small page comes.
fn try_serve<O: PagemapOps>(fault: &Fault<'_, O>, outcome: &mut Outcome) -> Result {
    let mut pages = HomePages::new();

    if fault.is_huge() {
        // 7.3 without the series in `patches/` cannot split a page on which the CPU faults. It comes
        // whole or not at all: then the CPU would fault again and again.
        pages.try_huge(!SUPPORTED);
        if let (true, Ok(mut buffer)) = (pages.has_huge(), MigrateBuffer::new(BLOCK_PAGES)) {
            return fault.bring_home(BLOCK_SIZE, buffer.words(), &mut pages, outcome);
        }
    }
    pages.fill(1)?;
    fault.bring_home(PAGE_SIZE, &mut [0; WORDS_PER_PAGE], &mut pages, outcome)
}

impl<O: PagemapOps> Fault<'_, O> {
    /// Whether the CPU faulted on an entry that maps a huge page.
    fn is_huge(&self) -> bool {
        // mm has locked the page table of a small one.
        self.vmf.pte.is_null()
    }

    /// Brings home what is in the `size` bytes around the address of the fault, into `pages`.
    fn bring_home(
        &self,
        size: usize,
        buffer: &mut [usize],
        pages: &mut HomePages,
        outcome: &mut Outcome,
    ) -> Result {
        let place = &self.vmf.__bindgen_anon_1;
        let start = place.address - place.address % size;
        let range = PageRange::new(start as u64, (size / PAGE_SIZE) as u64, usize::MAX)?;

        // SAFETY: By the type invariant the VMA is that of the fault, the mmap lock is held, and the
        // page is locked and referenced.
        let collected = unsafe {
            Collected::setup(
                place.vma,
                range,
                Select::Device,
                pages.has_huge(),
                self.owner,
                buffer,
                self.vmf.page,
            )
        }?;
        bring_home(collected, pages, outcome)
    }
}

/// Brings all pages of the device memory `frames` home, trying again until none is left in use, as
/// `in_use` counts them.
///
/// A page may be locked or under migration by others for a while; one of coherent memory may also
/// be in use by I/O, for as long as that takes. Without memory this waits for memory: there is no
/// other place for the data. A huge page waits for a huge page: by its place on the device mm cannot
/// split it.
///
/// # Safety
///
/// `frames` are those of registered memory of the device `owner`, from the start of a block on, and
/// no page of it is taken into use any more.
pub(super) unsafe fn evict<O: PagemapOps>(
    owner: &DeviceOwner<O>,
    frames: Range<usize>,
    in_use: impl Fn() -> usize,
) {
    let mut home = HomePages::new();

    while in_use() > 0 {
        let Ok(mut buffer) = MigrateBuffer::new(BLOCK_PAGES) else {
            fsleep(RETRY);
            continue;
        };
        for first in frames.clone().step_by(BLOCK_PAGES) {
            let count = (frames.end - first).min(BLOCK_PAGES);
            // If the answer is out of date, what is collected finds no target, and stays for the next
            // time.
            // SAFETY: The frames of registered memory have a `struct page`.
            let filled = if unsafe { order_at(first) } == BLOCK_ORDER {
                home.try_huge(true);
                home.has_huge()
            } else {
                home.fill(count.min(in_use())).is_ok()
            };
            let (true, Ok((src, dst))) = (filled, buffer.arrays(count)) else {
                continue;
            };
            src.fill(0);
            // SAFETY: By the safety requirements; `src` has room for all. It always succeeds.
            unsafe { shims::migrate_device_range(src.as_mut_ptr(), first, count) };
            // SAFETY: That has collected the pages in use into `src`; `dst` is all zeroes.
            let pages = unsafe { Pages::of_device(src, dst) };
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
