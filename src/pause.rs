// SPDX-License-Identifier: GPL-2.0

//! Migrations that stop half-way, for tests: what do others see meanwhile, and what may they do?
//!
//! The pages are collected then: locked, unmapped, and not copied yet. That moment is short
//! otherwise, and what another process does just then to the migration entries in its page table is
//! seldom seen.
//!
//! Whoever ends the pause may wait for one of these pages itself, which is why each pause has an end.

use crate::hmm::mm::killed;
use kernel::{
    debugfs::ScopedDir,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Who has asked for a pause and does not end it may have died.
const LIMIT: Delta = Delta::from_secs(10);

/// How long a migration sleeps before it looks again.
const STEP: Delta = Delta::from_millis(1);

/// Whether the migrations of a device pause, and how many do.
pub(crate) struct Pause {
    /// Not 0 while they shall.
    wanted: Atomic<u64>,
    paused: Atomic<u64>,
}

impl Pause {
    /// No pause.
    pub(crate) const fn new() -> Self {
        Self {
            wanted: Atomic::new(0),
            paused: Atomic::new(0),
        }
    }

    /// Waits until no pause is wanted, for 10 s at most, or until the thread is killed. May sleep;
    /// pages may be locked, and the mmap lock held.
    #[inline]
    pub(crate) fn wait(&self) {
        if self.wanted.load(Relaxed) != 0 {
            self.wait_for_end();
        }
    }

    #[cold]
    fn wait_for_end(&self) {
        let since = Instant::<Monotonic>::now();

        self.paused.fetch_add(1, Relaxed);
        while self.wanted.load(Relaxed) != 0 && !killed() {
            if since.elapsed() > LIMIT {
                self.wanted.store(0, Relaxed);
            }
            fsleep(STEP);
        }
        self.paused.fetch_sub(1, Relaxed);
    }

    /// Makes the files `pause` and `paused` in `dir`.
    pub(crate) fn show<'data>(&'data self, dir: &ScopedDir<'data, '_>) {
        dir.read_write_file(c"pause", &self.wanted);
        dir.read_only_file(c"paused", &self.paused);
    }
}
