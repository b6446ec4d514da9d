// SPDX-License-Identifier: GPL-2.0

//! The private memory of a device.
//!
//! Device-private pages have no memory of their own that a test could use: the bytes are kept in
//! ordinary kernel pages, one for each device page in use, found by the place of the device page. A
//! huge page has as many of them as it would have small ones, so that mm may cut it into these.
//!
//! # Lock order
//!
//! `grow` comes before everything and is never taken with the mmap lock held. [`Chunk`]'s lock is
//! the last of all: mm frees pages with a page table lock held, and so nothing is allocated, freed
//! or waited for under it.

use crate::{
    capacity::Capacity,
    hmm::{
        frame::DeviceIndex,
        free::FreePage,
        fresh::{
            Contents,
            SystemTarget, //
        },
        killable::lock_killable,
        outcome::Outcome,
        page::LockedPage,
        pagemap::{
            DeviceOwner,
            Pagemap,
            PagemapOps, //
        }, //
    },
    pool::{
        From,
        Pool, //
    },
    statistics::Statistics, //
};
use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce,
        SpinLock, //
    }, //
};

/// Pages of one chunk (256 MiB), but for the last.
pub(crate) const CHUNK_PAGES: usize = 1 << 16;

/// The most chunks that a device may have (16 GiB).
const MAX_CHUNKS: usize = 64;

static_assert!(Capacity::MAX.pages() <= MAX_CHUNKS * CHUNK_PAGES);

/// The private memory of one device: chunks, registered when they are first needed.
#[pin_data]
pub(crate) struct PrivateMemory {
    owner: DeviceOwner<Chunk>,
    chunks: [SetOnce<Pin<KBox<Pagemap<Chunk>>>>; MAX_CHUNKS],
    /// The number of the chunk in which the last free page was found: a hint.
    last: Atomic<usize>,
    capacity: Capacity,
    statistics: Arc<Statistics>,
    /// Held while a chunk is added.
    #[pin]
    grow: Mutex<()>,
}

impl PrivateMemory {
    /// The memory of a new device, which may grow to `capacity`, with its first chunk. May sleep
    /// long.
    ///
    /// # Errors
    ///
    /// Those of [`Pagemap::new`].
    pub(crate) fn new(capacity: Capacity) -> Result<Pin<KBox<Self>>> {
        let memory = KBox::pin_init(
            try_pin_init!(Self {
                owner: DeviceOwner::new()?,
                chunks: [const { SetOnce::new() }; MAX_CHUNKS],
                last: Atomic::new(0),
                capacity,
                statistics: Statistics::new()?,
                grow <- new_mutex!((), "PrivateMemory::grow"),
            }? Error),
            GFP_KERNEL,
        )?;
        memory.make_room(1)?;
        Ok(memory)
    }

    /// By what mm knows the memory of this device.
    pub(crate) fn owner(&self) -> &DeviceOwner<Chunk> {
        &self.owner
    }

    /// What the device counts.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How many pages of 4 KiB are in use. It may be out of date at once; so may the next two.
    pub(crate) fn in_use(&self) -> usize {
        self.chunks().map(Pagemap::in_use).sum()
    }

    /// How many pages of 4 KiB are free, of what there is as yet.
    pub(crate) fn free_pages(&self) -> usize {
        self.chunks().map(|chunk| chunk.ops().free_pages()).sum()
    }

    /// How many huge pages of 2 MiB are in use.
    pub(crate) fn huge_pages(&self) -> usize {
        self.chunks().map(Pagemap::huge_pages).sum()
    }

    /// Sees to it that `count` pages are free, if that many can be had. May sleep long; no lock may
    /// be held. Others may be faster to use them.
    ///
    /// # Errors
    ///
    /// Those of [`Pagemap::new`], when no page is free and no other chunk can be had. [`EINTR`] if
    /// killed while another thread adds one.
    pub(crate) fn make_room(&self, count: usize) -> Result {
        if self.has_room(count) {
            return Ok(());
        }
        let _guard = lock_killable(&self.grow)?;
        if self.has_room(count) {
            return Ok(());
        }
        match self.add_chunk() {
            Err(_) if self.has_room(1) => Ok(()),
            result => result,
        }
    }

    /// Puts `contents` into a free device page. `None` if the device is full. Never waits.
    pub(crate) fn store(&self, contents: Contents) -> Option<LockedPage> {
        let mut contents = contents;
        // No block is broken up as long as any chunk has a rest of one.
        for from in [From::Rest, From::Any] {
            for (number, chunk) in self.chunks_at_hand() {
                let taken = chunk.ops().pages.lock().take(from, contents);
                match taken {
                    Ok(page) => {
                        self.last.store(number, Relaxed);
                        return chunk.lock_page(page).ok();
                    }
                    Err(back) => contents = back,
                }
            }
        }
        None
    }

    /// Sets a block aside for a huge page. `None` if there is no whole one, and no other chunk can
    /// be had. May sleep long; no lock may be held.
    pub(crate) fn set_aside(&self) -> Option<Spare<'_>> {
        let spare = || {
            self.chunks().find_map(|chunk| {
                let page = Some(chunk.ops().pages.lock().take_whole()?);
                Some(Spare { chunk, page })
            })
        };
        spare().or_else(|| {
            let _guard = lock_killable(&self.grow).ok()?;
            spare().or_else(|| {
                self.add_chunk().ok()?;
                spare()
            })
        })
    }

    /// Lends the contents of the device page `index` to `access`, which must not sleep. `None` if
    /// the page is not in use.
    pub(crate) fn with_contents<R>(
        &self,
        index: DeviceIndex,
        access: impl FnOnce(&Contents) -> R,
    ) -> Option<R> {
        self.chunk_of(index)?.ops().with_contents(index, access)
    }

    /// Whether the page `index` is a part of a huge one. It may be out of date at once.
    pub(crate) fn is_huge(&self, index: DeviceIndex) -> bool {
        self.chunk_of(index)
            .is_some_and(|chunk| chunk.is_huge(index))
    }

    /// The chunk that the page `index` is in, if it is there.
    fn chunk_of(&self, index: DeviceIndex) -> Option<&Pagemap<Chunk>> {
        let chunk = self.chunks.get(index.number() / CHUNK_PAGES)?;

        chunk.as_ref().map(|chunk| &**chunk)
    }

    fn chunks(&self) -> impl Iterator<Item = &Pagemap<Chunk>> {
        self.chunks
            .iter()
            .map_while(|chunk| chunk.as_ref().map(|chunk| &**chunk))
    }

    /// All chunks with their numbers, first that in which a page was found last: those before may
    /// be full, and a page must not cost more with each of them.
    fn chunks_at_hand(&self) -> impl Iterator<Item = (usize, &Pagemap<Chunk>)> {
        let last = self.last.load(Relaxed);

        (0..MAX_CHUNKS).filter_map(move |distance| {
            let number = last.wrapping_add(distance) % MAX_CHUNKS;

            Some((number, &**self.chunks.get(number)?.as_ref()?))
        })
    }

    /// Whether `count` pages are free. Looks no further than to where they are.
    fn has_room(&self, count: usize) -> bool {
        let mut free = 0;

        self.chunks_at_hand().any(|(_, chunk)| {
            free += chunk.ops().free_pages();
            free >= count
        })
    }

    /// Adds a chunk; a device with all its memory stays as it is. Call with `grow` held.
    fn add_chunk(&self) -> Result {
        let number = self.chunks().count();
        let left = self.capacity.pages().saturating_sub(number * CHUNK_PAGES);
        let pages = left.min(CHUNK_PAGES);
        let Some(slot) = self.chunks.get(number).filter(|_| pages > 0) else {
            return Ok(());
        };
        let chunk = KBox::pin_init(
            Pagemap::new(
                self.owner.clone(),
                DeviceIndex::new(number * CHUNK_PAGES),
                pages as u32,
                c"dmirror device memory",
                Chunk::new(pages, self.statistics.clone()),
            ),
            GFP_KERNEL,
        )?;
        while let Some(block) = chunk.fresh_block() {
            chunk.ops().pages.lock().add(block);
        }
        slot.populate(chunk);
        Ok(())
    }
}

/// A block that is set aside for a huge page, and free again if none is made.
pub(crate) struct Spare<'m> {
    chunk: &'m Pagemap<Chunk>,
    page: Option<FreePage>,
}

impl Spare<'_> {
    /// Makes a huge page of it, and takes its contents, page by page, from the end of `contents`.
    /// `None` if these are too few. Never waits.
    pub(crate) fn store(mut self, contents: &mut KVec<Contents>) -> Option<LockedPage> {
        if contents.len() < self.page.as_ref()?.pages() {
            return None;
        }
        let page = self.page.take()?;
        let mut pages = self.chunk.ops().pages.lock();

        for number in (page.offset()..page.offset() + page.pages()).rev() {
            if let Some(contents) = contents.pop() {
                pages.fill(number, contents);
            }
        }
        drop(pages);
        self.chunk.lock_page(page).ok()
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if let Some(page) = self.page.take() {
            self.chunk.ops().pages.lock().put(page);
        }
    }
}

/// A range of the device's memory: its free pages, and the contents of the others.
#[pin_data]
pub(crate) struct Chunk {
    #[pin]
    pages: SpinLock<Pool<Contents>>,
    statistics: Arc<Statistics>,
}

impl Chunk {
    fn new(pages: usize, statistics: Arc<Statistics>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            pages <- {
                let pool = Pool::new(pages)?;
                new_spinlock!(pool, "Chunk::pages")
            },
            statistics,
        })
    }

    fn free_pages(&self) -> usize {
        self.pages.lock().free_pages()
    }

    fn with_contents<R>(
        &self,
        index: DeviceIndex,
        access: impl FnOnce(&Contents) -> R,
    ) -> Option<R> {
        let pages = self.pages.lock();
        pages.get(index.number() % CHUNK_PAGES).map(access)
    }
}

impl PagemapOps for Chunk {
    fn free(&self, page: FreePage) {
        let last = page.offset() + page.pages() - 1;

        for number in page.offset()..last {
            let contents = self.pages.lock().clear(number);
            // Not under the lock.
            drop(contents);
        }
        let mut pages = self.pages.lock();
        let contents = pages.clear(last);
        pages.put(page);
        drop(pages);
        drop(contents);
    }

    fn copy_to_system(&self, page: DeviceIndex, target: &mut SystemTarget) -> Result {
        self.statistics.pause.wait();
        for part in 0..target.pages() {
            let page = DeviceIndex::new(page.number() + part);

            self.with_contents(page, |contents| target.copy_from(part, contents))
                .ok_or(EIO)?;
        }
        Ok(())
    }

    fn served_fault(&self, outcome: Outcome) {
        self.statistics.cpu_faults.add(1);
        self.statistics.to_system.add(outcome);
    }
}
