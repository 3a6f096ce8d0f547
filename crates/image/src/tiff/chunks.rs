//! From the strips or tiles of a TIFF to its samples.

use std::io::Read;

use super::layout::{Compression, Layout};
use super::{damaged, truncated};
use crate::{ImageError, ImageFormat, ImageLimits, jpeg};

/// All samples: rows of whole bytes, and for planes all rows of the first, then all of
/// the second, and so on.
pub(super) fn read(
    bytes: &[u8],
    layout: &Layout<'_>,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let (chunk_width, chunk_height) = layout.chunk;
    let across = layout.width.div_ceil(chunk_width);
    let down = layout.height.div_ceil(chunk_height);
    let planes = if layout.planar { layout.samples } else { 1 };
    if layout.offsets.len() < across * down * planes {
        return Err(damaged("it has too few strips or tiles"));
    }
    check_work(bytes, layout, across * down * planes)?;
    let row_bytes = layout.row_bytes(layout.width);
    let chunk_row_bytes = layout.row_bytes(chunk_width);
    let mut samples = vec![0; row_bytes * layout.height * planes];
    for (plane, out) in samples
        .chunks_exact_mut(row_bytes * layout.height)
        .enumerate()
    {
        for nth in 0..across * down {
            let (left, top) = (nth % across * chunk_width, nth / across * chunk_height);
            let rows = chunk_height.min(layout.height - top);
            // A tile is there as a whole, a last strip may be short.
            let length = chunk_row_bytes * if across == 1 { rows } else { chunk_height };
            let index = plane * across * down + nth;
            let data = unpack(bytes, layout, index, length, rows, limits)?;
            let at = layout.row_bytes(left);
            let used = chunk_row_bytes.min(row_bytes - at);
            let targets = out.chunks_exact_mut(row_bytes).skip(top);
            for (target, row) in targets.zip(data.chunks_exact(chunk_row_bytes).take(rows)) {
                target[at..at + used].copy_from_slice(&row[..used]);
            }
        }
    }
    Ok(samples)
}

/// What setting up a decompressor for a strip or tile costs, in bytes of packed data.
const SETUP: u64 = 1 << 10;

/// Packed bytes, beside as many as the file has, that a decompressor may be sent over:
/// about 3 s of work.
const MAX_PACKED: u64 = 128 << 20;

/// Refuses a file whose strips or tiles are the same bytes again and again, or of hardly
/// a pixel each: a file of 1 MB could ask for hours of work.
fn check_work(bytes: &[u8], layout: &Layout<'_>, chunks: usize) -> Result<(), ImageError> {
    if layout.compression == Compression::None {
        return Ok(());
    }
    let most = bytes.len() as u64 + MAX_PACKED;
    let mut work = 0;
    for index in 0..chunks {
        work += SETUP + packed(bytes, layout, index).map_or(0, <[u8]>::len) as u64;
        if work > most {
            return Err(ImageError::TooComplex {
                format: ImageFormat::Tiff,
                reason: format!("its {chunks} strips or tiles overlap or are too many"),
            });
        }
    }
    Ok(())
}

/// The bytes of a strip or tile from its offset on, as many as the file says that it has.
fn packed<'a>(bytes: &'a [u8], layout: &Layout<'_>, index: usize) -> Option<&'a [u8]> {
    let start = usize::try_from(layout.offsets.get(index)?).ok()?;
    let rest = bytes.get(start..)?;
    match layout.counts.and_then(|counts| counts.get(index)) {
        // Pillow reads uncompressed samples whatever the count says.
        Some(count) if layout.compression != Compression::None => {
            rest.get(..usize::try_from(count).ok()?)
        }
        _ => Some(rest),
    }
}

/// The samples of one strip or tile: at least `length` bytes, of which `rows` rows
/// are looked at.
fn unpack(
    bytes: &[u8],
    layout: &Layout<'_>,
    index: usize,
    length: usize,
    rows: usize,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut packed = packed(bytes, layout, index).ok_or_else(truncated)?;
    if layout.compression == Compression::None {
        packed = packed.get(..length).ok_or_else(truncated)?;
    }
    let turned: Vec<u8>;
    let packed = if layout.reversed && layout.compression != Compression::Jpeg {
        turned = packed.iter().map(|byte| byte.reverse_bits()).collect();
        &turned
    } else {
        packed
    };
    let mut data = match layout.compression {
        Compression::None => packed.to_vec(),
        Compression::Lzw => lzw(packed, length)?,
        Compression::Deflate => deflate(packed, length)?,
        Compression::PackBits => pack_bits(packed, length),
        Compression::Jpeg => jpeg_chunk(packed, layout, rows, limits)?,
    };
    if data.len() < length {
        return Err(truncated());
    }
    if layout.predicted {
        for row in data.chunks_exact_mut(layout.row_bytes(layout.chunk.0)) {
            undo_prediction(row, layout)?;
        }
    }
    Ok(data)
}

fn lzw(packed: &[u8], length: usize) -> Result<Vec<u8>, ImageError> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let mut out = vec![0; length];
    let (mut from, mut to) = (0, 0);
    while to < length {
        let step = decoder.decode_bytes(&packed[from..], &mut out[to..]);
        from += step.consumed_in;
        to += step.consumed_out;
        match step.status {
            Ok(weezl::LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => return Err(damaged(error)),
        }
    }
    out.truncate(to);
    Ok(out)
}

fn deflate(packed: &[u8], length: usize) -> Result<Vec<u8>, ImageError> {
    let mut out = vec![0; length];
    flate2::read::ZlibDecoder::new(packed)
        .read_exact(&mut out)
        .map_err(damaged)?;
    Ok(out)
}

/// PackBits (TIFF 6.0, section 9): runs of one byte, and literal bytes.
fn pack_bits(packed: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((&head, after)) = rest.split_first() {
        if out.len() >= length {
            break;
        }
        rest = match head as i8 {
            -128 => after,
            run @ ..0 => {
                let Some((&value, after)) = after.split_first() else {
                    break;
                };
                out.resize(out.len() + usize::from(run.unsigned_abs()) + 1, value);
                after
            }
            literal => {
                let count = (literal as usize + 1).min(after.len());
                out.extend_from_slice(&after[..count]);
                &after[count..]
            }
        };
    }
    out
}

/// A strip or tile that is a JPEG whose tables may be in the directory.
fn jpeg_chunk(
    packed: &[u8],
    layout: &Layout<'_>,
    rows: usize,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut file = Vec::with_capacity(packed.len() + 1024);
    let tables = layout
        .jpeg_tables
        .and_then(|tables| tables.strip_suffix(b"\xff\xd9"));
    let body = packed.strip_prefix(b"\xff\xd8").unwrap_or(packed);
    file.extend_from_slice(tables.unwrap_or(b"\xff\xd8"));
    file.extend_from_slice(body);
    // Before it is decoded: the size in there is another claim than the one that was
    // checked against the limits.
    let (width, height) = jpeg::size(&file)?;
    let heights = rows..=layout.chunk.1;
    if width as usize != layout.chunk.0 || !heights.contains(&(height as usize)) {
        return Err(damaged("a JPEG within it has another size"));
    }
    jpeg::decode_samples(&file, layout.jpeg_ycc, limits)
}

/// Adds the left neighbour to each sample (TIFF 6.0, section 14).
fn undo_prediction(row: &mut [u8], layout: &Layout<'_>) -> Result<(), ImageError> {
    let size = layout.bits / 8;
    let samples = if layout.planar { 1 } else { layout.samples };
    match layout.bits {
        8 => {
            for at in samples..row.len() {
                row[at] = row[at].wrapping_add(row[at - samples]);
            }
        }
        16 | 32 => {
            let order = layout.order;
            let step = samples * size;
            for at in (step..row.len()).step_by(size) {
                let left = order.number(&row[at - step..][..size]);
                let sum = order.number(&row[at..][..size]).wrapping_add(left);
                order.put(sum, &mut row[at..][..size]);
            }
        }
        bits => {
            return Err(damaged(format_args!("it predicts samples of {bits} bits")));
        }
    }
    Ok(())
}
