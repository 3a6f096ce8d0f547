//! TIFF (placeholder while the reader is being written).

use super::{Header, ImageError, ImageLimits};

pub(super) fn size(_bytes: &[u8], _limits: &ImageLimits) -> Result<(u32, u32), ImageError> {
    Err(ImageError::Unsupported { format: "TIFF" })
}

pub(super) fn decode(
    _bytes: &[u8],
    _header: &Header,
    _limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    Err(ImageError::Unsupported { format: "TIFF" })
}
