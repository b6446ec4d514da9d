// SPDX-License-Identifier: GPL-2.0

//! Room for the arrays of a migration, and what those of a walk are made of.
//!
//! C header: [`include/linux/migrate.h`](srctree/include/linux/migrate.h)

use super::range::BLOCK_PAGES;
use crate::bindings as shims;
use core::mem::MaybeUninit;
use kernel::prelude::*;

/// Entries for each page: a source and a target, and the same again.
///
/// While it collects, mm gives up the page table lock to split a large folio. If the page table has
/// been freed by then (`MADV_DONTNEED` does that under the mmap lock for reading), 7.3 starts over
/// from the first address but goes on filling the arrays where it was: at most once, and so with at
/// most twice as many entries as there are pages.
const WORDS_PER_PAGE: usize = 4;

/// An entry of which nothing is known before it is written, by C, or as the question of a walk. To clear
/// all of them first would cost as much as to collect a page that is not there.
pub(super) type Word = MaybeUninit<usize>;

/// Room for the entries of a few pages, on the stack of who asks: to allocate it would cost more than to
/// collect a page.
pub(crate) struct FewWords<const PAGES: usize = 4>([[Word; WORDS_PER_PAGE]; PAGES]);

impl FewWords {
    /// Room for 4 pages.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self::for_pages()
    }
}

impl<const PAGES: usize> FewWords<PAGES> {
    /// Room for `PAGES` pages: 32 bytes on the stack for each.
    #[inline]
    pub(crate) const fn for_pages() -> Self {
        Self([[Word::uninit(); WORDS_PER_PAGE]; PAGES])
    }
}

/// Room for the sources and targets of the pages of one block, or some of them, and for what C keeps
/// about the migration.
pub(crate) struct MigrateBuffer<'few> {
    words: Words<'few>,
    raw: MaybeUninit<shims::migrate_vma>,
}

/// Room for entries: of who asks, or allocated.
pub(super) enum Words<'few> {
    Few(&'few mut [Word]),
    Many(KVec<usize>),
}

impl<'few> Words<'few> {
    /// Room for `len` entries: in `few`, if there is enough.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(super) fn new(len: usize, few: &'few mut [Word]) -> Result<Self> {
        Ok(if len <= few.len() {
            Self::Few(few)
        } else {
            Self::Many(KVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?)
        })
    }

    /// All its entries, of which nothing is known.
    #[inline]
    pub(super) fn all(&mut self) -> &mut [Word] {
        match self {
            Self::Few(words) => words,
            Self::Many(words) => words.spare_capacity_mut(),
        }
    }
}

/// The parts of a [`MigrateBuffer`].
pub(super) struct Arrays<'a> {
    pub(super) src: &'a mut [Word],
    pub(super) dst: &'a mut [Word],
    pub(super) raw: &'a mut MaybeUninit<shims::migrate_vma>,
}

impl MigrateBuffer<'static> {
    /// A buffer for `pages` pages, of which each piece that lies in one block fits: 32 bytes of
    /// memory for each page, 16 KiB at most.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(pages: usize) -> Result<Self> {
        Self::in_words(pages, &mut [])
    }
}

impl<'few> MigrateBuffer<'few> {
    /// The same, in `few` if there is room for so many.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(crate) fn with<const FEW: usize>(
        pages: usize,
        few: &'few mut FewWords<FEW>,
    ) -> Result<Self> {
        Self::in_words(pages, few.0.as_flattened_mut())
    }

    #[inline]
    fn in_words(pages: usize, few: &'few mut [Word]) -> Result<Self> {
        Ok(Self {
            words: Words::new(WORDS_PER_PAGE * pages.min(BLOCK_PAGES), few)?,
            raw: MaybeUninit::uninit(),
        })
    }

    /// A buffer for as many pages as there is room for in `few`.
    #[inline]
    pub(super) fn of<const FEW: usize>(few: &'few mut FewWords<FEW>) -> Self {
        Self {
            words: Words::Few(few.0.as_flattened_mut()),
            raw: MaybeUninit::uninit(),
        }
    }

    /// Sources and targets for `pages` pages: twice as many as there are, see [`WORDS_PER_PAGE`].
    ///
    /// # Errors
    ///
    /// [`E2BIG`] if there is no room for so many.
    #[inline]
    pub(super) fn arrays(&mut self, pages: usize) -> Result<Arrays<'_>> {
        let len = pages * (WORDS_PER_PAGE / 2);
        let (src, rest) = self.words.all().split_at_mut_checked(len).ok_or(E2BIG)?;

        Ok(Arrays {
            src,
            dst: rest.get_mut(..len).ok_or(E2BIG)?,
            raw: &mut self.raw,
        })
    }
}

/// What has been written to `words`.
///
/// # Safety
///
/// All of them have been.
pub(super) unsafe fn written(words: &mut [Word]) -> &mut [usize] {
    let words = core::ptr::from_mut(words) as *mut [usize];
    // SAFETY: They are as large as numbers, and by the safety requirements they are some; they stay
    // borrowed.
    unsafe { &mut *words }
}

/// Writes zeroes to `words`.
pub(super) fn cleared(words: &mut [Word]) -> &mut [usize] {
    // A single one, to spare it a call of `memset()`.
    if let [word] = words {
        word.write(0);
    } else {
        words.fill(Word::new(0));
    }
    // SAFETY: They have been written just now.
    unsafe { written(words) }
}
