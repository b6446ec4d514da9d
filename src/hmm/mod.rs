// SPDX-License-Identifier: GPL-2.0

//! Heterogeneous memory management: safe abstractions for device drivers.
//!
//! A device that mirrors a process's address space needs four things from mm, and each is a type
//! here whose misuse does not compile:
//!
//! * [`IntervalNotifier`] hears of every change of the mirrored address space, and owns the
//!   device's page table behind the lock that orders changes against look-ups.
//! * [`Active::fault`] makes pages present and tells where they are. The answer, [`Faulted`], says
//!   nothing until [`Faulted::validate`] has proved, under that lock, that it still holds. Only the
//!   proof, [`Validated`], can write into the page table.
//! * [`Pagemap`] and [`CoherentMemory`] are device memory as `struct page`, private or such that the
//!   CPU addresses it too, with the callbacks that give pages back.
//! * [`Collected`] and [`Committed`] move pages between system and device memory. They undo or
//!   finish what they began when they are dropped. A [`Walk`] makes pages present and collects them
//!   at the same time.
//!
//! # The protocols
//!
//! *Mirror*: [`Active::fault`] → [`Faulted::validate`] → [`Validated::publish`], and again from the
//! start on [`Retry`]; with [`Active::look`] instead, for what is there already. But for the last
//! protocol nothing else fills the page table, so that it never holds a page that has gone.
//!
//! *Migrate*: [`MmapRead::migrate`] (collect, unmap) → [`Collected::offer`] (allocate, copy) →
//! [`Collected::commit`] → drop, or the last two in one, [`Collected::finish`]. On the way home
//! [`bring_home`] does all that follows the first. The page table of the device is not touched: it
//! loses the entries through the notifier like everyone else's, and is filled again by the first
//! protocol. Writing it from here is how a driver gets stale entries: a `MADV_DONTNEED`, which needs no
//! more than the mmap lock for reading, may already have removed the page.
//!
//! *Migrate to the device*: [`Active::collect`] → [`Batch::offer`] → [`Batch::finish`], the same, but
//! the last step also fills the page table, with the pages where they are now, while they are still
//! locked: it knows what others have changed since the collection began, for it has watched the
//! notifications. If they have, the first protocol follows. [`Batch::offer_small`] hands out small
//! pages several at a time.
//!
//! *Fault and migrate*: [`Active::walk`] → [`Walk::collect`] → [`Batch::offer`] →
//! [`Batch::finish`], with one walk for the fault and the collection.
//!
//! *Make exclusive*: [`Active::fault`] for writing → [`Active::exclusive`] →
//! [`ExclusiveSection::make`] → [`ExclusivePage::enter`], and again from the start on [`Retry`].
//!
//! # Lock order
//!
//! ```text
//! mmap lock
//!   folio lock (held from the collection of pages to its end, and while a page becomes exclusive)
//!     page table lock
//!     notifier lock (IntervalNotifier::state; also taken in reclaim: no allocation under it)
//!       locks of the driver that PagemapOps::free takes (spinning)
//! ```
//!
//! Never wait for a page (a fault, a page lock, [`Active::fault`]) under the notifier lock or with
//! pages collected; under the notifier lock, not for the mmap lock or another notifier's lock,
//! either. [`Batch::finish`] takes it with all that is above it held, but for the page table lock.
//!
//! Documentation: [`Documentation/mm/hmm.rst`](srctree/Documentation/mm/hmm.rst)
//!
//! [`IntervalNotifier`]: notifier::IntervalNotifier
//! [`Active::fault`]: notifier::Active::fault
//! [`Active::look`]: notifier::Active::look
//! [`Faulted`]: answer::Faulted
//! [`Faulted::validate`]: answer::Faulted::validate
//! [`Validated`]: answer::Validated
//! [`Validated::publish`]: answer::Validated::publish
//! [`Retry`]: answer::Retry
//! [`Pagemap`]: pagemap::Pagemap
//! [`CoherentMemory`]: coherent::CoherentMemory
//! [`MmapRead::migrate`]: mm::MmapRead::migrate
//! [`Collected`]: migrate::Collected
//! [`Collected::offer`]: migrate::Collected::offer
//! [`Collected::commit`]: migrate::Collected::commit
//! [`Collected::finish`]: migrate::Collected::finish
//! [`Committed`]: migrate::Committed
//! [`bring_home`]: home::bring_home
//! [`Walk`]: walk::Walk
//! [`Active::walk`]: notifier::Active::walk
//! [`Walk::collect`]: walk::Walk::collect
//! [`Active::collect`]: notifier::Active::collect
//! [`Batch::offer`]: watched::Batch::offer
//! [`Batch::offer_small`]: watched::Batch::offer_small
//! [`Batch::finish`]: watched::Batch::finish
//! [`Active::exclusive`]: notifier::Active::exclusive
//! [`ExclusiveSection::make`]: exclusive::ExclusiveSection::make
//! [`ExclusivePage::enter`]: exclusive::ExclusivePage::enter

pub(crate) mod answer;
mod batch;
pub(crate) mod buffer;
pub(crate) mod coherent;
pub(crate) mod contents;
mod evict;
pub(crate) mod exclusive;
pub(crate) mod frame;
pub(crate) mod free;
pub(crate) mod fresh;
pub(crate) mod home;
pub(crate) mod killable;
mod kind;
pub(crate) mod leaf;
pub(crate) mod mapping;
pub(crate) mod migrate;
pub(crate) mod minor;
pub(crate) mod mixed;
pub(crate) mod mm;
pub(crate) mod notifier;
pub(crate) mod outcome;
pub(crate) mod page;
pub(crate) mod pagemap;
pub(crate) mod range;
mod region;
pub(crate) mod sources;
pub(crate) mod stock;
pub(crate) mod table;
pub(crate) mod walk;
mod watch;
pub(crate) mod watched;
