// SPDX-License-Identifier: GPL-2.0

//! Device-private memory: `struct page` for memory that the CPU cannot address.
//!
//! A page of the device is always in one of three hands: the driver's, in a [`FreeBlock`], or taken
//! out of it, among [`FreePages`] or as a [`FreePage`]; a migration's, as a [`LockedPage`] or among
//! [`LockedPages`]; or mm's, mapped somewhere. When mm lets go of it, it comes back as a `FreePage`. A
//! driver cannot make one, or use one twice.
//!
//! A page may be a huge one. mm cuts such a page into small ones when it must, without asking: when
//! parts of it are unmapped or moved. They keep their places, and come back one by one. So what
//! depends on a page should be found by its place, and there is nothing to do when it is cut
//! (`folio_split` stays unset: mm itself then lets the parts know their pagemap).
//!
//! Pages point at their pagemap only. No pointer to a process or an open file is kept in them, so
//! their life has nothing to do with who migrated them.
//!
//! C header: [`include/linux/memremap.h`](srctree/include/linux/memremap.h)

use super::{
    evict::evict,
    frame::{
        DeviceIndex,
        DeviceOffset,
        HmmPfn, //
    },
    free::{
        FreeBlock,
        FreePage,
        FreePages, //
    },
    fresh::SystemTarget,
    home::{
        serve_fault,
        Fault, //
    },
    outcome::Outcome,
    page::{
        device_offset,
        order_at,
        LockedPage,
        LockedPages, //
    },
    range::{
        BLOCK_ORDER,
        BLOCK_PAGES,
        BLOCK_SIZE, //
    },
    region::Region, //
};
use crate::bindings as shims;
use core::{
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// What a driver does for its device pages.
pub(crate) trait PagemapOps: Send + Sync + Sized + 'static {
    /// Takes back a page that nobody uses any more, or a part of one.
    ///
    /// Called by a process in atomic context, often with a page table lock held: must not sleep or
    /// allocate.
    fn free(&self, page: FreePage);

    /// Copies the contents of device pages that follow each other, from `first` on, to `targets`, one
    /// each. Either these are small pages, or a single huge one.
    ///
    /// The pages are locked and unmapped: neither CPU nor device writes to them. May sleep, but must
    /// not wait for other pages of a process.
    ///
    /// Returns how many have been copied, at least one. If these are not all, it is asked again for them,
    /// and then for the others.
    ///
    /// # Errors
    ///
    /// The first page stays on the device then, and a CPU that touches it gets a bus error.
    fn copy_to_system(&self, first: DeviceIndex, targets: &mut [SystemTarget]) -> Result<usize>;

    /// The CPU has touched a page, and that is what became of it and of those that were brought home
    /// with it. The mmap lock is held: must not wait for other pages of a process.
    fn served_fault(&self, _outcome: Outcome) {}
}

/// The identity of a device, by which mm tells its memory from that of others.
///
/// # Invariants
///
/// Of private memory only a [`Pagemap<O>`] has the address of the allocation as its `owner`. As long as
/// any clone lives, no other identity has that address.
pub(crate) struct DeviceOwner<O>(Arc<Identity>, PhantomData<fn() -> O>);

/// Something that has an address.
struct Identity(#[expect(dead_code, reason = "an allocation of nothing has no address")] u8);

impl<O> Clone for DeviceOwner<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<O: PagemapOps> DeviceOwner<O> {
    /// A new identity.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        // INVARIANT: The address is that of a new allocation, and `as_raw()` is private to `hmm`.
        Ok(Self(Arc::new(Identity(0), GFP_KERNEL)?, PhantomData))
    }

    /// The identity as C compares it.
    pub(super) fn as_raw(&self) -> *mut c_void {
        core::ptr::from_ref::<Identity>(&self.0).cast_mut().cast()
    }

    /// Whether that memory is of this owner.
    ///
    /// # Safety
    ///
    /// `pagemap` is valid.
    pub(super) unsafe fn owns(&self, pagemap: *const bindings::dev_pagemap) -> bool {
        // SAFETY: By the safety requirements; `owner` never changes.
        let owner = unsafe { (*pagemap).owner };

        owner == self.as_raw()
    }

    /// Which private memory it is, and the place of a page of it on the device, if it is of this
    /// owner.
    ///
    /// # Safety
    ///
    /// `pagemap` is that of the page of private memory that `offset` names, which stays in use
    /// (locked, referenced or mapped) for `'a`.
    pub(super) unsafe fn resolve<'a>(
        &self,
        pagemap: *mut bindings::dev_pagemap,
        offset: DeviceOffset,
    ) -> Option<(&'a Pagemap<O>, DeviceIndex)> {
        // SAFETY: The pagemap of a page is valid while that is in use.
        if !unsafe { self.owns(pagemap) } {
            return None;
        }
        // SAFETY: By the invariant of `DeviceOwner` this is the pagemap of a `Pagemap<O>`, which
        // stays while a page of it is in use.
        let pagemap = unsafe { Pagemap::from_raw(pagemap) };

        Some((pagemap, pagemap.index_of(offset)))
    }
}

/// Numbers the pagemaps, so that a free page is never used in the wrong one.
static PAGEMAPS: Atomic<u32> = Atomic::new(0);

/// A range of device-private memory.
///
/// Dropping it moves all pages that are still in use back to system memory and waits for them,
/// which may take long.
///
/// # Invariants
///
/// `raw` is registered by `memremap_pages()` for `pages` pages in `region`, with `OPS` of this type
/// and the address of `owner`, and is the field of a pinned, fully initialised `Self`. `first` names
/// the first page.
#[pin_data(PinnedDrop)]
pub(crate) struct Pagemap<O: PagemapOps> {
    #[pin]
    raw: Opaque<bindings::dev_pagemap>,
    #[pin]
    ops: O,
    owner: DeviceOwner<O>,
    region: Region,
    pages: u32,
    base: DeviceIndex,
    first: DeviceOffset,
    number: u32,
    /// Pages from this offset on have never been handed out.
    fresh: Atomic<u32>,
    /// Pages that are locked by a migration, or mapped.
    in_use: Atomic<usize>,
}

// SAFETY: A pagemap may be unregistered by any thread; `O` is `Send`.
unsafe impl<O: PagemapOps> Send for Pagemap<O> {}
// SAFETY: `raw` is not changed after registration; `O` is `Sync`.
unsafe impl<O: PagemapOps> Sync for Pagemap<O> {}

impl<O: PagemapOps> Pagemap<O> {
    const OPS: &'static bindings::dev_pagemap_ops = &bindings::dev_pagemap_ops {
        folio_free: Some(Self::folio_free),
        migrate_to_ram: Some(Self::migrate_to_ram),
        memory_failure: None,
        folio_split: None,
    };

    /// Registers `pages` pages of 4 KiB of private memory of the device `owner`. The first of them
    /// is the page `base` of the device. May sleep long; takes the memory hotplug lock.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`][]: no pages, or a size that memory hotplug cannot handle.
    /// * [`ERANGE`] or [`EBUSY`]: no free range of physical addresses.
    /// * [`ENOMEM`].
    pub(crate) fn new(
        owner: DeviceOwner<O>,
        base: DeviceIndex,
        pages: u32,
        name: &'static CStr,
        ops: impl PinInit<O, Error>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            ops <- ops,
            owner,
            region: {
                if pages == 0 {
                    return Err(EINVAL);
                }
                let region = Region::request((pages as usize) << PAGE_SHIFT, name)?;
                // A huge page is aligned to its size, in the numbering of frames too.
                if region.start % BLOCK_SIZE as u64 != 0 {
                    return Err(EINVAL);
                }
                region
            },
            pages,
            base,
            first: {
                // SAFETY: `region` has been initialised above.
                let start = unsafe { (*this.as_ptr()).region.start };
                // SAFETY: The page is only named.
                DeviceOffset::new(unsafe { shims::dmirror_shim_device_offset_at(start) })
            },
            number: PAGEMAPS.fetch_add(1, Relaxed),
            fresh: Atomic::new(0),
            in_use: Atomic::new(0),
            // INVARIANT: Last, so that callbacks find the whole.
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
                pagemap.type_ = bindings::memory_type_MEMORY_DEVICE_PRIVATE;
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

    /// The driver's part.
    pub(crate) fn ops(&self) -> &O {
        &self.ops
    }

    /// The next block that has never been asked for, while there are any.
    pub(crate) fn fresh_block(&self) -> Option<FreeBlock> {
        let mut first = self.fresh.load(Relaxed);
        loop {
            if first >= self.pages {
                return None;
            }
            let next = first.saturating_add(BLOCK_PAGES as u32);
            match self.fresh.cmpxchg(first, next, Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        let pages = (self.pages - first) as usize;
        // SAFETY: Each block is handed out once, and no page of it was ever used. The numbers go up block
        // by block.
        Some(unsafe { FreeBlock::new(self.number, first, pages.min(BLOCK_PAGES)) })
    }

    /// Puts a free page to use: the page is locked, and unmapped as yet. Process context; never
    /// waits.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it is a page of another pagemap.
    pub(crate) fn lock_page(&self, page: FreePage) -> Result<LockedPage> {
        if page.pagemap() != self.number {
            return Err(EINVAL);
        }
        // SAFETY: The pagemap is registered, and this one of its pages.
        let raw = unsafe { shims::dmirror_shim_pagemap_page(self.raw.get(), page.offset()) };
        self.in_use.fetch_add(page.pages(), Relaxed);
        // SAFETY: By the invariant of `FreePage` nobody uses the pages. The pagemap is registered.
        unsafe { shims::dmirror_shim_device_folio_init(raw, self.raw.get(), page.order()) };
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // SAFETY: The call has locked the page and taken one reference, both of which are ours, and
        // made a folio of that order.
        Ok(unsafe { LockedPage::from_raw(raw, page.pages()) })
    }

    /// The same, for small pages that follow each other.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if they are pages of another pagemap.
    pub(crate) fn lock_pages(&self, pages: FreePages) -> Result<LockedPages> {
        if pages.pagemap() != self.number {
            return Err(EINVAL);
        }
        let (raw, offsets) = (self.raw.get(), pages.offsets());
        self.in_use.fetch_add(pages.len(), Relaxed);
        // SAFETY: By the invariant of `FreePages` nobody uses the pages, which are of this pagemap. It is
        // registered.
        let first =
            unsafe { shims::dmirror_shim_device_pages_init(raw, offsets.start, offsets.len()) };
        let first = NonNull::new(first).ok_or(EINVAL)?;
        // SAFETY: The call has locked each page and taken one reference to it, all of which are ours, and
        // made small pages of them.
        Ok(unsafe { LockedPages::from_raw(first, pages.len()) })
    }

    /// How many pages of 4 KiB are in use: locked by a migration, or mapped.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// How many huge pages are in use. It may be out of date at once.
    pub(crate) fn huge_pages(&self) -> usize {
        let blocks = (0..self.pages as usize).step_by(BLOCK_PAGES);

        blocks.filter(|&first| self.is_huge_at(first)).count()
    }

    /// Whether the page `index` of the device is in this pagemap, and in a block that is one huge
    /// page. It may be out of date at once.
    pub(crate) fn is_huge(&self, index: DeviceIndex) -> bool {
        let number = index.number().checked_sub(self.base.number());

        number.is_some_and(|number| self.is_huge_at(number - number % BLOCK_PAGES))
    }

    /// Whether the block from page number `first` of the pagemap on is one huge page.
    fn is_huge_at(&self, first: usize) -> bool {
        // SAFETY: By the type invariant the pagemap is registered with that many pages.
        first < self.pages as usize && unsafe { order_at(self.raw.get(), first) } == BLOCK_ORDER
    }

    /// How many of `pfns`, up to the first that is not, are answers like `pfn` about pages of this memory.
    #[inline]
    pub(super) fn count_alike(&self, pfn: HmmPfn, pfns: &[usize]) -> usize {
        if pfns.len() == 1 {
            return 1;
        }
        let mut answers = pfns.iter().map(|&other| HmmPfn::new(other));
        let other = answers.position(|other| {
            let offset = DeviceOffset::new(other.number());
            !other.is_like(pfn) || offset.pages_from(self.first) >= self.pages as usize
        });

        other.unwrap_or(pfns.len())
    }

    /// How many pages of this memory there are from its page `first` on.
    #[inline]
    pub(super) fn pages_from(&self, first: DeviceIndex) -> usize {
        let end = self.base.number() + self.pages as usize;

        end.saturating_sub(first.number())
    }

    fn index_of(&self, offset: DeviceOffset) -> DeviceIndex {
        DeviceIndex::new(self.base.number() + offset.pages_from(self.first))
    }

    /// The pagemap around its C part.
    ///
    /// # Safety
    ///
    /// `raw` is the `raw` of a `Pagemap<O>` that stays registered for `'a`.
    unsafe fn from_raw<'a>(raw: *mut bindings::dev_pagemap) -> &'a Self {
        let raw = Opaque::cast_from(raw.cast_const());
        // SAFETY: By the safety requirements.
        unsafe { &*kernel::container_of!(raw.cast_mut(), Self, raw) }
    }

    /// Called by mm when the last reference to a page has gone.
    ///
    /// # Safety
    ///
    /// `folio` is a page of a pagemap with `OPS` of this type.
    unsafe extern "C" fn folio_free(folio: *mut bindings::folio) {
        let mut order = 0;
        // SAFETY: mm has given up the folio, and does not look at it after this callback.
        let pagemap = unsafe { shims::dmirror_shim_device_folio_dissolve(folio, &mut order) };
        // SAFETY: By the safety requirements; the pagemap stays until after this callback.
        let this = unsafe { Self::from_raw(pagemap) };
        // SAFETY: The page is valid, and private memory.
        let offset = unsafe { device_offset(folio.cast()) };

        this.in_use.fetch_sub(1 << order, Relaxed);
        // CAST: There are at most `u32::MAX` pages.
        let offset = offset.pages_from(this.first) as u32;
        // SAFETY: mm has given up the pages.
        this.ops
            .free(unsafe { FreePage::new(this.number, offset, order) });
    }

    /// Called by mm when the CPU touches a page of the device.
    ///
    /// # Safety
    ///
    /// `vmf->page` is a page of a pagemap with `OPS` of this type, locked and referenced; the mmap
    /// lock is held.
    unsafe extern "C" fn migrate_to_ram(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: `vmf` is valid, and its page has a pagemap that stays while it is referenced.
        let this = unsafe { Self::from_raw(shims::dmirror_shim_page_pgmap((*vmf).page)) };
        // SAFETY: By the safety requirements of this callback.
        let fault = unsafe { Fault::new(vmf, &this.ops, &this.owner) };

        serve_fault(&fault)
    }
}

#[pinned_drop]
impl<O: PagemapOps> PinnedDrop for Pagemap<O> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the pagemap is registered, and nobody else refers to it.
        unsafe {
            evict(&self.owner, self.raw.get(), self.pages as usize, || {
                self.in_use()
            })
        };
        // SAFETY: By the type invariant the pagemap is registered. This waits until the last page
        // has come back, and for `folio_free` on it.
        unsafe { bindings::memunmap_pages(self.raw.get()) };
    }
}
