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
    stock::Stock,
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
    bring(collected, pages, None, |_| true, outcome)
}

/// The same, for all pages or `only` the one at this place. An error is that of a page that `matters`.
fn bring<O: PagemapOps>(
    mut collected: Collected<'_, O>,
    pages: &mut HomePages,
    only: Option<DeviceIndex>,
    matters: impl Fn(DeviceIndex) -> bool,
    outcome: &mut Outcome,
) -> Result {
    let (mut result, mut unwanted) = (Ok(()), 0);

    let all = collected.offer_device(|mut sources| {
        let Some(stock) = pages.of_size(sources.size()) else {
            return;
        };
        if let Some(place) = only {
            sources.only(place);
        }
        while let count @ 1.. = sources.len().min(stock.len()) {
            let first = sources.first();
            if let Err(error) = sources.bring(count, stock) {
                if matters(first) {
                    result = result.and(Err(error));
                }
                sources.skip(1);
            }
        }
    });
    if !all {
        collected.offer(|size, source| match source {
            Source::Coherent(page) => {
                let mut target = pages.of_size(size)?.pop()?;
                target.copy_from_page(&page);
                Some(target.into_locked())
            }
            // mm collects holes with whatever is asked for.
            Source::Hole | Source::System(_) => {
                unwanted += size;
                None
            }
        });
    }
    *outcome += collected.finish().unwanted(unwanted);
    result
}

/// New pages of system memory: those without which nothing moves are allocated before any page is
/// locked.
pub(crate) struct HomePages {
    small: Stock<SystemTarget>,
    huge: Stock<SystemTarget>,
}

impl HomePages {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self {
            small: Stock::new(),
            huge: Stock::new(),
        }
    }

    /// Allocates until there are `count` small pages. May sleep and reclaim.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn fill(&mut self, count: usize) -> Result {
        self.small.fill(count, true)
    }

    /// Allocates a huge page, if there is none already and one is at hand.
    pub(crate) fn fill_huge(&mut self) {
        self.try_huge(false);
    }

    /// The same, with an effort if it may `wait`.
    pub(super) fn try_huge(&mut self, wait: bool) {
        let _ = self.huge.fill_huge(wait);
    }

    /// Whether there is a huge page, and so one can come home whole.
    pub(crate) fn has_huge(&self) -> bool {
        self.huge.len() > 0
    }

    /// The pages that are as large as `size` small ones.
    fn of_size(&mut self, size: usize) -> Option<&mut Stock<SystemTarget>> {
        match size {
            1 => Some(&mut self.small),
            BLOCK_PAGES => Some(&mut self.huge),
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
/// one small page comes. With a small one come its neighbours, if there is memory at hand for all.
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

    /// Brings the page home that was collected, and its neighbours, if there is memory at hand for all.
    fn bring_home_with_neighbours(
        &self,
        collected: Collected<'_, O>,
        pages: &mut HomePages,
        outcome: &mut Outcome,
    ) -> Result {
        let only = match pages.small.fill(collected.pages(), false) {
            Ok(()) => None,
            Err(_) => Some(self.place()?),
        };
        let matters = |place| self.place().map_or(true, |own| own == place);
        let result = bring(collected, pages, only, matters, outcome);

        // Neighbours that are not on the device were not asked for.
        outcome.skipped = usize::from(outcome.moved + outcome.failed == 0);
        result
    }

    /// The place of the page.
    fn place(&self) -> Result<DeviceIndex> {
        // SAFETY: By the type invariant the page is device-private, and referenced.
        let pagemap = unsafe { shims::dmirror_shim_page_pgmap(self.vmf.page) };
        // SAFETY: By the type invariant the page is device-private, and referenced.
        let offset = unsafe { device_offset(self.vmf.page) };
        // SAFETY: This is its pagemap; that it is device-private, and referenced, see above.
        let (_, place) = unsafe { self.owner.resolve(pagemap, offset) }.ok_or(EFAULT)?;

        Ok(place)
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
