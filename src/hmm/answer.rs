// SPDX-License-Identifier: GPL-2.0

//! What a walk has found, until it is out of date.
//!
//! A walk answers without the notifier lock: [`Faulted`]. With the lock, and if no notification has
//! come since it began, the answer is [`Validated`], and may be entered into the page table.
//!
//! # Lock order
//!
//! To validate takes the notifier lock, and the answer holds it: see [`notifier`](super::notifier).
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

use super::{
    leaf::Reserve,
    mapping::{
        Run,
        Runs, //
    },
    notifier::IntervalNotifier,
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::PageRange,
    watch::State, //
};
use kernel::sync::lock::{
    mutex::MutexBackend,
    Guard, //
};

/// The address space changed while it was looked up: look again.
#[derive(Debug)]
pub(crate) struct Retry;

/// The answer of a walk, which may be out of date.
///
/// # Invariants
///
/// `range` lies in one block, and `pfns` has an entry for each page of it. Each valid one names a
/// page that was mapped at its address, in the address space of `notifier`, after the sequence `seq`
/// had been read.
#[must_use = "a walk is of no use until it has been validated"]
pub(crate) struct Faulted<'a, O: PagemapOps> {
    notifier: &'a IntervalNotifier<O>,
    seq: usize,
    range: PageRange,
    pfns: &'a [usize],
}

impl<'a, O: PagemapOps> Faulted<'a, O> {
    /// The answer `pfns` about `range`, of a walk that began with the sequence `seq`.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(
        notifier: &'a IntervalNotifier<O>,
        seq: usize,
        range: PageRange,
        pfns: &'a [usize],
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            notifier,
            seq,
            range,
            pfns,
        }
    }

    /// Takes the notifier lock and proves that nothing changed since the walk began.
    ///
    /// # Errors
    ///
    /// [`Retry`] if something did.
    pub(crate) fn validate(self) -> core::result::Result<Validated<'a, O>, Retry> {
        let state = self.notifier.lock_unchanged(self.seq)?;

        // INVARIANT: The lock is held, and no notification came since the walk began.
        Ok(Validated {
            state,
            owner: self.notifier.owner(),
            range: self.range,
            pfns: self.pfns,
        })
    }
}

/// The answer of a walk, proved true for as long as this lives.
///
/// # Invariants
///
/// `state` locks the notifier with which `pfns` were collected; `range` lies in one block, and `pfns`
/// has one entry for each page of it, or a single one for a huge page at all of it. No notification has
/// come since that could concern a valid entry: it names a page that is mapped at its address now, or
/// kept by a migration that will map it there unless a notification comes first.
pub(crate) struct Validated<'a, O: PagemapOps> {
    state: Guard<'a, State, MutexBackend>,
    owner: &'a DeviceOwner<O>,
    range: PageRange,
    pfns: &'a [usize],
}

impl<'a, O: PagemapOps> Validated<'a, O> {
    /// The answer `pfns` about `range`, which somebody has proved with the notifier lock, `state`,
    /// held.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(
        state: Guard<'a, State, MutexBackend>,
        owner: &'a DeviceOwner<O>,
        range: PageRange,
        pfns: &'a [usize],
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            state,
            owner,
            range,
            pfns,
        }
    }

    /// Where the pages of the range are, in order of address.
    #[inline]
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        // SAFETY: By the type invariant there are such entries, and a valid one names a page that
        // is mapped, or kept by a migration that will map it unless a notification comes first, which
        // waits for the lock: it does not go away.
        unsafe { Runs::new(self.owner, self.range, self.pfns) }
    }

    /// Enters those runs of pages that `choose` chooses into the page table. Does not sleep. What is left
    /// of `reserve` is kept with the table, unless there is something already: fill it again before the
    /// next.
    ///
    /// `choose` runs under the notifier lock, maybe with the mmap lock and folio locks held: see the
    /// lock order of [`notifier`](super::notifier).
    pub(crate) fn publish(
        mut self,
        reserve: &mut Reserve,
        mut choose: impl FnMut(&Run<'_>) -> bool,
    ) {
        // SAFETY: As for `runs()`.
        let runs = unsafe { Runs::new(self.owner, self.range, self.pfns) };
        let chosen = runs.map(|run| {
            let chosen = choose(&run);
            (run, chosen)
        });
        // SAFETY: By the type invariant what each entry names is mapped there, or kept by a migration that
        // will map it there unless a notification comes first, and by those of `Run` a run is true of each of
        // its pages; `Mapping` sees to it that all are in the direct map; the table is that of the address
        // space in which it was found, and each notification invalidates it.
        unsafe { self.state.map(self.range, reserve, chosen) };
        self.state.keep(reserve);
    }
}
