// SPDX-License-Identifier: GPL-2.0

//! Decoding and dispatch of the ioctls.

use crate::{
    access,
    exclusive,
    fault, //
    hmm::{
        mapping::Access,
        range::PageRange,
        walk, //
    },
    homecoming,
    mirror::Mirror,
    snapshot,
    transfer,
    uapi::{
        self,
        Command, //
    },
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use zerocopy::transmute;

/// What the device is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    ToDevice,
    ToSystem,
    Snapshot,
    Exclusive,
    CheckExclusive,
    Release,
    /// A fault of the device that moves the pages to it.
    Fault(Access),
    SetFlags,
}

impl Operation {
    fn decode(command: u32) -> Result<Self> {
        match command {
            uapi::READ | uapi::READ_UNLOCKED => Ok(Self::Read),
            uapi::WRITE => Ok(Self::Write),
            uapi::MIGRATE_TO_DEV => Ok(Self::ToDevice),
            uapi::MIGRATE_TO_SYS => Ok(Self::ToSystem),
            uapi::SNAPSHOT => Ok(Self::Snapshot),
            uapi::EXCLUSIVE => Ok(Self::Exclusive),
            uapi::CHECK_EXCLUSIVE => Ok(Self::CheckExclusive),
            uapi::RELEASE => Ok(Self::Release),
            uapi::READ_FAULT => Ok(Self::Fault(Access::Read)),
            uapi::WRITE_FAULT => Ok(Self::Fault(Access::Write)),
            uapi::FLAGS => Ok(Self::SetFlags),
            _ => Err(ENOTTY),
        }
    }
}

/// The addresses of a request: whole pages of the mirrored process, and the caller's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// The pages that the device accesses.
    pub(crate) range: PageRange,
    buffer: usize,
}

impl Request {
    fn new(command: &Command, task_size: usize) -> Result<Self> {
        Ok(Self {
            range: PageRange::new(command.addr, command.npages, task_size)?,
            buffer: usize::try_from(command.ptr)?,
        })
    }

    /// The part of the request about the pages of `range`, which are some of its own, with 4096
    /// bytes of the buffer for each page.
    pub(crate) fn part(&self, range: PageRange) -> Self {
        let buffer = self.buffer_at(range.start(), kernel::page::PAGE_SIZE);

        Self {
            range,
            buffer: buffer.as_const_ptr().addr(),
        }
    }

    /// The place in the caller's buffer, `unit` bytes for each page, that belongs to `address`.
    ///
    /// It may wrap around: the kernel refuses such addresses when they are accessed.
    pub(crate) fn buffer_at(&self, address: usize, unit: usize) -> UserPtr {
        let index = (address - self.range.start()) / kernel::page::PAGE_SIZE;

        UserPtr::from_addr(self.buffer).wrapping_byte_add(index.wrapping_mul(unit))
    }
}

/// The flags of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flags {
    migrate_on_fault: bool,
    fail_alloc: bool,
}

impl Flags {
    /// # Errors
    ///
    /// [`EINVAL`] if there is a flag that the device does not know.
    fn decode(flags: u64) -> Result<Self> {
        if flags & !(uapi::FLAG_MIGRATE_ON_FAULT | uapi::FLAG_FAIL_ALLOC) != 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            migrate_on_fault: flags & uapi::FLAG_MIGRATE_ON_FAULT != 0,
            fail_alloc: flags & uapi::FLAG_FAIL_ALLOC != 0,
        })
    }
}

/// What has been done of a request.
#[derive(Default)]
pub(crate) struct Progress {
    /// Pages served.
    pub(crate) pages: usize,
    /// Faults of the device: runs of pages that it did not find. Of a [`fault::to_device`], faults
    /// of the CPU that were taken for it.
    pub(crate) faults: usize,
}

/// Serves the ioctl `command` with the argument at the user address `argument`.
///
/// The outputs are written on failure too: they tell how far it went.
pub(crate) fn serve(mirror: &Mirror, command: u32, argument: usize) -> Result<isize> {
    let operation = Operation::decode(command)?;
    let argument = UserPtr::from_addr(argument);
    let mut reader = UserSlice::new(argument, size_of::<Command>()).reader();
    let command: Command = transmute!(reader.read::<uapi::Words>()?);

    let mut progress = Progress::default();
    let result = run(mirror, operation, &command, &mut progress);

    let outputs: uapi::Outputs = [progress.pages as u64, progress.faults as u64];
    let place = argument.wrapping_byte_add(uapi::OUTPUTS);
    let written = UserSlice::new(place, size_of_val(&outputs))
        .writer()
        .write(&outputs);

    result.and(written).map(|()| 0)
}

fn run(
    mirror: &Mirror,
    operation: Operation,
    command: &Command,
    progress: &mut Progress,
) -> Result {
    let mut active = mirror.active()?;
    let (memory, huge) = (mirror.memory(), mirror.huge_pages());

    let task_size = active.task_size();
    let request = || Request::new(command, task_size);
    let copy = |direction, active, progress| {
        access::copy(
            active,
            memory,
            direction,
            mirror.migrates_on_fault().then_some(huge),
            &request()?,
            progress,
        )
    };

    match operation {
        Operation::Release => {
            let result = homecoming::release(&mut active, memory, huge, progress);

            memory.statistics().evictions.add(progress.pages);
            result
        }
        Operation::Read => copy(access::Direction::Read, &mut active, progress),
        Operation::Write => copy(access::Direction::Write, &mut active, progress),
        Operation::Snapshot => snapshot::snapshot(&mut active, memory, &request()?, progress),
        Operation::Exclusive => exclusive::take(&mut active, memory, &request()?, progress),
        Operation::CheckExclusive => exclusive::check(&mut active, request()?.range),
        Operation::ToDevice => {
            transfer::to_device(&mut active, memory, huge, &request()?, progress)
        }
        Operation::ToSystem => {
            homecoming::to_system(&mut active, memory, huge, request()?.range, progress)
        }
        Operation::Fault(_) if !walk::SUPPORTED => Err(EOPNOTSUPP),
        Operation::Fault(access) => {
            let range = request()?.range;
            fault::to_device(&mut active, memory, huge, access, range, progress)
        }
        Operation::SetFlags => set_flags(mirror, Flags::decode(command.npages)?),
    }
}

fn set_flags(mirror: &Mirror, flags: Flags) -> Result {
    if flags.migrate_on_fault && !walk::SUPPORTED {
        return Err(EOPNOTSUPP);
    }
    mirror.set_migrates_on_fault(flags.migrate_on_fault);
    mirror.huge_pages().set_fail(flags.fail_alloc);
    Ok(())
}

#[kunit_tests(dmirror_ioctl)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 47;

    fn command(addr: u64, npages: u64) -> Command {
        Command {
            addr,
            npages,
            ptr: 0x1000,
            ..Command::default()
        }
    }

    #[test]
    fn knows_the_numbers_of_the_c_driver() {
        assert_eq!(Operation::decode(0xc028_4800), Ok(Operation::Read));
        assert_eq!(Operation::decode(0xc028_4801), Ok(Operation::Write));
        assert_eq!(Operation::decode(0xc028_4802), Ok(Operation::ToDevice));
        assert_eq!(Operation::decode(0xc028_4803), Ok(Operation::ToSystem));
        assert_eq!(Operation::decode(0xc028_4804), Ok(Operation::Snapshot));
        assert_eq!(Operation::decode(0xc028_4805), Ok(Operation::Exclusive));
        assert_eq!(
            Operation::decode(0xc028_4806),
            Ok(Operation::CheckExclusive)
        );
        assert_eq!(Operation::decode(0xc028_4807), Ok(Operation::Release));
        assert_eq!(Operation::decode(0xc028_4809), Ok(Operation::Read));
    }

    #[test]
    fn knows_its_own_numbers() {
        assert_eq!(Operation::decode(0xc028_4808), Ok(Operation::SetFlags));
        assert_eq!(
            Operation::decode(0xc028_480a),
            Ok(Operation::Fault(Access::Read))
        );
        assert_eq!(
            Operation::decode(0xc028_480b),
            Ok(Operation::Fault(Access::Write))
        );
    }

    #[test]
    fn unknown_flags_are_refused() {
        for (flags, migrate_on_fault, fail_alloc) in [
            (0, false, false),
            (1, false, true),
            (2, true, false),
            (3, true, true), //
        ] {
            assert_eq!(
                Flags::decode(flags),
                Ok(Flags {
                    migrate_on_fault,
                    fail_alloc,
                })
            );
        }
        for flags in [4, 5, 6, 7, 8, 1 << 63, u64::MAX] {
            assert_eq!(Flags::decode(flags), Err(EINVAL));
        }
    }

    #[test]
    fn unknown_numbers_are_no_ioctls() {
        for number in [0, 0x5401, 0xc028_48ff, 0xc020_4800, u32::MAX] {
            assert_eq!(Operation::decode(number), Err(ENOTTY));
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        assert!(Request::new(&command(0x1001, 1), LIMIT).is_err());
        assert!(Request::new(&command(0x1000, 0), LIMIT).is_err());
        assert!(Request::new(&command(0x1000, (1 << 52) + 1), LIMIT).is_err());
        assert!(Request::new(&command(LIMIT as u64, 1), LIMIT).is_err());
        assert!(Request::new(&command(0x1000, 1), LIMIT).is_ok());
    }

    #[test]
    fn buffer_follows_the_pages() -> Result {
        let request = Request::new(&command(0x10000, 4), LIMIT)?;
        let at = |address, unit| request.buffer_at(address, unit).as_const_ptr() as usize;

        assert_eq!(at(0x10000, 4096), 0x1000);
        assert_eq!(at(0x13000, 4096), 0x4000);
        assert_eq!(at(0x13000, 1), 0x1003);

        let part = request.part(PageRange::new(0x12000, 2, LIMIT)?);
        assert_eq!(
            part.buffer_at(0x13000, 4096).as_const_ptr() as usize,
            0x4000
        );
        Ok(())
    }
}
