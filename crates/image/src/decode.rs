//! From the bytes of a file to pixels: limits first, then the decoder of the format.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Header, ImageError, ImageFormat, ImageLimits, PixelMemory, RgbImage};
use super::{bmp, gif, inspect, jpeg, png, tiff, webp};

/// Decodes the first frame of an image to 8-bit RGB, with the pixels that Pillow's
/// `Image.open(f).convert("RGB")` would give.
///
/// The size is checked against `limits` before anything is decoded. A truncated file
/// is refused, as Pillow does, and not padded with grey.
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    decode_into(bytes, limits, None)
}

/// As [`decode`], into memory that was lent for it: as many bytes as the header that
/// [`inspect`] read calls for, three for each pixel.
pub fn decode_into(
    bytes: &[u8],
    limits: &ImageLimits,
    memory: Option<Box<dyn PixelMemory>>,
) -> Result<RgbImage, ImageError> {
    let header = inspect(bytes, limits)?;
    let Header {
        format,
        width,
        height,
    } = header;
    // No decoder is known to panic. If one does after all, on bytes from who knows
    // where, that must cost this image and nothing else; the panic is printed as usual.
    catch_unwind(AssertUnwindSafe(|| {
        Ok(match memory {
            None => RgbImage::new(width, height, decode_format(bytes, &header, limits)?),
            Some(mut memory) => {
                let out = memory.bytes_mut();
                if format == ImageFormat::Jpeg {
                    jpeg::decode_into(bytes, &header, limits, out)?;
                } else {
                    let pixels = decode_format(bytes, &header, limits)?;
                    if pixels.len() != out.len() {
                        return Err(does_not_fit(format));
                    }
                    out.copy_from_slice(&pixels);
                }
                RgbImage::lent(width, height, memory)
            }
        })
    }))
    .unwrap_or_else(|_| Err(ImageError::damaged(format, "the decoder gave up on it")))?
    .ok_or_else(|| does_not_fit(format))
}

fn does_not_fit(format: ImageFormat) -> ImageError {
    ImageError::damaged(format, "the pixels do not fit the size in the header")
}

fn decode_format(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    match header.format {
        ImageFormat::Jpeg => jpeg::decode(bytes, header, limits),
        ImageFormat::Png => png::decode(bytes, header, limits),
        ImageFormat::Gif => gif::decode(bytes, header, limits),
        ImageFormat::WebP => webp::decode(bytes, header, limits),
        ImageFormat::Bmp => bmp::decode(bytes, header),
        ImageFormat::Tiff => tiff::decode(bytes, header, limits),
    }
}
