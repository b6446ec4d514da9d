// SPDX-License-Identifier: GPL-2.0

//! Names of page frames.
//!
//! Memory that the CPU can address is named by a page frame number, private device memory by its
//! place on the device. The two never convert into each other, so that no arithmetic can take one
//! for the other. Where the kernel names a page of private memory it does so by an offset, of which
//! only differences mean something. Without the second series in `patches/` that is a page frame
//! number, though nothing lives at that address.
//!
//! C headers: [`include/linux/hmm.h`](srctree/include/linux/hmm.h),
//! [`include/linux/migrate.h`](srctree/include/linux/migrate.h)

use super::range::BLOCK_PAGES;
use crate::bindings;
use kernel::page::PAGE_SHIFT;

/// The page frame number of a page that the CPU can address.
///
/// Made only from the answers of the kernel's page-table walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pfn(usize);

impl Pfn {
    /// Takes `number` for the page frame number of such a page.
    pub(super) const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The number.
    #[inline]
    pub(super) const fn number(self) -> usize {
        self.0
    }
}

/// The place of a page in device memory: pages of 4 KiB, counted from the start of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeviceIndex(usize);

impl DeviceIndex {
    /// The page that is `number` pages into device memory.
    #[inline]
    pub(crate) const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The number of pages before this one.
    #[inline]
    pub(crate) const fn number(self) -> usize {
        self.0
    }
}

/// What the kernel names a page of private memory by. The pages of one pagemap have consecutive ones,
/// and that of the first page of a huge page is a multiple of the number of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceOffset(usize);

impl DeviceOffset {
    /// The offset as the kernel tells it.
    pub(super) const fn new(raw: usize) -> Self {
        Self(raw)
    }

    /// The offset as the kernel wants it.
    #[inline]
    pub(super) const fn number(self) -> usize {
        self.0
    }

    /// How many pages of the same pagemap there are from `first` to this one, which comes after it.
    #[inline]
    pub(super) const fn pages_from(self, first: Self) -> usize {
        self.0.wrapping_sub(first.0)
    }
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// In system memory.
    System(Pfn),
    /// In the private memory of the device that asks.
    Device(DeviceIndex),
    /// In the coherent memory of the device that asks.
    Coherent(Pfn),
    /// In the coherent memory of another device, of any driver: to this one as good as system
    /// memory.
    Remote(Pfn),
}

impl Frame {
    /// The number of the frame: where it is a page frame number, that, or the place on the device.
    #[inline]
    pub(super) const fn number(self) -> usize {
        match self {
            Self::Device(index) => index.number(),
            Self::System(pfn) | Self::Coherent(pfn) | Self::Remote(pfn) => pfn.number(),
        }
    }

    /// Whether the page is in the memory of the device that asks.
    #[inline]
    pub(crate) const fn is_on_device(self) -> bool {
        matches!(self, Self::Device(_) | Self::Coherent(_))
    }
}

/// What an answer of `hmm_range_fault()` says about its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// There is nothing.
    Nothing,
    /// The device cannot access it: no VMA, no permission, poison, no `struct page`.
    Error,
    /// A page with this frame number may at least be read.
    Frame(Pfn),
    /// A page of private memory, of the owner for whom the walk was, may at least be read.
    Device(DeviceOffset),
}

/// One answer of `hmm_range_fault()`: an entry of `hmm_range::hmm_pfns`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct HmmPfn(usize);

impl HmmPfn {
    const VALID: usize = bindings::hmm_pfn_flags_HMM_PFN_VALID;
    const WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_WRITE;
    const ERROR: usize = bindings::hmm_pfn_flags_HMM_PFN_ERROR;
    const MIGRATE: usize = bindings::DMIRROR_HMM_PFN_MIGRATE;
    const DEVICE: usize = bindings::DMIRROR_HMM_PFN_DEVICE_PRIVATE;
    const FLAGS: usize = bindings::hmm_pfn_flags_HMM_PFN_FLAGS;
    const ORDER_SHIFT: u32 = bindings::hmm_pfn_flags_HMM_PFN_ORDER_SHIFT as u32;
    const ORDER_MASK: usize = 0x1f;

    /// Whether this kernel's walk can collect pages for a migration (the series in `patches/`).
    pub(super) const CAN_COLLECT: bool = Self::MIGRATE != 0;

    /// The entry as the walk wrote it.
    pub(super) const fn new(raw: usize) -> Self {
        Self(raw)
    }

    /// What a walk would write of `target`, the target of a migration, once that is mapped: of its
    /// first page, if it is huge.
    pub(super) const fn mapped(target: MigratePfn, writable: bool) -> Self {
        let write = if writable { Self::WRITE } else { 0 };
        let device = if target.is_device() { Self::DEVICE } else { 0 };
        let order = (target.pages().ilog2() as usize) << Self::ORDER_SHIFT;

        Self(target.number() | Self::VALID | write | device | order)
    }

    /// What a walk would write of the page that is `pages` pages behind this one, the first of the same
    /// huge page.
    pub(super) const fn part(self, pages: usize) -> Self {
        // OVERFLOW: The number of the first page is a multiple of how many there are.
        Self(self.0 + pages)
    }

    /// Whether all is as `other` says, but for the number of the page.
    #[inline]
    pub(super) const fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::FLAGS == 0
    }

    /// How many of `entries`, which follow this one, for `address`, are of the same huge mapping.
    pub(super) fn count_others(self, entries: &[usize], address: usize) -> usize {
        let parts = 1 << self.order();
        let before = (address >> PAGE_SHIFT) & (parts - 1);

        entries
            .iter()
            .take(parts - 1 - before)
            .zip(self.0 + 1..)
            .take_while(|(&entry, part)| entry == *part)
            .count()
    }

    /// The entry as the kernel wants it.
    pub(super) const fn into_raw(self) -> usize {
        self.0
    }

    /// What is at the address.
    #[inline]
    pub(super) const fn names(self) -> Named {
        // What a device finds most is told by one comparison.
        match self.0 & (Self::VALID | Self::ERROR | Self::DEVICE) {
            Self::VALID => Named::Frame(Pfn::new(self.number())),
            flags if flags & Self::ERROR != 0 => Named::Error,
            flags if flags & Self::VALID != 0 => Named::Device(DeviceOffset::new(self.number())),
            _ => Named::Nothing,
        }
    }

    /// The page may be written. Meaningful only if there is one.
    #[inline]
    pub(crate) const fn is_writable(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// The walk has collected the page, or the hole, for a migration: it is not mapped any more.
    #[inline]
    #[allow(clippy::bad_bit_mask, reason = "0 if the kernel's walk cannot collect")]
    pub(super) const fn is_collected(self) -> bool {
        self.0 & Self::MIGRATE != 0
    }

    /// The order of the CPU's mapping: `1 << order` pages are mapped by one entry.
    #[inline]
    pub(crate) const fn order(self) -> usize {
        (self.0 >> Self::ORDER_SHIFT) & Self::ORDER_MASK
    }

    /// The entry for the page at the user address `address`, with the frame number of that page.
    ///
    /// The frames of a huge mapping, and the offsets, are as aligned as its addresses. For a part
    /// of a huge page of the device 7.3 counts from the first frame of the page, not of the part.
    #[inline]
    pub(super) const fn at(self, address: usize) -> Self {
        if self.order() == 0 {
            return self;
        }
        let part = (1 << self.order()) - 1;

        Self(self.0 & !part | (address >> PAGE_SHIFT) & part)
    }

    /// The number in the entry: a page frame number, or a [`DeviceOffset`].
    #[inline]
    pub(super) const fn number(self) -> usize {
        self.0 & !Self::FLAGS
    }
}

/// An entry of the `src` and `dst` arrays of a migration.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct MigratePfn(usize);

impl MigratePfn {
    const VALID: usize = bindings::MIGRATE_PFN_VALID as usize;
    const MIGRATE: usize = bindings::MIGRATE_PFN_MIGRATE as usize;
    const WRITE: usize = bindings::MIGRATE_PFN_WRITE as usize;
    const COMPOUND: usize = bindings::MIGRATE_PFN_COMPOUND as usize;
    const DEVICE: usize = bindings::DMIRROR_MIGRATE_PFN_DEVICE_PRIVATE;
    const SHIFT: u32 = bindings::MIGRATE_PFN_SHIFT;

    /// The entry as the kernel wrote it.
    pub(super) const fn new(raw: usize) -> Self {
        Self(raw)
    }

    /// The `dst` entry that offers the page that `entry` names (C: `migrate_pfn_from_page()`), a huge
    /// one if it is as large as more than one small page.
    pub(super) const fn target(entry: usize, pages: usize) -> Self {
        let size = if pages > 1 { Self::COMPOUND } else { 0 };

        Self(entry | size)
    }

    /// The entry of the page that is `pages` pages behind this one, a small page of the same memory.
    #[inline]
    pub(super) const fn behind(self, pages: usize) -> Self {
        // OVERFLOW: The number of each page fits.
        Self(self.0 + (pages << Self::SHIFT))
    }

    /// The entry as the kernel wants it.
    pub(super) const fn into_raw(self) -> usize {
        self.0
    }

    /// Whether there is a page (C: `migrate_pfn_to_page()`).
    pub(super) const fn has_page(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// What names the page, if there is one: a page frame number, or a [`DeviceOffset`].
    const fn number(self) -> usize {
        self.0 >> Self::SHIFT
    }

    /// What names the page, if there is one and it may be one of private memory.
    #[inline]
    pub(super) const fn offset(self) -> Option<DeviceOffset> {
        if self.has_page() && self.0 & Self::DEVICE == Self::DEVICE {
            Some(DeviceOffset::new(self.number()))
        } else {
            None
        }
    }

    /// The page is private memory. Known only if the kernel tells.
    #[allow(clippy::bad_bit_mask, reason = "0 if the kernel does not tell")]
    pub(super) const fn is_device(self) -> bool {
        self.0 & Self::DEVICE != 0
    }

    /// Whether it names the same page in the same way as `other`, mapped writable or not. What else mm
    /// notes, for itself, must be the same, too.
    #[inline]
    pub(super) const fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::WRITE == 0
    }

    /// The entry takes part: a page that can move, or a hole that can be filled.
    pub(super) const fn migrates(self) -> bool {
        self.0 & Self::MIGRATE != 0
    }

    /// How many small pages it stands for: those of a block if it is one huge page, or a hole for
    /// which there may be one. The entries that follow are empty then.
    pub(super) const fn pages(self) -> usize {
        if self.0 & Self::COMPOUND == 0 {
            1
        } else {
            BLOCK_PAGES
        }
    }

    /// The page was mapped writable, and will be again.
    pub(super) const fn is_writable(self) -> bool {
        self.0 & Self::WRITE != 0
    }
}

#[kernel::macros::kunit_tests(dmirror_frame)]
mod tests {
    use super::*;

    /// What C makes of a page of system memory with this frame number.
    fn entry(number: usize) -> usize {
        number << MigratePfn::SHIFT | MigratePfn::VALID
    }

    #[test]
    fn device_offsets_count_pages() {
        let first = DeviceOffset::new(0x1200);
        assert_eq!(DeviceOffset::new(0x1234).pages_from(first), 0x34);
        assert_eq!(first.pages_from(first), 0);
    }

    #[test]
    fn hmm_pfn_says_what_the_flags_say() {
        let order = 9 << HmmPfn::ORDER_SHIFT;
        let pfn = HmmPfn::new(HmmPfn::VALID | HmmPfn::WRITE | order | 0x1234);
        assert_eq!(pfn.names(), Named::Frame(Pfn::new(0x1234)));
        assert!(pfn.is_writable());
        assert_eq!(pfn.order(), 9);
    }

    #[test]
    fn hmm_pfn_of_a_part_fits_its_address() {
        let huge = HmmPfn::new(HmmPfn::VALID | 9 << HmmPfn::ORDER_SHIFT | 0x1200);
        for number in [0x1200, 0x1234] {
            let pfn = HmmPfn::new(huge.into_raw() | number).at(0x7f12_3453_4000);
            assert_eq!(pfn.names(), Named::Frame(Pfn::new(0x1334)));
            assert_eq!(pfn.order(), 9);
        }
        let small = HmmPfn::new(HmmPfn::VALID | 0x1234);
        assert_eq!(small.at(0x7f12_3453_4000).number(), 0x1234);
    }

    #[test]
    fn hmm_pfn_counts_the_others_of_a_huge_page() {
        let flags = HmmPfn::VALID | 9 << HmmPfn::ORDER_SHIFT;
        let count = |entries: &[usize; 5], page: usize| {
            let address = 0x7f12_3440_0000 + (page << PAGE_SHIFT);
            HmmPfn::new(entries[0]).count_others(&entries[1..], address)
        };
        let entries = [4, 5, 6, 7, 8].map(|part| flags | (0x1200 + part));
        assert_eq!(count(&entries, 4), 4);
        // The mapping ends after three.
        assert_eq!(count(&entries, 509), 2);
        // One has been taken out.
        assert_eq!(
            count(&[entries[0], entries[1], 0, entries[3], entries[4]], 4),
            1
        );
        // One may be written.
        assert_eq!(
            count(&[entries[0], entries[1] | HmmPfn::WRITE, 0, 0, 0], 4),
            0
        );
    }

    #[test]
    fn hmm_pfn_names_by_its_flags() {
        let offset = match HmmPfn::DEVICE {
            0 => Named::Frame(Pfn::new(0x1234)),
            _ => Named::Device(DeviceOffset::new(0x1234)),
        };
        for (flags, names) in [
            (0, Named::Nothing),
            (HmmPfn::WRITE, Named::Nothing),
            (HmmPfn::ERROR, Named::Error),
            (HmmPfn::ERROR | HmmPfn::VALID, Named::Error),
            (HmmPfn::VALID, Named::Frame(Pfn::new(0x1234))),
            (HmmPfn::VALID | HmmPfn::DEVICE, offset),
        ] {
            assert_eq!(HmmPfn::new(flags | 0x1234).names(), names);
        }
    }

    #[test]
    fn hmm_pfn_flags_do_not_meet() {
        let order = HmmPfn::ORDER_MASK << HmmPfn::ORDER_SHIFT;
        let number = !HmmPfn::FLAGS;
        let flags = [
            HmmPfn::VALID,
            HmmPfn::WRITE,
            HmmPfn::ERROR,
            HmmPfn::MIGRATE,
            HmmPfn::DEVICE,
            order,
            number,
        ];
        assert_eq!(
            flags.into_iter().fold(0, |all, flag| all | flag),
            flags.into_iter().fold(0usize, usize::wrapping_add)
        );

        assert!(!HmmPfn::new(HmmPfn::VALID | order | number).is_collected());
        assert_eq!(
            HmmPfn::new(HmmPfn::VALID | HmmPfn::MIGRATE).is_collected(),
            HmmPfn::CAN_COLLECT
        );
    }

    #[test]
    fn hmm_pfn_of_a_mapped_page() {
        for (writable, flag) in [(false, 0), (true, MigratePfn::DEVICE)] {
            let target = MigratePfn::target(entry(0x1200) | flag, BLOCK_PAGES);
            let pfn = HmmPfn::mapped(target, writable).part(4);
            assert!(!pfn.is_collected());
            assert_eq!(pfn.is_writable(), writable);
            assert_eq!(pfn.order(), 9);
            let names = match target.is_device() {
                true => Named::Device(DeviceOffset::new(0x1204)),
                false => Named::Frame(Pfn::new(0x1204)),
            };
            assert_eq!(pfn.names(), names);
        }
    }

    #[test]
    fn migrate_pfn_round_trip() {
        for pages in [1, BLOCK_PAGES] {
            let target = MigratePfn::new(MigratePfn::target(entry(0xabcdef), pages).into_raw());
            assert!(target.has_page() && !target.is_device() && !target.migrates());
            assert_eq!((target.number(), target.pages()), (0xabcdef, pages));
        }
    }

    #[test]
    fn migrate_pfn_of_the_pages_behind() {
        let target = MigratePfn::target(entry(0x1234) | MigratePfn::DEVICE, 1);
        let behind = target.behind(3);
        assert_eq!(
            (behind.number(), behind.is_device()),
            (0x1237, target.is_device())
        );
        assert!(behind.has_page() && target.behind(0).is_like(target));

        // The same page, mapped writable or not, but not another, or the same without a part in it.
        let source = entry(0x1237) | MigratePfn::MIGRATE;
        let expected = MigratePfn::new(entry(0x1234) | MigratePfn::MIGRATE).behind(3);
        for (entry, is_like) in [
            (source, true),
            (source | MigratePfn::WRITE, true),
            (source | MigratePfn::COMPOUND, false),
            (source & !MigratePfn::MIGRATE, false),
            (entry(0x1238) | MigratePfn::MIGRATE, false),
        ] {
            assert_eq!(MigratePfn::new(entry).is_like(expected), is_like);
        }
    }

    #[test]
    fn migrate_pfn_of_private_memory_has_an_offset() {
        let entry = entry(0x1234);
        let offset = DeviceOffset::new(0x1234);
        assert_eq!(
            MigratePfn::new(entry | MigratePfn::DEVICE).offset(),
            Some(offset)
        );
        // Where the entry does not tell, the page frame number is the offset.
        let known = MigratePfn::DEVICE != 0;
        assert_eq!(MigratePfn::new(entry).offset(), (!known).then_some(offset));
        assert_eq!(MigratePfn::new(MigratePfn::MIGRATE).offset(), None);
    }

    #[test]
    fn migrate_pfn_hole_has_no_page() {
        let hole = MigratePfn::new(MigratePfn::MIGRATE);
        assert!(hole.migrates());
        assert!(!hole.has_page());
        assert_eq!(hole.pages(), 1);
        let hole = MigratePfn::new(MigratePfn::MIGRATE | MigratePfn::COMPOUND);
        assert_eq!((hole.has_page(), hole.pages()), (false, BLOCK_PAGES));
        assert!(!MigratePfn::new(0).migrates());
    }
}
