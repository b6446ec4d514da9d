// SPDX-License-Identifier: GPL-2.0

//! Kernel memory of pages that have left a device, for the next that come to it.
//!
//! To allocate it costs as much as all else that is done to find a page of the device, and to free it half of
//! that. What is kept stays charged to the control group that allocated it, and is for that one alone. When a
//! file of the device is closed, all of it is freed; and while none is open nothing is kept.
//!
//! # Lock order
//!
//! The lock is one of the last: mm frees pages with a page table lock held. Nothing is taken, allocated or
//! freed under it.

use crate::hmm::{
    contents::Contents,
    stock::Stock, //
};
use kernel::{
    alloc::kvec::PushError,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// How many pages are kept: as many as one fault of the CPU brings home.
const MOST: usize = 16;

/// What is kept for one device.
#[pin_data]
pub(crate) struct Kept {
    #[pin]
    state: SpinLock<State>,
}

/// # Invariants
///
/// There is room for [`MOST`] in `contents`, and nothing in it if no file is open: `files` are.
struct State {
    files: usize,
    contents: KVec<Contents>,
}

impl Kept {
    /// Nothing as yet, and no file is open. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<Arc<Self>> {
        // INVARIANT: There is room.
        let state = State {
            files: 0,
            contents: KVec::with_capacity(MOST, GFP_KERNEL)?,
        };

        Arc::pin_init(
            pin_init!(Self {
                state <- new_spinlock!(state, "Kept::state"),
            }),
            GFP_KERNEL,
        )
    }

    /// A file is opened.
    pub(crate) fn file_opens(&self) {
        self.state.lock().files += 1;
    }

    /// A file that was opened is closed: frees all. Does not sleep.
    pub(crate) fn file_closes(&self) {
        let mut state = self.state.lock();

        state.files = state.files.saturating_sub(1);
        // INVARIANT: If there is no other, nothing is put there from now on; and this is taken out.
        let contents: [_; MOST] = core::array::from_fn(|_| state.contents.pop());
        drop(state);
        // Nothing is freed under the lock.
        drop(contents);
    }

    /// Keeps `contents`, or frees it, if there are enough or no file is open. Does not sleep.
    #[inline]
    pub(crate) fn keep(&self, contents: Contents) {
        let mut state = self.state.lock();
        let rest = match state.files {
            0 => Some(contents),
            _ => {
                let kept = state.contents.push_within_capacity(contents);
                kept.err().map(|PushError(contents)| contents)
            }
        };

        drop(state);
        // Nothing is freed under the lock.
        drop(rest);
    }

    /// Puts up to `most` of those into `stock`, which has room for them, that may be [reused]. Of the others the
    /// one in the way and the oldest are freed. Does not sleep.
    ///
    /// [reused]: Contents::may_be_reused
    pub(crate) fn take(&self, stock: &mut Stock<Contents>, most: usize) {
        let mut state = self.state.lock();
        let mut other = None;

        for _ in 0..most {
            let Some(contents) = state.contents.pop() else {
                break;
            };
            if !contents.may_be_reused() {
                other = Some(contents);
                break;
            }
            stock.put(contents);
        }
        // Else it would stay for as long as others put theirs on top of it.
        let oldest = match state.contents.first() {
            Some(first) if !first.may_be_reused() => state.contents.remove(0).ok(),
            _ => None,
        };
        drop(state);
        // Nothing is freed under the lock.
        drop((oldest, other));
    }
}

#[kunit_tests(dmirror_kept)]
mod tests {
    use super::*;

    fn stock(count: usize) -> Result<Stock<Contents>> {
        let mut stock = Stock::new();
        stock.fill(count)?;
        Ok(stock)
    }

    /// Fills it with `count` pages.
    fn keep(kept: &Kept, count: usize) -> Result {
        let mut pages = stock(count)?;
        while let Some(page) = pages.pop() {
            kept.keep(page);
        }
        Ok(())
    }

    /// How many are there. They are not there any more then.
    fn count(kept: &Kept) -> Result<usize> {
        let mut pages = Stock::new();
        pages.reserve(MOST + 2, GFP_KERNEL)?;
        kept.take(&mut pages, MOST + 2);
        Ok(pages.len())
    }

    #[test]
    fn some_are_kept_for_the_next() -> Result {
        let kept = Kept::new()?;
        kept.file_opens();
        keep(&kept, MOST + 2)?;
        // The process is charged as it was.
        let mut pages = Stock::new();
        pages.reserve(MOST, GFP_KERNEL)?;
        kept.take(&mut pages, 3);
        assert_eq!(pages.len(), 3);
        assert_eq!(count(&kept), Ok(MOST - 3));
        assert_eq!(count(&kept), Ok(0));
        Ok(())
    }

    #[test]
    fn nothing_is_kept_when_no_file_is_open() -> Result {
        let kept = Kept::new()?;
        keep(&kept, 1)?;
        assert_eq!(count(&kept), Ok(0));

        kept.file_opens();
        kept.file_opens();
        keep(&kept, MOST)?;
        kept.file_closes();
        assert_eq!(count(&kept), Ok(0));
        // Another one is open still.
        keep(&kept, 2)?;
        assert_eq!(count(&kept), Ok(2));
        keep(&kept, 2)?;
        kept.file_closes();
        assert_eq!(count(&kept), Ok(0));
        keep(&kept, 2)?;
        assert_eq!(count(&kept), Ok(0));
        Ok(())
    }
}
