// SPDX-License-Identifier: GPL-2.0

//! How long a request tries again when others keep taking its pages away.

use crate::hmm::mm::killed;
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// A request that makes no progress for that long gives up. Longer than a fault of the device itself is
/// tried again.
const LIMIT: Delta = Delta::from_secs(10);

/// Retries that follow at once; from then on there is a pause.
const EAGER: u32 = 8;

/// The pause between two retries.
const PAUSE: Delta = Delta::from_micros(100);

/// The retries since a request last made progress.
pub(crate) struct Patience {
    since: Option<Instant<Monotonic>>,
    retries: u32,
}

impl Patience {
    /// No retries yet.
    pub(crate) fn new() -> Self {
        Self {
            since: None,
            retries: 0,
        }
    }

    /// There was progress: forgets the retries.
    pub(crate) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Asks for one more retry. May sleep; no lock may be held.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the thread is killed, [`EBUSY`] if there was no progress for too long.
    pub(crate) fn again(&mut self) -> Result {
        if killed() {
            return Err(EINTR);
        }
        let since = self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > LIMIT {
            return Err(EBUSY);
        }
        self.retries = self.retries.saturating_add(1);
        if self.retries > EAGER {
            fsleep(PAUSE);
        }
        Ok(())
    }
}
