//! A door for the fuzz targets in `fuzz/`, in builds with `--cfg fuzzing` only.

use super::{ImageError, avif};

/// All that is done with an AVIF file before its AV1 is decoded: its width and height, and how many
/// bitstreams it has.
///
/// # Errors
///
/// Why it is refused.
pub fn avif_layout(bytes: &[u8]) -> Result<((u32, u32), usize), ImageError> {
    avif::look(bytes)
}
