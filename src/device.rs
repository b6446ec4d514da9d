// SPDX-License-Identifier: GPL-2.0

//! The memory of a device, of either kind.
//!
//! Private memory is out of the CPU's reach: it has no physical addresses, grows on demand, and
//! keeps the bytes elsewhere. Coherent memory is a range of physical memory that the CPU addresses,
//! too, reserved at boot and given by a module parameter.

use crate::{
    capacity::Capacity,
    chunk::{
        Chunk,
        CHUNK_PAGES, //
    },
    hmm::{
        coherent::CoherentMemory,
        contents::Bytes,
        frame::DeviceIndex,
        migrate::Select,
        pagemap::DeviceOwner, //
    },
    memory::PrivateMemory,
    spare::Spare,
    statistics::Statistics, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The memory of one device.
pub(crate) enum DeviceMemory {
    /// Private memory.
    Private(Pin<KBox<PrivateMemory>>),
    /// Coherent memory, of a fixed size.
    Coherent(Pin<KBox<CoherentMemory<Chunk>>>, Arc<Statistics>),
}

impl DeviceMemory {
    /// The memory of a new device with private memory, which may grow to `capacity`. May sleep long.
    ///
    /// # Errors
    ///
    /// Those of [`PrivateMemory::new`].
    pub(crate) fn private(capacity: Capacity) -> Result<Arc<Self>> {
        let memory = PrivateMemory::new(capacity)?;

        Ok(Arc::new(Self::Private(memory), GFP_KERNEL)?)
    }

    /// The memory of a new device with coherent memory: one chunk, from the physical address
    /// `address` on. May sleep long.
    ///
    /// # Errors
    ///
    /// Those of [`CoherentMemory::new`].
    pub(crate) fn coherent(address: u64, name: &'static CStr) -> Result<Arc<Self>> {
        let owner = DeviceOwner::new()?;
        let memory = KBox::pin_init(
            CoherentMemory::new(owner, address, CHUNK_PAGES as u32, name),
            GFP_KERNEL,
        )?;
        Ok(Arc::new(
            Self::Coherent(memory, Statistics::new()?),
            GFP_KERNEL,
        )?)
    }

    /// By what mm knows the memory of this device.
    pub(crate) fn owner(&self) -> &DeviceOwner<Chunk> {
        match self {
            Self::Private(memory) => memory.owner(),
            Self::Coherent(memory, _) => memory.owner(),
        }
    }

    /// What the device counts.
    pub(crate) fn statistics(&self) -> &Statistics {
        match self {
            Self::Private(memory) => memory.statistics(),
            Self::Coherent(_, statistics) => statistics,
        }
    }

    /// How many pages of 4 KiB are in use. It may be out of date at once; so may the next two.
    pub(crate) fn in_use(&self) -> usize {
        match self {
            Self::Private(memory) => memory.in_use(),
            Self::Coherent(memory, _) => memory.in_use(),
        }
    }

    /// How many pages of 4 KiB are free, of what the device has as yet.
    pub(crate) fn free_pages(&self) -> usize {
        match self {
            Self::Private(memory) => memory.free_pages(),
            Self::Coherent(memory, _) => memory.free_pages(),
        }
    }

    /// How many huge pages of 2 MiB are in use.
    pub(crate) fn huge_pages(&self) -> usize {
        match self {
            Self::Private(memory) => memory.huge_pages(),
            Self::Coherent(..) => 0,
        }
    }

    /// How to select pages that are in this memory.
    pub(crate) fn select(&self) -> Select {
        match self {
            Self::Private(_) => Select::Device,
            Self::Coherent(..) => Select::Coherent,
        }
    }

    /// Sees to it that `count` pages are free, if that many can be had: see
    /// [`PrivateMemory::make_room`].
    ///
    /// # Errors
    ///
    /// Those of that. Memory of a fixed size is merely full.
    pub(crate) fn make_room(&self, count: usize) -> Result {
        match self {
            Self::Private(memory) => memory.make_room(count),
            Self::Coherent(..) => Ok(()),
        }
    }

    /// Whether pages of this memory may be huge.
    pub(crate) fn has_huge_pages(&self) -> bool {
        matches!(self, Self::Private(_))
    }

    /// Whether the page `index` of private memory is a part of a huge one. It may be out of date at
    /// once.
    pub(crate) fn is_huge(&self, index: DeviceIndex) -> bool {
        match self {
            Self::Private(memory) => memory.is_huge(index),
            Self::Coherent(..) => false,
        }
    }

    /// Sets a block aside for a huge page: see [`PrivateMemory::set_aside`]. Coherent memory has none.
    pub(crate) fn set_aside(&self) -> Option<Spare<'_>> {
        match self {
            Self::Private(memory) => memory.set_aside(),
            Self::Coherent(..) => None,
        }
    }

    /// A file of the device is opened. What is kept of the contents of private pages depends on that.
    pub(crate) fn file_opens(&self) {
        if let Self::Private(memory) = self {
            memory.kept().file_opens();
        }
    }

    /// It is closed again.
    pub(crate) fn file_closes(&self) {
        if let Self::Private(memory) = self {
            memory.kept().file_closes();
        }
    }

    /// Lends the contents of the page `index` of private memory, and of those after it, up to `pages` in
    /// all, to `access`: see [`Chunk::lend`](crate::chunk::Chunk::lend).
    #[inline]
    pub(crate) fn lend(
        &self,
        index: DeviceIndex,
        pages: usize,
        access: impl FnMut(Bytes<'_>) -> bool,
    ) -> usize {
        match self {
            Self::Private(memory) => memory.lend(index, pages, access),
            Self::Coherent(..) => 0,
        }
    }
}
