// SPDX-License-Identifier: GPL-2.0

//! A device that mirrors the address space of a process, in Rust.
//!
//! It is driven like the kernel's C test driver (`lib/test_hmm.c`), whose ioctls it understands. It
//! has no hardware: its memory is kernel memory, its engine the CPU. What it does to the mirrored
//! process is real: faults, migrations, and notifications go through mm.
//!
//! [`hmm`] holds the abstractions, which know nothing of this driver and are the only place with
//! `unsafe`; the rest is the driver.

#[deny(unsafe_code)]
mod access;
#[deny(unsafe_code)]
mod arrivals;
mod bindings;
#[deny(unsafe_code)]
mod capacity;
#[deny(unsafe_code)]
mod chunk;
#[deny(unsafe_code)]
mod coherent;
#[deny(unsafe_code)]
mod device;
#[deny(unsafe_code)]
mod exclusive;
#[deny(unsafe_code)]
mod fault;
mod hmm;
#[deny(unsafe_code)]
mod homecoming;
#[deny(unsafe_code)]
mod ioctl;
#[deny(unsafe_code)]
mod kept;
#[deny(unsafe_code)]
mod memory;
#[deny(unsafe_code)]
mod mirror;
#[deny(unsafe_code)]
mod node;
#[deny(unsafe_code)]
mod patience;
#[deny(unsafe_code)]
mod pause;
#[deny(unsafe_code)]
mod pool;
#[deny(unsafe_code)]
mod snapshot;
#[deny(unsafe_code)]
mod spare;
#[deny(unsafe_code)]
mod statistics;
#[deny(unsafe_code)]
mod transfer;
#[deny(unsafe_code)]
mod uapi;

use capacity::Capacity;
use device::DeviceMemory;
use kernel::{
    debugfs::Dir,
    prelude::*,
    sync::Arc, //
};
use node::Node;

module! {
    type: DmirrorModule,
    name: "dmirror",
    authors: ["The dmirror authors"],
    description: "A device that mirrors process address spaces, for tests of HMM",
    license: "GPL",
    params: {
        memory_mib: u32 {
            default: crate::capacity::Capacity::DEFAULT_MIB,
            description: "Most private memory of each device, in MiB: even, 2 to 16384 (default 1024)",
        },
        spm_addr_dev0: u64 {
            default: 0,
            description: "Physical address of 256 MiB of reserved memory, for hmm_dmirror2",
        },
        spm_addr_dev1: u64 {
            default: 0,
            description: "Physical address of 256 MiB of reserved memory, for hmm_dmirror3",
        },
    },
}

/// The module: two devices with private memory, and up to two with coherent memory.
#[pin_data]
struct DmirrorModule {
    #[pin]
    first: Node,
    #[pin]
    second: Node,
    coherent: [Option<coherent::Device>; 2],
}

impl kernel::InPlaceModule for DmirrorModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Both, before the first device can be opened: what may fail must not undo that.
        let memories =
            capacity().and_then(|capacity| Ok((new_memory(capacity)?, new_memory(capacity)?)));

        // Stays for as long as there is a folder in it.
        let statistics = Dir::new(c"dmirror");

        try_pin_init!(Self {
            first <- Node::new(c"hmm_dmirror0", memories.clone()?.0, &statistics),
            second <- Node::new(c"hmm_dmirror1", memories?.1, &statistics),
            coherent: [
                coherent::device(c"hmm_dmirror2", module_parameters::spm_addr_dev0.value(), &statistics),
                coherent::device(c"hmm_dmirror3", module_parameters::spm_addr_dev1.value(), &statistics),
            ],
        })
    }
}

/// What the parameter says. Who asks for what cannot be had is told so, and gets nothing else.
fn capacity() -> Result<Capacity> {
    let mib = module_parameters::memory_mib.value();

    Capacity::from_mib(mib).inspect_err(|_| {
        pr_err!(
            "memory_mib={mib}: must be even and from 2 to {}\n",
            Capacity::MAX_MIB
        )
    })
}

fn new_memory(capacity: Capacity) -> Result<Arc<DeviceMemory>> {
    DeviceMemory::private(capacity)
        .inspect_err(|error| pr_err!("cannot register device memory: {error:?}\n"))
}
