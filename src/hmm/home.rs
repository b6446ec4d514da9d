// SPDX-License-Identifier: GPL-2.0

//! The way home: pages of the device move back to system memory.
//!
//! Because the device asks for it ([`bring_home`]), because the CPU touches a page
//! ([`serve_fault`]), or because the memory goes away ([`evict`](super::evict::evict)).

use super::{
    buffer::{
        FewWords,
        MigrateBuffer, //
    },
    frame::DeviceIndex,
    fresh::SystemTarget,
    migrate::{
        Collected,
        Select,
        Source, //
    },
    mm::is_random,
    outcome::Outcome,
    page::device_offset,
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::{
        PageRange,
        BLOCK_PAGES, //
    },
    walk::SUPPORTED, //
};
use crate::bindings as shims;
use kernel::{
    bindings,
    mm::virt::VmaRef,
    page::PAGE_SIZE,
    prelude::*, //
};

/// How many pages at most a fault of the CPU on one page brings home. A power of two.
const AROUND: usize = 16;

/// Brings the device pages of a batch home, into `pages`, and adds to `outcome` what has become of
/// them. Those for which there is no page stay.
///
/// # Errors
///
/// That of the first page whose contents the driver could not copy; it stays, the others move.
pub(crate) fn bring_home<O: PagemapOps>(
    collected: Collected<'_, O>,
    pages: &mut HomePages,
    outcome: &mut Outcome,
) -> Result {
    bring_home_into(collected, |size, _| pages.take(size), |_| true, outcome)
}

/// The same, into what `choose` chooses: it gets the number of small pages that each is as large as,
/// and the place of those in private memory. It must not wait for memory. An error is that of a page
/// that `matters`.
fn bring_home_into<O: PagemapOps>(
    mut collected: Collected<'_, O>,
    mut choose: impl FnMut(usize, Option<DeviceIndex>) -> Option<SystemTarget>,
    matters: impl Fn(DeviceIndex) -> bool,
    outcome: &mut Outcome,
) -> Result {
    let (mut result, mut unwanted) = (Ok(()), 0);

    collected.offer(|size, source| {
        let mut target;
        match source {
            Source::Device(ops, index) => {
                target = choose(size, Some(index))?;
                if let Err(error) = ops.copy_to_system(index, &mut target) {
                    if matters(index) {
                        result = result.and(Err(error));
                    }
                    return None;
                }
            }
            Source::Coherent(page) => {
                target = choose(size, None)?;
                target.copy_from_page(&page);
            }
            // mm collects holes with whatever is asked for.
            Source::Hole | Source::System(_) => {
                unwanted += size;
                return None;
            }
        }
        Some(target.into_locked())
    });
    *outcome += collected.finish().unwanted(unwanted);
    result
}

/// New pages of system memory: those without which nothing moves are allocated before any page is
/// locked.
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
        let more = others.saturating_sub(self.small.len());
        self.small.reserve(more, GFP_KERNEL_ACCOUNT)?;
        SystemTarget::fill(&mut self.small, others, true)
    }

    /// Allocates `count` small pages beside the first, or what is at hand of them. Does not wait.
    fn fill_at_hand(&mut self, count: usize) {
        if self.small.reserve(count, GFP_NOWAIT).is_ok() {
            let _ = SystemTarget::fill(&mut self.small, count, false);
        }
    }

    /// Allocates a huge page, if there is none already and one is at hand.
    pub(crate) fn fill_huge(&mut self) {
        self.try_huge(false);
    }

    /// The same, with an effort if it may `wait`.
    pub(super) fn try_huge(&mut self, wait: bool) {
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
/// one small page comes. With a small one come those of its neighbours for which there is memory at
/// hand.
fn try_serve<O: PagemapOps>(fault: &Fault<'_, O>, outcome: &mut Outcome) -> Result {
    let mut pages = HomePages::new();

    if fault.is_huge() {
        // 7.3 without the series in `patches/` cannot split a page on which the CPU faults. It comes
        // whole or not at all: then the CPU would fault again and again.
        pages.try_huge(!SUPPORTED);
        if let (true, Ok(mut buffer)) = (pages.has_huge(), MigrateBuffer::new(BLOCK_PAGES)) {
            let collected = fault.collect(fault.around(BLOCK_PAGES)?, true, &mut buffer)?;
            return bring_home(collected, &mut pages, outcome);
        }
    }
    pages.fill(1)?;

    let mut few = FewWords::<AROUND>::for_pages();
    let mut buffer = MigrateBuffer::of(&mut few);
    if fault.may_go_around() {
        // If others change the range meanwhile, so be it: then the page comes alone.
        if let Ok(collected) = fault.collect(fault.around(AROUND)?, false, &mut buffer) {
            return fault.bring_home_with_neighbours(collected, &mut pages, outcome);
        }
    }
    let collected = fault.collect(fault.around(1)?, false, &mut buffer)?;
    bring_home(collected, &mut pages, outcome)
}

impl<O: PagemapOps> Fault<'_, O> {
    /// Whether the CPU faulted on an entry that maps a huge page.
    fn is_huge(&self) -> bool {
        // mm has locked the page table of a small one.
        self.vmf.pte.is_null()
    }

    /// Whether neighbours may be collected with the page: not where the process has said that it
    /// touches pages in no order, and not with a part of a huge page, which has to be split first.
    /// 7.3 without the series in `patches/` forgets then which part is locked.
    fn may_go_around(&self) -> bool {
        // SAFETY: By the type invariant the page is valid.
        let is_small = || unsafe { shims::dmirror_shim_page_order(self.vmf.page) } == 0;

        !self.is_huge() && is_small() && !is_random(self.vma())
    }

    /// Brings the page home that was collected, into the first of `pages`, and its neighbours, into
    /// memory that is at hand.
    fn bring_home_with_neighbours(
        &self,
        collected: Collected<'_, O>,
        pages: &mut HomePages,
        outcome: &mut Outcome,
    ) -> Result {
        pages.fill_at_hand(collected.pages().saturating_sub(1));

        // SAFETY: By the type invariant the page is device-private, and referenced.
        let pagemap = unsafe { shims::dmirror_shim_page_pgmap(self.vmf.page) };
        // SAFETY: By the type invariant the page is device-private, and referenced.
        let offset = unsafe { device_offset(self.vmf.page) };
        // SAFETY: This is its pagemap; that it is device-private, and referenced, see above.
        let place = unsafe { self.owner.resolve(pagemap, offset) }.map(|(_, place)| place);
        let choose = |_, source| match source == place {
            true => pages.one.take(),
            false => pages.small.pop(),
        };
        let result = bring_home_into(collected, choose, |source| Some(source) == place, outcome);

        // Neighbours that are not on the device were not asked for.
        outcome.skipped = usize::from(outcome.moved + outcome.failed == 0);
        result
    }

    fn vma(&self) -> &VmaRef {
        // SAFETY: By the type invariant the VMA is that of the fault, and the mmap lock is held.
        unsafe { VmaRef::from_raw(self.vmf.__bindgen_anon_1.vma) }
    }

    /// The page at the address of the fault, with its neighbours in the VMA: those of the same
    /// `pages`, a power of two.
    fn around(&self, pages: usize) -> Result<PageRange> {
        let (size, vma) = (pages * PAGE_SIZE, self.vma());
        let address = self.vmf.__bindgen_anon_1.address;
        let start = address - address % size;

        PageRange::new(start as u64, pages as u64, usize::MAX)?
            .clamp(vma.start(), vma.end())
            .ok_or(EFAULT)
    }

    /// Collects what is on the device in `range`, which is around the fault; with `whole`, in one
    /// piece.
    fn collect<'a>(
        &'a self,
        range: PageRange,
        whole: bool,
        buffer: &'a mut MigrateBuffer<'_>,
    ) -> Result<Collected<'a, O>> {
        // SAFETY: By the type invariant the VMA is that of the fault, the mmap lock is held, and the
        // page is locked and referenced.
        unsafe {
            Collected::setup(
                self.vmf.__bindgen_anon_1.vma,
                range,
                Select::Device,
                whole,
                self.owner,
                buffer,
                self.vmf.page,
            )
        }
    }
}
