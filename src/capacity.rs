// SPDX-License-Identifier: GPL-2.0

//! How much memory a device may have: the module parameter `memory_mib`.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sizes::SZ_1M, //
};

/// The most memory that a device may have, in pages of 4 KiB.
///
/// # Invariants
///
/// At least one block of 2 MiB, a whole number of them, and at most [`Capacity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity(usize);

impl Capacity {
    /// The default of the parameter, in MiB: less than the memory of a small machine, as the
    /// contents of device pages are kept there.
    pub(crate) const DEFAULT_MIB: u32 = 1024;

    /// The largest value of the parameter, in MiB. The kernel keeps 1.5 % of it in `struct page`
    /// while it is registered.
    pub(crate) const MAX_MIB: u32 = 16384;

    /// The capacity of a device with the most memory.
    pub(crate) const MAX: Self = Self(Self::MAX_MIB as usize * Self::PAGES_PER_MIB);

    const PAGES_PER_MIB: usize = SZ_1M / PAGE_SIZE;

    /// A capacity of `mib` MiB.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] unless `mib` is even and from 2 to [`MAX_MIB`](Self::MAX_MIB).
    pub(crate) fn from_mib(mib: u32) -> Result<Self> {
        if mib == 0 || mib % 2 != 0 || mib > Self::MAX_MIB {
            return Err(EINVAL);
        }
        // INVARIANT: It has just been checked.
        Ok(Self(mib as usize * Self::PAGES_PER_MIB))
    }

    /// The same in pages.
    pub(crate) const fn pages(self) -> usize {
        self.0
    }
}

#[kunit_tests(dmirror_capacity)]
mod tests {
    use super::*;

    #[test]
    fn is_counted_in_pages() {
        assert_eq!(Capacity::from_mib(2).map(Capacity::pages), Ok(512));
        assert_eq!(Capacity::from_mib(Capacity::MAX_MIB), Ok(Capacity::MAX));
        assert!(Capacity::from_mib(Capacity::DEFAULT_MIB).is_ok());
    }

    #[test]
    fn bad_sizes_are_refused() {
        for mib in [0, 1, 3, 16383, 16385, 16386, u32::MAX - 1, u32::MAX] {
            assert_eq!(Capacity::from_mib(mib), Err(EINVAL));
        }
    }
}
