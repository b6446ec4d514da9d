// SPDX-License-Identifier: GPL-2.0

//! The private memory of a device.
//!
//! It consists of [chunks](Chunk), which are registered when they are first needed.
//!
//! # Lock order
//!
//! `grow` comes before everything and is never taken with the mmap lock held. The lock of a chunk is
//! the last of all: see [`chunk`](crate::chunk).

use crate::{
    capacity::Capacity,
    chunk::{
        Chunk,
        Room,
        CHUNK_PAGES, //
    },
    hmm::{
        contents::{
            Bytes,
            Contents, //
        },
        frame::DeviceIndex,
        free::FreePages,
        killable::lock_killable,
        page::LockedPages,
        pagemap::{
            DeviceOwner,
            Pagemap, //
        },
        stock::Stock, //
    },
    kept::Kept,
    pool::{
        From,
        Pool, //
    },
    spare::Spare,
    statistics::Statistics, //
};
use core::mem::ManuallyDrop;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

/// The most chunks that a device may have (16 GiB).
const MAX_CHUNKS: usize = 64;

static_assert!(Capacity::MAX.pages() <= MAX_CHUNKS * CHUNK_PAGES);
static_assert!(MAX_CHUNKS <= u64::BITS as usize);

/// The private memory of one device.
#[pin_data]
pub(crate) struct PrivateMemory {
    owner: DeviceOwner<Chunk>,
    chunks: [SetOnce<Pin<KBox<Pagemap<Chunk>>>>; MAX_CHUNKS],
    room: Arc<Room>,
    kept: Arc<Kept>,
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
                room: Arc::new(Room::new(), GFP_KERNEL)?,
                kept: Kept::new()?,
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

    /// Sees to it that `count` pages, at most those of a block, are free, if that many can be had. May
    /// sleep long; no lock may be held. Others may be faster to use them.
    ///
    /// # Errors
    ///
    /// Those of [`Pagemap::new`], when no page is free and no other chunk can be had. [`EINTR`] if
    /// killed while another thread adds one.
    #[inline]
    pub(crate) fn make_room(&self, count: usize) -> Result {
        if self.has_room(count) {
            return Ok(());
        }
        self.grow(count)
    }

    /// The same, if they are not there.
    // Apart, to spare callers what it needs when they are.
    #[inline(never)]
    fn grow(&self, count: usize) -> Result {
        if self.is_complete() {
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

    /// Takes small pages that follow each other, up to `most`. `None` if the device is full. Never waits.
    pub(crate) fn take(&self, most: usize) -> Option<Vacant<'_>> {
        let take = |chunk, from| {
            let pages = Chunk::change(Pagemap::ops(chunk), |pool| pool.take(from, most))?;
            // INVARIANT: They are of this chunk.
            Some(Vacant { chunk, pages })
        };

        // No block is broken up as long as any chunk has a rest of one.
        for from in [From::Rest, From::Any] {
            for chunk in self.chunks_with_room(from) {
                if let Some(vacant) = take(chunk, from) {
                    return Some(vacant);
                }
            }
        }
        // Whatever the hints say: others may have made a rest of the last whole block, or the reverse,
        // between the look for the one and for the other.
        self.chunks().find_map(|chunk| take(chunk, From::Any))
    }

    /// What is kept of the contents of pages that have left the device.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Sets a block aside for a huge page, or as many small ones. `None` if there is no whole one, and no
    /// other chunk can be had. May sleep long; no lock may be held.
    pub(crate) fn set_aside(&self) -> Option<Spare<'_>> {
        let spare = || {
            self.chunks_with_room(From::Any).find_map(|chunk| {
                let page = chunk.ops().change(Pool::take_whole)?;
                Some(Spare::new(chunk, page))
            })
        };
        spare().or_else(|| {
            if self.is_complete() {
                return None;
            }
            let _guard = lock_killable(&self.grow).ok()?;
            spare().or_else(|| {
                self.add_chunk().ok()?;
                spare()
            })
        })
    }

    /// Lends the contents of the device page `index`, and of some of the `pages` pages from it on: see
    /// [`Chunk::lend`].
    #[inline]
    pub(crate) fn lend(
        &self,
        index: DeviceIndex,
        pages: usize,
        access: impl FnMut(Bytes<'_>) -> bool,
    ) -> usize {
        self.chunk_of(index)
            .map_or(0, |chunk| chunk.ops().lend(index, pages, access))
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

    /// The chunks where [`Pool::take`] finds a page `from` there, or did a moment ago. To pass over the
    /// others costs nothing.
    fn chunks_with_room(&self, from: From) -> impl Iterator<Item = &Pagemap<Chunk>> {
        // One that is just being added is not there yet.
        let chunk = |number| Some(&**self.chunks.get::<usize>(number)?.as_ref()?);

        self.room.numbers(from).filter_map(chunk)
    }

    /// Whether `count` pages, at most those of a block, are free.
    #[inline]
    fn has_room(&self, count: usize) -> bool {
        self.chunks_with_room(From::Any).next().is_some() || self.has_rests(count)
    }

    /// Whether so many are free in blocks that are not whole.
    #[inline(never)]
    fn has_rests(&self, count: usize) -> bool {
        let mut free = 0;

        self.chunks_with_room(From::Rest).any(|chunk| {
            free += chunk.ops().free_pages();
            free >= count
        })
    }

    /// Whether the device has all chunks that it may have.
    fn is_complete(&self) -> bool {
        let last = DeviceIndex::new(self.capacity.pages() - 1);

        self.chunk_of(last).is_some()
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
                Chunk::new(
                    number,
                    pages,
                    self.room.clone(),
                    self.kept.clone(),
                    self.statistics.clone(),
                ),
            ),
            GFP_KERNEL,
        )?;
        while let Some(block) = chunk.fresh_block() {
            chunk.ops().change(|pages| pages.add(block));
        }
        slot.populate(chunk);
        Ok(())
    }
}

/// Small pages of a chunk that follow each other and have been taken. They are free again if nothing is
/// stored in them.
///
/// # Invariants
///
/// `pages` are pages of `chunk`.
pub(crate) struct Vacant<'m> {
    chunk: &'m Pagemap<Chunk>,
    pages: FreePages,
}

impl Vacant<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Stores as many pages in them, from the end of `stock`, after `fill` has filled these: the last in the
    /// last, and so on. `None` if these are too few. Never waits.
    #[inline]
    pub(crate) fn store(
        self,
        stock: &mut Stock<Contents>,
        fill: impl FnOnce(&mut [Contents]),
    ) -> Option<LockedPages> {
        fill(stock.last_mut(self.len())?);
        let mut vacant = ManuallyDrop::new(self);
        let (chunk, pages) = (vacant.chunk, vacant.pages.take_all());

        chunk.ops().fill(pages.offsets(), stock);
        chunk.lock_pages(pages).ok()
    }
}

impl Drop for Vacant<'_> {
    fn drop(&mut self) {
        let pages = self.pages.take_all();
        if pages.len() > 0 {
            self.chunk.ops().change(|pool| pool.put_all(pages));
        }
    }
}
