// SPDX-License-Identifier: GPL-2.0

//! Interval notifiers: how a device hears that pages are about to change.
//!
//! The mirror state of a device (its page table) lives inside the notifier, behind its lock. It gets
//! smaller when mm says so and grows only by [`Validated::publish`]; a driver never holds a mutable
//! reference to it. So the state never names a page that mm has taken away.
//!
//! Every step borrows the [`Active`] address space exclusively: a thread cannot wait for pages with
//! the notifier lock held, or hold the mmap lock while it takes the notifier lock by another way.
//!
//! # Lock order
//!
//! The notifier lock comes after everything that mm holds when it notifies: mmap lock, folio lock,
//! and reclaim. Nothing may be allocated and no page may be faulted under it.
//!
//! C headers: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h),
//! [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

use super::{
    frame::{
        Frame,
        HmmPfn,
        Pfn, //
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
        PageRange,
        BLOCK_PAGES, //
    },
};
use crate::bindings as shims;
use core::{
    ops::{
        Deref,
        RangeInclusive, //
    },
    pin::Pin,
    ptr::NonNull, //
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
        lock::mutex::MutexBackend,
        lock::Guard,
        Mutex, //
    },
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// How long one look-up may be disturbed by other changes of its range, in milliseconds.
const RETRY_TIMEOUT_MS: u32 = 1000;

/// The state that mirrors an address space: a device's page table.
pub(crate) trait Mirrored: Send + Unpin {
    /// Which device's private memory the device sees.
    type Ops: PagemapOps;

    /// What [`map`](Self::map) needs that cannot be allocated under the notifier lock.
    type Reserve;

    /// Forgets these virtual pages (numbers of 4 KiB pages; may reach to the end of the address
    /// space). On return the device must not access them any more.
    ///
    /// Called with the notifier lock held, possibly from reclaim: must not allocate.
    fn invalidate(&mut self, pages: RangeInclusive<usize>);

    /// Learns where the page at the user address `address` is.
    ///
    /// Called with the notifier lock held: must not allocate.
    fn map(&mut self, address: usize, mapping: &Mapping, reserve: &mut Self::Reserve);
}

/// A subscription to all changes of one address space, with the mirror state that depends on it.
///
/// # Invariants
///
/// `raw` is inserted in the notifier list of `mm`; its callback is
/// [`invalidate`](IntervalNotifier::invalidate) of this type, and `raw` is the field of a fully
/// initialised, pinned `Self`.
#[pin_data(PinnedDrop)]
pub(crate) struct IntervalNotifier<T: Mirrored> {
    #[pin]
    raw: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    state: Mutex<T>,
    mm: ARef<Mm>,
    owner: DeviceOwner<T::Ops>,
}

// SAFETY: A subscription may be removed by any thread; the state is `Send`.
unsafe impl<T: Mirrored> Send for IntervalNotifier<T> {}
// SAFETY: The state is behind a lock, and the C functions called on `&self` lock for themselves.
unsafe impl<T: Mirrored> Sync for IntervalNotifier<T> {}

impl<T: Mirrored> IntervalNotifier<T> {
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
    /// [`ENOMEM`], or [`EINTR`] if a fatal signal comes while waiting for the mmap lock.
    pub(crate) fn new<'a>(
        mm: &'a MmWithUser,
        owner: DeviceOwner<T::Ops>,
        state: T,
    ) -> impl PinInit<Self, Error> + use<'a, T> {
        try_pin_init!(Self {
            state <- new_mutex!(state, "IntervalNotifier::state"),
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
    pub(crate) fn active(&self) -> Result<Active<'_, T>> {
        Ok(Active {
            mm: self.mm.mmget_not_zero().ok_or(ESRCH)?,
            notifier: self,
        })
    }

    /// The callback of mm.
    ///
    /// # Safety
    ///
    /// Called by mm only: `raw` is the field of a live `IntervalNotifier<T>`, `range` is valid.
    unsafe extern "C" fn invalidate(
        raw: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        seq: c_ulong,
    ) -> bool {
        let raw = Opaque::cast_from(raw.cast_const());
        // SAFETY: `raw` is the field of an `IntervalNotifier<T>` by the type invariant.
        let this = unsafe { kernel::container_of!(raw.cast_mut(), Self, raw) };
        // SAFETY: It lives at least until `mmu_interval_notifier_remove()` returns, which waits for
        // this callback. Only shared references to it exist.
        let this = unsafe { &*this };

        // SAFETY: `range` is valid for the call.
        let mut state = if unsafe { shims::dmirror_shim_range_blockable(range) } {
            this.state.lock()
        } else if let Some(state) = this.state.try_lock() {
            state
        } else {
            return false;
        };

        // SAFETY: `raw` is inserted, and the lock that guards its sequence is held.
        unsafe { shims::dmirror_shim_interval_set_seq(this.raw.get(), seq) };

        // SAFETY: `range` is valid for the call.
        let (start, end) = unsafe { ((*range).start, (*range).end) };
        if let Some(pages) = pages_touched(start, end) {
            state.invalidate(pages);
        }
        true
    }
}

#[pinned_drop]
impl<T: Mirrored> PinnedDrop for IntervalNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the subscription is inserted. This waits for callbacks that
        // run, so it must not be called from one: `T` cannot own an `IntervalNotifier` of its own
        // `mm` and drop it in `invalidate()`, since `T` has no way to reach one.
        unsafe { bindings::mmu_interval_notifier_remove(self.raw.get()) };
    }
}

/// A mirrored address space whose process lives, for the time of one request.
pub(crate) struct Active<'n, T: Mirrored> {
    notifier: &'n IntervalNotifier<T>,
    mm: ARef<MmWithUser>,
}

impl<T: Mirrored> Active<'_, T> {
    /// The address after the last that the process may map.
    pub(crate) fn task_size(&self) -> usize {
        task_size(&self.mm)
    }

    /// Takes the notifier lock to read the mirror state. May sleep.
    pub(crate) fn lock(&mut self) -> Locked<'_, T> {
        Locked(self.notifier.state.lock())
    }

    /// Takes the mmap lock. May sleep.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a fatal signal comes while waiting.
    pub(crate) fn mmap_read(&mut self) -> Result<MmapRead<'_>> {
        MmapRead::lock(&self.mm)
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
    /// * [`E2BIG`][]: `range` is longer than the buffer.
    /// * [`EFAULT`][]: asked for access to an address that has no VMA, forbids all access, or cannot
    ///   be accessed by a device.
    /// * [`EPERM`][]: asked to write where the VMA forbids it.
    /// * [`EBUSY`][]: others changed the range for too long.
    /// * [`EINTR`][]: killed.
    /// * [`ENOMEM`].
    pub(crate) fn fault<'a>(
        &'a mut self,
        range: PageRange,
        access: Access,
        buffer: &'a mut PfnBuffer,
    ) -> Result<Faulted<'a, T>> {
        // Input flags are sticky from one call to the next: clear them.
        let pfns = buffer.0.get_mut(..range.pages()).ok_or(E2BIG)?;
        pfns.fill(0);

        let mut raw = shims::hmm_range {
            notifier: self.notifier.raw.get(),
            notifier_seq: 0,
            start: range.start(),
            end: range.end(),
            hmm_pfns: pfns.as_mut_ptr(),
            default_flags: access.request(),
            pfn_flags_mask: 0,
            dev_private_owner: self.notifier.owner.as_raw(),
        };
        // SAFETY: The notifier is inserted and subscribes to the whole of `mm`, which has users;
        // `hmm_pfns` has an entry for each page of the range; the mmap lock is not held by us, as a
        // guard of it would borrow `self`.
        to_result(unsafe {
            shims::hmm_range_fault_unlocked_timeout(&mut raw, msecs_to_jiffies(RETRY_TIMEOUT_MS))
        })?;

        Ok(Faulted {
            notifier: self.notifier,
            seq: raw.notifier_seq,
            range,
            pfns,
        })
    }
}

/// What a look-up shall do about pages that are not present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only look.
    Look,
    /// Make them readable.
    Read,
    /// Make them writable.
    Write,
}

impl Access {
    const fn request(self) -> shims::hmm_pfn_flags {
        let fault = shims::hmm_pfn_flags_HMM_PFN_REQ_FAULT;
        match self {
            Self::Look => 0,
            Self::Read => fault,
            Self::Write => fault | shims::hmm_pfn_flags_HMM_PFN_REQ_WRITE,
        }
    }
}

/// Room for the answers about one block of pages.
pub(crate) struct PfnBuffer(KVec<usize>);

impl PfnBuffer {
    /// A buffer for [`BLOCK_PAGES`] pages (4 KiB of memory).
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KVec::from_elem(0, BLOCK_PAGES, GFP_KERNEL_ACCOUNT)?))
    }
}

/// The address space changed while it was looked up: look again.
#[derive(Debug)]
pub(crate) struct Retry;

/// The answer of a walk, which may be out of date.
#[must_use = "a walk is of no use until it has been validated"]
pub(crate) struct Faulted<'a, T: Mirrored> {
    notifier: &'a IntervalNotifier<T>,
    seq: usize,
    range: PageRange,
    pfns: &'a [usize],
}

impl<'a, T: Mirrored> Faulted<'a, T> {
    /// Takes the notifier lock and proves that nothing changed since the walk began.
    ///
    /// # Errors
    ///
    /// [`Retry`] if something did.
    pub(crate) fn validate(self) -> core::result::Result<Validated<'a, T>, Retry> {
        let state = self.notifier.state.lock();

        // SAFETY: `raw` is inserted, and the lock that guards its sequence is held.
        let stale =
            unsafe { shims::dmirror_shim_interval_read_retry(self.notifier.raw.get(), self.seq) };
        if stale {
            return Err(Retry);
        }
        // INVARIANT: The lock is held, and no notification came since the walk began.
        Ok(Validated {
            state,
            owner: &self.notifier.owner,
            range: self.range,
            pfns: self.pfns,
        })
    }
}

/// The answer of a walk, proved true for as long as this lives.
///
/// # Invariants
///
/// `state` locks the notifier with which `pfns` were collected, and no notification has changed its
/// sequence since: each valid entry names a page that is mapped at its address now.
pub(crate) struct Validated<'a, T: Mirrored> {
    state: Guard<'a, T, MutexBackend>,
    owner: &'a DeviceOwner<T::Ops>,
    range: PageRange,
    pfns: &'a [usize],
}

impl<T: Mirrored> Validated<'_, T> {
    /// Where each page of the range is, in order of address.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = (usize, Mapping)> + '_ {
        let pfns = self.pfns.iter().map(|&raw| {
            // SAFETY: By the type invariant a valid entry names a page that is mapped now.
            unsafe { Mapping::new(HmmPfn::new(raw), self.owner) }
        });
        self.range.addresses().zip(pfns)
    }

    /// Writes those mappings that `choose` chooses into the mirror state.
    pub(crate) fn publish(
        mut self,
        reserve: &mut T::Reserve,
        mut choose: impl FnMut(&Mapping) -> bool,
    ) {
        for (address, &raw) in self.range.addresses().zip(self.pfns) {
            // SAFETY: By the type invariant a valid entry names a page that is mapped now.
            let mapping = unsafe { Mapping::new(HmmPfn::new(raw), self.owner) };
            if choose(&mapping) {
                self.state.map(address, &mapping, reserve);
            }
        }
    }
}

/// The mirror state, locked: it does not change while this lives.
pub(crate) struct Locked<'a, T: Mirrored>(Guard<'a, T, MutexBackend>);

impl<T: Mirrored> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What is mapped at one user address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// Nothing that the device could use without a fault.
    Absent,
    /// The device cannot use this address.
    Error,
    /// A page.
    Page {
        /// Where it is.
        frame: Frame,
        /// Whether the device may write to it.
        writable: bool,
        /// The CPU maps `1 << order` pages with the entry that maps this one.
        order: usize,
        /// It is the shared page of zeroes.
        zero: bool,
    },
}

impl Mapping {
    /// Makes sense of an entry.
    ///
    /// # Safety
    ///
    /// If `pfn` is valid, it names a page that cannot go away during the call.
    unsafe fn new<O: PagemapOps>(pfn: HmmPfn, owner: &DeviceOwner<O>) -> Self {
        if pfn.is_error() {
            return Self::Error;
        }
        if !pfn.is_valid() {
            return Self::Absent;
        }

        // SAFETY: A valid entry names a frame that has a `struct page`.
        let page = unsafe { shims::dmirror_shim_pfn_to_page(pfn.number()) };
        let Some(page) = NonNull::new(page) else {
            return Self::Error;
        };

        // SAFETY: The page is valid.
        let frame = if unsafe { shims::dmirror_shim_is_device_private(page.as_ptr()) } {
            // SAFETY: The page is a valid device-private page, in use during the call.
            match unsafe { owner.resolve(page) } {
                Some((_, index)) => Frame::Device(index),
                None => return Self::Error,
            }
        // SAFETY: The page is valid and not device-private.
        } else if unsafe { shims::dmirror_shim_in_direct_map(page.as_ptr()) } {
            Frame::System(Pfn::new(pfn.number()))
        } else {
            return Self::Error;
        };

        Self::Page {
            frame,
            writable: pfn.is_writable(),
            order: pfn.order(),
            // SAFETY: Any number is allowed.
            zero: unsafe { shims::dmirror_shim_is_zero_pfn(pfn.number()) },
        }
    }
}
