//! PNG: samples as the file has them, then to RGB the way that Pillow's modes do it.
//!
//! Pillow's conversions that differ from the obvious: 16-bit grey is clipped, not
//! scaled (mode `I;16`: everything above 255 is white); other 16-bit samples lose
//! their low byte; alpha and tRNS are ignored.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::inspect::u32_be;
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
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: max });
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
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
