// SPDX-License-Identifier: GPL-2.0

//! What kind of memory a page is.
//!
//! C headers: [`include/linux/memremap.h`](srctree/include/linux/memremap.h),
//! [`include/linux/page-flags.h`](srctree/include/linux/page-flags.h)

use super::frame::HmmPfn;
use crate::bindings as shims;
use core::ptr::null_mut;
use kernel::bindings;

/// What kind of memory a page is.
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
    /// That of the page that `pfn`, which is valid, names. It stays so, and a pagemap valid, while
    /// the page is in use.
    ///
    /// # Safety
    ///
    /// The page has a `struct page`.
    #[inline]
    pub(super) unsafe fn of(pfn: HmmPfn) -> Self {
        let mut pagemap = null_mut();
        // SAFETY: By the safety requirements, and `pagemap` can be written.
        let kind = unsafe { shims::dmirror_shim_hmm_pfn_kind(pfn.into_raw(), &raw mut pagemap) };

        Self::new(kind, pagemap)
    }

    /// That of `page`. It stays so, and a pagemap valid, while the page is in use.
    ///
    /// # Safety
    ///
    /// The page is valid.
    pub(super) unsafe fn of_page(page: *mut bindings::page) -> Self {
        let mut pagemap = null_mut();
        // SAFETY: By the safety requirements, and `pagemap` can be written.
        let kind = unsafe { shims::dmirror_shim_page_kind(page, &raw mut pagemap) };

        Self::new(kind, pagemap)
    }

    #[inline]
    fn new(kind: shims::dmirror_frame_kind, pagemap: *mut bindings::dev_pagemap) -> Self {
        match kind {
            shims::dmirror_frame_kind_DMIRROR_FRAME_ANONYMOUS => Self::Anonymous,
            shims::dmirror_frame_kind_DMIRROR_FRAME_ZEROES => Self::Zeroes,
            shims::dmirror_frame_kind_DMIRROR_FRAME_OTHER => Self::Other,
            shims::dmirror_frame_kind_DMIRROR_FRAME_PRIVATE => Self::Private(pagemap),
            shims::dmirror_frame_kind_DMIRROR_FRAME_COHERENT => Self::Coherent(pagemap),
            _ => Self::Unreachable,
        }
    }
}
