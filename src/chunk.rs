// SPDX-License-Identifier: GPL-2.0

//! A chunk of a device's private memory.
//!
//! Device-private pages have no memory of their own that a test could use: the bytes are kept in
//! ordinary kernel pages, found by the place of the device page: one for each page in use, or, for a huge
//! page and where small ones fill most of a block, pieces of which 64 pages have a part each. mm may cut a
//! huge page into small ones: nothing changes then. A piece is freed with the last page that has a part.
//!
//! # Lock order
//!
//! The lock of a chunk is one of the last: mm frees pages with a page table lock held, and so nothing
//! is allocated, freed or waited for under it.

use crate::{
    hmm::{
        contents::{
            BlockContents,
            Bytes,
            Contents,
            Piece, //
        },
        frame::DeviceIndex,
        free::{
            FreePage,
            FreePages, //
        },
        fresh::SystemTarget,
        outcome::Outcome,
        pagemap::PagemapOps,
        stock::Stock, //
    },
    kept::Kept,
    pool::{
        From,
        Held,
        Pool, //
    },
    statistics::Statistics, //
};
use core::ops::Range;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    }, //
};

/// Pages of one chunk (256 MiB), but for the last.
pub(crate) const CHUNK_PAGES: usize = 1 << 16;

/// Of how many pages the contents are lent in one hold of a chunk's lock: what whoever frees a page may
/// wait for, with a page table lock held.
const MOST_LENT: usize = 8;

/// Which chunks have room, a bit for each: hints, true when the lock of a chunk was held last.
pub(crate) struct Room {
    /// Chunks from which a page can be had without breaking up a whole block.
    rests: Atomic<u64>,
    /// Chunks with a whole block.
    wholes: Atomic<u64>,
}

impl Room {
    /// None has.
    pub(crate) fn new() -> Self {
        Self {
            rests: Atomic::new(0),
            wholes: Atomic::new(0),
        }
    }

    /// The numbers of the chunks where [`Pool::take`] finds a page `from` there, or did a moment ago. Of
    /// [`From::Any`], those with a whole block: what has a rest is found by [`From::Rest`].
    pub(crate) fn numbers(&self, from: From) -> impl Iterator<Item = usize> {
        let mut numbers = self.of(from).load(Relaxed);

        core::iter::from_fn(move || {
            let number = (numbers != 0).then(|| numbers.trailing_zeros() as usize)?;
            numbers &= numbers - 1;
            Some(number)
        })
    }

    fn of(&self, from: From) -> &Atomic<u64> {
        match from {
            From::Rest => &self.rests,
            From::Any => &self.wholes,
        }
    }

    /// The chunk `number` has `pages` now. Call with its lock held.
    #[cold]
    fn tell(&self, number: usize, pages: &mut Pages) {
        let (rest, whole) = pages.news();

        for (from, has) in [(From::Rest, rest), (From::Any, whole)] {
            let (chunks, bit) = (self.of(from), 1 << number);
            let mut before = chunks.load(Relaxed);

            // Nobody else changes this bit, and most news are about one of the two.
            while (before & bit != 0) != has {
                match chunks.cmpxchg(before, before ^ bit, Relaxed) {
                    Ok(_) => break,
                    Err(now) => before = now,
                }
            }
        }
    }
}

/// The pages of a chunk and their contents.
type Pages = Pool<Contents, Piece>;

/// A range of the device's memory: its free pages, and the contents of the others.
#[pin_data]
pub(crate) struct Chunk {
    number: usize,
    #[pin]
    pages: SpinLock<Pages>,
    room: Arc<Room>,
    kept: Arc<Kept>,
    statistics: Arc<Statistics>,
}

impl Chunk {
    /// The chunk `number` of a device, of `pages` pages, none of which are there yet. It tells `room`
    /// what it has, and leaves to `kept` what it does not need. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::new`].
    pub(crate) fn new(
        number: usize,
        pages: usize,
        room: Arc<Room>,
        kept: Arc<Kept>,
        statistics: Arc<Statistics>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            number,
            pages <- {
                let pool = Pool::new(pages)?;
                new_spinlock!(pool, "Chunk::pages")
            },
            room,
            kept,
            statistics,
        })
    }

    /// Has `change` take pages, or put some back, and tells if others may look here for them. Must not
    /// sleep, nor free what it takes out.
    #[inline]
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Pages) -> R) -> R {
        let mut pages = self.pages.lock();
        let result = change(&mut pages);

        if pages.has_news() {
            self.room.tell(self.number, &mut pages);
        }
        result
    }

    /// How many pages of 4 KiB are free. It may be out of date at once.
    pub(crate) fn free_pages(&self) -> usize {
        self.pages.lock().free_pages()
    }

    /// Gives `contents` to the pages of the block that begins with the page `first`, after it was set aside:
    /// to all but the `unused` ones, which are free again.
    pub(crate) fn fill_block(
        &self,
        first: usize,
        contents: BlockContents,
        unused: Option<FreePages>,
    ) {
        let unneeded = self.change(|pages| {
            if let Some(unused) = unused.filter(|unused| unused.len() > 0) {
                pages.put_all(unused);
            }
            pages.fill_block(first, contents.into_pieces())
        });
        // Nothing is freed under the lock.
        drop(unneeded);
    }

    /// Gives contents to the pages with these numbers, which were taken: from the end of `stock`, which
    /// has enough.
    #[inline]
    pub(crate) fn fill(&self, numbers: Range<usize>, stock: &mut Stock<Contents>) {
        let mut pages = self.pages.lock();

        for number in numbers.rev() {
            if let Some(contents) = stock.pop() {
                pages.fill(number, contents);
            }
        }
    }

    /// Lends the contents of the page `index` of the device, and of those after it, at most `pages` and
    /// [`MOST_LENT`] in all, to `access`: in pieces, while it returns true. It must not sleep. Stops at a
    /// page that is not in use. Returns how many pages have been lent.
    #[inline]
    pub(crate) fn lend(
        &self,
        index: DeviceIndex,
        pages: usize,
        mut access: impl FnMut(Bytes<'_>) -> bool,
    ) -> usize {
        let pool = self.pages.lock();
        let (first, most) = (index.number() % CHUNK_PAGES, pages.min(MOST_LENT));
        let mut lent = 0;

        while lent < most {
            let held = pool.get(first + lent, most - lent);
            let bytes = held.and_then(|held| match held {
                Held::Own(contents) => Some(contents.bytes()),
                Held::Parts(piece, parts) => piece.bytes(parts),
            });
            let Some(bytes) = bytes else {
                break;
            };
            lent += bytes.pages();
            if !access(bytes) {
                break;
            }
        }
        lent
    }

    /// Copies the page `first`, as large as `target`, to it.
    #[inline]
    fn copy_to_one(&self, first: DeviceIndex, target: &mut SystemTarget) -> Result {
        let (pages, mut part) = (target.pages(), 0);

        while part < pages {
            let index = DeviceIndex::new(first.number() + part);
            let lent = self.lend(index, pages - part, |bytes| {
                target.copy_from(part, bytes);
                part += bytes.pages();
                true
            });
            if lent == 0 {
                return Err(EIO);
            }
        }
        Ok(())
    }

    /// Takes back a huge page, or a part of one that is larger than a small page.
    // Apart, to spare small pages what it needs.
    #[inline(never)]
    fn free_large(&self, page: FreePage) {
        let (first, count) = (page.offset(), page.pages());
        let own = self.pages.lock().has_own(first);

        if own {
            // And so have the others: they were a huge page together.
            for number in first..first + count {
                let contents = self.pages.lock().clear(number);
                drop(contents);
            }
        }
        let contents = self.change(|pages| {
            let pieces = (!own).then(|| pages.clear_shared(first, count));
            pages.put(page);
            pieces
        });
        drop(contents);
    }
}

impl PagemapOps for Chunk {
    fn free(&self, page: FreePage) {
        if page.pages() > 1 {
            return self.free_large(page);
        }
        let (own, piece) = self.change(|pages| {
            let contents = pages.clear(page.offset());
            pages.put(page);
            contents
        });
        // Nothing is freed under the lock.
        if let Some(contents) = own {
            self.kept.keep(contents);
        }
        drop(piece);
    }

    fn copy_to_system(&self, first: DeviceIndex, targets: &mut [SystemTarget]) -> Result<usize> {
        self.statistics.pause.wait();
        if let [target] = targets {
            return self.copy_to_one(first, target).map(|()| 1);
        }
        let mut done = 0;

        while let Some(rest @ [_, ..]) = targets.get_mut(done..) {
            let index = DeviceIndex::new(first.number() + done);
            let mut rest = rest.iter_mut();
            let lent = self.lend(index, rest.len(), |bytes| {
                for (bytes, target) in bytes.each().zip(&mut rest) {
                    target.copy_from(0, bytes);
                }
                true
            });
            if lent == 0 {
                break;
            }
            done += lent;
        }
        match done {
            0 => Err(EIO),
            done => Ok(done),
        }
    }

    fn served_fault(&self, outcome: Outcome) {
        self.statistics.cpu_faults.add(1);
        self.statistics.to_system.add(outcome);
    }
}
