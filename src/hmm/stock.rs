// SPDX-License-Identifier: GPL-2.0

//! Pages that have been allocated before they are needed.

use core::ptr::NonNull;
use kernel::{
    alloc::Flags,
    bindings,
    prelude::*, //
};

/// How many pages are allocated at a time.
const BULK: usize = 16;

/// Pages that wait to be used, all of one kind.
pub(crate) struct Stock<T>(Room<T>);

/// Room for pages, and those that there are.
enum Room<T> {
    /// For a single one, which needs no array: most requests and faults are about just one page.
    One(Option<T>),
    Many(KVec<T>),
}

impl<T> Stock<T> {
    /// No pages.
    pub(crate) fn new() -> Self {
        Self(Room::One(None))
    }

    /// How many pages there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Room::One(page) => usize::from(page.is_some()),
            Room::Many(pages) => pages.len(),
        }
    }

    /// Sees to it that there is room for `count` pages, with those that are there. Allocates with `flags`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(crate) fn reserve(&mut self, count: usize, flags: Flags) -> Result {
        let room = match &self.0 {
            Room::One(_) => 1,
            Room::Many(pages) => pages.capacity(),
        };
        if count <= room {
            return Ok(());
        }
        self.grow(count, flags)
    }

    /// The same, if there is less.
    // Apart, to spare callers what it needs when there is enough.
    #[inline(never)]
    fn grow(&mut self, count: usize, flags: Flags) -> Result {
        match &mut self.0 {
            Room::One(page) => {
                let mut pages = KVec::with_capacity(count, flags)?;
                if let Some(page) = page.take() {
                    pages.push(page, flags)?;
                }
                self.0 = Room::Many(pages);
                Ok(())
            }
            Room::Many(pages) => Ok(pages.reserve(count.saturating_sub(pages.len()), flags)?),
        }
    }

    /// Allocates until there are `count` pages. `allocate` is asked for so many, writes them to an array
    /// and returns their number; `wrap` takes them over. The array for them is allocated with `flags`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; those that there are stay.
    #[inline]
    pub(super) fn fill_with(
        &mut self,
        count: usize,
        flags: Flags,
        allocate: impl Fn(usize, *mut *mut bindings::page) -> usize,
        wrap: impl Fn(NonNull<bindings::page>) -> T,
    ) -> Result {
        if self.len() >= count {
            return Ok(());
        }
        self.fill_up(count, flags, allocate, wrap)
    }

    /// The same, if there are too few.
    // Apart, to spare callers what it needs when there are enough.
    #[inline(never)]
    fn fill_up(
        &mut self,
        count: usize,
        flags: Flags,
        allocate: impl Fn(usize, *mut *mut bindings::page) -> usize,
        wrap: impl Fn(NonNull<bindings::page>) -> T,
    ) -> Result {
        self.reserve(count, flags)?;
        if let Room::One(place) = &mut self.0 {
            let mut page = core::ptr::null_mut();
            allocate(1, &mut page);
            *place = NonNull::new(page).map(wrap);
            return place.as_ref().map(|_| ()).ok_or(ENOMEM);
        }
        while self.len() < count {
            let wanted = (count - self.len()).min(BULK);
            let mut raw = [core::ptr::null_mut(); BULK];
            let got = allocate(wanted, raw.as_mut_ptr());
            if got == 0 {
                return Err(ENOMEM);
            }
            for page in raw.iter().take(got).copied().filter_map(NonNull::new) {
                self.put(wrap(page));
            }
        }
        Ok(())
    }

    /// The last `count` pages, if there are so many.
    #[inline]
    pub(crate) fn last_mut(&mut self, count: usize) -> Option<&mut [T]> {
        let pages = match &mut self.0 {
            Room::One(page) => page.as_mut_slice(),
            Room::Many(pages) => pages,
        };
        let first = pages.len().checked_sub(count)?;

        pages.get_mut(first..)
    }

    /// Takes out the last page.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        match &mut self.0 {
            Room::One(page) => page.take(),
            Room::Many(pages) => pages.pop(),
        }
    }

    /// Puts a page into it, if there is [room](Self::reserve) for it; else it is dropped. Returns if there
    /// was.
    #[inline]
    pub(crate) fn put(&mut self, page: T) -> bool {
        match &mut self.0 {
            Room::One(place @ None) => {
                *place = Some(page);
                true
            }
            Room::One(Some(_)) => false,
            Room::Many(pages) => pages.push_within_capacity(page).is_ok(),
        }
    }
}

#[kernel::macros::kunit_tests(dmirror_stock)]
mod tests {
    use super::*;

    /// Fills with pages that are no pages, `at_a_time` by one call: letters.
    fn fill(stock: &mut Stock<char>, count: usize, at_a_time: usize) -> Result {
        stock.fill_with(
            count,
            GFP_KERNEL,
            |wanted, raw| {
                let count = wanted.min(at_a_time);
                for number in 0..count {
                    let place = raw.wrapping_add(number);
                    // SAFETY: There is room for so many.
                    unsafe { place.write(NonNull::dangling().as_ptr()) };
                }
                count
            },
            |_| 'a',
        )
    }

    #[test]
    fn one_page_needs_no_array() -> Result {
        let mut stock = Stock::new();
        fill(&mut stock, 1, 1)?;
        assert!(stock.len() == 1 && matches!(stock.0, Room::One(_)));
        assert!(stock.last_mut(2).is_none());
        assert_eq!(stock.last_mut(1).map(|pages| pages.len()), Some(1));
        assert!(!stock.put('b'));
        assert_eq!((stock.pop(), stock.pop()), (Some('a'), None));
        assert!(stock.reserve(1, GFP_KERNEL).is_ok() && stock.put('b'));
        assert_eq!((stock.pop(), stock.len()), (Some('b'), 0));
        assert!(matches!(stock.0, Room::One(None)));
        Ok(())
    }

    #[test]
    fn one_page_is_kept_when_there_are_more() -> Result {
        let mut stock = Stock::new();
        fill(&mut stock, 1, 1)?;
        fill(&mut stock, 40, 7)?;
        assert_eq!(stock.len(), 40);
        assert!(matches!(stock.0, Room::Many(_)));
        // With room for it, a single one is as the others.
        while stock.pop().is_some() {}
        fill(&mut stock, 1, 1)?;
        assert!(matches!(stock.0, Room::Many(_)) && stock.put('b'));
        assert_eq!((stock.pop(), stock.len()), (Some('b'), 1));
        Ok(())
    }

    #[test]
    fn the_last_are_lent_in_order() -> Result {
        let mut stock = Stock::new();
        stock.reserve(3, GFP_KERNEL)?;
        for letter in ['a', 'b', 'c'] {
            assert!(stock.put(letter));
        }
        assert_eq!(
            stock.last_mut(2).map(|pages| (pages[0], pages[1])),
            Some(('b', 'c'))
        );
        assert_eq!(stock.last_mut(0).map(|pages| pages.len()), Some(0));
        assert!(stock.last_mut(4).is_none());
        assert_eq!(stock.pop(), Some('c'));
        Ok(())
    }

    #[test]
    fn what_there_is_stays_without_memory() -> Result {
        let mut stock = Stock::new();
        fill(&mut stock, 5, 5)?;
        assert!(fill(&mut stock, 9, 0).is_err());
        assert_eq!(stock.len(), 5);
        assert!(fill(&mut stock, 5, 0).is_ok());
        Ok(())
    }
}
