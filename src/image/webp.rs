//! WebP: the first frame, alpha dropped.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, Limits};

use super::inspect::{array, u16_le, u32_le};
use super::{Header, ImageError, ImageFormat, ImageLimits, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::WebP, reason)
}

/// Width and height of the canvas, from the first chunk.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let truncated = || damaged("it ends within its header");
    match &array::<4>(bytes, 12).ok_or_else(truncated)? {
        b"VP8 " => {
            if array(bytes, 23) != Some([0x9d, 0x01, 0x2a]) {
                return Err(damaged("its frame has no start code"));
            }
            let side = |at| u16_le(bytes, at).map(|side| u32::from(side & 0x3fff));
            side(26).zip(side(28)).ok_or_else(truncated)
        }
        b"VP8L" => {
            if bytes.get(20) != Some(&0x2f) {
                return Err(damaged("its lossless frame has no signature"));
            }
            let bits = u32_le(bytes, 21).ok_or_else(truncated)?;
            Ok(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at| {
                array(bytes, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]) + 1)
            };
            side(24).zip(side(27)).ok_or_else(truncated)
        }
        _ => Err(damaged("its first chunk is not one that WebP begins with")),
    }
}

/// Decodes to RGB.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut allowed = Limits::no_limits();
    allowed.max_alloc = Some(limits.max_decoder_bytes);
    decoder.set_limits(allowed).map_err(damaged)?;
    if decoder.dimensions() != (header.width, header.height) {
        return Err(damaged("its headers contradict each other"));
    }
    let color = decoder.color_type();
    let pixels = header.width as usize * header.height as usize;
    let mut decoded = vec![0; pixels * usize::from(color.bytes_per_pixel())];
    decoder.read_image(&mut decoded).map_err(damaged)?;
    if color == ColorType::Rgb8 {
        return Ok(decoded);
    }
    let mut rgb = Vec::with_capacity(pixels * 3);
    convert::drop_extra::<4>(&decoded, &mut rgb);
    Ok(rgb)
}
