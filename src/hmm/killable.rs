// SPDX-License-Identifier: GPL-2.0

//! A mutex whose waiters can be killed.
//!
//! The kernel crate's [`Mutex`] cannot be waited for killably. That is right for what is held
//! briefly, and wrong where the holder waits for something itself.
//!
//! C header: [`include/linux/mutex.h`](srctree/include/linux/mutex.h)

use crate::bindings as shims;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    }, //
};

/// Takes `mutex`. May sleep.
///
/// # Errors
///
/// [`EINTR`] if a fatal signal comes while waiting.
pub(crate) fn lock_killable(mutex: &Mutex<()>) -> Result<Guard<'_, (), MutexBackend>> {
    // Without data the lock is laid out as its C part: see `Lock::from_raw()`.
    let raw = core::ptr::from_ref(mutex)
        .cast_mut()
        .cast::<bindings::mutex>();

    // SAFETY: `raw` is the C part of `mutex`, which has been initialised, as it is a reference.
    to_result(unsafe { shims::dmirror_shim_mutex_lock_killable(raw) })?;
    // SAFETY: We have just taken the lock.
    Ok(unsafe { Guard::new(mutex, ()) })
}
