// SPDX-License-Identifier: GPL-2.0

//! Migration of pages between system memory and device-private memory.
//!
//! Three steps, each a type that is consumed by the next: [`Collected`] (the pages are locked and
//! unmapped, their contents stable) → [`Committed`] (the new pages have taken over) → gone (mapped
//! again). Dropping either finishes or undoes the rest.
//!
//! Questions that a driver author asks:
//!
//! * *May the copy fail?* Yes, page by page: offer no target, and the page stays where it is.
//!   Dropping a [`Collected`] leaves all of them, unharmed.
//! * *Who locks, references, and puts?* mm the sources. A target is a [`LockedPage`], which
//!   [`Collected::offer`] consumes; mm unlocks and puts it on every path from then on.
//! * *What is moved?* Anonymous pages. Pages of files and shared memory are collected but refused at
//!   [`Collected::commit`] and stay; so do pinned pages. A page that another thread has locked is
//!   skipped. None of this holds up the rest.
//! * *Huge pages?* Split first: all pages here are of 4 KiB.
//! * *Holes?* An empty entry of an anonymous VMA, or the page of zeroes, is a [`Source::Hole`] on the
//!   way to the device: the target must be filled with zeroes by the driver.
//! * *Is finishing only a notification?* No. Until then the CPU waits for the pages.
//!
//! # Lock order
//!
//! From collection to the end the mmap lock is held for reading and the folios are locked. A thread
//! with a migration alive must not wait for any other page.
//!
//! C header: [`include/linux/migrate.h`](srctree/include/linux/migrate.h)

use super::{
    frame::{
        DeviceIndex,
        MigratePfn, //
    },
    mm::MmapRead,
    page::{
        LockedPage,
        SourcePage,
        SystemTarget, //
    },
    pagemap::{
        DeviceOwner,
        Pagemap,
        PagemapOps, //
    },
    range::{
        PageRange,
        BLOCK_PAGES, //
    },
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    time::delay::fsleep,
    time::Delta, //
};

/// Room for the sources and targets of one block of pages.
pub(crate) struct MigrateBuffer(KVec<usize>);

impl MigrateBuffer {
    /// A buffer for [`BLOCK_PAGES`] pages (8 KiB of memory).
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(
            0,
            2 * BLOCK_PAGES,
            GFP_KERNEL_ACCOUNT,
        )?))
    }
}

/// Which pages to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// Pages of system memory, and holes.
    System,
    /// Private pages of the device.
    Device,
}

/// The two ways to collect pages, and what C keeps about them.
enum Batch {
    /// By virtual address.
    Vma(shims::migrate_vma),
    /// By place on the device.
    Device,
}

/// Pages on their way.
///
/// # Invariants
///
/// * `src` is as the collection left it; where it says so, its page is locked, referenced and
///   unmapped by us.
/// * Each entry of `dst` is 0 or names a page whose lock and one reference were given to us.
/// * `batch`, if by VMA, points at `src` and `dst`, and the mmap lock is held for `'a`.
/// * Unless `committed`, `migrate_vma_pages()` or its twin has not been called.
struct Pages<'a> {
    batch: Batch,
    src: &'a mut [usize],
    dst: &'a mut [usize],
    committed: bool,
}

impl Pages<'_> {
    fn commit(&mut self) {
        match &mut self.batch {
            // SAFETY: By the type invariant the batch has been collected, its arrays are valid, and
            // the mmap lock is held.
            Batch::Vma(raw) => unsafe { shims::migrate_vma_pages(raw) },
            // SAFETY: By the type invariant the pages of `src` have been collected.
            Batch::Device => unsafe {
                shims::migrate_device_pages(
                    self.src.as_mut_ptr(),
                    self.dst.as_mut_ptr(),
                    self.src.len(),
                )
            },
        }
        self.committed = true;
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // mm would take a page with a target for one that has been moved.
            for dst in self.dst.iter_mut() {
                if let Some(page) = take_target(core::mem::take(dst)) {
                    drop(page);
                }
            }
        }
        match &mut self.batch {
            // SAFETY: As for `commit()`; either that was called or there are no targets.
            Batch::Vma(raw) => unsafe { shims::migrate_vma_finalize(raw) },
            // SAFETY: As for `commit()`; either that was called or there are no targets.
            Batch::Device => unsafe {
                shims::migrate_device_finalize(
                    self.src.as_mut_ptr(),
                    self.dst.as_mut_ptr(),
                    self.src.len(),
                )
            },
        }
    }
}

/// The page in an entry of `dst`.
fn take_target(entry: usize) -> Option<LockedPage> {
    let number = MigratePfn::new(entry).number()?;
    // SAFETY: The entries of `dst` name frames that have a `struct page`.
    let page = unsafe { shims::dmirror_shim_pfn_to_page(number) };
    // SAFETY: By the invariant of `Pages` lock and reference are ours; the entry is taken once.
    Some(unsafe { LockedPage::from_raw(NonNull::new_unchecked(page)) })
}

/// Where a page comes from.
pub(crate) enum Source<'a, O: PagemapOps> {
    /// Nowhere: an address that was never touched, or holds only zeroes.
    Hole,
    /// System memory.
    System(SourcePage<'a>),
    /// The device's own memory.
    Device(&'a O, DeviceIndex),
}

/// Pages that are locked and unmapped, and wait for targets.
#[must_use = "dropping it leaves all pages where they are"]
pub(crate) struct Collected<'a, O> {
    pages: Pages<'a>,
    owner: &'a DeviceOwner<O>,
}

impl MmapRead<'_> {
    /// Collects the pages of `range`, which lies in one VMA, that `select` selects.
    ///
    /// Notifies all who mirror the address space, this device too. May sleep.
    ///
    /// C: `migrate_vma_setup()`.
    ///
    /// # Errors
    ///
    /// * [`E2BIG`][]: `range` is longer than the buffer.
    /// * [`EINVAL`][]: not in one VMA, or one of hugetlb, DAX, a device, or special pages.
    pub(crate) fn migrate<'a, O: PagemapOps>(
        &'a self,
        range: PageRange,
        select: Select,
        owner: &'a DeviceOwner<O>,
        buffer: &'a mut MigrateBuffer,
    ) -> Result<Collected<'a, O>> {
        let vma = self.vma_at(range.start()).ok_or(EINVAL)?.as_ptr();

        // SAFETY: The VMA is valid while `self` is borrowed, and there is no page fault.
        unsafe {
            Collected::setup(
                vma,
                range,
                select,
                owner,
                &mut buffer.0,
                core::ptr::null_mut(),
            )
        }
    }
}

impl<'a, O: PagemapOps> Collected<'a, O> {
    /// Collects the pages of `range`; `buffer` has room for twice as many entries.
    ///
    /// # Safety
    ///
    /// * The mmap lock is held for `'a`, and `vma` is a VMA of that address space.
    /// * `fault_page` is null, or a device-private page that is locked and referenced for `'a`.
    unsafe fn setup(
        vma: *mut bindings::vm_area_struct,
        range: PageRange,
        select: Select,
        owner: &'a DeviceOwner<O>,
        buffer: &'a mut [usize],
        fault_page: *mut bindings::page,
    ) -> Result<Self> {
        let (src, rest) = buffer.split_at_mut_checked(range.pages()).ok_or(E2BIG)?;
        let dst = rest.get_mut(..range.pages()).ok_or(E2BIG)?;
        let mut raw = shims::migrate_vma {
            vma,
            src: src.as_mut_ptr(),
            dst: dst.as_mut_ptr(),
            cpages: 0,
            npages: 0,
            start: range.start(),
            end: range.end(),
            pgmap_owner: owner.as_raw(),
            flags: match select {
                Select::System => shims::migrate_vma_direction_MIGRATE_VMA_SELECT_SYSTEM,
                Select::Device => shims::migrate_vma_direction_MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
            } as usize,
            fault_page,
        };
        // SAFETY: By the safety requirements; the arrays have an entry for each page of the range.
        to_result(unsafe { shims::migrate_vma_setup(&mut raw) })?;

        // INVARIANT: The call has collected the pages into `src` and zeroed `dst`.
        Ok(Self {
            pages: Pages {
                batch: Batch::Vma(raw),
                src,
                dst,
                committed: false,
            },
            owner,
        })
    }

    /// Asks for a target for each page that can move, and each hole: `choose` gets the number of the
    /// page in the range and where it comes from, and returns the page that shall take its place,
    /// filled, or `None` to leave it.
    pub(crate) fn offer(
        &mut self,
        mut choose: impl FnMut(usize, Source<'_, O>) -> Option<LockedPage>,
    ) {
        let entries = self.pages.src.iter().zip(self.pages.dst.iter_mut());

        for (index, (&src, dst)) in entries.enumerate() {
            let src = MigratePfn::new(src);
            if !src.migrates() {
                continue;
            }
            // SAFETY: By the invariant of `Pages`, a page in `src` that migrates is locked and
            // referenced, at least until `self.pages` is dropped.
            let Some(source) = (unsafe { source(src, self.owner) }) else {
                continue;
            };
            if let Some(page) = choose(index, source) {
                let page = page.into_raw();
                // SAFETY: A locked page is valid.
                let number = unsafe { shims::dmirror_shim_page_to_pfn(page.as_ptr()) };
                // INVARIANT: Lock and reference have been given to us.
                *dst = MigratePfn::target(number).into_raw();
            }
        }
    }

    /// Lets the targets take over from their sources. May sleep.
    pub(crate) fn commit(mut self) -> Committed<'a> {
        self.pages.commit();
        Committed(self.pages)
    }
}

/// Where the entry `src` comes from; `None` for a page that will not move: one of somebody else's
/// device, or of a file or shared memory, which mm collects and then refuses. The contents of the
/// latter may even be out of the kernel's reach (`memfd_secret()`).
///
/// # Safety
///
/// The page in `src`, if any, is locked and referenced for `'a`.
unsafe fn source<'a, O: PagemapOps>(
    src: MigratePfn,
    owner: &DeviceOwner<O>,
) -> Option<Source<'a, O>> {
    let Some(number) = src.number() else {
        return Some(Source::Hole);
    };
    // SAFETY: The frame of a collected page has a `struct page`.
    let page = unsafe { NonNull::new_unchecked(shims::dmirror_shim_pfn_to_page(number)) };

    // SAFETY: The page is valid.
    if unsafe { shims::dmirror_shim_is_device_private(page.as_ptr()) } {
        // SAFETY: The page is device-private, and in use for `'a`.
        let (pagemap, index) = unsafe { owner.resolve(page) }?;
        Some(Source::Device(pagemap.ops(), index))
    // SAFETY: The page is valid.
    } else if unsafe { shims::dmirror_shim_is_anon(page.as_ptr()) } {
        // SAFETY: The page is anonymous memory of the system, and valid for `'a`.
        Some(Source::System(unsafe { SourcePage::from_raw(page) }))
    } else {
        None
    }
}

/// Pages that have new places, and are not mapped yet. Dropping it maps them.
#[must_use = "the pages are mapped again when this is dropped"]
pub(crate) struct Committed<'a>(Pages<'a>);

impl Committed<'_> {
    /// How many pages moved, holes that were filled included.
    pub(crate) fn moved(&self) -> usize {
        let entries = self.0.src.iter().zip(self.0.dst.iter());

        entries
            .filter(|(&src, &dst)| MigratePfn::new(src).migrates() && dst != 0)
            .count()
    }
}

/// Brings the device pages of a batch home, into the pages that `allocate` gives. Returns how many
/// moved; the others stay.
pub(crate) fn bring_home<O: PagemapOps>(
    mut collected: Collected<'_, O>,
    mut allocate: impl FnMut() -> Option<SystemTarget>,
) -> usize {
    collected.offer(|_, source| match source {
        Source::Device(ops, index) => {
            let mut target = allocate()?;
            ops.copy_to_system(index, &mut target);
            Some(target.into_locked())
        }
        Source::Hole | Source::System(_) => None,
    });
    collected.commit().moved()
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

    /// The next page, while there are any.
    pub(crate) fn take(&mut self) -> Option<SystemTarget> {
        self.0.pop()
    }
}

/// A fault of the CPU on a page of the device.
///
/// # Invariants
///
/// `vmf` is valid for `'f`; its page is device-private, locked and referenced; the mmap lock is held.
pub(super) struct Fault<'f, O> {
    vmf: *mut bindings::vm_fault,
    owner: &'f DeviceOwner<O>,
    _vmf: PhantomData<&'f bindings::vm_fault>,
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
            vmf,
            owner,
            _vmf: PhantomData,
        }
    }
}

/// Brings the page home on which the CPU faulted.
///
/// Returns 0 when done, and also when somebody else held the page: the CPU then faults again.
pub(super) fn serve_fault<O: PagemapOps>(fault: Fault<'_, O>) -> bindings::vm_fault_t {
    // SAFETY: `vmf` is valid by the type invariant.
    let (vma, address, page) = unsafe {
        let vmf = &*fault.vmf;
        (
            vmf.__bindgen_anon_1.vma,
            vmf.__bindgen_anon_1.address,
            vmf.page,
        )
    };
    let Ok(range) = PageRange::new((address - address % PAGE_SIZE) as u64, 1, usize::MAX) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    let Ok(target) = SystemTarget::new() else {
        return bindings::vm_fault_reason_VM_FAULT_OOM;
    };
    let mut target = Some(target);
    let mut buffer = [0; 2];

    // SAFETY: By the type invariant: the VMA is the one of the fault, the mmap lock is held, and the
    // page is locked and referenced.
    let collected =
        unsafe { Collected::setup(vma, range, Select::Device, fault.owner, &mut buffer, page) };
    match collected {
        Ok(collected) => {
            bring_home(collected, || target.take());
            0
        }
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}

/// Brings all pages of a pagemap home, trying again until none is left in use.
///
/// A page may be locked or under migration by others for a while; it cannot be pinned. Without
/// memory this waits for memory: there is no other place for the data.
pub(super) fn evict<O: PagemapOps>(pagemap: &Pagemap<O>) {
    const BATCH: usize = 64;
    let mut src = [0usize; BATCH];
    let mut dst = [0usize; BATCH];

    while pagemap.in_use() > 0 {
        for (first, count) in pagemap.frames(BATCH) {
            let (Some(src), Some(dst)) = (src.get_mut(..count), dst.get_mut(..count)) else {
                return;
            };
            let mut home = HomePages::new();
            if home.fill(count.min(pagemap.in_use())).is_err() {
                break;
            }
            src.fill(0);
            dst.fill(0);
            // SAFETY: The frames are those of a registered pagemap; `src` has room for all. It
            // always succeeds.
            unsafe { shims::migrate_device_range(src.as_mut_ptr(), first, count) };
            // INVARIANT: The call has collected the pages that are in use into `src`.
            let collected = Collected {
                pages: Pages {
                    batch: Batch::Device,
                    src,
                    dst,
                    committed: false,
                },
                owner: pagemap.owner(),
            };
            bring_home(collected, || home.take());
        }
        if pagemap.in_use() > 0 {
            fsleep(Delta::from_millis(10));
        }
    }
}
