// SPDX-License-Identifier: GPL-2.0

//! Physical addresses for memory that has none.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A free range of physical addresses, taken for memory that has none.
///
/// # Invariants
///
/// The bytes `start..start + size` are requested in `iomem_resource` by us.
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) size: u64,
}

impl Region {
    /// Requests a range of `size` bytes or, as memory hotplug needs whole sections, more.
    pub(super) fn request(size: usize, name: &'static CStr) -> Result<Self> {
        // SAFETY: `iomem_resource` is a static of the kernel; `name` lives for ever.
        let resource = from_err_ptr(unsafe {
            bindings::request_free_mem_region(
                &raw mut bindings::iomem_resource,
                size,
                kernel::str::CStrExt::as_char_ptr(name),
            )
        })?;
        // SAFETY: The resource is valid until it is released.
        let resource = unsafe { &*resource };
        // INVARIANT: The region has just been requested.
        Ok(Self {
            start: resource.start,
            size: resource.end - resource.start + 1,
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the region is ours; no memory is mapped in it any more.
        unsafe {
            bindings::__release_region(&raw mut bindings::iomem_resource, self.start, self.size)
        };
    }
}
