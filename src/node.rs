// SPDX-License-Identifier: GPL-2.0

//! What user space sees of a device: its node in `/dev`, and its folder in debugfs.

use crate::{
    device::DeviceMemory,
    hmm::minor::Minor,
    mirror::Mirror,
    statistics::{
        folder,
        Folder, //
    }, //
};
use kernel::{
    debugfs::Dir,
    prelude::*,
    sync::Arc, //
};

/// A device node, and the statistics of the device.
#[pin_data]
pub(crate) struct Node {
    #[pin]
    minor: Minor<Mirror>,
    #[pin]
    folder: Folder,
}

impl Node {
    /// Makes the node `name` for the device with this memory, and a folder in `statistics`.
    ///
    /// # Errors
    ///
    /// Those of [`Minor::new`].
    pub(crate) fn new<'a>(
        name: &'static CStr,
        memory: Arc<DeviceMemory>,
        statistics: &'a Dir,
    ) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(Self {
            folder <- folder(statistics, name, memory.clone()),
            minor <- Minor::new(name, memory),
        })
    }
}
