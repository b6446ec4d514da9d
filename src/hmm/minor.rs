// SPDX-License-Identifier: GPL-2.0

//! Misc devices with data of their own.
//!
//! The kernel crate's `MiscDevice::open` is told which registration was opened, and nothing else. A
//! [`Minor`] keeps the registration and the data of one device side by side, so that the one leads
//! to the other.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::virt::VmaNew,
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An open file of a device.
pub(crate) trait MinorDevice: Sized + 'static {
    /// What the files of one device share.
    type Data: Send + Sync;

    /// How the file is kept.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Opens the device. Runs in the process that opens it.
    fn open(data: &Arc<Self::Data>) -> Result<Self::Ptr>;

    /// Serves the ioctl `command`.
    fn ioctl(
        this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        command: u32,
        argument: usize,
    ) -> Result<isize>;

    /// Sets up a mapping of the file, in whatever process makes one.
    fn mmap(this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, vma: &VmaNew) -> Result;
}

/// Turns a `MinorDevice` into a `MiscDevice`. Private, so that every registration of it is in a
/// [`Minor`].
struct Adapter<T>(core::marker::PhantomData<T>);

/// A device node `/dev/<name>` and its data.
///
/// # Invariants
///
/// `misc` is the field of a pinned `Self`, and `data` is initialised before it and dropped after
/// it.
#[pin_data]
pub(crate) struct Minor<T: MinorDevice> {
    // Declared first: dropped first, so that nothing opens a device without data.
    #[pin]
    misc: MiscDeviceRegistration<Adapter<T>>,
    data: Arc<T::Data>,
}

impl<T: MinorDevice> Minor<T> {
    /// Registers the device.
    ///
    /// # Errors
    ///
    /// Those of `misc_register()`: [`EBUSY`] without a free minor, [`EEXIST`] if the name is taken.
    pub(crate) fn new(name: &'static CStr, data: Arc<T::Data>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            data,
            // INVARIANT: Last: it can be opened at once.
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

#[vtable]
impl<T: MinorDevice> MiscDevice for Adapter<T> {
    type Ptr = T::Ptr;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<T::Ptr> {
        // SAFETY: `Adapter` is registered by `Minor` only, so `misc` is the field of one.
        let minor =
            unsafe { kernel::container_of!(core::ptr::from_ref(misc).cast_mut(), Minor<T>, misc) };
        // SAFETY: `misc_open()` keeps the registration, and with it the minor, until this returns;
        // `data` is initialised before the registration by the type invariant.
        T::open(unsafe { &(*minor).data })
    }

    fn ioctl(
        this: <T::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        T::ioctl(this, command, argument)
    }

    fn mmap(this: <T::Ptr as ForeignOwnable>::Borrowed<'_>, _file: &File, vma: &VmaNew) -> Result {
        T::mmap(this, vma)
    }
}
