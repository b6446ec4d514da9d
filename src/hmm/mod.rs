// SPDX-License-Identifier: GPL-2.0

//! Heterogeneous memory management: safe abstractions for device drivers.
//!
//! A device that mirrors a process's address space needs four things from mm, and each is one type
//! here whose misuse does not compile:
//!
//! * [`IntervalNotifier`]: hears of every change of the mirrored address space, and owns the
//!   driver's mirror state behind the lock that orders changes against look-ups.
//! * [`Mirrored::fault`](notifier::IntervalNotifier): makes pages present and tells where they are;
//!   the answer ([`Faulted`]) says nothing until [`Faulted::validate`] has proved, under the lock,
//!   that it still holds. Only the proof ([`Validated`]) can write into the mirror state.
//! * [`Pagemap`]: device memory as `struct page`, with the callbacks that give pages back.
//! * [`Migration`]: moves pages between system and device memory. It undoes itself when dropped
//!   half-way.
//!
//! # The protocols
//!
//! *Mirror*: [`Active::fault`] → [`Faulted::validate`] → [`Validated::publish`]; start again on
//! [`Retry`]. Nothing else fills the state, so that it never holds a page that has gone.
//!
//! *Migrate*: [`MmapRead::migrate`] (collect, unmap) → [`Migration::targets`] (allocate, copy) →
//! [`Migration::commit`] → [`Migration::finish`]. The mirror state is not touched: it loses the
//! entries through the notifier like everyone else, and is filled again by the first protocol.
//! Writing it from here is how a driver gets stale entries: a `MADV_DONTNEED`, which needs no more
//! than the mmap lock for reading, may already have removed the page.
//!
//! # Lock order
//!
//! ```text
//! mmap lock
//!   folio lock (held from Migration's collection to its end)
//!     page table lock
//!     notifier lock (IntervalNotifier::state; taken in reclaim: no allocation under it)
//!       locks of the driver that PagemapOps::free takes (spinning)
//! ```
//!
//! Never wait for a page (fault, page lock, [`Active::fault`]) under the notifier lock or with a
//! [`Migration`] alive.
//!
//! Documentation: [`Documentation/mm/hmm.rst`](srctree/Documentation/mm/hmm.rst)

pub(crate) mod frame;
pub(crate) mod migrate;
pub(crate) mod minor;
pub(crate) mod mm;
pub(crate) mod notifier;
pub(crate) mod page;
pub(crate) mod pagemap;
pub(crate) mod range;
pub(crate) mod table;
