//! Run-length coded bitmaps.

use crate::ImageError;
use crate::inspect::array;
use crate::work::Stop;

/// Undoes run-length coding, with the same end conditions as Pillow's
/// `BmpRleDecoder`: what a skip jumps over is index 0. May return less or more than
/// `wanted` bytes.
pub(super) fn unpack(
    data: &[u8],
    start: usize,
    (width, wanted): (usize, usize),
    nibbles: bool,
    stop: &Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let mut out: Vec<u8> = Vec::with_capacity(wanted + 255);
    let (mut at, mut x) = (0, 0);
    while out.len() < wanted {
        let before = out.len();
        let Some([count, value]) = array(data, at) else {
            break;
        };
        at += 2;
        match (count, value) {
            (0, 0) => {
                out.resize(out.len().next_multiple_of(width), 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let Some([right, up]) = array::<2>(data, at) else {
                    break;
                };
                at += 2;
                let skip = usize::from(right) + usize::from(up) * width;
                out.resize((out.len() + skip).min(wanted), 0);
                x = out.len() % width;
            }
            (0, literal) => {
                let pixels = usize::from(literal).min(wanted - out.len());
                let length = if nibbles { pixels.div_ceil(2) } else { pixels };
                let rest = data.get(at..).unwrap_or_default();
                let values = &rest[..rest.len().min(length)];
                at += values.len();
                if nibbles {
                    let both = values.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                    out.extend(both.take(pixels));
                } else {
                    out.extend_from_slice(values);
                }
                if values.len() < length || out.len() == wanted {
                    break;
                }
                x += usize::from(literal);
                // Literals are padded to an even position in the file.
                at += (start + at) % 2;
            }
            (count, value) => {
                let pixels = usize::from(count).min(width.saturating_sub(x));
                if nibbles {
                    out.extend([value >> 4, value & 15].iter().cycle().take(pixels));
                } else {
                    out.resize(out.len() + pixels, value);
                }
                x += pixels;
            }
        }
        stop.work((out.len() - before) as u64 * 4 + 10)?;
    }
    Ok(out)
}
