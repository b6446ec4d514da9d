// SPDX-License-Identifier: GPL-2.0

//! What kind of memory a frame is.
//!
//! C headers: [`include/linux/memremap.h`](srctree/include/linux/memremap.h),
//! [`include/linux/page-flags.h`](srctree/include/linux/page-flags.h)

use crate::bindings as shims;

/// What kind of memory a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anonymous system memory.
    Anonymous,
    /// The shared page of zeroes.
    Zeroes,
    /// Other memory that the kernel can address, of files for one.
    Other,
    /// Private memory of a device.
    Private,
    /// Coherent memory of a device.
    Coherent,
    /// Memory that is out of the kernel's reach (`memfd_secret()`).
    Unreachable,
}

impl Kind {
    /// That of the frame `number`. It stays so while the page is in use.
    ///
    /// # Safety
    ///
    /// The frame has a `struct page`.
    #[inline]
    pub(super) unsafe fn of(number: usize) -> Self {
        // SAFETY: By the safety requirements.
        match unsafe { shims::dmirror_shim_frame_kind(number) } {
            shims::dmirror_frame_kind_DMIRROR_FRAME_ANONYMOUS => Self::Anonymous,
            shims::dmirror_frame_kind_DMIRROR_FRAME_ZEROES => Self::Zeroes,
            shims::dmirror_frame_kind_DMIRROR_FRAME_OTHER => Self::Other,
            shims::dmirror_frame_kind_DMIRROR_FRAME_PRIVATE => Self::Private,
            shims::dmirror_frame_kind_DMIRROR_FRAME_COHERENT => Self::Coherent,
            _ => Self::Unreachable,
        }
    }
}
