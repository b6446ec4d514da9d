// SPDX-License-Identifier: GPL-2.0

//! What has become of the pages of a migration.

use core::ops::AddAssign;
use kernel::prelude::*;

/// Numbers of pages of 4 KiB; each page that was asked for is in one of them, and so is each part of
/// a huge one. On a fault of the CPU it is asked for one page; its neighbours count if they are
/// collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Have moved; or a hole has been filled.
    pub(crate) moved: usize,
    /// Have not been collected: nothing was there that was asked for, or it was pinned or busy.
    pub(crate) skipped: usize,
    /// Have been collected, but stayed: there was no target, or mm could not replace them after all.
    pub(crate) failed: usize,
}

impl Outcome {
    /// That of `asked` pages, of which `collected` were collected and `moved` moved.
    pub(super) fn new(asked: usize, collected: usize, moved: usize) -> Self {
        Self {
            moved,
            skipped: asked.saturating_sub(collected),
            failed: collected.saturating_sub(moved),
        }
    }

    /// The same, if `pages` of those that stayed were not wanted anyway.
    pub(super) fn unwanted(self, pages: usize) -> Self {
        Self {
            skipped: self.skipped + pages,
            failed: self.failed.saturating_sub(pages),
            ..self
        }
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.moved += other.moved;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

#[kunit_tests(dmirror_outcome)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_counted_once() {
        let mut all = Outcome::new(512, 512, 512);
        all += Outcome::new(512, 300, 299);
        all += Outcome::new(1, 0, 0);
        all += Outcome::new(10, 8, 3).unwanted(4);

        assert_eq!(
            all,
            Outcome {
                moved: 814,
                skipped: 219,
                failed: 2,
            }
        );
    }
}
