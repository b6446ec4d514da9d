// SPDX-License-Identifier: GPL-2.0

//! What a device has done since it was made, and what it holds: the files in debugfs.
//!
//! Each file has one decimal number; `Documentation/uapi.rst` lists them. The counters are exact,
//! but those of one migration are not changed at one moment. One file can be written: `pause`.

use crate::{
    device::DeviceMemory,
    hmm::outcome::Outcome,
    pause::Pause, //
};
use kernel::{
    debugfs::{
        Dir,
        Scope,
        ScopedDir, //
    },
    fmt,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

/// Counts up, and wraps around.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds `number`. Any context.
    pub(crate) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Relaxed);
    }
}

/// Migrations in one direction.
pub(crate) struct Migrations {
    batches: Counter,
    moved: Counter,
    skipped: Counter,
    failed: Counter,
}

impl Migrations {
    const fn new() -> Self {
        Self {
            batches: Counter::new(),
            moved: Counter::new(),
            skipped: Counter::new(),
            failed: Counter::new(),
        }
    }

    /// Counts a batch of pages. Any context.
    pub(crate) fn add(&self, outcome: Outcome) {
        self.batches.add(1);
        self.moved.add(outcome.moved);
        self.skipped.add(outcome.skipped);
        self.failed.add(outcome.failed);
    }

    fn show<'data>(&'data self, name: &CStr, parent: &ScopedDir<'data, '_>) {
        let dir = parent.dir(name);

        dir.read_only_file(c"batches", &self.batches.0);
        dir.read_only_file(c"moved", &self.moved.0);
        dir.read_only_file(c"skipped", &self.skipped.0);
        dir.read_only_file(c"failed", &self.failed.0);
    }
}

/// The counters of a device.
pub(crate) struct Statistics {
    /// Migrations to the device.
    pub(crate) to_device: Migrations,
    /// Migrations to system memory, for whatever reason.
    pub(crate) to_system: Migrations,
    /// Faults of the CPU on pages of the device.
    pub(crate) cpu_faults: Counter,
    /// How often the device had mm make pages present for it.
    pub(crate) range_faults: Counter,
    /// How often what mm had found was out of date when the device came to use it, or mm found nothing, as
    /// others were changing it.
    pub(crate) retries: Counter,
    /// Pages that RELEASE has brought home.
    pub(crate) evictions: Counter,
    /// The one thing that is not counted, but asked for.
    pub(crate) pause: Pause,
}

impl Statistics {
    /// All zero.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Arc<Self>> {
        let statistics = Self {
            to_device: Migrations::new(),
            to_system: Migrations::new(),
            cpu_faults: Counter::new(),
            range_faults: Counter::new(),
            retries: Counter::new(),
            evictions: Counter::new(),
            pause: Pause::new(),
        };
        Ok(Arc::new(statistics, GFP_KERNEL)?)
    }

    fn show<'data>(&'data self, dir: &ScopedDir<'data, '_>) {
        self.to_device.show(c"to_device", dir);
        self.to_system.show(c"to_system", dir);
        dir.read_only_file(c"cpu_faults", &self.cpu_faults.0);
        dir.read_only_file(c"range_faults", &self.range_faults.0);
        dir.read_only_file(c"retries", &self.retries.0);
        dir.read_only_file(c"evictions", &self.evictions.0);
        self.pause.show(dir);
    }
}

/// The folder of a device in debugfs; dropping it removes it. Without debugfs there is none, and
/// nothing else is different.
pub(crate) type Folder = Scope<Arc<DeviceMemory>>;

/// Makes the folder `name` in `parent`, for the device with this memory.
pub(crate) fn folder<'a>(
    parent: &'a Dir,
    name: &'static CStr,
    memory: Arc<DeviceMemory>,
) -> impl PinInit<Folder, Error> + 'a {
    parent.scope(Ok(memory), name, |memory, dir| {
        dir.read_callback_file(c"pages", memory, &show_pages);
        dir.read_callback_file(c"free", memory, &show_free);
        dir.read_callback_file(c"large", memory, &show_large);
        memory.statistics().show(dir);
    })
}

fn show_pages(memory: &Arc<DeviceMemory>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "{}", memory.in_use())
}

fn show_free(memory: &Arc<DeviceMemory>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "{}", memory.free_pages())
}

fn show_large(memory: &Arc<DeviceMemory>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(out, "{}", memory.huge_pages())
}
