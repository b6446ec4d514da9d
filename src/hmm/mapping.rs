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

/// Pages that follow each other: one, or some of a huge mapping of the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The address of the first.
    pub(crate) start: usize,
    /// How many there are.
    pub(crate) pages: usize,
    /// What is mapped at the first. Of a page, the next one of the same memory, with the same rights,
    /// follows at the next address.
    pub(crate) first: Mapping,
}

/// The answer of a walk, cut into runs.
///
/// # Invariants
///
/// `pfns` has the entries for the addresses up to `end`; what a valid one names does not go away.
pub(super) struct Runs<'a, O: PagemapOps> {
    owner: &'a DeviceOwner<O>,
    end: usize,
    pfns: Iter<'a, usize>,
}

impl<'a, O: PagemapOps> Runs<'a, O> {
    /// The runs in `pfns`, which are the entries for `range`, for the device of `owner`.
    ///
    /// # Safety
    ///
    /// There is an entry for each page of `range`, and what a valid one names does not go away while this
    /// lives.
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
        let rest = self.pfns.as_slice();
        let others = pfn.count_others(rest, start);
        self.pfns = rest.get(others..).unwrap_or_default().iter();
        others
    }
}

impl<O: PagemapOps> Iterator for Runs<'_, O> {
    type Item = Run;

    // A loop over pages calls it, one of a few: to have it inlined in each is worth 50 instructions a
    // page.
    #[inline(always)]
    fn next(&mut self) -> Option<Run> {
        let mut pfn = HmmPfn::new(*self.pfns.next()?);
        let mut pages = 1;
        let end = self.end;
        // Told by what is left: few ask for it.
        let start = |left: &Iter<'_, usize>, pages| end - (left.len() + pages) * PAGE_SIZE;

        if pfn.order() != 0 {
            let start = start(&self.pfns, 1);

            pages += self.skip_others(pfn, start);
            pfn = pfn.at(start);
        }
        Some(Run {
            start: start(&self.pfns, pages),
            pages,
            // SAFETY: By the type invariant.
            first: unsafe { Mapping::new(pfn, self.owner) },
        })
    }
}

impl Mapping {
    /// Makes sense of an entry.
    ///
    /// # Safety
    ///
    /// If `pfn` names a page, that cannot go away during the call.
    #[inline(always)]
    unsafe fn new<O: PagemapOps>(pfn: HmmPfn, owner: &DeviceOwner<O>) -> Self {
        let kind = match pfn.names() {
            Named::Nothing => return Self::Absent,
            Named::Error => return Self::Error,
            // SAFETY: By the safety requirements there is such a page.
            Named::Frame(frame) => unsafe { Kind::of_frame(frame) },
            // SAFETY: Likewise.
            Named::Device(offset) => unsafe { Kind::of_offset(offset) },
        };
        let number = pfn.number();
        let frame = match kind {
            Kind::Anonymous | Kind::Zeroes | Kind::Other => Frame::System(Pfn::new(number)),
            Kind::Private(pagemap) => {
                let offset = DeviceOffset::new(number);
                // SAFETY: It is a page of that private memory, in use during the call.
                match unsafe { owner.resolve(pagemap, offset) } {
                    Some((_, index)) => Frame::Device(index),
                    None => return Self::Error,
                }
            }
            // SAFETY: It is the pagemap of a frame that is in use during the call.
            Kind::Coherent(pagemap) => match unsafe { owner.owns(pagemap) } {
                true => Frame::Coherent(Pfn::new(number)),
                false => Frame::Remote(Pfn::new(number)),
            },
            Kind::Unreachable => return Self::Error,
        };

        Self::Page {
            frame,
            writable: pfn.is_writable(),
            order: pfn.order(),
            zero: matches!(kind, Kind::Zeroes),
        }
    }
}
