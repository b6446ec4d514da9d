// SPDX-License-Identifier: GPL-2.0

//! The mirror of one process: what an open file of the device is.

use crate::{
    chunk::Chunk,
    device::DeviceMemory,
    hmm::{
        minor::MinorDevice,
        mixed,
        notifier::{
            Active,
            IntervalNotifier, //
        }, //
    },
    ioctl, //
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
    memory: OpenMemory,
    /// READ and WRITE move the pages to the device that they fault on.
    migrates: Atomic<bool>,
    huge_pages: HugePages,
}

/// The memory of the device, which knows that a file is open.
struct OpenMemory(Arc<DeviceMemory>);

impl OpenMemory {
    fn new(memory: Arc<DeviceMemory>) -> Self {
        memory.file_opens();
        Self(memory)
    }
}

impl Drop for OpenMemory {
    fn drop(&mut self) {
        self.0.file_closes();
    }
}

/// The huge pages that the requests of an open file allocate, on the device and in the system. A
/// test can make one such allocation fail.
pub(crate) struct HugePages {
    fail: Atomic<bool>,
}

impl HugePages {
    /// Allocations succeed if there is a huge page.
    pub(crate) const fn new() -> Self {
        Self {
            fail: Atomic::new(false),
        }
    }

    /// Sets whether the next allocation fails.
    pub(crate) fn set_fail(&self, fail: bool) {
        self.fail.store(fail, Relaxed);
    }

    /// Whether an allocation, which is about to be made, shall be made at all.
    pub(crate) fn may_allocate(&self) -> bool {
        !self.fail.xchg(false, Relaxed)
    }
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
        &self.memory.0
    }

    /// The huge pages of its requests.
    pub(crate) fn huge_pages(&self) -> &HugePages {
        &self.huge_pages
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
                memory: OpenMemory::new(memory.clone()),
                migrates: Atomic::new(false),
                huge_pages: HugePages::new(),
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
