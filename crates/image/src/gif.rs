//! GIF: the first frame, on a canvas of the colour that Pillow puts under it.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::inspect::{array, u16_le};
use super::{Header, ImageError, ImageFormat, ImageLimits};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Gif, reason)
}

/// Width and height: the logical screen, or more where the first frame sticks out of
/// it (Pillow grows the canvas then).
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    first_frame(bytes)
        .map(|frame| (u32::from(frame.canvas.0), u32::from(frame.canvas.1)))
        .ok_or_else(|| damaged("it ends before its first frame"))
}

/// The flag for a colour table, of the screen and of a frame.
const TABLE: u8 = 0x80;

/// Where the first frame lies.
struct FirstFrame {
    canvas: (u16, u16),
    /// Whether there is a colour table for it, its own or the file's.
    has_colours: bool,
}

/// Walks over the extensions to the first image descriptor.
fn first_frame(bytes: &[u8]) -> Option<FirstFrame> {
    let (width, height) = (u16_le(bytes, 6)?, u16_le(bytes, 8)?);
    let table = |flags: u8| {
        if flags & TABLE != 0 {
            3 << ((flags & 7) + 1)
        } else {
            0
        }
    };
    let screen_flags = *bytes.get(10)?;
    let mut at = 13 + table(screen_flags);
    loop {
        match *bytes.get(at)? {
            b'!' => {
                at += 2;
                loop {
                    let length = usize::from(*bytes.get(at)?);
                    at += 1 + length;
                    if length == 0 {
                        break;
                    }
                }
            }
            b',' => {
                let [x0, x1, y0, y1, w0, w1, h0, h1] = array(bytes, at + 1)?;
                let right =
                    u16::from_le_bytes([x0, x1]).saturating_add(u16::from_le_bytes([w0, w1]));
                let bottom =
                    u16::from_le_bytes([y0, y1]).saturating_add(u16::from_le_bytes([h0, h1]));
                return Some(FirstFrame {
                    canvas: (width.max(right), height.max(bottom)),
                    has_colours: (screen_flags | *bytes.get(at + 9)?) & TABLE != 0,
                });
            }
            b';' => return None,
            _ => at += 1,
        }
    }
}

/// The file with a table of 256 grey levels, for one that has no table.
fn add_grey_ramp(bytes: &[u8]) -> Vec<u8> {
    const SCREEN: usize = 13;
    let mut out = bytes[..SCREEN].to_vec();
    out[10] |= TABLE | 7;
    out.extend((0..=255).flat_map(|level| [level; 3]));
    out.extend_from_slice(&bytes[SCREEN..]);
    out
}

/// Decodes to RGB.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(match NonZeroU64::new(limits.max_decoder_bytes) {
        Some(bytes) => MemoryLimit::Bytes(bytes),
        None => MemoryLimit::Unlimited,
    });
    let with_ramp;
    let bytes = match first_frame(bytes) {
        // Without any colour table, the indices are grey levels.
        Some(frame) if !frame.has_colours => {
            with_ramp = add_grey_ramp(bytes);
            &with_ramp
        }
        _ => bytes,
    };
    let mut decoder = options.read_info(bytes).map_err(damaged)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder
        .read_next_frame()
        .map_err(damaged)?
        .ok_or_else(|| damaged("it has no frame"))?;

    // What is behind the end of a short table is black.
    let mut colours = [[0; 3]; 256];
    if let Some(palette) = frame.palette.as_ref().or(global.as_ref()) {
        for (colour, entry) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
            *colour = *entry;
        }
    }
    let (width, height) = (header.width as usize, header.height as usize);
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let frame_width = usize::from(frame.width);
    let background = colours[usize::from(frame.transparent.unwrap_or(0))];
    if left == 0 && top == 0 && (frame_width, usize::from(frame.height)) == (width, height) {
        let mut rgb = Vec::with_capacity(width * height * 3);
        rgb.extend(
            frame
                .buffer
                .iter()
                .flat_map(|&index| colours[usize::from(index)]),
        );
        return Ok(rgb);
    }
    let mut rgb = background.repeat(width * height);
    if frame_width > 0 {
        let rows = frame.buffer.chunks_exact(frame_width);
        for (indices, row) in rows.zip(rgb.chunks_exact_mut(width * 3).skip(top)) {
            let pixels = row.as_chunks_mut::<3>().0.iter_mut().skip(left);
            for (pixel, &index) in pixels.zip(indices) {
                *pixel = colours[usize::from(index)];
            }
        }
    }
    Ok(rgb)
}
