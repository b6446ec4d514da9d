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
mod bindings;
#[deny(unsafe_code)]
mod fault;
mod hmm;
#[deny(unsafe_code)]
mod ioctl;
#[deny(unsafe_code)]
mod memory;
#[deny(unsafe_code)]
mod mirror;
#[deny(unsafe_code)]
mod patience;
#[deny(unsafe_code)]
mod pool;
#[deny(unsafe_code)]
mod transfer;
#[deny(unsafe_code)]
mod uapi;

use hmm::minor::Minor;
use kernel::{
    prelude::*,
    sync::Arc, //
};

module! {
    type: DmirrorModule,
    name: "dmirror",
    authors: ["The dmirror authors"],
    description: "A device that mirrors process address spaces, for tests of HMM",
    license: "GPL",
}

/// The module: two devices with private memory.
#[pin_data]
struct DmirrorModule {
    #[pin]
    first: Minor<mirror::Mirror>,
    #[pin]
    second: Minor<mirror::Mirror>,
}

impl kernel::InPlaceModule for DmirrorModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Both, before the first device can be opened: what may fail must not undo that.
        let memories = new_memory().and_then(|first| Ok((first, new_memory()?)));

        try_pin_init!(Self {
            first <- Minor::new(c"hmm_dmirror0", memories.clone()?.0),
            second <- Minor::new(c"hmm_dmirror1", memories?.1),
        })
    }
}

fn new_memory() -> Result<Arc<memory::DeviceMemory>> {
    memory::DeviceMemory::new()
        .inspect_err(|error| pr_err!("cannot register device memory: {error:?}\n"))
}
