// SPDX-License-Identifier: GPL-2.0

//! What kind of memory a page is.
//!
//! C headers: [`include/linux/memremap.h`](srctree/include/linux/memremap.h),
//! [`include/linux/page-flags.h`](srctree/include/linux/page-flags.h)

use super::frame::DeviceOffset;
use crate::bindings as shims;
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
    /// That of the page that the first of `answers` names, and how many of them, itself included, name
    /// pages like it, with the same flags. They are counted only of anonymous memory.
    /// It stays so, and a pagemap valid, while the page is in use.
    ///
    /// # Safety
    ///
    /// There is an answer, and each is such as a walk writes. The first names a frame
    /// ([`Named::Frame`](super::frame::Named::Frame)). What that and others that do so name has a
    /// `struct page`, and is in use.
    #[inline]
    pub(super) unsafe fn of_answers(answers: &[usize]) -> (Self, usize) {
        // CAST: It is a hint; there are no more than BLOCK_PAGES.
        let count = answers.len() as u32;
        // SAFETY: By the safety requirements. C looks only at frames of answers with the flags of the first,
        // which name frames, too.
        let frames = unsafe { shims::dmirror_shim_frames(answers.as_ptr(), count) };

        // SAFETY: By the safety requirements; it is device memory, which has a pagemap.
        let kind = Self::new(frames.kind, || unsafe {
            shims::dmirror_shim_frame_pgmap(answers.as_ptr())
        });
        (kind, frames.alike as usize)
    }

    /// That of the page of private memory with this offset. The pagemap is valid while the page is in
    /// use.
    ///
    /// # Safety
    ///
    /// There is such a page.
    #[inline]
    pub(super) unsafe fn of_offset(offset: DeviceOffset) -> Self {
        // SAFETY: By the safety requirements; private memory has a pagemap.
        Self::Private(unsafe { shims::dmirror_shim_offset_pgmap(offset.number()) })
    }

    /// That of `page`. It stays so, and a pagemap valid, while the page is in use.
    ///
    /// # Safety
    ///
    /// The page is valid.
    pub(super) unsafe fn of_page(page: *mut bindings::page) -> Self {
        // SAFETY: By the safety requirements.
        let kind = unsafe { shims::dmirror_shim_page_kind(page) };

        // SAFETY: By the safety requirements; it is device memory, which has a pagemap.
        Self::new(kind, || unsafe { shims::dmirror_shim_page_pgmap(page) })
    }

    /// That kind of memory, in `pagemap` if it is of a device.
    #[inline]
    fn new(
        kind: shims::dmirror_frame_kind,
        pagemap: impl FnOnce() -> *mut bindings::dev_pagemap,
    ) -> Self {
        match kind {
            shims::dmirror_frame_kind_DMIRROR_FRAME_ANONYMOUS => Self::Anonymous,
            shims::dmirror_frame_kind_DMIRROR_FRAME_ZEROES => Self::Zeroes,
            shims::dmirror_frame_kind_DMIRROR_FRAME_OTHER => Self::Other,
            shims::dmirror_frame_kind_DMIRROR_FRAME_PRIVATE => Self::Private(pagemap()),
            shims::dmirror_frame_kind_DMIRROR_FRAME_COHERENT => Self::Coherent(pagemap()),
            _ => Self::Unreachable,
        }
    }
}
