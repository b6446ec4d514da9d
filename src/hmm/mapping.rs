// SPDX-License-Identifier: GPL-2.0

//! What a walk of the page tables asks, and what it answers for each page.
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

use super::{
    buffer::{
        cleared,
        Word,
        Words, //
    },
    frame::{
        DeviceOffset,
        Frame,
        HmmPfn,
        Named,
        Pfn, //
    },
    kind::Kind,
    pagemap::{
        DeviceOwner,
        PagemapOps, //
    },
    range::{
        PageRange,
        BLOCK_PAGES, //
    }, //
};
use crate::bindings as shims;
use core::slice::Iter;
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// What a look-up shall do about pages that are not present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only look.
    Look,
    /// Make them readable.
    Read,
    /// Make them writable.
    Write,
}

impl Access {
    /// The flags by which `hmm_range_fault()` is asked.
    pub(super) const fn request(self) -> shims::hmm_pfn_flags {
        let fault = shims::hmm_pfn_flags_HMM_PFN_REQ_FAULT;
        match self {
            Self::Look => 0,
            Self::Read => fault,
            Self::Write => fault | shims::hmm_pfn_flags_HMM_PFN_REQ_WRITE,
        }
    }
}

/// Room for the answers about a few pages, on the stack of who asks: to allocate it would cost more than
/// to look at one.
pub(crate) struct FewPfns<const PAGES: usize = 16>([Word; PAGES]);

impl FewPfns {
    /// Room for the answers about 16 pages.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self::for_pages()
    }
}

impl<const PAGES: usize> FewPfns<PAGES> {
    /// Room for the answers about `PAGES` pages: 8 bytes on the stack for each.
    #[inline]
    pub(crate) const fn for_pages() -> Self {
        Self([Word::uninit(); PAGES])
    }
}

/// Room for the answers about the pages of one block, or some of them.
pub(crate) struct PfnBuffer<'few>(Words<'few>);

impl<'few> PfnBuffer<'few> {
    /// A buffer for `pages` pages, of which each piece that lies in one block fits: in `few` if they
    /// do, else in 8 bytes of memory for each page, 4 KiB at most.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(crate) fn new<const FEW: usize>(pages: usize, few: &'few mut FewPfns<FEW>) -> Result<Self> {
        Ok(Self(Words::new(pages.min(BLOCK_PAGES), &mut few.0)?))
    }

    /// An entry for each page of `range`, all zeroes: flags of the last answer would be taken for part of
    /// the next question.
    ///
    /// # Errors
    ///
    /// [`E2BIG`] if it is longer than the buffer, or does not lie in one block: what is published of
    /// it may need more leaves than a [`Reserve`](super::leaf::Reserve) has.
    pub(super) fn entries(&mut self, range: PageRange) -> Result<&mut [usize]> {
        if !range.is_in_one_block() {
            return Err(E2BIG);
        }
        let entries = self.0.all().get_mut(..range.pages());

        entries.map(cleared).ok_or(E2BIG)
    }
}

/// What is mapped at one user address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// Nothing that the device could use without a fault.
    Absent,
    /// The device cannot use this address.
    Error,
    /// A page.
    Page {
        /// Where it is.
        frame: Frame,
        /// Whether the device may write to it.
        writable: bool,
        /// The CPU maps `1 << order` pages with the entry that maps this one.
        order: usize,
        /// It is the shared page of zeroes.
        zero: bool,
    },
}

/// Pages at addresses that follow each other, which are alike: one, some of a huge mapping of the CPU, or
/// small ones of anonymous memory of the system, or of private memory of the device.
///
/// # Invariants
///
/// `first` is true of all pages but for the frame, which is in the direct map if it is not private memory.
/// Of a huge mapping the frames follow each other. Of more than one small page `small` has the answer of the
/// walk for each; else it is empty. Those of private memory are of one pagemap.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    start: usize,
    pages: usize,
    first: Mapping,
    small: &'a [usize],
}

impl Run<'_> {
    /// The address of the first page.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// How many pages there are, of 4 KiB; at least one.
    #[inline]
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// What is mapped at the first page. At the others it is the same, but for where the page is.
    #[inline]
    pub(crate) fn first(&self) -> &Mapping {
        &self.first
    }

    /// The numbers of the frames, if these are small pages and more than one: page frame numbers, or
    /// places on the device.
    #[inline]
    pub(super) fn scattered(&self) -> Option<impl ExactSizeIterator<Item = usize> + '_> {
        let Mapping::Page { frame, .. } = self.first else {
            return None;
        };
        let first = HmmPfn::new(*self.small.first()?).number();
        let numbers = self.small.iter().map(move |&pfn| {
            let behind = HmmPfn::new(pfn).number().wrapping_sub(first);
            frame.number().wrapping_add(behind)
        });

        Some(numbers)
    }
}

/// Runs for tests of what learns from them.
#[cfg(CONFIG_KUNIT = "y")]
impl<'a> Run<'a> {
    /// `pages` pages whose frames follow each other, from `first` on.
    pub(super) fn following(start: usize, pages: usize, first: Mapping) -> Self {
        // INVARIANT: There is no memory that a test could reach by it.
        Self {
            start,
            pages,
            first,
            small: &[],
        }
    }

    /// Small pages, the first of which is `first`, with such answers.
    pub(super) fn each(start: usize, first: Mapping, small: &'a [usize]) -> Self {
        // INVARIANT: Likewise.
        Self {
            start,
            pages: small.len(),
            first,
            small,
        }
    }
}

/// The answer of a walk, cut into runs.
///
/// # Invariants
///
/// `pfns` has an entry for each page up to `end`, and `single` is 1; or it has just one, for a huge page that
/// is mapped at all of them, which are `single` pages. What a valid one names does not go away.
pub(super) struct Runs<'a, O: PagemapOps> {
    owner: &'a DeviceOwner<O>,
    end: usize,
    single: usize,
    pfns: Iter<'a, usize>,
}

impl<'a, O: PagemapOps> Runs<'a, O> {
    /// The runs in `pfns`, which are the entries for `range`, for the device of `owner`.
    ///
    /// # Safety
    ///
    /// There is an entry for each page of `range`, or a single one for a huge page that is mapped at all of
    /// it; and what a valid one names does not go away while this lives.
    #[inline]
    pub(super) unsafe fn new(
        owner: &'a DeviceOwner<O>,
        range: PageRange,
        pfns: &'a [usize],
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            owner,
            end: range.end(),
            single: match pfns {
                [_] => range.pages(),
                _ => 1,
            },
            pfns: pfns.iter(),
        }
    }

    /// Skips what follows `pfn`, a part of a huge mapping, at `start`, and is like it. Returns how many
    /// pages that are.
    ///
    /// Of anonymous memory, and of a device's, all parts are of one folio. Of other memory one may be out
    /// of the kernel's reach.
    fn skip_others(&mut self, pfn: HmmPfn, start: usize) -> usize {
        let alike = match pfn.names() {
            Named::Nothing | Named::Error | Named::Device(_) => true,
            // SAFETY: By the type invariant there is such a page, or another part of its folio.
            Named::Frame(frame) => unsafe { shims::dmirror_shim_frame_is_uniform(frame.number()) },
        };
        if !alike {
            return 0;
        }
        self.skip(pfn.count_others(self.pfns.as_slice(), start))
    }

    /// Skips `pages` entries, of which there are as many. Returns that number.
    fn skip(&mut self, pages: usize) -> usize {
        let rest = self.pfns.as_slice();

        // INVARIANT: What is left is for the pages that are left.
        self.pfns = rest.get(pages..).unwrap_or_default().iter();
        pages
    }
}

impl<'a, O: PagemapOps> Iterator for Runs<'a, O> {
    type Item = Run<'a>;

    // A loop over pages calls it, one of a few: to have it inlined in each is worth 50 instructions a
    // page.
    #[inline(always)]
    fn next(&mut self) -> Option<Run<'a>> {
        let entries = self.pfns.as_slice();
        let mut pfn = HmmPfn::new(*self.pfns.next()?);
        let mut pages = 1;
        let end = self.end;
        // Told by what is left: few ask for it.
        let start = |left: &Iter<'_, usize>, pages| end - (left.len() + pages) * PAGE_SIZE;

        let (first, alike) = if pfn.order() == 0 {
            // SAFETY: By the type invariant.
            unsafe { Mapping::new(pfn, entries, self.owner) }
        } else {
            pages = self.single;
            let start = start(&self.pfns, pages);

            pages += self.skip_others(pfn, start);
            pfn = pfn.at(start);
            // SAFETY: By the type invariant.
            unsafe { Mapping::new(pfn, &[pfn.into_raw()], self.owner) }
        };
        let small = match alike {
            ..=1 => &[],
            _ => {
                pages += self.skip(alike - 1);
                entries.get(..alike)?
            }
        };
        // INVARIANT: `Mapping::new()` has found these alike; or they are of one huge mapping.
        Some(Run {
            start: start(&self.pfns, pages),
            pages,
            first,
            small,
        })
    }
}

impl Mapping {
    /// Makes sense of `pfn`, and counts how many of `pfns`, of which it is the first, say the same but for
    /// the frame.
    ///
    /// # Safety
    ///
    /// It is the first. What a valid one names cannot go away during the call.
    // As `Runs::next()`, which calls it.
    #[inline(always)]
    unsafe fn new<O: PagemapOps>(
        pfn: HmmPfn,
        pfns: &[usize],
        owner: &DeviceOwner<O>,
    ) -> (Self, usize) {
        let (kind, mut alike) = match pfn.names() {
            Named::Nothing => return (Self::Absent, 1),
            Named::Error => return (Self::Error, 1),
            // SAFETY: By the safety requirements there is such a page, which the first entry names, and so
            // it is with the others.
            Named::Frame(_) => unsafe { Kind::of_answers(pfns) },
            // SAFETY: Likewise.
            Named::Device(offset) => (unsafe { Kind::of_offset(offset) }, 1),
        };
        let number = pfn.number();
        let frame = match kind {
            Kind::Anonymous | Kind::Zeroes | Kind::Other => Frame::System(Pfn::new(number)),
            Kind::Private(pagemap) => {
                let offset = DeviceOffset::new(number);
                // SAFETY: It is a page of that private memory, in use during the call.
                match unsafe { owner.resolve(pagemap, offset) } {
                    Some((pagemap, index)) => {
                        alike = pagemap.count_alike(pfn, pfns);
                        Frame::Device(index)
                    }
                    None => return (Self::Error, 1),
                }
            }
            // SAFETY: It is the pagemap of a frame that is in use during the call.
            Kind::Coherent(pagemap) => match unsafe { owner.owns(pagemap) } {
                true => Frame::Coherent(Pfn::new(number)),
                false => Frame::Remote(Pfn::new(number)),
            },
            Kind::Unreachable => return (Self::Error, 1),
        };
        let page = Self::Page {
            frame,
            writable: pfn.is_writable(),
            order: pfn.order(),
            zero: matches!(kind, Kind::Zeroes),
        };
        (page, alike)
    }
}
