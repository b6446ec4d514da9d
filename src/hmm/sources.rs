// SPDX-License-Identifier: GPL-2.0

//! Pages of a batch that wait for their targets, several at a time: small pages on their way to a
//! device, and pages of a device on their way home.

use super::{
    frame::{
        DeviceIndex,
        MigratePfn, //
    },
    fresh::SystemTarget,
    page::LockedPages,
    pagemap::{
        Pagemap,
        PagemapOps, //
    },
    stock::Stock, //
};
use crate::bindings as shims;
use kernel::prelude::*;

/// Small pages of system memory that follow each other in a batch, or nothing where they would be: what
/// a device would have in its own memory. They wait for targets; those that get none stay.
///
/// # Invariants
///
/// * Each entry of `src` takes part in a migration that has not been committed. It is that of a hole, or
///   names a small page of anonymous system memory, which is locked, unmapped and referenced for `'a`.
/// * `dst` has as many entries, which are for the targets of the same pages, and 0.
pub(crate) struct SmallSources<'a> {
    src: &'a [usize],
    dst: &'a mut [usize],
}

impl<'a> SmallSources<'a> {
    /// Finds the next of them in `src` and `dst`, the sources and targets of a batch, from the entry
    /// `first` on: the number of the first entry, and how many there are.
    ///
    /// # Safety
    ///
    /// mm has collected `src`, and nothing has been committed: what an entry names is locked and
    /// referenced.
    pub(super) unsafe fn find(
        src: &[usize],
        dst: &[usize],
        mut first: usize,
    ) -> Option<(usize, usize)> {
        loop {
            let entries = src.iter().zip(dst).skip(first);
            let mut waiting =
                entries.map(|(&src, &dst)| MigratePfn::new(src).migrates() && dst == 0);
            first += waiting.position(|waits| waits)?;

            let src = src.get(first..)?;
            // CAST: A batch has no more than `BLOCK_PAGES` entries.
            let most = src.len() as u32;
            // SAFETY: By the safety requirements; there are so many.
            let small = unsafe { shims::dmirror_shim_count_small_sources(src.as_ptr(), most) };
            let places = dst.iter().skip(first).take(small as usize);
            match places.take_while(|dst| **dst == 0).count() {
                0 => first += 1,
                count => return Some((first, count)),
            }
        }
    }

    /// The sources and the places for their targets.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(src: &'a [usize], dst: &'a mut [usize]) -> Self {
        // INVARIANT: By the safety requirements.
        Self { src, dst }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.src.len()
    }

    /// The sources as mm names them.
    pub(super) fn entries(&self) -> &[usize] {
        self.src
    }

    /// Offers `targets`, which have been filled, to the first sources, one to each. These are not among
    /// the sources any more. Targets for which there is no source are given back.
    #[inline]
    pub(crate) fn offer(&mut self, targets: LockedPages) {
        let count = targets.len().min(self.len());
        let Some((dst, rest)) = core::mem::take(&mut self.dst).split_at_mut_checked(count) else {
            return;
        };

        // INVARIANT: As many are left of both, of the same pages.
        self.src = self.src.get(count..).unwrap_or_default();
        self.dst = rest;
        targets.into_targets(dst);
    }
}

/// Pages of the device's private memory that follow each other in a batch and on the device. They wait
/// for targets; those that get none stay.
///
/// # Invariants
///
/// `dst` is for the targets of the pages from `first` on, each as large as `size` small ones, and 0. The
/// pages are locked, unmapped, referenced, and of `pagemap`, and take part in a migration that has not
/// been committed.
pub(super) struct DeviceSources<'a, O: PagemapOps> {
    pagemap: &'a Pagemap<O>,
    first: DeviceIndex,
    size: usize,
    dst: &'a mut [usize],
}

impl<'a, O: PagemapOps> DeviceSources<'a, O> {
    /// How many entries of `src` and `dst`, from the first on, are of pages of `pagemap` that follow each
    /// other and have no target. The first is, of the page `first`. A huge page stands alone.
    #[inline]
    pub(super) fn count(
        pagemap: &Pagemap<O>,
        first: DeviceIndex,
        src: &[usize],
        dst: &[usize],
    ) -> usize {
        let entry = MigratePfn::new(src.first().copied().unwrap_or_default());
        let most = match entry.pages() {
            1 => pagemap.pages_from(first),
            _ => 1,
        };
        let others = src.iter().zip(dst).zip(0..most).skip(1);
        let others = others.take_while(|((&src, &dst), behind)| {
            MigratePfn::new(src).is_like(entry.behind(*behind)) && dst == 0
        });

        1 + others.count()
    }

    /// The pages of `pagemap` from `first` on, whose targets come into `dst`.
    ///
    /// # Safety
    ///
    /// The type invariants hold.
    pub(super) unsafe fn new(
        pagemap: &'a Pagemap<O>,
        first: DeviceIndex,
        size: usize,
        dst: &'a mut [usize],
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            pagemap,
            first,
            size,
            dst,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.dst.len()
    }

    /// How many small pages each is as large as.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The place of the first.
    pub(super) fn first(&self) -> DeviceIndex {
        self.first
    }

    /// Leaves all where they are but for the page at `place`, if it is among them.
    pub(super) fn only(&mut self, place: DeviceIndex) {
        let before = place.number().wrapping_sub(self.first.number()) / self.size;

        self.skip(before);
        let dst = core::mem::take(&mut self.dst);
        // INVARIANT: It is the place of the first.
        self.dst = dst.get_mut(..1).unwrap_or_default();
    }

    /// Leaves the first `count` where they are.
    pub(super) fn skip(&mut self, count: usize) {
        let dst = core::mem::take(&mut self.dst);

        // INVARIANT: `first` is the first of those that are left, if any.
        self.first = DeviceIndex::new(self.first.number() + count.min(dst.len()) * self.size);
        self.dst = dst.get_mut(count..).unwrap_or_default();
    }

    /// Copies the first ones to the last pages of `stock`, which should be as large, and offers them these:
    /// `count`, or as many as the driver copies at a time.
    ///
    /// # Errors
    ///
    /// Nothing has been offered then.
    ///
    /// * [`ENOMEM`][]: `stock` has fewer.
    /// * Those of [`PagemapOps::copy_to_system`] for the first; [`EIO`] if it copies none.
    pub(super) fn bring(&mut self, mut count: usize, stock: &mut Stock<SystemTarget>) -> Result {
        let (ops, size) = (self.pagemap.ops(), self.size);

        count = count.min(self.len());
        loop {
            let targets = stock.last_mut(count).ok_or(ENOMEM)?;
            match ops.copy_to_system(self.first, targets)? {
                0 => return Err(EIO),
                // What has been copied is not the last of the stock.
                copied if copied < count => count = copied,
                _ => break,
            }
        }
        let places = self.dst.get_mut(..count).unwrap_or_default();
        for dst in places.iter_mut().rev() {
            let target = stock.pop().filter(|target| target.pages() == size);
            *dst = target.map_or(0, |target| target.into_target().into_raw());
        }
        self.skip(count);
        Ok(())
    }
}
