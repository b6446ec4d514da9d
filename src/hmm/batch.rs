// SPDX-License-Identifier: GPL-2.0

//! The arrays of a migration, and the C functions that work on them.
//!
//! C header: [`include/linux/migrate.h`](srctree/include/linux/migrate.h)

use super::{
    frame::MigratePfn,
    mm::MmapRead,
    outcome::Outcome,
    page::LockedPage, //
};
use crate::bindings as shims;
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// The two ways to collect pages, and to go on with them.
#[derive(Clone, Copy)]
enum Way {
    /// By virtual address.
    Vma,
    /// By place on the device.
    Device,
}

/// Pages on their way.
///
/// # Invariants
///
/// * `raw.src` and `raw.dst` are arrays that do not overlap, valid for `'a` and used by nobody else, of
///   `raw.npages` entries each: as many as were collected. Where an entry of `src` names a page, it is
///   locked and referenced by the batch, and unmapped.
/// * Each entry of `dst` is 0, or names a page that is locked and referenced, and as large as what
///   `src` names there.
/// * While `committed` is `None`, `migrate_vma_pages()` or its twin has not been called: `src` is as the
///   collection left it, and lock and reference of the pages in `dst` are ours.
/// * Else it has been called once: `src` tells what has moved, and lock and reference of
///   the pages in `dst` are mm's, which gives them up in `migrate_vma_finalize()` or its twin, and
///   not before. What has taken the place of a hole may be mapped already.
/// * If `way` is by VMA, `raw` is what they were collected with, and the mmap lock is held for as long as
///   this lives: by `_mmap`, or by who made it.
pub(super) struct Pages<'a> {
    // What C keeps of a migration has all that there is to know about the arrays: a batch is handed from
    // step to step, and that costs less, the less it has of its own.
    raw: &'a mut shims::migrate_vma,
    way: Way,
    /// How many pages, counted as small ones, were to be replaced when they were committed.
    committed: Option<usize>,
    /// The lock of a batch that brings its own; released after all else has been done.
    _mmap: Option<MmapRead<'a>>,
}

impl<'a> Pages<'a> {
    /// The pages that `migrate_vma_setup()` or `migrate_hmm_range_setup()` has collected with `raw`.
    ///
    /// # Safety
    ///
    /// It has, and nothing has been done with them since. The arrays of `raw`, where it has written a source
    /// and a target of 0 for each of `npages` pages, do not overlap, are valid for `'a`, and nobody else uses
    /// them. The mmap lock has been held from then on and is, by `mmap` or for as long as the result lives.
    #[inline]
    pub(super) unsafe fn of_vma(
        raw: &'a mut shims::migrate_vma,
        mmap: Option<MmapRead<'a>>,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw,
            way: Way::Vma,
            committed: None,
            _mmap: mmap,
        }
    }

    /// The pages that `migrate_device_range()` has collected into `src`. `raw` is there for what is kept of
    /// them.
    ///
    /// # Safety
    ///
    /// It has, and nothing has been done with them since; `dst` is all zeroes, and as long as
    /// `src`.
    pub(super) unsafe fn of_device(
        raw: &'a mut MaybeUninit<shims::migrate_vma>,
        src: &'a mut [usize],
        dst: &'a mut [usize],
    ) -> Self {
        // INVARIANT: By the safety requirements; both are borrowed for as long as `raw` is.
        Self {
            raw: raw.write(shims::migrate_vma {
                src: src.as_mut_ptr(),
                dst: dst.as_mut_ptr(),
                npages: src.len(),
                ..Default::default()
            }),
            way: Way::Device,
            committed: None,
            _mmap: None,
        }
    }

    /// The sources.
    #[inline]
    fn src(&self) -> &[usize] {
        // SAFETY: By the type invariant there are so many, and only C writes to them, not while `self` is
        // borrowed.
        unsafe { core::slice::from_raw_parts(self.raw.src, self.raw.npages) }
    }

    /// The targets.
    #[inline]
    fn dst(&self) -> &[usize] {
        // SAFETY: As for `src()`.
        unsafe { core::slice::from_raw_parts(self.raw.dst, self.raw.npages) }
    }

    /// Both; the targets to be written.
    #[inline]
    fn arrays(&mut self) -> (&[usize], &mut [usize]) {
        // SAFETY: By the type invariant there are so many, apart from those of `src`; `self` is borrowed
        // exclusively.
        let dst = unsafe { core::slice::from_raw_parts_mut(self.raw.dst, self.raw.npages) };

        (self.src(), dst)
    }

    /// Asks `choose` for the target of each entry that takes part and has none yet, by its source.
    ///
    /// The page of a source stays locked and referenced for as long as `self` lives.
    pub(super) fn offer(&mut self, mut choose: impl FnMut(MigratePfn) -> Option<LockedPage>) {
        let (src, dst) = self.arrays();

        for (&src, dst) in filled(src).iter().zip(dst) {
            let src = MigratePfn::new(src);
            if !src.migrates() || *dst != 0 {
                continue;
            }
            // mm can cut a huge source into small ones even now. But it would leave alone what maps
            // it in other processes, as a huge page that is none any more.
            let Some(page) = choose(src).filter(|page| page.pages() == src.pages()) else {
                continue;
            };
            let page = page.into_raw();
            // SAFETY: A locked page is valid.
            let entry = unsafe { shims::dmirror_shim_migrate_pfn(page.as_ptr()) };
            // INVARIANT: Lock and reference have been given to us, and it is as large as its source.
            *dst = MigratePfn::target(entry, src.pages()).into_raw();
        }
    }

    /// The sources, and the places for their targets, if nothing has been committed. Only those sources
    /// that are worth a look: one, if it stands for all pages.
    ///
    /// # Safety
    ///
    /// What is put into an empty place for a target names a page that is as large as its source, and whose
    /// lock and reference the caller gives up. The source takes part. All else stays as it is.
    pub(super) unsafe fn entries(&mut self) -> Option<(&[usize], &mut [usize])> {
        match self.committed {
            None => {
                let (src, dst) = self.arrays();
                Some((filled(src), dst))
            }
            Some(_) => None,
        }
    }

    /// Whether it is one huge page, or the hole for one.
    pub(super) fn is_huge(&self) -> bool {
        self.sources().next().is_some_and(|src| src.pages() > 1)
    }

    /// The sources that are worth a look.
    fn sources(&self) -> impl Iterator<Item = MigratePfn> + '_ {
        filled(self.src()).iter().map(|&src| MigratePfn::new(src))
    }

    /// The entries that have a target and still take part; after the commit, those that moved. With
    /// the number of each, its source and its target.
    fn taking_part(&self) -> impl Iterator<Item = (usize, MigratePfn, MigratePfn)> + '_ {
        let entries = self.sources().zip(self.dst()).enumerate();

        entries
            .map(|(index, (src, &dst))| (index, src, MigratePfn::new(dst)))
            .filter(|(_, src, dst)| src.migrates() && dst.has_page())
    }

    /// How many pages, counted as small ones, took part when they had been collected.
    fn collected(&self) -> usize {
        match self.way {
            // mm has counted, and a huge page stands alone.
            Way::Vma if !self.is_huge() => self.raw.cpages,
            _ => {
                let taking_part = self.sources().filter(|src| src.migrates());
                taking_part.map(MigratePfn::pages).sum()
            }
        }
    }

    /// Hands over the lock of the batch: see the invariants.
    #[inline]
    pub(super) fn keep(&mut self, mmap: MmapRead<'a>) {
        self._mmap = Some(mmap);
    }

    /// How many pages have been collected, huge ones as one.
    pub(super) fn pages(&self) -> usize {
        self.sources()
            .filter(|src| src.migrates() && src.has_page())
            .count()
    }

    /// What has become of the pages, once committed; until then nothing has moved.
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome_of(self.moved().map(|(_, _, dst)| dst.pages()).sum())
    }

    /// The same, if these are `moved` pages, counted as small ones.
    pub(super) fn outcome_of(&self, moved: usize) -> Outcome {
        let collected = self.committed.unwrap_or_else(|| self.collected());

        Outcome::new(self.raw.npages, collected, moved)
    }

    /// The pages that have moved, once committed: the number of each, its source and its target.
    pub(super) fn moved(&self) -> impl Iterator<Item = (usize, MigratePfn, MigratePfn)> + '_ {
        let committed = self.committed.is_some();

        self.taking_part().take_while(move |_| committed)
    }

    /// Lets the targets take over from their sources, unless that has been done. May sleep.
    #[inline]
    pub(super) fn commit(&mut self) {
        if self.committed.is_some() {
            return;
        }
        let collected = self.collected();
        match self.way {
            // SAFETY: By the type invariant the pages have been collected with `raw`, but not committed, its
            // arrays are valid, and the mmap lock is held.
            Way::Vma => unsafe { shims::migrate_vma_pages(self.raw) },
            // SAFETY: By the type invariant the pages of `src` have been collected, but not
            // committed.
            Way::Device => unsafe {
                shims::migrate_device_pages(self.raw.src, self.raw.dst, self.raw.npages)
            },
        }
        // INVARIANT: It has been called just now, for the first time.
        self.committed = Some(collected);
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        if self.committed.is_none() {
            // mm would take a page with a target for one that has been moved.
            for dst in self.arrays().1 {
                if let Some(page) = take_target(core::mem::take(dst)) {
                    drop(page);
                }
            }
        }
        match self.way {
            // SAFETY: As for `commit()`; either that was called or there are no targets.
            Way::Vma => unsafe { shims::migrate_vma_finalize(self.raw) },
            // SAFETY: As for `commit()`; either that was called or there are no targets.
            Way::Device => unsafe {
                shims::migrate_device_finalize(self.raw.src, self.raw.dst, self.raw.npages)
            },
        }
    }
}

/// The entries of `src` that are worth a look: one, if it stands for all pages. The others are empty
/// then; but for a huge page that is just being cut, on its way out of a device, which is left for
/// later.
fn filled(src: &[usize]) -> &[usize] {
    let count = match src.first() {
        Some(&first) if MigratePfn::new(first).pages() >= src.len() => 1,
        _ => src.len(),
    };
    src.get(..count).unwrap_or_default()
}

/// The page in an entry of the `dst` of a batch that has not been committed.
fn take_target(entry: usize) -> Option<LockedPage> {
    // SAFETY: What an entry of `dst` names has a `struct page`.
    let page = unsafe { shims::dmirror_shim_migrate_pfn_to_page(entry) };
    let page = NonNull::new(page)?;
    let pages = MigratePfn::new(entry).pages();
    // SAFETY: By the invariant of `Pages` lock and reference are ours without a commit, and the page is
    // that large; the entry is taken once.
    Some(unsafe { LockedPage::from_raw(page, pages) })
}
