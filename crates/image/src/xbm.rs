//! XBM, bitmaps as lines of C, read as Pillow's `XbmImagePlugin` reads them: definitions of the
//! sides, one line that opens a list, and bytes as hexadecimal numbers. Set bits are white.

use super::decode::Job;
use super::inspect::array;
use super::text::{is_space, line, number, trimmed};
use super::{ImageError, ImageFormat, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Xbm, reason)
}

/// The longest line that Pillow reads as one.
const LINE: usize = 75;

/// Width, height and the numbers.
fn read(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let mut rest = bytes;
    let (mut width, mut height) = (None, None);
    let (mut starting, mut within_comment) = (true, false);
    loop {
        let line = trimmed(line(&mut rest, LINE)?);
        if within_comment || line.starts_with(b"/*") {
            within_comment = !line.ends_with(b"*/");
        } else if starting && line.is_empty() {
            starting = false;
        } else if line.starts_with(b"#define ") {
            let word = line.rsplit(|&byte| is_space(byte)).next()?;
            let value = number(word)?;
            let is_of = |name: &[u8]| line.windows(name.len()).any(|window| window == name);
            if is_of(b"width ") {
                width = Some(value);
            } else if is_of(b"height ") {
                height = Some(value);
            }
        } else {
            return line
                .ends_with(b"_bits[] = {")
                .then_some((width?, height?, rest));
        }
    }
}

/// Whether a file is one. Many other texts begin like it.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let begins = [b"#define".as_slice(), b"\n#define", b"/*"];
    begins.iter().any(|begin| bytes.starts_with(begin)) && read(bytes).is_some()
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let (width, height, _) =
        read(bytes).ok_or_else(|| damaged("its definitions are incomplete"))?;
    Ok((width, height))
}

/// Bytes that decoding takes beside the pixels: a row of bits.
pub(super) fn scratch(width: u32) -> u64 {
    u64::from(width) + (4 << 10)
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let (_, _, mut rest) = read(job.bytes).ok_or_else(|| damaged("it has no bits"))?;
    let (width, _) = job.size();
    let mut row = vec![0; width.div_ceil(8)];
    for out in rgb.chunks_exact_mut(width * 3) {
        let before = rest.len();
        for byte in &mut row {
            // Whatever stands between two numbers is passed over.
            let at = rest.iter().position(|&byte| byte == b'x');
            let digits = at.and_then(|at| array::<2>(rest, at + 1).zip(rest.get(at + 3..)));
            let (digits, behind) = digits.ok_or_else(|| damaged("the file is cut short"))?;
            // What is no digit counts as 0.
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16).unwrap_or(0));
            *byte = (high << 4 | low) as u8;
            rest = behind;
        }
        job.stop.work((width * 4 + before - rest.len()) as u64)?;
        let bits = row
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        convert::grey_to_rgb(bits.map(|bit| bit * 255), out);
    }
    Ok(())
}
