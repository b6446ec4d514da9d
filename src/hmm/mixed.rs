// SPDX-License-Identifier: GPL-2.0

//! Mappings of a device file: pages of zeroes that the driver inserts itself (`VM_MIXEDMAP`).
//!
//! Such a mapping holds pages of the kernel that are neither anonymous nor of a file. For HMM it is
//! memory like any other; migrations refuse it.
//!
//! A page is allocated when it is first touched, for the process that touches it: it counts in that
//! process's memory, the kernel charges it to the memory cgroup, and a mapping of any size costs
//! nothing before. The page tables own the pages. Nothing is kept beside them, so that to unmap,
//! move, split, grow or fork a mapping needs no callback.
//!
//! The mapping keeps the file open, and the file the module.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use kernel::{
    bindings,
    mm::virt::{
        flags,
        VmaMixedMap,
        VmaNew, //
    },
    page::Page,
    prelude::*, //
};

/// How a page that is missing comes into a mapping.
const OPS: &bindings::vm_operations_struct = &bindings::vm_operations_struct {
    fault: Some(fault),
    ..pin_init::zeroed()
};

/// Makes a mapping of the device file a private one of zeroes. The first page is there at once, as
/// the kernel's tests of HMM expect; the others come when they are touched.
///
/// # Errors
///
/// * [`EINVAL`][]: a shared mapping. There is nothing behind it that could be shared: what one
///   process writes, another that touches the page later would not find.
/// * [`ENOMEM`].
pub(crate) fn map(vma: &VmaNew) -> Result {
    // Without write permission to the file a shared mapping has lost the other flag.
    if vma.flags() & (flags::SHARED | flags::MAYSHARE) != 0 {
        return Err(EINVAL);
    }
    let mixed = vma.set_mixedmap();

    // SAFETY: `vma` is being set up: it is valid, and nobody else accesses it. `OPS` fits mappings
    // that have `VM_MIXEDMAP`, as this one does now.
    unsafe { (*vma.as_ptr()).vm_ops = OPS };
    insert(mixed, vma.start())
}

/// Puts a new page of zeroes at `address`, if nothing is there. May sleep.
///
/// # Errors
///
/// [`ENOMEM`]; [`EFAULT`] if `address` is not in the mapping.
fn insert(vma: &VmaMixedMap, address: usize) -> Result {
    let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;

    match vma.vm_insert_page(address, &page) {
        // Another thread was faster.
        Err(error) if error == EBUSY => Ok(()),
        result => result,
    }
}

/// Called by mm when a process touches a page that is missing.
///
/// # Safety
///
/// `vmf` is a fault on a mapping with [`OPS`], and the mmap lock is held until this returns. (mm calls
/// `fault` with no more than the lock of the VMA only where there is a `map_pages`, too.)
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: `vmf` is valid, and nobody writes to it while the fault is served.
    let place = unsafe { &(*vmf).__bindgen_anon_1 };
    // SAFETY: The VMA is that of the fault, and the mmap lock is held. Only `map()` sets `OPS`, and
    // only together with `VM_MIXEDMAP`, which nothing takes away.
    let vma = unsafe { VmaMixedMap::from_raw(place.vma) };

    match insert(vma, place.address) {
        // mm looks at the page table anew, and copies the page if it is to be written.
        Ok(()) => bindings::vm_fault_reason_VM_FAULT_NOPAGE,
        Err(error) if error == ENOMEM => bindings::vm_fault_reason_VM_FAULT_OOM,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
    }
}
