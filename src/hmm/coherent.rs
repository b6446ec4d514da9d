// SPDX-License-Identifier: GPL-2.0

//! Coherent device memory: memory of a device that the CPU can address, too.
//!
//! A page of it is mapped like one of system memory, and read and written in place by all. It
//! differs in who hands it out, and in that it can be taken back: mm keeps it off the LRU, and moves
//! it home before it is pinned for long.
//!
//! Its pages are of 4 KiB, always. mm cannot split large folios of such memory, nor collect them on
//! the way home, nor move them when they are to be pinned; so there are none here.
//!
//! What the driver gets of it are targets of migrations, filled already: no page is ever mapped
//! with the data of another process in it.
//!
//! # Lock order
//!
//! The lock of the free pages is the last of all. It is taken with interrupts disabled, as the last
//! reference to a page may be dropped wherever I/O ends.
//!
//! C header: [`include/linux/memremap.h`](srctree/include/linux/memremap.h)

use super::{
    evict::evict,
    page::{
        LockedPage,
        SourcePage, //
    },
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    region::Region, //
};
use crate::bindings as shims;
use core::{
    ops::Range,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    new_spinlock_irq,
    page::PAGE_SHIFT,
    prelude::*,
    sync::SpinLockIrq,
    types::Opaque, //
};

/// A range of coherent device memory.
///
/// Dropping it moves all pages that are still in use back to system memory and waits for them,
/// which takes as long as any of them is in use by I/O.
///
/// # Invariants
///
/// * `raw` is registered by `memremap_pages()` for the pages of `region`, with `OPS` of this type and
///   the address of `owner`, and is the field of a pinned, fully initialised `Self`.
/// * The pages whose offsets are in `free`, each once, are used by nobody. It has room for all pages
///   of the region.
#[pin_data(PinnedDrop)]
pub(crate) struct CoherentMemory<O: PagemapOps> {
    #[pin]
    raw: Opaque<bindings::dev_pagemap>,
    #[pin]
    free: SpinLockIrq<KVVec<u32>>,
    owner: DeviceOwner<O>,
    region: Region,
}

// SAFETY: Memory may be unregistered by any thread.
unsafe impl<O: PagemapOps> Send for CoherentMemory<O> {}
// SAFETY: `raw` is not changed after registration, and the free pages are behind a lock.
unsafe impl<O: PagemapOps> Sync for CoherentMemory<O> {}

impl<O: PagemapOps> CoherentMemory<O> {
    const OPS: &'static bindings::dev_pagemap_ops = &bindings::dev_pagemap_ops {
        folio_free: Some(Self::folio_free),
        migrate_to_ram: None,
        memory_failure: None,
        folio_split: None,
    };

    /// Registers the `pages` pages of 4 KiB from the physical address `start` on, memory that is
    /// kept from the kernel, as coherent memory of the device `owner`. May sleep long; takes the
    /// memory hotplug lock.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`][]: not whole units of what can be registered, of 2 MiB on x86-64.
    /// * [`ERANGE`][]: beyond what the kernel can map, or the CPU address.
    /// * [`EBUSY`][]: in use, be it in part.
    /// * [`ENXIO`][]: not memory that firmware or the command line reserves.
    /// * [`ENOMEM`].
    pub(crate) fn new(
        owner: DeviceOwner<O>,
        start: u64,
        pages: u32,
        name: &'static CStr,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            free <- {
                let free = all_offsets(pages)?;
                new_spinlock_irq!(free, "CoherentMemory::free")
            },
            owner,
            region: Region::claim(start, u64::from(pages) << PAGE_SHIFT, name)?,
            // INVARIANT: Last, so that callbacks find the whole. No page is in use yet.
            raw <- Opaque::try_ffi_init(|slot: *mut bindings::dev_pagemap| {
                // SAFETY: `region` and `owner` have been initialised above.
                let (start, size, owner) = unsafe {
                    let this = this.as_ptr();
                    ((*this).region.start, (*this).region.size, (*this).owner.as_raw())
                };
                // SAFETY: `slot` is valid for writes, and zeroes are a valid `dev_pagemap`.
                let pagemap = unsafe {
                    slot.write_bytes(0, 1);
                    &mut *slot
                };
                pagemap.type_ = bindings::memory_type_MEMORY_DEVICE_COHERENT;
                pagemap.ops = Self::OPS;
                pagemap.owner = owner;
                pagemap.nr_range = 1;
                // SAFETY: With `nr_range` 1 the member `range` of the union is the one in use.
                *unsafe { pagemap.__bindgen_anon_1.range.as_mut() } = bindings::range {
                    start,
                    end: start + size - 1,
                };
                // SAFETY: `slot` is initialised; the range is ours; the destructor undoes this.
                from_err_ptr(unsafe { bindings::memremap_pages(slot, bindings::NUMA_NO_NODE) })?;
                Ok::<(), Error>(())
            }),
        })
    }

    /// A page with the same contents as `source`, as the target of a migration. `None` if all pages
    /// are in use. Process context; never waits.
    pub(crate) fn copy_of(&self, source: &SourcePage<'_>) -> Option<LockedPage> {
        let mut page = self.take()?;

        source.copy_to(&mut page);
        Some(page)
    }

    /// A page full of zeroes, as the target of a migration. `None` if all pages are in use. Process
    /// context; never waits.
    pub(crate) fn zeroed(&self) -> Option<LockedPage> {
        let page = self.take()?;

        // SAFETY: The page is valid, and nobody else knows it.
        unsafe { shims::dmirror_shim_clear_page(page.as_ptr()) };
        Some(page)
    }

    /// By what mm knows the memory.
    pub(crate) fn owner(&self) -> &DeviceOwner<O> {
        &self.owner
    }

    /// Puts a free page to use: it is locked, unmapped, and holds whatever it held last.
    fn take(&self) -> Option<LockedPage> {
        // INVARIANT: The page is no longer free, and used below.
        let offset = self.free.lock().pop()?;
        let number = self.frames().start + offset as usize;
        // SAFETY: Pages of registered memory have a `struct page`.
        let page = NonNull::new(unsafe { shims::dmirror_shim_pfn_to_page(number) })?;

        // SAFETY: By the type invariant nobody uses the page, and the memory is registered.
        unsafe { bindings::zone_device_page_init(page.as_ptr(), self.raw.get(), 0) };
        // SAFETY: The call has locked the page and taken one reference, both of which are ours, and
        // made a folio of it, of order 0.
        Some(unsafe { LockedPage::from_raw(page, 1) })
    }

    /// The frames of all pages.
    fn frames(&self) -> Range<usize> {
        let first = (self.region.start >> PAGE_SHIFT) as usize;

        first..first + (self.region.size >> PAGE_SHIFT) as usize
    }

    /// How many pages are in use: locked by a migration, mapped, or in use by I/O.
    pub(crate) fn in_use(&self) -> usize {
        self.frames().len() - self.free_pages()
    }

    /// How many pages are free.
    pub(crate) fn free_pages(&self) -> usize {
        self.free.lock().len()
    }

    /// Called by mm when the last reference to a page has gone, in any context.
    ///
    /// # Safety
    ///
    /// `folio` is a page of a `dev_pagemap` with `OPS` of this type.
    unsafe extern "C" fn folio_free(folio: *mut bindings::folio) {
        let page = folio.cast::<bindings::page>();
        // SAFETY: The page is valid.
        let raw = unsafe { shims::dmirror_shim_page_pgmap(page) };
        let raw = Opaque::cast_from(raw.cast_const());
        // SAFETY: By the safety requirements `raw` is the field of a `Self`.
        let this = unsafe { kernel::container_of!(raw.cast_mut(), Self, raw) };
        // SAFETY: The memory stays registered, and `this` valid, until after this callback.
        let this = unsafe { &*this };
        // SAFETY: The page is valid.
        let number = unsafe { shims::dmirror_shim_page_to_pfn(page) };

        // INVARIANT: mm has given up the page. By the type invariant there is room.
        // CAST: Offsets are below the number of pages, a `u32`.
        let offset = (number - this.frames().start) as u32;
        let _ = this.free.lock().push_within_capacity(offset);
    }
}

#[pinned_drop]
impl<O: PagemapOps> PinnedDrop for CoherentMemory<O> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the memory is registered, and nobody else refers to it.
        unsafe {
            evict(&self.owner, self.raw.get(), self.frames().len(), || {
                self.in_use()
            })
        };
        // SAFETY: By the type invariant the memory is registered. This waits for `folio_free` on
        // the last page.
        unsafe { bindings::memunmap_pages(self.raw.get()) };
    }
}

/// The offsets of `pages` pages, the first on top.
fn all_offsets(pages: u32) -> Result<KVVec<u32>> {
    let mut offsets = KVVec::with_capacity(pages as usize, GFP_KERNEL)?;

    for offset in (0..pages).rev() {
        offsets.push(offset, GFP_KERNEL)?;
    }
    Ok(offsets)
}
