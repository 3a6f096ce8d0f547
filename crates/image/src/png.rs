//! PNG: samples as the file has them, then to RGB the way that Pillow's modes do it.
//!
//! ```text
//! bytes --essence--> IHDR, PLTE and the image data   (Pillow's rules on what is damaged)
//!       --png------> rows of samples
//!       --append_row-> RGB
//! ```
//!
//! Pillow's conversions that differ from the obvious: 16-bit grey is clipped, not
//! scaled (mode `I;16`: everything above 255 is white); other 16-bit samples lose
//! their low byte; alpha and tRNS are ignored.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, Limits, Transformations};

use super::inspect::{array, u32_be};
use super::{Header, ImageError, ImageFormat, ImageLimits, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Png, reason)
}

/// Width and height from IHDR, which is always the first chunk.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    if bytes.get(12..16) != Some(b"IHDR") {
        return Err(damaged("it does not begin with an IHDR chunk"));
    }
    match (u32_be(bytes, 16), u32_be(bytes, 20)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => Err(damaged("it ends within its header")),
    }
}

/// Decodes to RGB.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let max = usize::try_from(limits.max_decoder_bytes).unwrap_or(usize::MAX);
    let essence = essence(bytes)?;
    let mut options = DecodeOptions::default();
    options.set_ignore_crc(true);
    options.set_ignore_adler32(false);
    let mut decoder = Decoder::new_with_options(Cursor::new(essence), options);
    decoder.set_limits(Limits { bytes: max });
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, depth) = reader.output_color_type();
    let palette = reader
        .info()
        .palette
        .as_ref()
        .map(|palette| palette.to_vec())
        .unwrap_or_default();
    let (width, height) = (header.width as usize, header.height as usize);
    let mut rgb = Vec::with_capacity(width * height * 3);
    if reader.info().interlaced {
        let size = reader
            .output_buffer_size()
            .filter(|&size| size <= max)
            .ok_or(ImageError::TooComplex {
                format: ImageFormat::Png,
                reason: format!("its interlaced pixels need more than {max} bytes"),
            })?;
        let mut pixels = vec![0; size];
        let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
        for row in pixels.chunks_exact(frame.line_size) {
            append_row(row, width, color, depth, &palette, &mut rgb);
        }
    } else {
        // Row by row: the pixels at the file's own depth are never all in memory.
        while let Some(row) = reader.next_row().map_err(damaged)? {
            append_row(row.data(), width, color, depth, &palette, &mut rgb);
        }
    }
    Ok(rgb)
}

/// The file without all that does not change the pixels: IHDR, PLTE and the first run
/// of IDAT, with an end.
///
/// Follows Pillow in what is damaged: checksums count for the chunks before the image
/// data but not for the data itself (zlib has its own), and what comes behind the data
/// may be missing. It also keeps text and profiles, and the bombs in them, away from
/// the decoder.
fn essence(bytes: &[u8]) -> Result<Vec<u8>, ImageError> {
    let truncated = || damaged("the file is truncated");
    let mut essence = Vec::with_capacity(bytes.len() + 12);
    essence.extend_from_slice(&bytes[..8]);
    let mut in_data = false;
    let mut at = 8;
    loop {
        let head = array::<4>(bytes, at).zip(array::<4>(bytes, at + 4));
        let Some((length, kind)) = head else {
            if in_data {
                break;
            }
            return Err(truncated());
        };
        let length = u32::from_be_bytes(length) as usize;
        let body = &bytes[at + 8..];
        if &kind == b"IDAT" {
            in_data = true;
            // The last one may be cut: whether enough is there, zlib will say.
            let body = &body[..body.len().min(length)];
            let length = u32::try_from(body.len()).map_err(|_| truncated())?;
            essence.extend_from_slice(&length.to_be_bytes());
            essence.extend_from_slice(b"IDAT");
            essence.extend_from_slice(body);
            essence.extend_from_slice(&[0; 4]);
        } else if in_data {
            break;
        } else {
            if &kind == b"IEND" {
                return Err(damaged("it has no image data"));
            }
            if !kind
                .iter()
                .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(damaged("it has a broken chunk"));
            }
            let body = body.get(..length).ok_or_else(truncated)?;
            let stored = u32_be(bytes, at + 8 + length).ok_or_else(truncated)?;
            if crc32fast::hash(&bytes[at + 4..at + 8 + length]) != stored {
                let kind = String::from_utf8_lossy(&kind);
                return Err(damaged(format_args!(
                    "the checksum of its {kind} chunk is wrong"
                )));
            }
            if matches!(&kind, b"IHDR" | b"PLTE") {
                essence.extend_from_slice(&bytes[at..at + 8]);
                essence.extend_from_slice(body);
                essence.extend_from_slice(&[0; 4]);
            }
        }
        at = at.saturating_add(12).saturating_add(length);
    }
    essence.extend_from_slice(b"\0\0\0\0IEND\xae\x42\x60\x82");
    Ok(essence)
}

/// Converts one row and appends it to `rgb`.
fn append_row(
    row: &[u8],
    width: usize,
    color: ColorType,
    depth: BitDepth,
    palette: &[u8],
    rgb: &mut Vec<u8>,
) {
    let sixteen = depth == BitDepth::Sixteen;
    let high_bytes = || row.iter().step_by(2).copied();
    match color {
        ColorType::Rgb if sixteen => rgb.extend(high_bytes()),
        ColorType::Rgb => rgb.extend_from_slice(row),
        ColorType::Rgba if sixteen => {
            let (pixels, _) = row.as_chunks::<8>();
            rgb.extend(pixels.iter().flat_map(|p| [p[0], p[2], p[4]]));
        }
        ColorType::Rgba => convert::drop_extra::<4>(row, rgb),
        ColorType::Grayscale if sixteen => {
            let (samples, _) = row.as_chunks::<2>();
            let clipped = samples
                .iter()
                .map(|&sample| u16::from_be_bytes(sample).min(255) as u8);
            convert::grey_to_rgb(clipped, rgb);
        }
        ColorType::GrayscaleAlpha => {
            let step = if sixteen { 4 } else { 2 };
            convert::grey_to_rgb(row.iter().step_by(step).copied(), rgb);
        }
        ColorType::Grayscale => {
            let bits = depth as u8;
            // 255, 85, 17 or 1: the sample's full range becomes 0..=255.
            let scale = 255 / ((1u16 << bits) - 1) as u8;
            let grey = samples(row, width, bits).map(|sample| sample * scale);
            convert::grey_to_rgb(grey, rgb);
        }
        ColorType::Indexed => {
            let (colours, _) = palette.as_chunks::<3>();
            rgb.extend(
                samples(row, width, depth as u8)
                    .flat_map(|index| colours.get(usize::from(index)).copied().unwrap_or_default()),
            );
        }
    }
}

/// Samples of 1, 2, 4 or 8 bits, most significant bits first.
fn samples(row: &[u8], width: usize, bits: u8) -> impl Iterator<Item = u8> {
    let mask = (((1u16 << bits) - 1) & 0xff) as u8;
    let per_byte = 8 / bits;
    row.iter()
        .flat_map(move |&byte| (1..=per_byte).map(move |nth| (byte >> (8 - nth * bits)) & mask))
        .take(width)
}
