//! TGA, read as Pillow's `TgaImagePlugin` reads it.
//!
//! The format has no magic bytes. What is taken for one is narrower than in Pillow, which tries
//! it on everything that nothing else takes.

use super::decode::Job;
use super::inspect::{array, u16_le};
use super::{ImageError, ImageFormat, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Tga, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// Whether a file is one, from what its header may say.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    const FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";
    let Some([_, map, kind, map_start @ .., map_depth]) = array::<8>(bytes, 0) else {
        return false;
    };
    let (Some(width), Some(height)) = (u16_le(bytes, 12), u16_le(bytes, 14)) else {
        return false;
    };
    let Some([depth, flags]) = array::<2>(bytes, 16) else {
        return false;
    };
    let coherent = match (map, kind) {
        (0, 2 | 3 | 10 | 11) => map_start == [0; 4] && map_depth == 0,
        (1, 1 | 9) => matches!(map_depth, 15 | 16 | 24 | 32),
        // Refused, as in Pillow, and by its name.
        (1, 2 | 10) => bytes.ends_with(FOOTER),
        _ => false,
    };
    coherent
        && width > 0
        && height > 0
        && matches!(depth, 1 | 8 | 15 | 16 | 24 | 32)
        // The two highest bits say how rows are interleaved, which nobody does.
        && flags & 0xc0 == 0
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let size = u16_le(bytes, 12).zip(u16_le(bytes, 14));
    let (width, height) = size.ok_or_else(truncated)?;
    Ok((width.into(), height.into()))
}

/// Bytes that decoding takes beside the pixels: a row at the file's depth.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) * 4 + (4 << 10)
}

/// Red, green and blue of a pixel of 16 bits, 5 for each.
fn of_fifteen_bits(bytes: [u8; 2]) -> [u8; 3] {
    let bits = u32::from(u16::from_le_bytes(bytes));
    [10, 5, 0].map(|shift| ((bits >> shift & 31) * 255 / 31) as u8)
}

/// The colours of the map, and bytes that it takes.
fn colours(bytes: &[u8], at: usize) -> Result<([[u8; 3]; 256], usize), ImageError> {
    let number = |at| u16_le(bytes, at).map(usize::from).ok_or_else(truncated);
    let (start, count) = (number(3)?, number(5)?);
    let entry = match bytes.get(7) {
        Some(16) => 2,
        Some(24) => 3,
        Some(32) => 4,
        _ => return Err(damaged("its colours have an unknown number of bits")),
    };
    let map = bytes.get(at..).unwrap_or_default();
    let map = &map[..map.len().min(count * entry)];
    if start + map.len() / entry > 256 {
        return Err(damaged("it has more than 256 colours"));
    }
    let mut colours = [[0; 3]; 256];
    for (colour, bytes) in colours[start..].iter_mut().zip(map.chunks_exact(entry)) {
        *colour = match *bytes {
            [low, high] => of_fifteen_bits([low, high]),
            [blue, green, red, ..] => [red, green, blue],
            _ => [0; 3],
        };
    }
    Ok((colours, map.len()))
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let bytes = job.bytes;
    let [id, map, kind, .., depth, flags] = array::<18>(bytes, 0).ok_or_else(truncated)?;
    let mut at = 18 + usize::from(id);
    let mut colour_map = [[0; 3]; 256];
    if map == 1 {
        let (colours, length) = colours(bytes, at)?;
        colour_map = colours;
        at += length;
    }
    let pixel = usize::from(depth).div_ceil(8);
    if map == 1 && kind & 7 == 2 {
        return Err(damaged("it has a colour map and pixels that have colours"));
    }
    match (kind & 7, depth) {
        (1, 8) | (2, 16 | 24 | 32) | (3, 1 | 8 | 16) => {}
        _ => return Err(damaged(format_args!("it has pixels of {depth} bits"))),
    }
    let run_length = kind & 8 != 0;
    if run_length && depth == 1 {
        return Err(damaged("its runs are of single bits"));
    }
    let (width, height) = job.size();
    let row_bytes = match depth {
        1 => width.div_ceil(8),
        _ => width * pixel,
    };
    let mut rest = bytes.get(at..).ok_or_else(truncated)?;
    let mut row = vec![0; row_bytes];
    let mut left = Packet::default();
    for y in 0..height {
        job.stop.work(width as u64 * 8)?;
        if run_length {
            unpack(&mut rest, &mut left, pixel, &mut row)?;
        } else {
            let (now, later) = rest.split_at_checked(row_bytes).ok_or_else(truncated)?;
            row.copy_from_slice(now);
            rest = later;
        }
        // From the bottom to the top, unless the file says otherwise.
        let to = match flags & 0x20 {
            0 => height - 1 - y,
            _ => y,
        };
        let out = rgb.get_mut(to * width * 3..(to + 1) * width * 3);
        let out = out.ok_or_else(truncated)?;
        let pixels = row.chunks_exact(pixel);
        match (kind & 7, depth) {
            (1, _) => convert::fill(out, pixels.map(|p| colour_map[usize::from(p[0])])),
            (2, 16) => convert::fill(out, pixels.map(|p| of_fifteen_bits([p[0], p[1]]))),
            (2, _) => convert::fill(out, pixels.map(|p| [p[2], p[1], p[0]])),
            (_, 1) => {
                let bits = row
                    .iter()
                    .flat_map(|byte| (0..8).map(move |nth| byte << nth & 0x80));
                convert::grey_to_rgb(bits.map(|bit| if bit == 0 { 0 } else { 255 }), out);
            }
            _ => convert::grey_to_rgb(pixels.map(|p| p[0]), out),
        }
        if flags & 0x10 != 0 {
            out.as_chunks_mut::<3>().0.reverse();
        }
    }
    Ok(())
}

/// Literal pixels of a packet that are left for the next row.
#[derive(Default)]
struct Packet {
    literals: usize,
}

/// Undoes the runs of a row. Literals may go on in the next one, runs may not, as in Pillow.
fn unpack(
    rest: &mut &[u8],
    packet: &mut Packet,
    pixel: usize,
    row: &mut [u8],
) -> Result<(), ImageError> {
    let mut to = 0;
    while to < row.len() {
        if packet.literals > 0 {
            let bytes = (packet.literals * pixel).min(row.len() - to);
            let (now, later) = rest.split_at_checked(bytes).ok_or_else(truncated)?;
            row[to..to + bytes].copy_from_slice(now);
            *rest = later;
            to += bytes;
            packet.literals -= bytes / pixel;
            continue;
        }
        let (&head, later) = rest.split_first().ok_or_else(truncated)?;
        *rest = later;
        let count = usize::from(head & 0x7f) + 1;
        if head & 0x80 == 0 {
            // All of them are there, also those that the picture has no place for.
            if later.len() < count * pixel {
                return Err(truncated());
            }
            packet.literals = count;
            continue;
        }
        let (value, later) = rest.split_at_checked(pixel).ok_or_else(truncated)?;
        *rest = later;
        let run = row.get_mut(to..to + count * pixel);
        let run = run.ok_or_else(|| damaged("a run goes beyond its row"))?;
        run.chunks_exact_mut(pixel)
            .for_each(|to| to.copy_from_slice(value));
        to += count * pixel;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn a_tga_is_no_cursor_and_a_cursor_no_tga() {
        let head = [0u8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 7, 0, 24, 0x20];
        assert!(is_one(&[&head[..], &[0; 189]].concat()));
        let cursor = [0u8, 0, 2, 0, 1, 0, 32, 32, 0, 0, 1, 0, 1, 0];
        assert!(!is_one(&[&cursor[..], &[0; 64]].concat()));
        assert!(!is_one(&[0; 200]));
    }
}
