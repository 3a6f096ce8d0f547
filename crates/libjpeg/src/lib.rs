//! What libjpeg is told before it decodes a file: how it reports errors, and how it transforms
//! blocks back where it was built without its vector code.
//!
//! On x86, libjpeg's vector code is assembled by nasm, and a build without nasm falls back to
//! libjpeg's C. The two give the same pixels for coefficients that an encoder writes. Those of
//! damaged blocks overflow: the vector code computes in 16 bits, which wrap around or saturate, and
//! the C code in 32. The inverse transform is the only step in which they differ, so
//! [`siglip2_jpeg::transform`] does it as the vector code does, and libjpeg calls that where it has no vector code of
//! its own. So a build gives the same pixels with and without nasm.
//!
//! libjpeg (mozjpeg) has a hook for the transform, but the crate `mozjpeg` does not offer it. The
//! error manager is called with the decoder at the first marker of every file, and sets the hook
//! there.
//!
//! ```
//! use siglip2_libjpeg::{Transform, error_manager, has_vector_code};
//!
//! let manager = error_manager(Transform::Fastest);
//! assert!(manager.error_exit.is_some());
//! println!("vector code: {}", has_vector_code());
//! ```

// libjpeg is C: its callbacks and the blocks that it hands to them are raw pointers.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::{transmute, zeroed};
use std::panic::resume_unwind;

use mozjpeg_sys::{
    JCOEF, JDIMENSION, JSAMPARRAY_MUT, jpeg_common_struct, jpeg_component_info,
    jpeg_decompress_struct, jpeg_error_mgr, jpeg_std_error,
};
use siglip2_jpeg::transform::{self, Block};

/// Who transforms blocks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// libjpeg's vector code, or where it was built without it, [`transform`].
    Fastest,
    /// Always [`transform`]; for tests.
    Portable,
}

/// An error manager for one decoder: errors unwind with a `String` that says what is wrong,
/// without calling the panic hook; warnings are dropped.
pub fn error_manager(transform: Transform) -> jpeg_error_mgr {
    // SAFETY: all fields are numbers, pointers and optional functions, for which zero is a value.
    let mut manager: jpeg_error_mgr = unsafe { zeroed() };
    // SAFETY: the pointer is to the struct that libjpeg fills.
    unsafe { jpeg_std_error(&mut manager) };
    manager.error_exit = Some(unwind);
    manager.emit_message = Some(match transform {
        Transform::Fastest if has_vector_code() => drop_message,
        _ => set_transform,
    });
    manager
}

/// Whether libjpeg was built with its vector code and this processor can run it.
pub fn has_vector_code() -> bool {
    // SAFETY: takes nothing, and looks at the processor.
    unsafe { jsimd_can_idct_islow() != 0 }
}

type InverseDct = unsafe extern "C-unwind" fn(
    *mut jpeg_decompress_struct,
    *mut jpeg_component_info,
    *mut JCOEF,
    JSAMPARRAY_MUT,
    JDIMENSION,
);

type Selector = unsafe extern "C-unwind" fn(
    *mut jpeg_decompress_struct,
    *mut jpeg_component_info,
    *mut Option<InverseDct>,
    *mut c_int,
);

// As in jpeglib.h and jsimd.h; `mozjpeg_sys` has the first with the type of an encoder.
unsafe extern "C-unwind" {
    fn jpeg_set_idct_method_selector(cinfo: *mut jpeg_decompress_struct, selector: Selector);
    fn jsimd_can_idct_islow() -> c_int;
}

#[cold]
extern "C-unwind" fn unwind(cinfo: &mut jpeg_common_struct) {
    /// libjpeg's `JMSG_LENGTH_MAX`.
    const LONGEST: usize = 200;
    let mut text = [0u8; LONGEST];
    // SAFETY: libjpeg always has its error manager.
    let format = unsafe { cinfo.err.as_ref() }.and_then(|manager| manager.format_message);
    if let Some(format) = format {
        // SAFETY: C's `void (*)(j_common_ptr, char *)`, which `mozjpeg_sys` declares with a
        // buffer that is too short and not to be written. It writes at most LONGEST bytes.
        unsafe {
            let format = transmute::<
                unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; 80]),
                unsafe extern "C-unwind" fn(&mut jpeg_common_struct, *mut u8),
            >(format);
            format(cinfo, text.as_mut_ptr());
        }
    }
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(LONGEST);
    resume_unwind(Box::new(String::from_utf8_lossy(&text[..end]).into_owned()));
}

extern "C-unwind" fn drop_message(_: &mut jpeg_common_struct, _: c_int) {}

/// Called at the latest for the first marker of a file, long before the first block.
extern "C-unwind" fn set_transform(cinfo: &mut jpeg_common_struct, _: c_int) {
    if cinfo.is_decompressor == 0 {
        return;
    }
    let cinfo = std::ptr::from_mut(cinfo).cast::<jpeg_decompress_struct>();
    // SAFETY: what all kinds of structs have in common is the beginning of a decoder's, and it
    // is one. libjpeg allocates the struct with the selector when the decoder is created.
    unsafe { jpeg_set_idct_method_selector(cinfo, select) };
}

/// Chooses the transform of a component.
///
/// # Safety
///
/// Called by libjpeg with pointers to its own variables.
unsafe extern "C-unwind" fn select(
    cinfo: *mut jpeg_decompress_struct,
    _: *mut jpeg_component_info,
    method: *mut Option<InverseDct>,
    _: *mut c_int,
) {
    // The accurate method is the default. Blocks that are reduced have room for fewer samples, and
    // methods of libjpeg's own.
    // SAFETY: see above.
    unsafe {
        if (*cinfo).scale_num == (*cinfo).scale_denom {
            *method = Some(transform_block);
        }
    }
}

/// Transforms a block of a component into rows of samples.
///
/// # Safety
///
/// Called by libjpeg with a block of 64 coefficients, and 8 rows of which there are 8 samples from
/// `column` on.
unsafe extern "C-unwind" fn transform_block(
    _: *mut jpeg_decompress_struct,
    component: *mut jpeg_component_info,
    coefficients: *mut JCOEF,
    rows: JSAMPARRAY_MUT,
    column: JDIMENSION,
) {
    // SAFETY: see above. A component without a table has had no data: all of it is zero.
    let (coefficients, table) = unsafe {
        let table = (*component).quant_table.as_ref();
        (&*coefficients.cast::<Block>(), table)
    };
    let samples = match table {
        Some(table) => transform::samples(coefficients, &table.quantval),
        None => transform::samples(coefficients, &[0; 64]),
    };
    for (nth, samples) in samples.iter().enumerate() {
        // SAFETY: see above.
        unsafe {
            let row = (*rows.add(nth)).add(column as usize);
            row.cast::<[u8; 8]>().write_unaligned(*samples);
        }
    }
}
