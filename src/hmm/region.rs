// SPDX-License-Identifier: GPL-2.0

//! Ranges of physical addresses for device memory: free ones for memory that has none, and claimed
//! ones where the memory is.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A range of physical addresses that is ours alone.
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

    /// Claims the `size` bytes from `start` on, memory that firmware or the command line keeps from
    /// the kernel (`memmap=SIZE$START` on x86).
    ///
    /// # Errors
    ///
    /// * [`EINVAL`][]: not whole units of what can be registered, of 2 MiB on x86-64.
    /// * [`ERANGE`][]: beyond what the kernel can map, or the CPU address.
    /// * [`EBUSY`][]: in use, be it in part: by the system, by a driver, or by another claim.
    /// * [`ENXIO`][]: nothing tells that memory is there, and that the kernel leaves it alone.
    pub(super) fn claim(start: u64, size: u64, name: &'static CStr) -> Result<Self> {
        let last = size.checked_sub(1).and_then(|rest| start.checked_add(rest));
        let last = last.ok_or(ERANGE)?;

        // SAFETY: Has no requirements.
        let unit = unsafe { bindings::memremap_compat_align() } as u64;
        if start.checked_rem(unit) != Some(0) || size.checked_rem(unit) != Some(0) {
            return Err(EINVAL);
        }
        // SAFETY: Has no requirements.
        let mappable = unsafe { bindings::mhp_get_pluggable_range(true) };
        // SAFETY: `iomem_resource` is a static of the kernel, and its end does not change.
        let highest = unsafe { bindings::iomem_resource.end };
        if start < mappable.start || last > mappable.end.min(highest) {
            return Err(ERANGE);
        }
        // SAFETY: `iomem_resource` is a static of the kernel; `name` lives for ever.
        let resource = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                start,
                size,
                kernel::str::CStrExt::as_char_ptr(name),
                0,
            )
        };
        if resource.is_null() {
            return Err(EBUSY);
        }
        // INVARIANT: The region has just been requested.
        let region = Self { start, size };

        if region.is_reserved() {
            Ok(region)
        } else {
            Err(ENXIO)
        }
    }

    /// Whether the region is part of a range that is reserved. Of several ranges it cannot be, or
    /// the request would have been refused.
    fn is_reserved(&self) -> bool {
        // SAFETY: Looks under the lock of the resources; any range is allowed.
        let found = unsafe {
            bindings::region_intersects(
                self.start,
                self.size as usize,
                bindings::IORESOURCE_MEM as usize,
                bindings::IORES_DESC_RESERVED as usize,
            )
        };
        // CAST: The constant is the value of a C enum, which the function returns as an int.
        found == bindings::REGION_INTERSECTS as c_int
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
