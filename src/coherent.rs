// SPDX-License-Identifier: GPL-2.0

//! The devices with coherent memory, which exist if the module is told where their memory is.
//!
//! What is wrong with that memory, or with a device, is said in the log and harms no other device.

use crate::{
    device::DeviceMemory,
    node::Node, //
};
use kernel::{
    debugfs::Dir,
    prelude::*, //
};

/// A device with coherent memory.
pub(crate) type Device = Pin<KBox<Node>>;

/// Makes the device `name` on the memory at the physical address `address`, with its statistics in
/// `statistics`. `None` if that is 0, or
/// if it cannot be done; then the log says why.
pub(crate) fn device(name: &'static CStr, address: u64, statistics: &Dir) -> Option<Device> {
    if address == 0 {
        return None;
    }
    let memory = DeviceMemory::coherent(address, name)
        .inspect_err(|error| match what_is_wrong(*error) {
            Some(why) => pr_err!("no {name}: memory at {address:#x} {why}\n"),
            None => pr_err!("no {name}: {error:?}\n"),
        })
        .ok()?;

    KBox::pin_init(Node::new(name, memory, statistics), GFP_KERNEL)
        .inspect_err(|error| pr_err!("no {name}: {error:?}\n"))
        .ok()
}

/// What is wrong with an address that [`DeviceMemory::coherent`] refuses with `error`, if it is that.
fn what_is_wrong(error: Error) -> Option<&'static str> {
    Some(if error == EINVAL {
        "is not aligned to 2 MiB"
    } else if error == ERANGE {
        "is beyond what can be addressed"
    } else if error == EBUSY {
        "is in use"
    } else if error == ENXIO {
        "is not reserved; see memmap= of the kernel's command line"
    } else {
        return None;
    })
}
