// SPDX-License-Identifier: GPL-2.0

//! Interval notifiers: how a device hears that pages are about to change.
//!
//! The device's page table lives inside the notifier, behind its lock. It loses entries when mm
//! says so and gains them by [`Validated::publish`] and [`ExclusivePage::enter`] only; a driver
//! never holds a mutable reference to it. So it never names a page that mm has taken away.
//!
//! A request works on the address space through one [`Active`], and each step borrows it
//! exclusively: it cannot wait for pages with the notifier lock held, or ask for it with the mmap
//! lock held.
//!
//! # Lock order
//!
//! The notifier lock comes after everything that mm holds when it notifies: mmap lock, folio lock,
//! and reclaim. [`Batch::finish`], too, takes it with the mmap lock and folio locks held. So under it
//! nobody may fault, allocate memory for which others may have to be reclaimed, or wait for a folio
//! or the mmap lock. The closure that is given to [`Validated::publish`] runs under it, and must not
//! lock a notifier, either: not this one again, and not another, as the locks of two have no order.
//!
//! [`Batch::finish`]: super::watched::Batch::finish
//! [`Validated::publish`]: super::answer::Validated::publish
//! [`ExclusivePage::enter`]: super::exclusive::ExclusivePage::enter
//!
//! C headers: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h),
//! [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

use super::{
    answer::{
        Faulted,
        Retry, //
    },
    leaf::Reserve,
    mapping::{
        Access,
        PfnBuffer, //
    },
    mm::{
        task_size,
        MmapRead, //
    },
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::{
        pages_touched,
        PageRange, //
    },
    table::PageTable,
    watch::{
        CurrentStep,
        State, //
    }, //
};
use crate::bindings as shims;
use core::{
    ops::Deref,
    pin::Pin, //
};
use kernel::{
    bindings,
    error::to_result,
    mm::{
        Mm,
        MmWithUser, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    },
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// How long one fault of the device may be disturbed by other changes of its range, in milliseconds.
const RETRY_TIMEOUT_MS: u32 = 1000;

/// A subscription to all changes of one address space, with the page table that depends on it.
///
/// # Invariants
///
/// `raw` is inserted in the notifier list of `mm`; its callback is
/// [`invalidate`](IntervalNotifier::invalidate) of this type, and `raw` is the field of a fully
/// initialised, pinned `Self`.
#[pin_data(PinnedDrop)]
pub(crate) struct IntervalNotifier<O: PagemapOps> {
    #[pin]
    raw: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    state: Mutex<State>,
    step: CurrentStep,
    mm: ARef<Mm>,
    owner: DeviceOwner<O>,
}

// SAFETY: A subscription may be removed by any thread; page tables and owners are `Send`.
unsafe impl<O: PagemapOps> Send for IntervalNotifier<O> {}
// SAFETY: The page table is behind a lock, the owner is `Sync`, and the C functions called on `&self`
// lock for themselves.
unsafe impl<O: PagemapOps> Sync for IntervalNotifier<O> {}

impl<O: PagemapOps> IntervalNotifier<O> {
    const OPS: &'static bindings::mmu_interval_notifier_ops =
        &bindings::mmu_interval_notifier_ops {
            invalidate: Some(Self::invalidate),
            invalidate_start: None,
            invalidate_finish: None,
        };

    /// Subscribes to `mm`; the device sees private memory of `owner` as its own.
    ///
    /// Takes the mmap lock for writing. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], or [`EINTR`] if a signal comes while the locks of the address space are taken.
    pub(crate) fn new<'a>(
        mm: &'a MmWithUser,
        owner: DeviceOwner<O>,
    ) -> impl PinInit<Self, Error> + use<'a, O> {
        try_pin_init!(Self {
            state <- new_mutex!(State::new(), "IntervalNotifier::state"),
            step: CurrentStep::new(),
            mm: ARef::from(&**mm),
            owner,
            // INVARIANT: Last, since callbacks may come as soon as it is inserted.
            raw <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is pinned and valid for writes, and `mm` has users. The
                // subscription is removed before `slot` goes away, by the destructor.
                to_result(unsafe {
                    bindings::mmu_interval_notifier_insert(
                        slot,
                        mm.as_raw(),
                        0,
                        usize::MAX & kernel::page::PAGE_MASK,
                        Self::OPS,
                    )
                })
            }),
        })
    }

    /// The address space, if its process still lives.
    ///
    /// # Errors
    ///
    /// [`ESRCH`] once the last user of the address space has gone.
    pub(crate) fn active(&self) -> Result<Active<'_, O>> {
        Ok(Active {
            mm: self.mm.mmget_not_zero().ok_or(ESRCH)?,
            notifier: self,
        })
    }

    /// Waits until no change of the address space is under way, and returns the sequence with which
    /// a look-up begins. May sleep; to be called before the mmap lock is taken.
    pub(super) fn begin(&self) -> usize {
        // SAFETY: By the type invariant the subscription is inserted.
        unsafe { bindings::mmu_interval_read_begin(self.raw.get()) }
    }

    /// What C is asked about `range`; `pfns` has an entry for each page of it: 0.
    // Kernels differ in what else there is, of which zeroes ask for nothing.
    #[allow(clippy::needless_update, reason = "7.3 as it is has no other members")]
    pub(super) fn request(
        &self,
        range: PageRange,
        access: Access,
        seq: usize,
        pfns: &mut [usize],
    ) -> shims::hmm_range {
        shims::hmm_range {
            notifier: self.raw.get(),
            notifier_seq: seq,
            start: range.start(),
            end: range.end(),
            hmm_pfns: pfns.as_mut_ptr(),
            default_flags: access.request(),
            pfn_flags_mask: 0,
            dev_private_owner: self.owner.as_raw(),
            ..Default::default()
        }
    }

    /// At which step the watching thread is.
    pub(super) fn step(&self) -> &CurrentStep {
        &self.step
    }

    /// Takes the notifier lock. May sleep.
    pub(super) fn lock(&self) -> Guard<'_, State, MutexBackend> {
        self.state.lock()
    }

    /// Takes the notifier lock, and proves that nothing has changed since the sequence `seq` was
    /// read. May sleep.
    ///
    /// # Errors
    ///
    /// [`Retry`] if something has.
    pub(super) fn lock_unchanged(
        &self,
        seq: usize,
    ) -> core::result::Result<Guard<'_, State, MutexBackend>, Retry> {
        let state = self.state.lock();

        // SAFETY: `raw` is inserted, and the lock that guards its sequence is held.
        if unsafe { shims::dmirror_shim_interval_read_retry(self.raw.get(), seq) } {
            return Err(Retry);
        }
        Ok(state)
    }

    /// Whose private memory the device sees as its own.
    pub(super) fn owner(&self) -> &DeviceOwner<O> {
        &self.owner
    }

    /// The callback of mm.
    ///
    /// # Safety
    ///
    /// Called by mm only: `raw` is the field of a live `IntervalNotifier<O>`, `range` is valid.
    unsafe extern "C" fn invalidate(
        raw: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        seq: c_ulong,
    ) -> bool {
        let raw = Opaque::cast_from(raw.cast_const());
        // SAFETY: `raw` is the field of an `IntervalNotifier<O>` by the type invariant.
        let this = unsafe { kernel::container_of!(raw.cast_mut(), Self, raw) };
        // SAFETY: It lives at least until `mmu_interval_notifier_remove()` returns, which waits for
        // this callback. Only shared references to it exist.
        let this = unsafe { &*this };

        // SAFETY: `range` is valid for the call.
        let range = unsafe { &*range };
        let ours = range.owner == this.owner.as_raw();

        // This device, through this file or another, is about to make a page exclusive. For the
        // device the page stays what it is and where it is: no entry of ours becomes wrong, nor
        // does the answer of any walk. To mm it is as if we had subscribed to other addresses: the
        // sequence does not count the event, either. make_device_exclusive() wants it ignored, as
        // it comes after the section of its caller has begun, which could never end well otherwise.
        // When the page is taken back, another event comes.
        if ours && range.event == bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE {
            return true;
        }

        let mut state = if range.flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0 {
            this.state.lock()
        } else if let Some(state) = this.state.try_lock() {
            state
        } else {
            return false;
        };

        // SAFETY: `raw` is inserted, and the lock that guards its sequence is held.
        unsafe { shims::dmirror_shim_interval_set_seq(this.raw.get(), seq) };

        let for_device = ours && range.event == bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE;
        if let Some(pages) = pages_touched(range.start, range.end) {
            state.invalidate(pages, for_device, &this.step);
        }
        true
    }
}

#[pinned_drop]
impl<O: PagemapOps> PinnedDrop for IntervalNotifier<O> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the subscription is inserted. This waits for callbacks that
        // run, and is not called from one: ours only erases entries of a page table.
        unsafe { bindings::mmu_interval_notifier_remove(self.raw.get()) };
    }
}

/// A mirrored address space whose process lives, for the time of one request.
pub(crate) struct Active<'n, O: PagemapOps> {
    notifier: &'n IntervalNotifier<O>,
    mm: ARef<MmWithUser>,
}

impl<'n, O: PagemapOps> Active<'n, O> {
    /// The subscription and the address space of it.
    pub(super) fn parts(&mut self) -> (&'n IntervalNotifier<O>, &MmWithUser) {
        (self.notifier, &self.mm)
    }

    /// The address after the last that the process may map.
    pub(crate) fn task_size(&self) -> usize {
        task_size(&self.mm)
    }

    /// Takes the notifier lock to read the page table. May sleep.
    pub(crate) fn lock(&mut self) -> Locked<'_> {
        Locked(self.notifier.state.lock())
    }

    /// Memory for a leaf of the page table, for [`Validated::publish`] or [`ExclusivePage::enter`]. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// [`Validated::publish`]: super::answer::Validated::publish
    /// [`ExclusivePage::enter`]: super::exclusive::ExclusivePage::enter
    pub(crate) fn reserve(&mut self) -> Result<Reserve> {
        let mut reserve = Reserve::empty();

        self.fill(&mut reserve)?;
        Ok(reserve)
    }

    /// The same, if there is nothing in `reserve` any more.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(crate) fn fill(&mut self, reserve: &mut Reserve) -> Result {
        if reserve.is_empty() {
            self.notifier.lock().lend(reserve);
        }
        reserve.fill()
    }

    /// Takes back what is left in `reserve`, for the next that needs it.
    pub(crate) fn keep(&mut self, mut reserve: Reserve) {
        self.notifier.lock().keep(&mut reserve);
    }

    /// Takes the mmap lock. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a fatal signal comes while waiting.
    pub(crate) fn mmap_read(&mut self) -> Result<MmapRead<'_>> {
        MmapRead::lock(&self.mm)
    }

    /// Finds out where the pages of `range` are, without making them present: as [`fault`](Self::fault)
    /// does, but tries once.
    ///
    /// Takes the mmap lock. May sleep.
    ///
    /// C: `hmm_range_fault()`.
    ///
    /// # Errors
    ///
    /// * [`E2BIG`][]: `range` does not lie in one block, or is longer than the buffer.
    /// * [`EFAULT`][]: the OOM killer is tearing the address space down.
    /// * [`EBUSY`][]: others changed the range meanwhile.
    /// * [`EINTR`][]: killed.
    // Not to copy the answer.
    #[inline(always)]
    pub(crate) fn look<'a>(
        &'a mut self,
        range: PageRange,
        buffer: &'a mut PfnBuffer<'_>,
    ) -> Result<Faulted<'a, O>> {
        let (notifier, mm) = self.parts();
        let pfns = buffer.entries(range)?;
        let seq = notifier.begin();
        let mmap = MmapRead::lock(mm)?;

        if !mmap.is_stable() {
            return Err(EFAULT);
        }
        let mut raw = notifier.request(range, Access::Look, seq, pfns);
        // SAFETY: The notifier is inserted and subscribes to the whole of `mm`, whose lock is held; the
        // sequence was read before. `hmm_pfns` has an entry for each page of the range.
        to_result(unsafe { shims::hmm_range_fault(&mut raw) })?;

        // SAFETY: The call has written what it found to `pfns`, after the sequence had been read; these are
        // for a range in one block.
        Ok(unsafe { Faulted::new(notifier, seq, range, pfns) })
    }

    /// Finds out where the pages of `range` are and, if `access` asks for it, makes them present.
    ///
    /// Takes the mmap lock, and drops it while a fault handler waits (userfaultfd, swap). May sleep
    /// long; ends early if the thread is killed.
    ///
    /// C: `hmm_range_fault_unlocked_timeout()`.
    ///
    /// # Errors
    ///
    /// * [`E2BIG`][]: `range` does not lie in one block, or is longer than the buffer.
    /// * [`EFAULT`][]: asked for access to an address that has no VMA, forbids all access, or
    ///   cannot be accessed by a device.
    /// * [`EPERM`][]: asked to write where the VMA forbids it.
    /// * [`EBUSY`][]: others changed the range for too long.
    /// * [`EINTR`][]: killed.
    /// * [`ENOMEM`].
    pub(crate) fn fault<'a>(
        &'a mut self,
        range: PageRange,
        access: Access,
        buffer: &'a mut PfnBuffer<'_>,
    ) -> Result<Faulted<'a, O>> {
        let pfns = buffer.entries(range)?;
        let mut raw = self.notifier.request(range, access, 0, pfns);
        // SAFETY: The notifier is inserted and subscribes to the whole of `mm`, which has users;
        // `hmm_pfns` has an entry for each page of the range. (Called with the mmap lock held it
        // would deadlock; a guard of it made by `self` would borrow `self`.)
        to_result(unsafe {
            shims::hmm_range_fault_unlocked_timeout(&mut raw, msecs_to_jiffies(RETRY_TIMEOUT_MS))
        })?;

        // SAFETY: The call has read the sequence, and then written what it found to `pfns`; these
        // are for a range in one block.
        Ok(unsafe { Faulted::new(self.notifier, raw.notifier_seq, range, pfns) })
    }
}

/// The page table, locked: it does not change while this lives.
pub(crate) struct Locked<'a>(Guard<'a, State, MutexBackend>);

impl Deref for Locked<'_> {
    type Target = PageTable;

    fn deref(&self) -> &PageTable {
        &self.0
    }
}
