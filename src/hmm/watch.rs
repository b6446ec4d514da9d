// SPDX-License-Identifier: GPL-2.0

//! Telling the changes that a walk makes itself from those of others.
//!
//! A walk that collects pages notifies its own device, too, and so makes its own answer look stale.
//! Looking again would be the second walk that it is there to save. So it watches its range: the
//! callback of the notifier runs in the thread that changes something, and takes note of whose
//! changes it sees.
//!
//! The watch begins before the sequence of the notifier is read. Reading it waits for all changes
//! that are under way, and the callback sees all that come later.
//!
//! # Lock order
//!
//! The notifier lock guards the watch; see [`notifier`](super::notifier).

use super::{
    notifier::IntervalNotifier,
    pagemap::PagemapOps,
    range::{
        pages_touched,
        PageRange, //
    },
    table::PageTable, //
};
use core::ops::{
    Deref,
    DerefMut,
    RangeInclusive, //
};
use kernel::task::Task;

/// What the notifier lock guards.
pub(super) struct State {
    table: PageTable,
    watch: Option<Watch>,
}

impl State {
    /// An empty table, and no watch.
    pub(super) fn new() -> Self {
        Self {
            table: PageTable::new(),
            watch: None,
        }
    }

    /// The current thread is about to change `pages`. `for_device` tells that it collects or
    /// inserts pages for a migration of this device's.
    pub(super) fn invalidate(&mut self, pages: RangeInclusive<usize>, for_device: bool) {
        if let Some(watch) = &mut self.watch {
            watch.note(&pages, current() == watch.task, for_device);
        }
        self.table.invalidate(pages);
    }
}

impl Deref for State {
    type Target = PageTable;

    fn deref(&self) -> &PageTable {
        &self.table
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut PageTable {
        &mut self.table
    }
}

/// The address of the current task: who it is, for as long as it runs.
fn current() -> usize {
    Task::current_raw().addr()
}

/// What has happened to a range since the watch began.
struct Watch {
    task: usize,
    pages: RangeInclusive<usize>,
    changes: Changes,
}

/// Whose changes have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Another thread's: pages may have gone, also collected ones.
    by_others: bool,
    /// One of the watching thread, beyond its window: it has unmapped a collected page elsewhere,
    /// perhaps at another address of the range, or split a large one and put the page of zeroes in
    /// the place of parts.
    by_self: bool,
}

impl Changes {
    /// Pages that the walk collected are still where it put them: in its hands.
    pub(super) fn spare_collected(self) -> bool {
        !self.by_others
    }

    /// Pages that the walk left alone are still mapped.
    pub(super) fn spare_mapped(self) -> bool {
        !self.by_others && !self.by_self
    }
}

impl Watch {
    fn note(&mut self, pages: &RangeInclusive<usize>, by_self: bool, for_device: bool) {
        if pages.start() > self.pages.end() || pages.end() < self.pages.start() {
            return;
        }
        if !by_self {
            self.changes.by_others = true;
        } else if !for_device {
            self.changes.by_self = true;
        }
    }
}

/// Keeps a watch on a range while it lives; unless another thread does already for the same
/// notifier: that is rare, and to see no watch is as good as to see a change.
pub(super) struct Watching<'a, O: PagemapOps> {
    notifier: &'a IntervalNotifier<O>,
    mine: bool,
}

impl<'a, O: PagemapOps> Watching<'a, O> {
    /// Begins a watch of `range` for the current thread. May sleep.
    pub(super) fn new(notifier: &'a IntervalNotifier<O>, range: PageRange) -> Self {
        let mut state = notifier.lock();
        let mine = state.watch.is_none();

        if let (true, Some(pages)) = (mine, pages_touched(range.start(), range.end())) {
            state.watch = Some(Watch {
                task: current(),
                pages,
                changes: Changes::default(),
            });
        }
        Self { notifier, mine }
    }

    /// The changes up to now; nothing if there was no watch. `state` is that of the notifier.
    pub(super) fn changes(&self, state: &State) -> Option<Changes> {
        if !self.mine {
            return None;
        }
        state.watch.as_ref().map(|watch| watch.changes)
    }
}

impl<O: PagemapOps> Drop for Watching<'_, O> {
    fn drop(&mut self) {
        if self.mine {
            self.notifier.lock().watch = None;
        }
    }
}

#[kernel::macros::kunit_tests(dmirror_watch)]
mod tests {
    use super::*;

    fn after(changes: &[(RangeInclusive<usize>, bool, bool)]) -> Changes {
        let mut watch = Watch {
            task: 0,
            pages: 10..=19,
            changes: Changes::default(),
        };
        for (pages, by_self, for_device) in changes {
            watch.note(pages, *by_self, *for_device);
        }
        watch.changes
    }

    #[test]
    fn own_window_changes_nothing() {
        let changes = after(&[(10..=19, true, true), (0..=usize::MAX, true, true)]);
        assert!(changes.spare_collected());
        assert!(changes.spare_mapped());
    }

    #[test]
    fn own_unmapping_leaves_only_what_was_collected() {
        let changes = after(&[(19..=19, true, false)]);
        assert!(changes.spare_collected());
        assert!(!changes.spare_mapped());
    }

    #[test]
    fn changes_of_others_leave_nothing() {
        // The other thread's migrations are for the same device, but not ours.
        for for_device in [false, true] {
            let changes = after(&[(10..=10, false, for_device)]);
            assert!(!changes.spare_collected());
            assert!(!changes.spare_mapped());
        }
    }

    #[test]
    fn changes_elsewhere_do_not_matter() {
        let changes = after(&[(0..=9, false, false), (20..=30, false, false)]);
        assert!(changes.spare_mapped());
    }
}
