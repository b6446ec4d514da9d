// SPDX-License-Identifier: GPL-2.0

//! The leaves of a [`PageTable`](super::table::PageTable), and their entries.

use super::{
    frame::{
        DeviceIndex,
        Frame,
        Pfn, //
    },
    range::BLOCK_PAGES, //
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    rbtree::{
        RBTreeNode,
        RBTreeNodeReservation, //
    },
};

/// One entry of a leaf: empty, or where the page is. Of memory that the CPU addresses too, that is its
/// physical address, with flags in the bits below [`PAGE_SHIFT`].
#[derive(Clone, Copy, PartialEq, Eq, Zeroable)]
#[repr(transparent)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) const EMPTY: Self = Self(0);
    const PRESENT: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    const DEVICE: u64 = 1 << 2;
    const COHERENT: u64 = 1 << 3;
    const EXCLUSIVE: u64 = 1 << 4;
    const SHIFT: u32 = PAGE_SHIFT as u32;
    const FLAGS: u64 = (1 << Self::SHIFT) - 1;

    /// An entry for the page in `frame`.
    pub(super) const fn new(frame: Frame, writable: bool) -> Self {
        let kind = match frame {
            Frame::System(_) | Frame::Remote(_) => 0,
            Frame::Device(_) => Self::DEVICE,
            Frame::Coherent(_) => Self::COHERENT,
        };
        let write = if writable { Self::WRITE } else { 0 };

        Self(kind | write | Self::PRESENT).of(frame.number())
    }

    /// A writable entry for the page in `frame`, which the device holds exclusively.
    pub(super) const fn exclusive(frame: Frame) -> Self {
        Self(Self::new(frame, true).0 | Self::EXCLUSIVE)
    }

    /// The entry of another page of the same memory, with the same rights: that with this number.
    #[inline]
    pub(super) const fn of(self, number: usize) -> Self {
        Self((number as u64) << Self::SHIFT | self.0 & Self::FLAGS)
    }

    /// The entry of the page that is `pages` pages behind this one, if there is one.
    pub(super) const fn next(self, pages: usize) -> Self {
        if self.0 == Self::EMPTY.0 {
            return self;
        }
        Self(self.0 + ((pages as u64) << Self::SHIFT))
    }

    /// How many of `others`, from the first on, go with this one: they name pages of the same memory, with
    /// the same rights; of the device's private memory, one behind the other.
    pub(super) fn run(self, others: &[Self]) -> usize {
        let end = if self.0 & Self::DEVICE != 0 {
            let mut next = self.0;
            others.iter().position(|other| {
                next = next.wrapping_add(1 << Self::SHIFT);
                other.0 != next
            })
        } else {
            others
                .iter()
                .position(|other| (other.0 ^ self.0) & Self::FLAGS != 0)
        };
        end.unwrap_or(others.len())
    }

    /// Where the page is, if there is one. [`Frame::Remote`] comes back as [`Frame::System`].
    pub(super) const fn frame(self) -> Option<Frame> {
        if self.0 & Self::PRESENT == 0 {
            return None;
        }
        let number = (self.0 >> Self::SHIFT) as usize;
        Some(if self.0 & Self::DEVICE != 0 {
            Frame::Device(DeviceIndex::new(number))
        } else if self.0 & Self::COHERENT != 0 {
            Frame::Coherent(Pfn::new(number))
        } else {
            Frame::System(Pfn::new(number))
        })
    }

    /// Whether the device may write to the page.
    pub(super) const fn is_writable(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// Whether the device holds the page exclusively.
    pub(super) const fn is_exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }
}

/// A leaf: the entries of one block.
///
/// # Invariants
///
/// `used` of the entries are not empty. There are none once they have been taken.
pub(super) struct Leaf {
    used: usize,
    entries: Option<Entries>,
}

/// The memory of a leaf.
type Entries = KBox<[Entry; BLOCK_PAGES]>;

impl Leaf {
    /// The entries.
    #[inline]
    pub(super) fn entries(&self) -> &[Entry] {
        self.entries.as_deref().map_or(&[], <[Entry; _]>::as_slice)
    }

    #[inline]
    fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.entries {
            Some(entries) => entries.as_mut_slice(),
            None => &mut [],
        }
    }

    /// How many entries are not empty.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Replaces the entries from `first` on, `pages` of them, by `entry` and those of the pages behind it;
    /// but not where the device holds a page exclusively.
    #[inline]
    pub(super) fn set_run(&mut self, first: usize, pages: usize, entry: Entry) {
        match pages {
            1 => self.set_shared(first, entry),
            _ => self.set_pages(first, pages, entry),
        }
    }

    /// The same. Apart, to spare a single page what a loop needs.
    #[inline(never)]
    fn set_pages(&mut self, first: usize, pages: usize, entry: Entry) {
        if entry != Entry::EMPTY {
            self.set_each(first, (0..pages).map(|part| entry.next(part)));
            return;
        }
        for part in 0..pages {
            self.set_shared(first + part, entry);
        }
    }

    /// Replaces the entries from `first` on by `entries`, none of which is empty; but not where the device
    /// holds a page exclusively.
    // It is made of what `entries` does.
    #[inline(always)]
    pub(super) fn set_each(&mut self, first: usize, entries: impl ExactSizeIterator<Item = Entry>) {
        let (used, end) = (self.used, first.saturating_add(entries.len()));

        match self.entries_mut().get_mut(first..end) {
            Some(slots) if used == 0 => {
                for (slot, entry) in slots.iter_mut().zip(entries) {
                    *slot = entry;
                }
                // INVARIANT: All were empty, and none of these is now.
                self.used = end - first;
            }
            _ => {
                for (part, entry) in entries.enumerate() {
                    self.set_shared(first + part, entry);
                }
            }
        }
    }

    /// The memory of the leaf, out of its node, which is about to go, if all entries are empty.
    pub(super) fn take_empty(&mut self) -> Option<Blank> {
        // INVARIANT: None is used.
        self.entries.take_if(|_| self.used == 0).map(Blank)
    }

    /// Replaces the entry at `index`, a number below [`BLOCK_PAGES`].
    pub(super) fn set(&mut self, index: usize, entry: Entry) {
        self.set_if(index, entry, |_| true);
    }

    /// The same, unless the device holds the page exclusively.
    fn set_shared(&mut self, index: usize, entry: Entry) {
        self.set_if(index, entry, |old| !old.is_exclusive());
    }

    /// The same, if the entry that is there `yields`.
    #[inline(always)]
    fn set_if(&mut self, index: usize, entry: Entry, yields: impl FnOnce(Entry) -> bool) {
        let slot = self.entries_mut().get_mut(index);
        let Some(slot) = slot.filter(|old| yields(**old)) else {
            return;
        };
        let old = core::mem::replace(slot, entry);

        // INVARIANT: This one slot has changed. OVERFLOW: It was among the `used`, if it was not empty.
        self.used += usize::from(entry != Entry::EMPTY);
        self.used -= usize::from(old != Entry::EMPTY);
    }
}

/// The memory of a leaf, no entry of which is used.
///
/// # Invariants
///
/// All are empty.
pub(super) struct Blank(Entries);

/// Memory for one leaf, enough to map one block: set aside before the notifier lock is taken, or left of
/// a leaf that has become empty.
pub(crate) struct Reserve(Option<(RBTreeNodeReservation<usize, Leaf>, Blank)>);

impl Reserve {
    /// Nothing as yet.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Allocates a leaf, unless there is one. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(super) fn fill(&mut self) -> Result {
        if self.is_empty() {
            *self = Self::new()?;
        }
        Ok(())
    }

    /// Allocates a leaf. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new() -> Result<Self> {
        // INVARIANT: Zeroes are empty entries.
        let blank = Blank(KBox::init(pin_init::init_zeroed(), GFP_KERNEL_ACCOUNT)?);

        Ok(Self(Some((
            RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
            blank,
        ))))
    }

    /// The memory of a leaf, which was in `node`. Does not sleep.
    pub(super) fn of(node: RBTreeNode<usize, Leaf>, blank: Blank) -> Self {
        Self(Some((node.into_reservation(), blank)))
    }

    /// Takes what `other` has, unless there is something. Does not sleep.
    #[inline]
    pub(super) fn fill_from(&mut self, other: &mut Self) {
        if self.is_empty() {
            self.0 = other.0.take();
        }
    }

    /// A leaf for the block with this number, if there is memory for one. Does not sleep.
    pub(super) fn take(&mut self, block: usize) -> Option<RBTreeNode<usize, Leaf>> {
        let (node, Blank(entries)) = self.0.take()?;
        // INVARIANT: By that of `Blank`.
        let leaf = Leaf {
            used: 0,
            entries: Some(entries),
        };

        Some(node.into_node(block, leaf))
    }
}

#[kunit_tests(dmirror_leaf)]
mod tests {
    use super::*;

    const WRITE: bool = true;
    const READ: bool = false;

    #[test]
    fn entry_round_trip() {
        for (frame, writable) in [
            (Frame::System(Pfn::new(0)), READ),
            (Frame::System(Pfn::new(1 << 40)), WRITE),
            (Frame::Device(DeviceIndex::new(0)), WRITE),
            (Frame::Device(DeviceIndex::new((1 << 40) - 1)), READ),
            (Frame::Coherent(Pfn::new(0x40000)), WRITE),
        ] {
            let entry = Entry::new(frame, writable);
            assert_eq!(entry.frame(), Some(frame));
            assert_eq!(entry.is_writable(), writable);
            assert!(!entry.is_exclusive());
        }
        assert_eq!(Entry::EMPTY.frame(), None);
        assert!(!Entry::EMPTY.is_exclusive());
    }

    #[test]
    fn exclusive_entries_are_writable() {
        let frame = Frame::System(Pfn::new(1 << 40));
        let entry = Entry::exclusive(frame);
        assert_eq!(entry.frame(), Some(frame));
        assert!(entry.is_writable());
        assert!(entry.is_exclusive());
    }

    #[test]
    fn pages_of_one_memory_go_together() {
        let system = |number, writable| Entry::new(Frame::System(Pfn::new(number)), writable);
        let first = system(4, WRITE);
        assert_eq!(first.run(&[]), 0);
        assert_eq!(first.run(&[system(9, WRITE), system(2, WRITE)]), 2);
        for other in [
            system(5, READ),
            Entry::EMPTY,
            Entry::exclusive(Frame::System(Pfn::new(5))),
            Entry::new(Frame::Coherent(Pfn::new(5)), WRITE),
            Entry::new(Frame::Device(DeviceIndex::new(5)), WRITE),
        ] {
            assert_eq!(first.run(&[system(9, WRITE), other, system(2, WRITE)]), 1);
        }
    }

    #[test]
    fn pages_of_the_device_follow_each_other() {
        let device =
            |number, writable| Entry::new(Frame::Device(DeviceIndex::new(number)), writable);
        let first = device(4, READ);
        assert_eq!(first.run(&[device(5, READ), device(6, READ)]), 2);
        assert_eq!(first.run(&[device(5, READ), device(7, READ)]), 1);
        assert_eq!(first.run(&[device(5, WRITE)]), 0);
        assert_eq!(first.run(&[Entry::EMPTY]), 0);
    }
}
