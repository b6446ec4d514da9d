// SPDX-License-Identifier: GPL-2.0

//! Migration of pages between system memory and device memory.
//!
//! Three steps, each a type that is consumed by the next: [`Collected`] (the pages are locked and
//! unmapped, their contents stable) → [`Committed`] (the new pages have taken over) → gone (mapped
//! again). Dropping either finishes or undoes the rest. [`Collected::finish`] does the last two at once.
//!
//! [`MmapRead::migrate`] collects what is there. What is not there a [`Walk`] faults in and
//! collects in one go.
//!
//! Questions that a driver author asks:
//!
//! * *May the copy fail?* Yes, page by page: offer no target, and the page stays where it is.
//!   Dropping a [`Collected`] leaves all of them, unharmed.
//! * *Who locks, references, and puts?* mm the sources. A target is a [`LockedPage`], which
//!   [`Collected::offer`] consumes, or one of several [`LockedPages`], which [`SmallSources::offer`]
//!   does; mm unlocks and puts it on every path from then on. On the way home `hmm` does the same with
//!   new pages of the system ([`HomePages`]).
//! * *What is moved?* Anonymous pages. Pages of files and shared memory are collected but never
//!   offered a target, and stay; so do pinned pages. A page that another thread has locked is
//!   skipped. None of this holds up the rest.
//! * *Huge pages?* Whole, or split first: who collects says whether it has huge targets. A huge page
//!   that has been collected as one gets a huge target or stays; so does a hole of that size. To find
//!   out only then that there is none is too late: mm could still cut the page, but it forgets to cut
//!   what maps it in other processes. A huge page of which only a part is to move, or which is mapped
//!   by parts, is split. (For that 7.3 waits for the lock of a folio that is mapped by parts, even
//!   with earlier pages of the batch locked.)
//! * *Holes?* An empty entry of an anonymous VMA, or the page of zeroes, is a [`Source::Hole`] on
//!   the way to the device: the target must be filled with zeroes by the driver.
//! * *Is finishing only a notification?* No. Until then the CPU waits for the pages.
//!
//! # Lock order
//!
//! From collection to the end the mmap lock is held for reading and the folios are locked. A thread
//! with a migration alive must not wait for any other page.
//!
//! C header: [`include/linux/migrate.h`](srctree/include/linux/migrate.h)
//!
//! [`HomePages`]: super::home::HomePages
//! [`LockedPages`]: super::page::LockedPages
//! [`Walk`]: super::walk::Walk

use super::{
    batch::Pages,
    buffer::{
        Arrays,
        MigrateBuffer,
        Word, //
    },
    frame::{
        DeviceIndex,
        MigratePfn, //
    },
    kind::Kind,
    mm::{
        may_be_huge,
        MmapRead, //
    },
    outcome::Outcome,
    page::{
        LockedPage,
        SourcePage, //
    },
    pagemap::{
        DeviceOwner,
        Pagemap,
        PagemapOps, //
    },
    range::PageRange,
    sources::{
        DeviceSources,
        SmallSources, //
    }, //
};
use crate::bindings as shims;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Which pages to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// Pages of system memory, and holes.
    System,
    /// Private pages of the device.
    Device,
    /// Coherent pages of the device.
    Coherent,
}

impl Select {
    /// What C is asked to collect into `src` and `dst`, which have an entry for each page of
    /// `range`; with `whole`, huge pages in one piece.
    // Kernels differ in what else there is, all of which is theirs to write.
    #[allow(clippy::needless_update, reason = "7.3 as it is has no other members")]
    pub(super) fn request<O: PagemapOps>(
        self,
        range: PageRange,
        whole: bool,
        owner: &DeviceOwner<O>,
        src: &mut [Word],
        dst: &mut [Word],
    ) -> shims::migrate_vma {
        let select = match self {
            Self::System => shims::migrate_vma_direction_MIGRATE_VMA_SELECT_SYSTEM,
            Self::Device => shims::migrate_vma_direction_MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
            Self::Coherent => shims::migrate_vma_direction_MIGRATE_VMA_SELECT_DEVICE_COHERENT,
        };
        let size = if whole {
            shims::migrate_vma_direction_MIGRATE_VMA_SELECT_COMPOUND
        } else {
            0
        };
        shims::migrate_vma {
            vma: core::ptr::null_mut(),
            src: src.as_mut_ptr().cast(),
            dst: dst.as_mut_ptr().cast(),
            cpages: 0,
            npages: 0,
            start: range.start(),
            end: range.end(),
            pgmap_owner: owner.as_raw(),
            flags: (select | size) as usize,
            fault_page: core::ptr::null_mut(),
            ..Default::default()
        }
    }
}

/// Where a page comes from, small or huge.
pub(crate) enum Source<'a> {
    /// Nowhere: an address that was never touched, or holds only zeroes.
    Hole,
    /// System memory.
    System(SourcePage<'a>),
    /// The device's own coherent memory.
    Coherent(SourcePage<'a>),
}

/// Pages that are locked and unmapped, and wait for targets.
#[must_use = "dropping it leaves all pages where they are"]
pub(crate) struct Collected<'a, O> {
    pages: Pages<'a>,
    owner: &'a DeviceOwner<O>,
}

impl MmapRead<'_> {
    /// Collects the pages of `range`, which lies in one VMA, that `select` selects. With `whole`,
    /// huge pages that lie in it are collected in one piece, and holes of that size on the way to the
    /// device too, unless the VMA shall have no huge pages (`MADV_NOHUGEPAGE`); without, in small
    /// pieces.
    ///
    /// Notifies all who mirror the address space, this device too. May sleep, and wait for pages:
    /// so there is one collection at a time.
    ///
    /// C: `migrate_vma_setup()`.
    ///
    /// # Errors
    ///
    /// * [`E2BIG`][]: `range` is longer than the buffer.
    /// * [`EAGAIN`][]: others changed the range meanwhile; nothing has been collected.
    /// * [`EINVAL`][]: not in one VMA, or one of hugetlb, DAX, a device, or special pages; with our
    ///   patches also of secret memory.
    pub(crate) fn migrate<'a, O: PagemapOps>(
        &'a mut self,
        range: PageRange,
        select: Select,
        whole: bool,
        owner: &'a DeviceOwner<O>,
        buffer: &'a mut MigrateBuffer<'_>,
    ) -> Result<Collected<'a, O>> {
        let vma = self.vma_at(range.start()).ok_or(EINVAL)?;
        let whole = whole && (select != Select::System || may_be_huge(vma));

        // SAFETY: The VMA is valid while `self` is borrowed, and there is no page fault.
        unsafe {
            Collected::setup(
                vma.as_ptr(),
                range,
                select,
                whole,
                owner,
                buffer,
                core::ptr::null_mut(),
            )
        }
    }
}

impl<'a, O: PagemapOps> Collected<'a, O> {
    /// The pages of a batch, of the device `owner` or on their way to it.
    pub(super) fn new(pages: Pages<'a>, owner: &'a DeviceOwner<O>) -> Self {
        Self { pages, owner }
    }

    /// Collects the pages of `range`.
    ///
    /// # Safety
    ///
    /// * The mmap lock is held for as long as the result lives, and `vma` is a VMA of that address
    ///   space.
    /// * `fault_page` is null, or a device-private page that is locked and referenced for `'a`.
    // Not to copy what it returns, for which a fault of the CPU would pay.
    #[inline(always)]
    pub(super) unsafe fn setup(
        vma: *mut bindings::vm_area_struct,
        range: PageRange,
        select: Select,
        whole: bool,
        owner: &'a DeviceOwner<O>,
        buffer: &'a mut MigrateBuffer<'_>,
        fault_page: *mut bindings::page,
    ) -> Result<Self> {
        let Arrays { src, dst, raw } = buffer.arrays(range.pages())?;
        let raw = raw.write(select.request(range, whole, owner, src, dst));
        raw.vma = vma;
        raw.fault_page = fault_page;
        // SAFETY: By the safety requirements; the arrays have all the entries that may be written, and C
        // reads none that it has not written.
        to_result(unsafe { shims::migrate_vma_setup(raw) })?;

        match raw.npages {
            collected if collected == range.pages() => {}
            // No more than there is room for; else nothing that C says is of any use.
            collected if collected > src.len() => return Err(E2BIG),
            // C has started over: see `buffer`. The entries no longer belong to the addresses.
            _ => {
                // SAFETY: The call has collected pages just now, by the safety requirements with the mmap
                // lock held, as it is still; none has a target.
                unsafe { shims::migrate_vma_finalize(raw) };
                return Err(EAGAIN);
            }
        }
        // SAFETY: The call has collected the pages just now: it has written a source and a target, 0, for
        // each. The arrays are two parts of `buffer`, which is borrowed for `'a`, and used by nobody else from
        // now on. By the safety requirements the mmap lock is held for as long as the result lives.
        let pages = unsafe { Pages::of_vma(raw, None) };

        Ok(Self { pages, owner })
    }

    /// Hands over the mmap lock under which the pages have been collected: it is released after all
    /// else has been done.
    #[inline]
    pub(super) fn keep(&mut self, mmap: MmapRead<'a>) {
        self.pages.keep(mmap);
    }

    /// How many pages have been collected, huge ones as one.
    pub(super) fn pages(&self) -> usize {
        self.pages.pages()
    }

    /// Asks for a target for each page that can move, but for private memory, and each hole: `choose`
    /// gets the number of small pages that it is as large as, 1 or [`BLOCK_PAGES`], and where it comes
    /// from, and returns the page that shall take its place, filled and of the same size, or `None` to
    /// leave it.
    ///
    /// [`BLOCK_PAGES`]: super::range::BLOCK_PAGES
    pub(crate) fn offer(
        &mut self,
        mut choose: impl FnMut(usize, Source<'_>) -> Option<LockedPage>,
    ) {
        let owner = self.owner;

        self.pages.offer(|src| {
            // SAFETY: The page of an entry that takes part is locked and referenced for longer than
            // this call, and it is the first of as many as the entry says.
            let source = unsafe { source(src, owner) }?;
            choose(src.pages(), source)
        });
    }

    /// Whether it is one huge page, or the hole for one.
    pub(crate) fn is_huge(&self) -> bool {
        self.pages.is_huge()
    }

    /// Hands the small pages of system memory, and the holes, that have no target yet to `choose`: those
    /// together that follow each other, as long as it returns true. It may be called several times.
    pub(crate) fn offer_small(&mut self, mut choose: impl FnMut(SmallSources<'_>) -> bool) {
        // SAFETY: Only `SmallSources` writes to the places, which asks for such targets.
        let Some((src, dst)) = (unsafe { self.pages.entries() }) else {
            return;
        };
        let mut next = 0;

        // SAFETY: mm has collected them, and nothing has been committed.
        while let Some((first, count)) = unsafe { SmallSources::find(src, dst, next) } {
            next = first + count;
            if let (Some(src), Some(dst)) = (src.get(first..next), dst.get_mut(first..next)) {
                // SAFETY: They are such sources, and stay so while `self` is borrowed.
                if !choose(unsafe { SmallSources::new(src, dst) }) {
                    break;
                }
            }
        }
    }

    /// Hands the pages of the device's private memory that have no target yet to `choose`: those together
    /// that follow each other here and on the device, or a huge one. Returns if there is nothing else.
    pub(super) fn offer_device(&mut self, mut choose: impl FnMut(DeviceSources<'_, O>)) -> bool {
        // SAFETY: Only `DeviceSources` writes to the places, which takes care of such targets.
        let Some((src, dst)) = (unsafe { self.pages.entries() }) else {
            return false;
        };
        let (mut next, mut all) = (0, true);

        while let (Some(rest), Some(places)) = (src.get(next..), dst.get_mut(next..)) {
            let Some(&entry) = rest.first() else {
                break;
            };
            let entry = MigratePfn::new(entry);
            // SAFETY: What mm has collected is in use for as long as `self` is borrowed.
            let place = unsafe { place_on_device(entry, self.owner) };
            let Some((pagemap, first)) = place.filter(|_| places.first() == Some(&0)) else {
                (next, all) = (next + 1, false);
                continue;
            };
            let count = DeviceSources::count(pagemap, first, rest, places);
            next += count;
            if let Some(places) = places.get_mut(..count) {
                // SAFETY: They have just been counted; the pages stay in use while `self` is borrowed.
                choose(unsafe { DeviceSources::new(pagemap, first, entry.pages(), places) });
            }
        }
        all
    }

    /// Lets the targets take over from their sources, and maps them. Returns what has become of the
    /// pages. May sleep.
    pub(crate) fn finish(mut self) -> Outcome {
        self.pages.commit();
        self.pages.outcome()
    }

    /// Lets the targets take over from their sources. May sleep.
    #[inline]
    pub(crate) fn commit(mut self) -> Committed<'a> {
        self.pages.commit();
        Committed(self.pages)
    }
}

/// The place of the page that `src` names, if that is one of the private memory of `owner` that takes
/// part.
///
/// # Safety
///
/// mm has collected `src`, and its page, if any, is locked and referenced for `'a`.
unsafe fn place_on_device<'a, O: PagemapOps>(
    src: MigratePfn,
    owner: &DeviceOwner<O>,
) -> Option<(&'a Pagemap<O>, DeviceIndex)> {
    let offset = src.offset().filter(|_| src.migrates())?;
    // SAFETY: By the safety requirements the entry names a page, which is valid.
    let pagemap = unsafe { shims::dmirror_shim_source_pgmap(src.into_raw()) };
    if pagemap.is_null() {
        return None;
    }
    // SAFETY: The page is one of that private memory, named by its offset, and in use for `'a`.
    unsafe { owner.resolve(pagemap, offset) }
}

/// Where the entry `src` comes from; `None` for a page that is not [offered](Collected::offer) a target:
/// one of private memory, for which there is [`Collected::offer_device`]; and one of somebody else's
/// device, or of a file or shared memory, which mm collects and then refuses. The contents of the latter
/// may even be out of the kernel's reach (`memfd_secret()`).
///
/// # Safety
///
/// The page in `src`, if any, is locked and referenced for `'a`, and is the first of `src.pages()`
/// pages of a folio.
unsafe fn source<'a, O: PagemapOps>(src: MigratePfn, owner: &DeviceOwner<O>) -> Option<Source<'a>> {
    if !src.has_page() {
        return Some(Source::Hole);
    }
    // SAFETY: A collected page has a `struct page`.
    let page = unsafe { shims::dmirror_shim_migrate_pfn_to_page(src.into_raw()) };
    let page = NonNull::new(page)?;

    // SAFETY: The page is valid for `'a`.
    match unsafe { Kind::of_page(page.as_ptr()) } {
        // SAFETY: The page is anonymous memory of the system, valid for `'a`, and of that size.
        Kind::Anonymous => Some(Source::System(unsafe {
            SourcePage::from_raw(page, src.pages())
        })),
        // SAFETY: It is the pagemap of the page, which is in use for `'a`.
        Kind::Coherent(pagemap) => unsafe { owner.owns(pagemap) }.then(|| {
            // SAFETY: The CPU can address coherent memory, and the page is in use for `'a`.
            Source::Coherent(unsafe { SourcePage::from_raw(page, src.pages()) })
        }),
        Kind::Private(_) | Kind::Zeroes | Kind::Other | Kind::Unreachable => None,
    }
}

/// Pages that have new places, and are not mapped yet. Dropping it maps them.
#[must_use = "the pages are mapped again when this is dropped"]
pub(crate) struct Committed<'a>(Pages<'a>);

impl Committed<'_> {
    /// What has become of the pages.
    pub(crate) fn outcome(&self) -> Outcome {
        self.0.outcome()
    }

    /// The same, if `moved` pages have moved: see [`Pages::outcome_of`].
    #[inline]
    pub(super) fn outcome_of(&self, moved: usize) -> Outcome {
        self.0.outcome_of(moved)
    }

    /// Those that have moved: see [`Pages::moved`].
    #[inline]
    pub(super) fn moved(&self) -> impl Iterator<Item = (usize, MigratePfn, MigratePfn)> + '_ {
        self.0.moved()
    }
}
