// SPDX-License-Identifier: GPL-2.0

//! Generated bindings: the C names that the kernel crate lacks.
//!
//! Only [`crate::hmm`] and [`crate::uapi`] may import this module.
//!
//! C header: `bindings/bindings_helper.h`

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::cast_lossless,
    clippy::undocumented_unsafe_blocks
)]

use kernel::{
    bindings::*,
    ffi, //
};
#[allow(unused_imports, reason = "not every kernel configuration derives it")]
use pin_init::MaybeZeroable;

include!(env!("DMIRROR_BINDINGS"));
