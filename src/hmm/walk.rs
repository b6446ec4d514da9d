// SPDX-License-Identifier: GPL-2.0

//! One walk that faults pages in and collects them for a migration.
//!
//! A device fault that shall end with the page in device memory needs the page present, writable if
//! the device writes, and then locked and unmapped. [`Active::fault`] and [`MmapRead::migrate`]
//! walk the page tables once each, or more often if something was missing; a [`Walk`] does it in
//! one.
//!
//! Two steps, each a type that is consumed by the next: [`Walk`] (nothing has been touched) →
//! [`Batch`] (pages are collected as in a [`Collected`]). The batch ends by entering the pages into
//! the page table of the device, where they are now.
//!
//! * All of them borrow the [`Active`] exclusively. So no other fault, look or lock of this thread
//!   can come while pages are collected, and the mmap lock is taken once.
//! * The mmap lock belongs to the [`Walk`] and passes on to the [`Batch`], which lets go of it as
//!   the last thing. A fault handler that waits (userfaultfd, swap) may let go of it before
//!   anything is collected; then the walk is over, and a new one must look at everything anew.
//! * An error means that nothing was collected. Dropping a [`Batch`] puts all pages back.
//! * Pages that cannot move do not hold up the others: they are made present and stay.
//!
//! A kernel without the series in `patches/` has no such walk: see [`SUPPORTED`].
//!
//! # Lock order
//!
//! Mmap lock, folio locks, notifier lock: see [`watched`](super::watched).
//!
//! The sequence of the notifier is read before the mmap lock is taken: that may wait for a change of
//! the address space to end.
//!
//! C headers: [`include/linux/hmm.h`](srctree/include/linux/hmm.h),
//! [`include/linux/migrate.h`](srctree/include/linux/migrate.h)
//!
//! [`MmapRead::migrate`]: super::mm::MmapRead::migrate

use super::{
    batch::Pages,
    buffer::{
        Arrays,
        MigrateBuffer, //
    },
    frame::HmmPfn,
    mapping::{
        Access,
        PfnBuffer, //
    },
    migrate::{
        Collected,
        Select, //
    },
    mm::{
        may_be_huge,
        MmapRead, //
    },
    notifier::{
        Active,
        IntervalNotifier, //
    },
    pagemap::PagemapOps,
    range::PageRange,
    watch::{
        Step,
        Watching, //
    },
    watched::Batch, //
};
use crate::bindings as shims;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Whether this kernel has the walk. If not, [`Walk::collect`] ends with [`EOPNOTSUPP`].
pub(crate) const SUPPORTED: bool = HmmPfn::CAN_COLLECT;

/// A walk that is about to begin: the mmap lock is held, and nothing has been collected.
///
/// # Invariants
///
/// * `mmap` locks the address space that `notifier` subscribes to.
/// * `seq` is a sequence of `notifier`, read before the lock was taken, and after `watching` began to
///   watch `range` there.
/// * `range` lies in one block. `pfns` and the arrays have an entry for each page of it, `pfns` zeroes.
#[must_use = "a walk does nothing until it collects"]
pub(crate) struct Walk<'a, O: PagemapOps> {
    mmap: MmapRead<'a>,
    notifier: &'a IntervalNotifier<O>,
    watching: Watching<'a, O>,
    seq: usize,
    range: PageRange,
    access: Access,
    whole: bool,
    pfns: &'a mut [usize],
    arrays: Arrays<'a>,
}

impl<O: PagemapOps> Active<'_, O> {
    /// Begins a walk of `range`, for the device to have its pages in its own memory and `access`
    /// them there. With `whole`, huge pages that lie in it are collected in one piece, as by
    /// [`MmapRead::migrate`].
    ///
    /// Takes the mmap lock. May sleep.
    ///
    /// # Errors
    ///
    /// * [`E2BIG`][]: `range` does not lie in one block, or is longer than a buffer.
    /// * [`EFAULT`][]: the OOM killer is tearing the address space down.
    /// * [`EINTR`][]: killed.
    pub(crate) fn walk<'a>(
        &'a mut self,
        range: PageRange,
        access: Access,
        whole: bool,
        pfns: &'a mut PfnBuffer<'_>,
        buffer: &'a mut MigrateBuffer<'_>,
    ) -> Result<Walk<'a, O>> {
        let (notifier, mm) = self.parts();
        let pfns = pfns.entries(range)?;
        let arrays = buffer.arrays(range.pages())?;
        let watching = Watching::new(notifier, range);
        let seq = notifier.begin();
        let mmap = MmapRead::lock(mm)?;

        if !mmap.is_stable() {
            return Err(EFAULT);
        }
        // The walk ends with the VMA that it begins in.
        let whole = whole && mmap.vma_at(range.start()).is_some_and(may_be_huge);
        // INVARIANT: Notifier and lock are those of `self`; the buffers have given an entry for each
        // page, which `pfns` does only for a range in one block, and zeroes.
        Ok(Walk {
            mmap,
            notifier,
            watching,
            seq,
            range,
            access,
            whole,
            pfns,
            arrays,
        })
    }
}

impl<'a, O: PagemapOps> Walk<'a, O> {
    /// Makes the pages from the start of the range on present, as a fault of the device for this
    /// access does, and collects those that can move. Stops at the end of the VMA, and where it
    /// would have to fault with pages collected: see [`Batch::walked`].
    ///
    /// Returns `None` if a fault handler had to wait and let go of the mmap lock for that. Nothing
    /// has been collected then, and another walk is needed.
    ///
    /// Adds the faults of the CPU that this took to `faults`, also if it fails.
    ///
    /// Notifies all who mirror the address space, this device too, if something is collected. May
    /// sleep long; ends early if the thread is killed.
    ///
    /// C: `hmm_range_fault_locked()`, `migrate_hmm_range_setup()`.
    ///
    /// # Errors
    ///
    /// Nothing is collected then.
    ///
    /// * [`EFAULT`][]: the range begins where no VMA is or where all access is forbidden, or a page
    ///   cannot be had.
    /// * [`EPERM`][]: to be written, where the VMA forbids it.
    /// * [`EINVAL`][]: the range begins in a VMA of hugetlb, DAX, or special pages, which never
    ///   move.
    /// * [`EBUSY`][]: others changed the range; walk again.
    /// * [`EINTR`][]: killed.
    /// * [`ENOMEM`].
    /// * [`EOPNOTSUPP`][]: the kernel has no such walk.
    /// * [`E2BIG`][]: the kernel claims to have handled no page, or more than there are. That would
    ///   be a bug of it, and what it has collected would stay locked.
    pub(crate) fn collect(self, faults: &mut usize) -> Result<Option<Batch<'a, O>>> {
        let Self {
            mmap,
            notifier,
            watching,
            seq,
            range,
            access,
            whole,
            pfns,
            arrays:
                Arrays {
                    src,
                    dst,
                    raw: migrate,
                },
        } = self;
        let migrate =
            migrate.write(Select::System.request(range, whole, notifier.owner(), src, dst));
        let mut raw = notifier.request(range, access, seq, pfns);
        // C keeps the one pointer in the other.
        let (raw, to_migrate) = (&raw mut raw, &raw mut *migrate);

        let walk = |locked: &mut bool| {
            let _step = watching.at(Step::Migrating);
            // SAFETY: By the type invariants the lock of the notifier's address space is held, the
            // sequence was read before it was taken, and the arrays are long enough; C reads no entry of
            // them that it has not written. The owners in both structures are the same.
            unsafe { shims::dmirror_shim_hmm_range_collect(raw, to_migrate, locked) }
        };
        // SAFETY: The function clears `locked` if and only if it has released the lock.
        let (result, mmap) = unsafe { mmap.lend(walk) };
        // SAFETY: `migrate` is initialised.
        *faults += unsafe { shims::dmirror_shim_migrate_faults(to_migrate) };

        let Some(mmap) = mmap else {
            return match to_result(result) {
                Err(error) if error != EBUSY => Err(error),
                _ => Ok(None),
            };
        };
        to_result(result)?;

        // A page at least, and no more than there are entries. If not, nothing that C says is of any
        // use, not even to put pages back.
        let count = migrate.npages;
        let walked = range.first_pages(count);
        if walked.pages() != count {
            return Err(E2BIG);
        }

        let step = watching.at(Step::Unmapping);
        // SAFETY: The walk has succeeded just now, and the lock has been held since. What it has
        // collected is within the arrays.
        unsafe { shims::dmirror_shim_migrate_hmm_range_setup(raw) };
        drop(step);

        // SAFETY: The calls have collected the pages, and nothing has been done with them; the walk has
        // written a source and a target, 0, for each that it has handled, no more than there is room for. The
        // arrays are two parts of a buffer that is borrowed for `'a`, used by nobody else from now on. The lock
        // has been held since, and goes along.
        let pages = unsafe { Pages::of_vma(migrate, Some(mmap)) };
        let collected = Collected::new(pages, notifier.owner());

        let pfns = pfns.get_mut(..count).unwrap_or_default();
        // SAFETY: These are the entries of the pages that the walk has handled. Where the device may
        // write, so may the process, as the walk has checked.
        let batch =
            unsafe { Batch::new(collected, watching, access == Access::Write, pfns, walked) };
        Ok(Some(batch))
    }
}
