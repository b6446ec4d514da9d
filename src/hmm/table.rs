// SPDX-License-Identifier: GPL-2.0

//! A device page table, shaped like that of a GPU: leaf tables of [`BLOCK_PAGES`] entries of 8
//! bytes, one for each 2 MiB of addresses, found by block number in a red-black tree.
//!
//! The table belongs to an [`IntervalNotifier`], which alone fills and empties it. So an entry that
//! is there names a page that is mapped, or about to be, and [`PageTable::run`] may lend it for as
//! long as the notifier lock is held.
//!
//! [`IntervalNotifier`]: super::notifier::IntervalNotifier

use super::{
    frame::{
        DeviceIndex,
        Frame,
        Pfn, //
    },
    leaf::{
        Entry,
        Leaf,
        Reserve, //
    },
    mapping::{
        Mapping,
        Run, //
    },
    page::MappedPages,
    range::{
        PageRange,
        BLOCK_PAGES,
        BLOCK_SIZE, //
    }, //
};
use core::ops::RangeInclusive;
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    rbtree::RBTree, //
};

/// What the device finds at an address, and at those that follow, if the pages there are in the same
/// memory. It stays true while the table is locked.
///
/// # Invariants
///
/// `entries`, at least one, are those of a table that does not change for `'a`. All are for pages of the same
/// memory, with the same rights, the first for `frame`; in private memory, each is for the page behind the
/// one before it.
pub(crate) struct Translation<'a> {
    frame: Frame,
    writable: bool,
    entries: &'a [Entry],
}

impl<'a> Translation<'a> {
    /// How many pages there are.
    pub(crate) fn pages(&self) -> usize {
        self.entries.len()
    }

    /// Whether the device may write to the pages.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether the pages are in the memory of the device itself.
    pub(crate) fn is_on_device(&self) -> bool {
        self.frame.is_on_device()
    }

    /// Where the pages are: of the device's private memory, the place of the first; of other memory, the
    /// pages themselves.
    pub(crate) fn target(&self) -> Target<'a> {
        match self.frame {
            Frame::Device(index) => Target::Device(index),
            Frame::System(_) | Frame::Coherent(_) | Frame::Remote(_) => {
                // SAFETY: By the type invariants the pages are mapped so in the address space for
                // `'a`, or kept by a migration that will map them so unless a notification comes
                // first: whoever takes one away must first invalidate the entry. By the invariant of the
                // table they are in the direct map.
                Target::System(unsafe { MappedPages::new(self.entries, self.writable) })
            }
        }
    }
}

/// See [`Translation::target`].
pub(crate) enum Target<'a> {
    /// Memory that the CPU addresses too.
    System(MappedPages<'a>),
    /// Private memory of the device.
    Device(DeviceIndex),
}

/// The page table of a device.
///
/// # Invariants
///
/// Each entry names a page that is mapped at its address in the mirrored address space, or kept by a
/// migration that will map it there unless a notification comes first. If the entry is writable, so
/// is, or will be, that mapping; an exclusive one names a page that is mapped for this device alone.
/// A page that is not in private memory is in the direct map.
pub(crate) struct PageTable {
    leaves: RBTree<usize, Leaf>,
    /// The memory of a leaf that has become empty, for the next: to allocate it, and to clear it, costs as
    /// much as to copy two pages.
    spare: Reserve,
}

impl PageTable {
    /// An empty table.
    pub(super) fn new() -> Self {
        // INVARIANT: There are no entries.
        Self {
            leaves: RBTree::new(),
            spare: Reserve::empty(),
        }
    }

    /// What the device finds at the pages of `range`, which lies in one block, up to the first at which
    /// there is nothing: pages of the same memory at a time. The leaf is looked up once.
    pub(crate) fn run(&self, range: PageRange) -> impl Iterator<Item = Translation<'_>> {
        let first = (range.start() >> PAGE_SHIFT) % BLOCK_PAGES;
        let leaf = self.leaves.get(&(range.start() / BLOCK_SIZE));
        let rest = leaf
            .and_then(|leaf| leaf.entries().get(first..))
            .unwrap_or_default();
        let mut rest = rest.get(..range.pages()).unwrap_or(rest);

        core::iter::from_fn(move || {
            let (&first, others) = rest.split_first()?;
            let frame = first.frame()?;
            let (entries, behind) = rest.split_at_checked(1 + first.run(others))?;

            rest = behind;
            // INVARIANT: The table is borrowed for the lifetime of the result. That they go together, says
            // `Entry::run()`.
            Some(Translation {
                frame,
                writable: first.is_writable(),
                entries,
            })
        })
    }

    /// The first part of `range`, in one block, of which the table knows any page; `None` if there
    /// is none. It takes no longer for a range of any size.
    pub(crate) fn first_block(&self, range: PageRange) -> Option<PageRange> {
        let cursor = self
            .leaves
            .cursor_lower_bound(&(range.start() / BLOCK_SIZE))?;
        // OVERFLOW: The block has an entry, for an address.
        let start = cursor.current().0 * BLOCK_SIZE;

        range
            .clamp(start, range.end())
            .map(|rest| rest.split_block().0)
    }

    /// The pages of `range`, all in one block, before the first that the device holds exclusively;
    /// `None` if that is the first of all.
    pub(crate) fn before_exclusive(&self, range: PageRange) -> Option<PageRange> {
        let Some(leaf) = self.leaves.get(&(range.start() / BLOCK_SIZE)) else {
            return Some(range);
        };
        let first = (range.start() >> PAGE_SHIFT) % BLOCK_PAGES;
        let mut entries = leaf.entries().iter().skip(first).take(range.pages());

        match entries.position(|entry| entry.is_exclusive()) {
            None => Some(range),
            Some(0) => None,
            Some(count) => Some(range.first_pages(count)),
        }
    }

    /// Forgets these virtual pages (numbers of 4 KiB pages; may reach to the end of the address
    /// space). Does not allocate. The memory of a leaf that has become empty is kept, if there is none; that
    /// of others is freed.
    pub(super) fn invalidate(&mut self, pages: RangeInclusive<usize>) {
        let mut cursor = self
            .leaves
            .cursor_lower_bound_mut(&(pages.start() / BLOCK_PAGES));

        while let Some(mut leaf_cursor) = cursor {
            let (&block, leaf) = leaf_cursor.current_mut();
            if block > pages.end() / BLOCK_PAGES {
                break;
            }
            // OVERFLOW: A block number is a page number divided by BLOCK_PAGES.
            let first = block * BLOCK_PAGES;
            let from = pages.start().saturating_sub(first);
            let to = (pages.end() - first).min(BLOCK_PAGES - 1);

            // When a process exits that goes for all leaves, with the lock held and nobody to kill.
            let whole = from == 0 && to == BLOCK_PAGES - 1;
            if !whole {
                for index in from..=to {
                    leaf.set(index, Entry::EMPTY);
                }
            }
            cursor = if whole || leaf.used() == 0 {
                let empty = leaf.take_empty();
                let (next, node) = leaf_cursor.remove_current();

                if let Some(leaf) = empty {
                    self.spare.fill_from(&mut Reserve::of(node, leaf));
                }
                next
            } else {
                leaf_cursor.move_next()
            };
        }
    }

    /// Fills `reserve`, if there is nothing in it, with what has been kept. Does not sleep.
    #[inline]
    pub(super) fn lend(&mut self, reserve: &mut Reserve) {
        reserve.fill_from(&mut self.spare);
    }

    /// Keeps what is left in `reserve`, unless there is something already. Does not sleep.
    #[inline]
    pub(super) fn keep(&mut self, reserve: &mut Reserve) {
        self.spare.fill_from(reserve);
    }

    /// Learns what is mapped at the pages of `range`, which lies in one block: of each run, from the
    /// first page on, if it is to be learned. Does not allocate: without a reserve pages may stay
    /// unknown, and are faulted once more.
    ///
    /// A page that the device holds exclusively stays so. Whoever looked it up before has found
    /// the same page; whoever did afterwards, nothing; and neither has been notified, as nothing
    /// has been taken away.
    ///
    /// # Safety
    ///
    /// What `runs` returns is mapped there now, or kept by a migration that will map it there
    /// unless a notification comes first. Those pages that are not in private memory are in the direct
    /// map. And each notification calls [`invalidate`](Self::invalidate) before anything changes.
    pub(super) unsafe fn map<'r>(
        &mut self,
        range: PageRange,
        reserve: &mut Reserve,
        runs: impl Iterator<Item = (Run<'r>, bool)>,
    ) {
        let block = range.start() / BLOCK_SIZE;
        let mut index = (range.start() >> PAGE_SHIFT) % BLOCK_PAGES;
        let mut leaf = self.leaves.get_mut(&block);

        for (run, chosen) in runs {
            let first = index;
            // OVERFLOW: The runs are those of a block.
            index += run.pages();
            if !chosen {
                continue;
            }
            // INVARIANT: By the safety requirements.
            let entry = match *run.first() {
                Mapping::Page {
                    frame, writable, ..
                } => Entry::new(frame, writable),
                Mapping::Absent | Mapping::Error => Entry::EMPTY,
            };
            if leaf.is_none() && entry != Entry::EMPTY {
                leaf = self.leaf(block, reserve);
            }
            let Some(leaf) = &mut leaf else {
                continue;
            };
            match run.scattered() {
                // INVARIANT: Likewise.
                Some(numbers) => leaf.set_each(first, numbers.map(|number| entry.of(number))),
                None => leaf.set_run(first, run.pages(), entry),
            }
        }
    }

    /// Learns that the page `pfn` is mapped at the user address `address` for this device alone.
    /// Does not allocate: returns whether there was room.
    ///
    /// # Safety
    ///
    /// It is, now, and [`invalidate`](Self::invalidate) is called before that changes. The page is
    /// in the direct map.
    pub(super) unsafe fn map_exclusive(
        &mut self,
        address: usize,
        pfn: Pfn,
        reserve: &mut Reserve,
    ) -> bool {
        // INVARIANT: By the safety requirements.
        let entry = Entry::exclusive(Frame::System(pfn));
        let page = address >> PAGE_SHIFT;

        match self.leaf(page / BLOCK_PAGES, reserve) {
            Some(leaf) => leaf.set(page % BLOCK_PAGES, entry),
            None => return false,
        }
        true
    }

    /// The leaf of the block with this number, made of `reserve` if there was none; `None` without.
    fn leaf(&mut self, block: usize, reserve: &mut Reserve) -> Option<&mut Leaf> {
        if self.leaves.get(&block).is_none() {
            self.leaves.insert(reserve.take(block)?);
        }
        self.leaves.get_mut(&block)
    }
}

#[kunit_tests(dmirror_table)]
mod tests {
    use super::super::frame::{
        HmmPfn,
        MigratePfn, //
    };
    use super::*;
    use crate::bindings::{
        MIGRATE_PFN_SHIFT,
        MIGRATE_PFN_VALID, //
    };

    const WRITE: bool = true;
    const READ: bool = false;

    fn page(number: usize, writable: bool) -> Mapping {
        Mapping::Page {
            frame: Frame::Device(DeviceIndex::new(number)),
            writable,
            order: 0,
            zero: false,
        }
    }

    /// As many pages, to be learned.
    fn following(pages: usize, first: Mapping) -> (Run<'static>, bool) {
        (Run::following(0, pages, first), true)
    }

    /// What a walk answers for a small page with this number that may be written.
    fn system_page(number: usize) -> HmmPfn {
        HmmPfn::mapped(
            MigratePfn::new(number << MIGRATE_PFN_SHIFT | MIGRATE_PFN_VALID as usize),
            WRITE,
        )
    }

    fn map(table: &mut PageTable, address: usize, mapping: &Mapping, reserve: &mut Reserve) {
        let Ok(range) = PageRange::new(address as u64, 1, usize::MAX) else {
            return;
        };
        // SAFETY: No memory is reached through the entries of a test.
        unsafe { table.map(range, reserve, [following(1, *mapping)].into_iter()) };
    }

    fn find(table: &PageTable, address: usize) -> Option<(Frame, bool)> {
        let page = PageRange::new(address as u64, 1, usize::MAX).ok()?;

        table
            .run(page)
            .next()
            .map(|found| (found.frame, found.writable))
    }

    /// A table that maps the `count` pages from the page number `first`.
    fn table(first: usize, count: usize) -> Result<PageTable> {
        let mut table = PageTable::new();
        for number in first..first + count {
            map(
                &mut table,
                number << PAGE_SHIFT,
                &page(number, WRITE),
                &mut Reserve::new()?,
            );
        }
        Ok(table)
    }

    fn invalidate(table: &mut PageTable, pages: RangeInclusive<usize>) -> Reserve {
        let mut emptied = Reserve::empty();
        table.invalidate(pages);
        table.lend(&mut emptied);
        emptied
    }

    fn count(table: &PageTable) -> usize {
        table.leaves.values().map(Leaf::used).sum()
    }

    #[test]
    fn maps_and_finds() -> Result {
        let mut table = table(510, 4)?;
        assert_eq!(
            find(&table, 513 << PAGE_SHIFT),
            Some((Frame::Device(DeviceIndex::new(513)), WRITE))
        );
        assert_eq!(find(&table, 514 << PAGE_SHIFT), None);
        assert_eq!(table.leaves.values().count(), 2);

        map(
            &mut table,
            511 << PAGE_SHIFT,
            &page(7, READ),
            &mut Reserve::new()?,
        );
        assert_eq!(
            find(&table, 511 << PAGE_SHIFT),
            Some((Frame::Device(DeviceIndex::new(7)), READ))
        );
        assert_eq!(count(&table), 4);
        Ok(())
    }

    #[test]
    fn a_run_of_pages_is_mapped_at_once() -> Result {
        let mut table = PageTable::new();
        let mut reserve = Reserve::new()?;
        let range = PageRange::new(500 << PAGE_SHIFT, 12, usize::MAX)?;
        let exclusive = 510 << PAGE_SHIFT;
        // SAFETY: No memory is reached through the entries of a test.
        unsafe { table.map_exclusive(exclusive, Pfn::new(5), &mut reserve) };

        let (left_out, chosen) = (page(3, READ), page(7, READ));
        let runs = [(following(2, left_out).0, false), following(10, chosen)];
        // SAFETY: As before.
        unsafe { table.map(range, &mut reserve, runs.into_iter()) };
        assert_eq!(count(&table), 10);
        assert_eq!(find(&table, 501 << PAGE_SHIFT), None);
        let device = |number| Some((Frame::Device(DeviceIndex::new(number)), READ));
        assert_eq!(find(&table, 502 << PAGE_SHIFT), device(7));
        assert_eq!(find(&table, 509 << PAGE_SHIFT), device(14));
        assert_eq!(
            find(&table, exclusive),
            Some((Frame::System(Pfn::new(5)), WRITE))
        );
        assert_eq!(find(&table, 511 << PAGE_SHIFT), device(16));

        // SAFETY: As before.
        unsafe {
            table.map(
                range,
                &mut reserve,
                [following(12, Mapping::Absent)].into_iter(),
            )
        };
        assert_eq!(count(&table), 1);
        Ok(())
    }

    #[test]
    fn small_pages_are_mapped_each() -> Result {
        let mut table = PageTable::new();
        let mut reserve = Reserve::new()?;
        let range = PageRange::new(500 << PAGE_SHIFT, 4, usize::MAX)?;
        let system = |number| Frame::System(Pfn::new(number));
        let first = Mapping::Page {
            frame: system(9),
            writable: WRITE,
            order: 0,
            zero: false,
        };
        let numbers = [9, 4, 30, 31];
        let entries = numbers.map(|number| system_page(number).into_raw());
        let run = Run::each(range.start(), first, &entries);
        // SAFETY: No memory is reached through the entries of a test.
        unsafe { table.map(range, &mut reserve, [(run, true)].into_iter()) };
        assert_eq!(count(&table), 4);

        // In a leaf that is not blank, too, with one page that is held exclusively.
        invalidate(&mut table, 501..=501);
        // SAFETY: As before.
        unsafe { table.map_exclusive(502 << PAGE_SHIFT, Pfn::new(5), &mut reserve) };
        // SAFETY: As before.
        unsafe { table.map(range, &mut reserve, [(run, true)].into_iter()) };
        assert_eq!(count(&table), 4);
        for (number, expected) in (500..).zip([9, 4, 5, 31]) {
            assert_eq!(
                find(&table, number << PAGE_SHIFT),
                Some((system(expected), WRITE))
            );
        }

        // Of a device, what a walk answers is not yet the place.
        invalidate(&mut table, 500..=503);
        let run = Run::each(range.start(), page(100, READ), &entries);
        // SAFETY: As before.
        unsafe { table.map(range, &mut Reserve::new()?, [(run, true)].into_iter()) };
        for (number, expected) in (500..).zip([100, 95, 121, 122]) {
            assert_eq!(
                find(&table, number << PAGE_SHIFT),
                Some((Frame::Device(DeviceIndex::new(expected)), READ))
            );
        }
        Ok(())
    }

    #[test]
    fn one_leaf_is_kept_and_lent_once() -> Result {
        let mut table = PageTable::new();
        let (mut one, mut other) = (Reserve::new()?, Reserve::new()?);
        table.keep(&mut one);
        table.keep(&mut other);
        assert!(one.is_empty() && !other.is_empty());

        table.lend(&mut other);
        table.lend(&mut one);
        assert!(!one.is_empty());
        let mut third = Reserve::empty();
        table.lend(&mut third);
        assert!(third.is_empty());
        Ok(())
    }

    #[test]
    fn an_emptied_leaf_is_blank() -> Result {
        let mut table = PageTable::new();
        let range = PageRange::new(500 << PAGE_SHIFT, 12, usize::MAX)?;
        let runs = [following(10, page(7, WRITE))];
        // SAFETY: No memory is reached through the entries of a test.
        unsafe { table.map(range, &mut Reserve::new()?, runs.into_iter()) };
        assert_eq!(count(&table), 10);
        assert!(invalidate(&mut table, 501..=509).is_empty());

        let mut emptied = invalidate(&mut table, 500..=500);
        assert!(table.leaves.is_empty() && !emptied.is_empty());
        map(&mut table, 0, &page(1, WRITE), &mut emptied);
        assert_eq!(count(&table), 1);
        for number in 1..BLOCK_PAGES {
            assert_eq!(find(&table, number << PAGE_SHIFT), None);
        }
        // Who forgets a whole block does not clear its leaf.
        assert!(invalidate(&mut table, 0..=511).is_empty());
        assert!(table.leaves.is_empty());
        Ok(())
    }

    #[test]
    fn a_run_ends_where_nothing_is() -> Result {
        let mut table = table(4, 508)?;
        let numbers = |table: &PageTable, first: usize, count| {
            let range = PageRange::new((first << PAGE_SHIFT) as u64, count, usize::MAX)?;
            Ok::<_, Error>(table.run(range).map(|found| found.pages()).sum::<usize>())
        };
        assert_eq!(numbers(&table, 3, 8)?, 0);
        assert_eq!(numbers(&table, 4, 8)?, 8);
        assert_eq!(numbers(&table, 500, 100)?, 12);
        assert_eq!(numbers(&table, 512, 8)?, 0);

        invalidate(&mut table, 20..=20);
        assert_eq!(numbers(&table, 4, 508)?, 16);
        let range = PageRange::new(9 << PAGE_SHIFT, 1, usize::MAX)?;
        let found = table.run(range).next().map(|found| found.frame);
        assert_eq!(found, Some(Frame::Device(DeviceIndex::new(9))));
        Ok(())
    }

    #[test]
    fn a_run_is_cut_where_pages_do_not_follow() -> Result {
        let mut table = table(0, 8)?;
        for (address, page) in [
            (2, page(9, WRITE)),
            (3, page(10, WRITE)),
            (5, page(5, READ)),
        ] {
            map(
                &mut table,
                address << PAGE_SHIFT,
                &page,
                &mut Reserve::new()?,
            );
        }
        let mut found = table.run(PageRange::new(0, 7, usize::MAX)?);
        for (first, pages, writable) in [
            (0, 2, WRITE),
            (9, 2, WRITE),
            (4, 1, WRITE),
            (5, 1, READ),
            (6, 1, WRITE),
        ] {
            let found = found
                .next()
                .map(|found| (found.frame, found.pages(), found.writable));
            let frame = Frame::Device(DeviceIndex::new(first));
            assert_eq!(found, Some((frame, pages, writable)));
        }
        assert!(found.next().is_none());
        Ok(())
    }

    #[test]
    fn absence_unmaps() -> Result {
        let mut table = table(3, 2)?;
        map(
            &mut table,
            3 << PAGE_SHIFT,
            &Mapping::Absent,
            &mut Reserve::new()?,
        );
        assert_eq!(find(&table, 3 << PAGE_SHIFT), None);
        assert_eq!(count(&table), 1);
        Ok(())
    }

    #[test]
    fn no_reserve_maps_nothing() {
        let mut table = PageTable::new();
        map(&mut table, 0, &page(1, WRITE), &mut Reserve::empty());
        assert_eq!(count(&table), 0);
    }

    #[test]
    fn one_reserve_serves_one_block() -> Result {
        let mut table = PageTable::new();
        let mut reserve = Reserve::new()?;
        for number in 0..BLOCK_PAGES {
            map(
                &mut table,
                number << PAGE_SHIFT,
                &page(number, WRITE),
                &mut reserve,
            );
        }
        assert_eq!(count(&table), BLOCK_PAGES);
        Ok(())
    }

    #[test]
    fn invalidates_no_page_too_many() -> Result {
        let mut table = table(508, 8)?;
        invalidate(&mut table, 510..=512);
        assert!(find(&table, 509 << PAGE_SHIFT).is_some());
        assert!(find(&table, 510 << PAGE_SHIFT).is_none());
        assert!(find(&table, 512 << PAGE_SHIFT).is_none());
        assert!(find(&table, 513 << PAGE_SHIFT).is_some());
        assert_eq!(count(&table), 5);
        Ok(())
    }

    #[test]
    fn invalidating_a_block_frees_its_leaf() -> Result {
        let mut table = table(511, 2)?;
        invalidate(&mut table, 0..=511);
        assert_eq!(table.leaves.values().count(), 1);
        assert!(find(&table, 512 << PAGE_SHIFT).is_some());
        Ok(())
    }

    #[test]
    fn exit_invalidates_everything() -> Result {
        let mut table = table(508, 8)?;
        invalidate(&mut table, 0..=usize::MAX >> PAGE_SHIFT);
        assert!(table.leaves.is_empty());
        Ok(())
    }

    fn hold(table: &mut PageTable, address: usize, number: usize) -> Result {
        let mut reserve = Reserve::new()?;
        // SAFETY: No memory is reached through the entries of a test.
        let entered = unsafe { table.map_exclusive(address, Pfn::new(number), &mut reserve) };
        assert!(entered);
        Ok(())
    }

    #[test]
    fn no_look_ends_exclusive_access() -> Result {
        let mut table = table(3, 1)?;
        hold(&mut table, 3 << PAGE_SHIFT, 7)?;
        for mapping in [page(1, WRITE), page(1, READ), Mapping::Absent] {
            map(&mut table, 3 << PAGE_SHIFT, &mapping, &mut Reserve::new()?);
            assert_eq!(
                find(&table, 3 << PAGE_SHIFT),
                Some((Frame::System(Pfn::new(7)), WRITE))
            );
        }
        invalidate(&mut table, 3..=3);
        assert_eq!(find(&table, 3 << PAGE_SHIFT), None);
        assert_eq!(count(&table), 0);
        Ok(())
    }

    #[test]
    fn finds_what_is_held_exclusively() -> Result {
        let range = PageRange::new(0, 512, usize::MAX)?;
        let mut table = table(0, 512)?;
        assert_eq!(table.before_exclusive(range), Some(range));

        hold(&mut table, 511 << PAGE_SHIFT, 1)?;
        assert_eq!(table.before_exclusive(range), Some(range.first_pages(511)));
        hold(&mut table, 4 << PAGE_SHIFT, 2)?;
        assert_eq!(table.before_exclusive(range), Some(range.first_pages(4)));
        assert_eq!(
            table
                .before_exclusive(range.first_pages(4))
                .map(PageRange::pages),
            Some(4)
        );

        let rest = PageRange::new(4 << PAGE_SHIFT, 508, usize::MAX)?;
        assert_eq!(table.before_exclusive(rest), None);

        let next = PageRange::new(512 << PAGE_SHIFT, 1, usize::MAX)?;
        assert_eq!(table.before_exclusive(next), Some(next));
        Ok(())
    }

    #[test]
    fn finds_blocks_that_are_known() -> Result {
        let table = table(1024 + 7, 1)?;
        let all = PageRange::new(0, 1 << 35, usize::MAX)?;
        let block = PageRange::new(1024 << PAGE_SHIFT, 512, usize::MAX)?;

        assert_eq!(table.first_block(all), Some(block));
        assert_eq!(
            table.first_block(PageRange::new(1030 << PAGE_SHIFT, 1, usize::MAX)?),
            Some(PageRange::new(1030 << PAGE_SHIFT, 1, usize::MAX)?)
        );
        assert_eq!(
            table.first_block(PageRange::new(0, 1024, usize::MAX)?),
            None
        );
        let above = PageRange::new(1536 << PAGE_SHIFT, 1 << 35, usize::MAX)?;
        assert_eq!(table.first_block(above), None);
        Ok(())
    }
}
