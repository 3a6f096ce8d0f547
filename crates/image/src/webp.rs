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
    // The decoder's own limit does not count all that it allocates.
    let needed = u64::from(header.width) * u64::from(header.height) * 4;
    if needed > limits.max_decoder_bytes {
        return Err(ImageError::TooComplex {
            format: ImageFormat::WebP,
            reason: format!("its pixels with alpha need {needed} bytes"),
        });
    }
    // libwebp, and so Pillow, refuses a file that is shorter than it says, wherever
    // the first frame ends, and does not look behind that length.
    let length = u32_le(bytes, 4).unwrap_or(0) as usize;
    let bytes = bytes
        .get(..length.saturating_add(8))
        .ok_or_else(|| damaged("the file is truncated"))?;
    if let Some(frame) = first_of_animation(bytes) {
        return frame.decode(header, limits);
    }
    let header = (header.width, header.height);
    decode_still(bytes, header, limits)
}

/// The first frame of an animation.
///
/// It is taken out and decoded as a still image, because Pillow shows it as it is, on
/// black, whereas the decoder's own animation code blends it.
struct Frame {
    /// The frame's chunks as a file of its own.
    file: Vec<u8>,
    left: usize,
    top: usize,
    width: u32,
    height: u32,
}

/// Finds the first frame, or `None` for a still image.
fn first_of_animation(bytes: &[u8]) -> Option<Frame> {
    const ANIMATED: u8 = 2;
    if bytes.get(12..16) != Some(b"VP8X") || bytes.get(20)? & ANIMATED == 0 {
        return None;
    }
    let mut at = 12;
    let body = loop {
        let length = u32_le(bytes, at + 4)? as usize;
        let body = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
        if &array::<4>(bytes, at)? == b"ANMF" {
            break body;
        }
        at += 8 + length.next_multiple_of(2);
    };
    let number = |at| array(body, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]));
    let (width, height) = (number(6)? + 1, number(9)? + 1);
    let chunks = body.get(16..)?;
    let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
    if chunks.starts_with(b"ALPH") {
        const ALPHA: u8 = 0x10;
        file.extend_from_slice(b"VP8X\x0a\0\0\0");
        file.extend_from_slice(&[ALPHA, 0, 0, 0]);
        file.extend_from_slice(&(width - 1).to_le_bytes()[..3]);
        file.extend_from_slice(&(height - 1).to_le_bytes()[..3]);
    }
    file.extend_from_slice(chunks);
    let length = u32::try_from(file.len() - 8).ok()?;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    Some(Frame {
        file,
        left: number(0)? as usize * 2,
        top: number(3)? as usize * 2,
        width,
        height,
    })
}

impl Frame {
    /// Decodes it and puts it on a black canvas of the header's size.
    fn decode(&self, header: &Header, limits: &ImageLimits) -> Result<Vec<u8>, ImageError> {
        let (width, height) = (header.width as usize, header.height as usize);
        let (frame_width, frame_height) = (self.width as usize, self.height as usize);
        if self.left + frame_width > width || self.top + frame_height > height {
            return Err(damaged("its first frame does not fit the canvas"));
        }
        let frame = decode_still(&self.file, (self.width, self.height), limits)?;
        if (frame_width, frame_height) == (width, height) {
            return Ok(frame);
        }
        let mut rgb = vec![0; width * height * 3];
        let rows = rgb.chunks_exact_mut(width * 3).skip(self.top);
        for (row, pixels) in rows.zip(frame.chunks_exact(frame_width * 3)) {
            row[self.left * 3..][..frame_width * 3].copy_from_slice(pixels);
        }
        Ok(rgb)
    }
}

/// Decodes a file without animation to RGB.
fn decode_still(
    bytes: &[u8],
    size: (u32, u32),
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut allowed = Limits::no_limits();
    allowed.max_alloc = Some(limits.max_decoder_bytes);
    decoder.set_limits(allowed).map_err(damaged)?;
    if decoder.dimensions() != size {
        return Err(damaged("its headers contradict each other"));
    }
    let color = decoder.color_type();
    let pixels = size.0 as usize * size.1 as usize;
    let mut decoded = vec![0; pixels * usize::from(color.bytes_per_pixel())];
    decoder.read_image(&mut decoded).map_err(damaged)?;
    if color == ColorType::Rgb8 {
        return Ok(decoded);
    }
    let mut rgb = Vec::with_capacity(pixels * 3);
    convert::drop_extra::<4>(&decoded, &mut rgb);
    Ok(rgb)
}
