// SPDX-License-Identifier: GPL-2.0

//! The mirror of one process: what an open file of the device is.

use crate::{
    device::DeviceMemory,
    hmm::{
        minor::MinorDevice,
        mixed,
        notifier::{
            Active,
            IntervalNotifier, //
        }, //
    },
    ioctl,
    memory::Chunk,
};
use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

/// An address space that one of our devices mirrors.
pub(crate) type Space<'a> = Active<'a, Chunk>;

/// An open file: mirrors the address space of the process that opened it, for as long as it is
/// open.
///
/// A file that is handed to another process keeps mirroring the one that opened it.
#[pin_data]
pub(crate) struct Mirror {
    #[pin]
    notifier: IntervalNotifier<Chunk>,
    memory: Arc<DeviceMemory>,
    /// READ and WRITE move the pages to the device that they fault on.
    migrates: Atomic<bool>,
}

impl Mirror {
    /// The mirrored address space.
    ///
    /// # Errors
    ///
    /// [`ESRCH`] once its process has gone.
    pub(crate) fn active(&self) -> Result<Space<'_>> {
        self.notifier.active()
    }

    /// The memory of the device.
    pub(crate) fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// Whether the faults of READ and WRITE move pages to the device.
    pub(crate) fn migrates_on_fault(&self) -> bool {
        self.migrates.load(Relaxed)
    }

    /// Sets what [`migrates_on_fault`](Self::migrates_on_fault) says, for requests that begin from
    /// now on.
    pub(crate) fn set_migrates_on_fault(&self, migrates: bool) {
        self.migrates.store(migrates, Relaxed);
    }
}

impl MinorDevice for Mirror {
    type Data = DeviceMemory;
    type Ptr = Pin<KBox<Self>>;

    fn open(memory: &Arc<DeviceMemory>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;

        KBox::try_pin_init(
            try_pin_init!(Self {
                notifier <- IntervalNotifier::new(mm, memory.owner().clone()),
                memory: memory.clone(),
                migrates: Atomic::new(false),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(this: Pin<&Self>, command: u32, argument: usize) -> Result<isize> {
        ioctl::serve(this.get_ref(), command, argument)
    }

    fn mmap(_this: Pin<&Self>, vma: &VmaNew) -> Result {
        mixed::map(vma)
    }
}
