// SPDX-License-Identifier: GPL-2.0

//! Pages on their way to the device, of which it learns without another look.
//!
//! A [`Batch`] has been collected, and its range watched meanwhile. So its end knows where each page
//! is, those that moved and those that a [`Walk`] found and left alone, and enters them into the page
//! table of the device before they are mapped again.
//!
//! It comes from a walk, which faults in what is missing, or from [`Active::collect`], which takes
//! what is there.
//!
//! # Lock order
//!
//! As for a migration: mmap lock, then folio locks; then the notifier lock, which [`Batch::finish`]
//! takes with both of them held. So whoever holds a notifier lock, here or anywhere, must not wait
//! for what comes before: not fault, not allocate memory for which others may have to be reclaimed,
//! not wait for a folio or the mmap lock. And what runs under it, such as the closure that is given
//! to [`Validated::publish`], must not lock a notifier: not this one again, and not another, as the
//! locks of two have no order.
//!
//! C header: [`include/linux/migrate.h`](srctree/include/linux/migrate.h)
//!
//! [`Walk`]: super::walk::Walk

use super::{
    answer::Validated,
    buffer::MigrateBuffer,
    frame::{
        HmmPfn,
        MigratePfn, //
    },
    mapping::PfnBuffer,
    migrate::{
        Collected,
        Select,
        Source, //
    },
    mm::{
        is_access_tracked,
        may_be_huge,
        MmapRead, //
    },
    notifier::Active,
    outcome::Outcome,
    page::LockedPage,
    pagemap::PagemapOps,
    range::PageRange,
    sources::SmallSources,
    watch::{
        Step,
        Watching, //
    },
};
use kernel::{
    mm::virt::flags,
    prelude::*, //
};

/// Pages that have been collected under watch. Dropping it leaves all pages where they are.
///
/// # Invariants
///
/// * `collected` is of the pages of `range`, after `watching` began to watch them, and after all
///   changes of the address space had ended that were under way then.
/// * `pfns` has an entry for each of them: if they were `looked_up`, what a walk has found there since,
///   and whether it has collected it; else zeroes, which say nothing.
/// * With `holes_writable`, what takes the place of nothing there is mapped writable.
#[must_use = "dropping it leaves all pages where they are"]
pub(crate) struct Batch<'a, O: PagemapOps> {
    collected: Collected<'a, O>,
    watching: Watching<'a, O>,
    holes_writable: bool,
    looked_up: bool,
    pfns: &'a mut [usize],
    range: PageRange,
}

impl<O: PagemapOps> Active<'_, O> {
    /// Collects the pages from the start of `range` on that are in system memory, and the holes, for
    /// the device to have them in its own: as [`MmapRead::migrate`] does. Stops at the end of the
    /// VMA: see [`Batch::walked`].
    ///
    /// Takes the mmap lock. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`MmapRead::migrate`], and:
    ///
    /// * [`E2BIG`][]: `range` does not lie in one block, or is longer than a buffer.
    /// * [`EINVAL`][]: the range begins where no VMA is, or in one that cannot be read.
    /// * [`EINTR`][]: killed.
    pub(crate) fn collect<'a>(
        &'a mut self,
        range: PageRange,
        whole: bool,
        pfns: &'a mut PfnBuffer<'_>,
        buffer: &'a mut MigrateBuffer<'_>,
    ) -> Result<Batch<'a, O>> {
        let (notifier, mm) = self.parts();
        let watching = Watching::new(notifier, range);
        // For changes that are under way to end.
        notifier.begin();
        let mmap = MmapRead::lock(mm)?;

        let vma = mmap.vma_at(range.start()).ok_or(EINVAL)?;
        let (range, _) = range.split_at(vma.end());
        let holes_writable = vma.flags() & flags::WRITE != 0;
        if vma.flags() & flags::READ == 0 {
            return Err(EINVAL);
        }
        let pfns = pfns.entries(range)?;

        // There a page may be mapped so that each access is told to userfaultfd, and only a look finds
        // out which.
        let watching = match is_access_tracked(vma) {
            true => watching.give_up(),
            false => watching,
        };
        let whole = whole && may_be_huge(vma);
        let vma = vma.as_ptr();
        let step = watching.at(Step::Migrating);
        // SAFETY: The VMA is one of those that `mmap` locks, which goes along with the result. There is no
        // page fault.
        let mut collected = unsafe {
            Collected::setup(
                vma,
                range,
                Select::System,
                whole,
                notifier.owner(),
                buffer,
                core::ptr::null_mut(),
            )
        }?;
        drop(step);
        collected.keep(mmap);
        // INVARIANT: The watch began before the mmap lock was taken. All entries are zeroes. mm maps
        // what takes the place of nothing as the VMA allows.
        Ok(Batch {
            collected,
            watching,
            holes_writable,
            looked_up: false,
            pfns,
            range,
        })
    }
}

impl<'a, O: PagemapOps> Batch<'a, O> {
    /// What a walk has collected of `range`.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(
        collected: Collected<'a, O>,
        watching: Watching<'a, O>,
        holes_writable: bool,
        pfns: &'a mut [usize],
        range: PageRange,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            collected,
            watching,
            holes_writable,
            looked_up: true,
            pfns,
            range,
        }
    }

    /// The pages that have been handled, from the start of the range on: each has been collected or
    /// stayed in place. Another batch may begin behind them once this one is finished.
    pub(crate) fn walked(&self) -> PageRange {
        self.range
    }

    /// Asks for a target for each page that can move: see [`Collected::offer`].
    pub(crate) fn offer(&mut self, choose: impl FnMut(usize, Source<'_>) -> Option<LockedPage>) {
        self.collected.offer(choose);
    }

    /// Whether it is one huge page, or the hole for one.
    pub(crate) fn is_huge(&self) -> bool {
        self.collected.is_huge()
    }

    /// Hands the small pages that can move, and the holes, to `choose`: see [`Collected::offer_small`].
    pub(crate) fn offer_small(&mut self, choose: impl FnMut(SmallSources<'_>) -> bool) {
        self.collected.offer_small(choose);
    }

    /// Lets the targets take over from their sources; then lets `publish` enter the pages into the
    /// page table, those that moved and those that a walk found and left; then maps them, and
    /// releases the mmap lock. May sleep.
    ///
    /// `publish` runs with the mmap lock, folio locks and the notifier lock held. It must not wait
    /// for anything but memory that is there: see the lock order of this module.
    ///
    /// Returns what has become of the pages, and what `publish` returns; or `None`, without a call,
    /// if others have changed the range since the watch began. Pages that stayed, but have been mapped
    /// anew, are absent: look again.
    pub(crate) fn finish<R>(
        self,
        publish: impl FnOnce(Validated<'_, O>) -> R,
    ) -> (Outcome, Option<R>) {
        let Self {
            collected,
            mut watching,
            holes_writable,
            looked_up,
            pfns,
            range,
        } = self;
        let notifier = watching.notifier();
        let step = watching.at(Step::Migrating);
        let committed = collected.commit();
        drop(step);

        let mut state = notifier.lock();
        // What changes from now on waits for the lock, and finds in the table what is entered there.
        let changes = match watching.end(&mut state) {
            Some(changes) if changes.spare_collected() => changes,
            _ => return (committed.outcome(), None),
        };
        if looked_up {
            for pfn in pfns.iter_mut() {
                if HmmPfn::new(*pfn).is_collected() || !changes.spare_mapped() {
                    *pfn = 0;
                }
            }
        }
        let answer = |source: MigratePfn, target| {
            let writable = source.is_writable() || (!source.has_page() && holes_writable);
            HmmPfn::mapped(target, writable)
        };
        let mut moved = 0;
        let pfns = match committed.moved().next() {
            // A huge page that takes the whole range: one entry says it all.
            Some((_, source, target)) if target.pages() == pfns.len() => {
                moved = target.pages();
                let pfns = pfns.get_mut(..1).unwrap_or_default();
                pfns.fill(answer(source, target).into_raw());
                pfns
            }
            _ => {
                for (index, source, target) in committed.moved() {
                    moved += target.pages();
                    let first = answer(source, target);
                    let parts = pfns.iter_mut().skip(index).take(target.pages());

                    for (part, pfn) in parts.enumerate() {
                        *pfn = first.part(part).into_raw();
                    }
                }
                pfns
            }
        };
        // SAFETY: `range` is a part of a range that lies in one block, with an entry for each page, or a
        // single one for the huge page that takes it all. What is left of a walk's
        // entries has not been changed by anyone since it began. The others name pages that have
        // taken over from what was mapped, or from nothing, and that `committed` keeps until it has
        // mapped them; the only notifications that have come for them since are the batch's own, for
        // just that.
        let found = unsafe { Validated::new(state, notifier.owner(), range, pfns) };
        let result = publish(found);

        let outcome = committed.outcome_of(moved);
        drop(committed);
        (outcome, Some(result))
    }
}
