//! A door for the fuzz targets in `fuzz/`, in builds with `--cfg fuzzing` only.

use super::{ImageError, ImageLimits, avif, inspect, jpeg};

/// All that is done with an AVIF file before its AV1 is decoded: its width and height, and how many
/// bitstreams it has.
///
/// # Errors
///
/// Why it is refused.
pub fn avif_layout(bytes: &[u8]) -> Result<((u32, u32), usize), ImageError> {
    if !avif::is_avif(bytes) {
        return Err(ImageError::NotAnImage);
    }
    // Refuses what no format may say, such as a width of zero.
    let header = inspect(bytes, &ImageLimits::default())?;
    Ok(((header.width, header.height), avif::bitstreams(bytes)?))
}

/// Decodes a JPEG by libjpeg, and again as it comes. `None`: it is none, or larger than fits a target.
pub fn jpeg_twice(bytes: &[u8]) -> Option<[Result<Vec<u8>, ImageError>; 2]> {
    jpeg::decode_twice(bytes)
}
