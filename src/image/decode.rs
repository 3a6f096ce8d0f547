//! From the bytes of a file to pixels: limits first, then the decoder of the format.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Header, ImageError, ImageFormat, ImageLimits, RgbImage};
use super::{bmp, gif, inspect, jpeg, png, tiff, webp};

/// Decodes the first frame of an image to 8-bit RGB, with the pixels that Pillow's
/// `Image.open(f).convert("RGB")` would give.
///
/// The size is checked against `limits` before anything is decoded. A truncated file
/// is refused, as Pillow does, and not padded with grey.
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let header = inspect(bytes, limits)?;
    let Header {
        format,
        width,
        height,
    } = header;
    // No decoder is known to panic. If one does after all, on bytes from who knows
    // where, that must cost this image and nothing else; the panic is printed as usual.
    let pixels = catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, &header, limits),
        ImageFormat::Png => png::decode(bytes, &header, limits),
        ImageFormat::Gif => gif::decode(bytes, &header, limits),
        ImageFormat::WebP => webp::decode(bytes, &header, limits),
        ImageFormat::Bmp => bmp::decode(bytes, &header),
        ImageFormat::Tiff => tiff::decode(bytes, &header, limits),
    }))
    .unwrap_or_else(|_| Err(ImageError::damaged(format, "the decoder gave up on it")))?;
    RgbImage::new(width, height, pixels)
        .ok_or_else(|| ImageError::damaged(format, "the pixels do not fit the size in the header"))
}
