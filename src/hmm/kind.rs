// SPDX-License-Identifier: GPL-2.0

//! What kind of memory a frame is.
//!
//! C headers: [`include/linux/memremap.h`](srctree/include/linux/memremap.h),
//! [`include/linux/page-flags.h`](srctree/include/linux/page-flags.h)

use crate::bindings as shims;
use core::ptr::null_mut;
use kernel::bindings;

/// What kind of memory a frame is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Anonymous system memory.
    Anonymous,
    /// The shared page of zeroes.
    Zeroes,
    /// Other memory that the kernel can address, of files for one.
    Other,
    /// Private memory of a device, in that pagemap.
    Private(*mut bindings::dev_pagemap),
    /// Coherent memory of a device, in that pagemap.
    Coherent(*mut bindings::dev_pagemap),
    /// Memory that is out of the kernel's reach (`memfd_secret()`).
    Unreachable,
}

impl Kind {
    /// That of the frame `number`. It stays so, and a pagemap valid, while the page is in use.
    ///
    /// # Safety
    ///
    /// The frame has a `struct page`.
    #[inline]
    pub(super) unsafe fn of(number: usize) -> Self {
        let mut pagemap = null_mut();

        // SAFETY: By the safety requirements, and `pagemap` can be written.
        match unsafe { shims::dmirror_shim_frame_kind(number, &raw mut pagemap) } {
            shims::dmirror_frame_kind_DMIRROR_FRAME_ANONYMOUS => Self::Anonymous,
            shims::dmirror_frame_kind_DMIRROR_FRAME_ZEROES => Self::Zeroes,
            shims::dmirror_frame_kind_DMIRROR_FRAME_OTHER => Self::Other,
            shims::dmirror_frame_kind_DMIRROR_FRAME_PRIVATE => Self::Private(pagemap),
            shims::dmirror_frame_kind_DMIRROR_FRAME_COHERENT => Self::Coherent(pagemap),
            _ => Self::Unreachable,
        }
    }
}
