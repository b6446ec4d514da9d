// SPDX-License-Identifier: GPL-2.0

//! Telling the changes that a migration makes itself from those of others.
//!
//! A walk that collects pages, or any other migration, notifies its own device, too, and so makes its
//! own answer look stale. Looking again would be the second walk that it is there to save. So it
//! watches its range: the
//! callback of the notifier runs in the thread that changes something, and takes note of whose
//! changes it sees.
//!
//! The watch begins before the sequence of the notifier is read. Reading it waits for all changes
//! that are under way, and the callback sees all that come later.
//!
//! A change of the watching thread is the walk's own only while one of the functions of mm runs of
//! which the walk consists: see [`Step`]. All that the thread does besides, in the code of a driver
//! for one, counts like what others do.
//!
//! The faults that the walk takes, before it collects, are inside of such a function, and may notify
//! as well: by a copy on write, or as a page of this very device comes home (`migrate_to_ram`), with
//! an event that looks like the walk's own. It does no harm there. Nothing is collected yet; each
//! notification makes the sequence stale, and mm compares it after the faults, before it collects
//! anything. So that walk ends with `EBUSY`, its watch with it, and what the watch did not count is
//! of no use to anyone.
//!
//! # Lock order
//!
//! The notifier lock guards the watch, but not its step, and is taken with pages collected; see
//! [`notifier`](super::notifier).

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
use kernel::{
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    },
    task::Task, //
};

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

    /// The current thread is about to change `pages`. `for_device` tells that it does so for a
    /// migration of this device's (`MMU_NOTIFY_MIGRATE`); `step` is that of the watch, if it is the
    /// watching thread. The rest is as for [`PageTable::invalidate`].
    pub(super) fn invalidate(
        &mut self,
        pages: RangeInclusive<usize>,
        for_device: bool,
        step: &CurrentStep,
    ) {
        if let Some(watch) = &mut self.watch {
            watch.note(&pages, current(), step, for_device);
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

/// Which function of mm the watching thread is in, and so which changes are the walk's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    /// In none.
    Elsewhere,
    /// In one that unmaps what has been collected, wherever else it is mapped. It does not open the
    /// window of a migration.
    Unmapping,
    /// In one that collects pages, or inserts targets: it opens the window of a migration for the
    /// device. It may also split large pages, and reclaim others; without a walk it unmaps as well.
    Migrating,
}

/// The step of the watch of a notifier. The watching thread alone writes and reads it, and so it needs no
/// lock; while there is no watch, it is [`Step::Elsewhere`].
pub(super) struct CurrentStep(Atomic<u32>);

impl CurrentStep {
    pub(super) fn new() -> Self {
        Self(Atomic::new(Step::Elsewhere as u32))
    }

    fn set(&self, step: Step) {
        self.0.store(step as u32, Relaxed);
    }

    fn get(&self) -> Step {
        let step = self.0.load(Relaxed);

        [Step::Unmapping, Step::Migrating]
            .into_iter()
            .find(|known| *known as u32 == step)
            .unwrap_or(Step::Elsewhere)
    }
}

/// What has happened to a range since the watch began.
struct Watch {
    task: usize,
    first: usize,
    last: usize,
    changes: Changes,
}

/// Whose changes have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Another thread's, or one of the watching thread that is no part of the walk: pages may have
    /// gone, also collected ones.
    by_others: bool,
    /// The walk's own, beyond its windows: it has unmapped a collected page elsewhere, perhaps at
    /// another address of the range, or split a large one and put the page of zeroes in the place of
    /// parts. What is collected has a migration entry already, which none of this touches.
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
    /// The thread `task` changes `pages`. If it is the watching one, it is at that `step`; another is
    /// elsewhere.
    fn note(
        &mut self,
        pages: &RangeInclusive<usize>,
        task: usize,
        step: &CurrentStep,
        for_device: bool,
    ) {
        if *pages.start() > self.last || *pages.end() < self.first {
            return;
        }
        let step = match task == self.task {
            true => step.get(),
            false => Step::Elsewhere,
        };
        match (step, for_device) {
            (Step::Migrating, true) => {}
            (Step::Migrating | Step::Unmapping, false) => self.changes.by_self = true,
            (Step::Unmapping, true) | (Step::Elsewhere, _) => self.changes.by_others = true,
        }
    }
}

/// Keeps a watch on a range until it [ends](Self::end) or is dropped; unless somebody else does already
/// for the same notifier: that is rare, and to see no watch is as good as to see a change.
///
/// # Invariants
///
/// If `mine`, the watch of `notifier` is the one that this has stored.
pub(super) struct Watching<'a, O: PagemapOps> {
    notifier: &'a IntervalNotifier<O>,
    mine: bool,
}

impl<'a, O: PagemapOps> Watching<'a, O> {
    /// Begins a watch of `range` for the current thread. May sleep.
    pub(super) fn new(notifier: &'a IntervalNotifier<O>, range: PageRange) -> Self {
        let mut state = notifier.lock();
        let mine = match (&state.watch, pages_touched(range.start(), range.end())) {
            (None, Some(pages)) => {
                state.watch = Some(Watch {
                    task: current(),
                    first: *pages.start(),
                    last: *pages.end(),
                    changes: Changes::default(),
                });
                true
            }
            _ => false,
        };
        // INVARIANT: It has been stored if `mine`; nobody stores another while there is one, and
        // only `end()` and the destructor take it away.
        Self { notifier, mine }
    }

    /// The notifier.
    pub(super) fn notifier(&self) -> &'a IntervalNotifier<O> {
        self.notifier
    }

    /// Gives up: it will be as if there had been no watch.
    pub(super) fn give_up(self) -> Self {
        let notifier = self.notifier;

        drop(self);
        // INVARIANT: Nothing is promised.
        Self {
            notifier,
            mine: false,
        }
    }

    /// The watching thread is at `step` from now on, until the result is dropped: it does nothing but call
    /// the function of mm that is that step of the walk, and undo that if need be.
    #[inline]
    pub(super) fn at(&self, step: Step) -> AtStep<'_> {
        let current = self.mine.then(|| self.notifier.step());

        if let Some(current) = current {
            current.set(step);
        }
        AtStep(current)
    }

    /// Ends the watch, with the changes up to now; nothing if there was none. `state` is that of the
    /// notifier.
    pub(super) fn end(&mut self, state: &mut State) -> Option<Changes> {
        // INVARIANT: It is taken away.
        if !core::mem::take(&mut self.mine) {
            return None;
        }
        state.watch.take().map(|watch| watch.changes)
    }
}

/// A step of the watching thread, which ends with this. Nothing, if there is no watch.
#[must_use = "the step ends when this is dropped"]
pub(super) struct AtStep<'a>(Option<&'a CurrentStep>);

impl Drop for AtStep<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(current) = self.0 {
            current.set(Step::Elsewhere);
        }
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

    /// Pages, whether the watching thread changes them, and whether for a migration of the device.
    type Change = (RangeInclusive<usize>, bool, bool);

    fn after(step: Step, changes: &[Change]) -> Changes {
        let current = CurrentStep::new();
        current.set(step);
        let mut watch = Watch {
            task: 0,
            first: 10,
            last: 19,
            changes: Changes::default(),
        };
        for (pages, by_self, for_device) in changes {
            let task = if *by_self { watch.task } else { watch.task + 1 };

            watch.note(pages, task, &current, *for_device);
        }
        watch.changes
    }

    #[test]
    fn a_step_lasts_until_the_next() {
        let current = CurrentStep::new();
        assert_eq!(current.get(), Step::Elsewhere);
        for step in [Step::Migrating, Step::Unmapping, Step::Elsewhere] {
            current.set(step);
            assert_eq!(current.get(), step);
        }
    }

    #[test]
    fn own_window_changes_nothing() {
        let changes = after(
            Step::Migrating,
            &[(10..=19, true, true), (0..=usize::MAX, true, true)],
        );
        assert!(changes.spare_collected());
        assert!(changes.spare_mapped());
    }

    #[test]
    fn own_unmapping_leaves_only_what_was_collected() {
        for step in [Step::Unmapping, Step::Migrating] {
            let changes = after(step, &[(19..=19, true, false)]);
            assert!(changes.spare_collected());
            assert!(!changes.spare_mapped());
        }
    }

    #[test]
    fn own_window_elsewhere_leaves_nothing() {
        for step in [Step::Elsewhere, Step::Unmapping] {
            let changes = after(step, &[(10..=10, true, true)]);
            assert!(!changes.spare_collected());
            assert!(!changes.spare_mapped());
        }
    }

    #[test]
    fn own_unmapping_elsewhere_leaves_nothing() {
        let changes = after(Step::Elsewhere, &[(10..=10, true, false)]);
        assert!(!changes.spare_collected());
        assert!(!changes.spare_mapped());
    }

    #[test]
    fn changes_of_others_leave_nothing() {
        // The other thread's migrations are for the same device, but not ours; whatever we do.
        for step in [Step::Elsewhere, Step::Unmapping, Step::Migrating] {
            for for_device in [false, true] {
                let changes = after(step, &[(10..=10, false, for_device)]);
                assert!(!changes.spare_collected());
                assert!(!changes.spare_mapped());
            }
        }
    }

    #[test]
    fn changes_elsewhere_do_not_matter() {
        let changes = after(
            Step::Elsewhere,
            &[(0..=9, false, false), (20..=30, false, false)],
        );
        assert!(changes.spare_mapped());
    }
}
