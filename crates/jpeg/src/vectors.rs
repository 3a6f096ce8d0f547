//! Which vectors the code is compiled for: those of every processor of its kind, or those of this one.

// Calling what is compiled for more than every processor has is unsafe.
#![allow(unsafe_code)]

use crate::header::Plain;
#[cfg(target_arch = "x86_64")]
use crate::kernel::Avx2;
use crate::kernel::Portable;
use crate::rows::{self, Sink};

/// What the decoder may use of the processor. The pixels are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// AVX2, where the processor has it.
    Detected,
    /// Only what every processor of its kind has; for tests.
    Baseline,
}

/// Whether [`Vectors::Detected`] means AVX2 on this processor.
pub fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Avx2::detect().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// As [`rows::decode`].
pub(crate) fn decode(plain: &Plain<'_>, vectors: Vectors, sink: &mut Sink<'_>) -> Option<()> {
    #[cfg(target_arch = "x86_64")]
    if vectors == Vectors::Detected
        && let Some(avx2) = Avx2::detect()
    {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { decode_avx2(plain, avx2, sink) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = vectors;
    rows::decode(plain, Portable, sink)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn decode_avx2(plain: &Plain<'_>, avx2: Avx2, sink: &mut Sink<'_>) -> Option<()> {
    rows::decode(plain, avx2, sink)
}
