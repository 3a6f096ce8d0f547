//! PNM: bitmaps, greymaps and pixmaps (P1 to P6), and greymaps of floats (Pf), read as Pillow's
//! `PpmImagePlugin` reads them.

use super::decode::Job;
use super::text::is_space;
use super::{ImageError, ImageFormat, convert};

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Pnm, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// How samples are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Digits 0 and 1.
    PlainBits,
    /// Decimal numbers.
    Plain,
    /// Eight pixels a byte.
    Bits,
    /// One byte for each, or two of which the first is the higher.
    Raw,
    /// 32-bit floats, from the bottom row to the top.
    Floats { little: bool },
}

struct Head {
    width: u32,
    height: u32,
    coding: Coding,
    /// Samples of a pixel.
    samples: usize,
    /// What is the brightest.
    most: u32,
    /// Where the samples begin.
    at: usize,
}

/// Whether a file is one.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'6' | b'f', space, ..] if is_space(*space))
}

/// A word of the header, behind white space and comments, and past the one character behind it.
fn word(bytes: &[u8], at: &mut usize) -> Result<String, ImageError> {
    let mut word = String::new();
    while word.len() <= 10 {
        let Some(&byte) = bytes.get(*at) else {
            break;
        };
        *at += 1;
        match byte {
            _ if is_space(byte) && word.is_empty() => {}
            _ if is_space(byte) => break,
            b'#' => {
                let rest = bytes.get(*at..).unwrap_or_default();
                let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                *at += end.map_or(rest.len(), |end| end + 1);
            }
            _ => word.push(char::from(byte)),
        }
    }
    match word.len() {
        0 => Err(truncated()),
        1..=10 => Ok(word),
        _ => Err(damaged("a word of its header is too long")),
    }
}

fn number(bytes: &[u8], at: &mut usize) -> Result<u32, ImageError> {
    let word = word(bytes, at)?;
    let number = word.parse();
    number.map_err(|_| damaged("a number in its header is not a number"))
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut at = 3;
        let (width, height) = (number(bytes, &mut at)?, number(bytes, &mut at)?);
        let (mut coding, samples) = match bytes.get(1) {
            Some(b'1') => (Coding::PlainBits, 1),
            Some(b'2') => (Coding::Plain, 1),
            Some(b'3') => (Coding::Plain, 3),
            Some(b'4') => (Coding::Bits, 1),
            Some(b'5') => (Coding::Raw, 1),
            Some(b'6') => (Coding::Raw, 3),
            _ => (Coding::Floats { little: false }, 1),
        };
        let mut most = 1;
        match &mut coding {
            Coding::PlainBits | Coding::Bits => {}
            Coding::Floats { little } => {
                let scale: f64 = word(bytes, &mut at)?
                    .parse()
                    .map_err(|_| damaged("its scale is not a number"))?;
                if scale == 0.0 || !scale.is_finite() {
                    return Err(damaged("its scale is 0 or not finite"));
                }
                *little = scale < 0.0;
            }
            Coding::Plain | Coding::Raw => {
                most = number(bytes, &mut at)?;
                if !(1..65_536).contains(&most) {
                    return Err(damaged(format_args!("its brightest value is {most}")));
                }
            }
        }
        Ok(Self {
            width,
            height,
            coding,
            samples,
            most,
            at,
        })
    }

    /// A sample as a byte. Grey of more than 8 bits becomes one of 16, and that is cut off at
    /// 255, as Pillow does it.
    fn byte(&self, value: u32) -> u8 {
        let wide = self.samples == 1 && self.most > 255;
        let full = if wide { 65_535.0 } else { 255.0 };
        let value = (f64::from(value) / f64::from(self.most) * full).round_ties_even();
        value.min(255.0) as u8
    }
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let head = Head::read(bytes)?;
    Ok((head.width, head.height))
}

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch() -> u64 {
    4 << 10
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    let head = Head::read(job.bytes)?;
    let data = job.bytes.get(head.at..).unwrap_or_default();
    let (width, height) = job.size();
    let samples = width * head.samples;
    let row_bytes = match head.coding {
        Coding::Bits => width.div_ceil(8),
        Coding::Raw => samples * if head.most > 255 { 2 } else { 1 },
        Coding::Floats { .. } => samples * 4,
        Coding::PlainBits => return plain_bits(job, data, rgb),
        Coding::Plain => return plain(job, &head, data, rgb),
    };
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        job.stop.work(samples as u64 * 4)?;
        let nth = match head.coding {
            Coding::Floats { .. } => height - 1 - y,
            _ => y,
        };
        let row = data.get(nth * row_bytes..(nth + 1) * row_bytes);
        let row = row.ok_or_else(truncated)?;
        match (head.coding, row_bytes / samples) {
            (Coding::Bits, _) => {
                let bits = row
                    .iter()
                    .flat_map(|byte| (0..8).map(move |nth| byte << nth & 0x80));
                convert::grey_to_rgb(bits.map(|bit| if bit == 0 { 255 } else { 0 }), out);
            }
            (Coding::Floats { little }, _) => {
                let floats = row.as_chunks::<4>().0.iter().map(|&bytes| match little {
                    true => f32::from_le_bytes(bytes),
                    false => f32::from_be_bytes(bytes),
                });
                // A cast saturates, as Pillow does.
                convert::grey_to_rgb(floats.map(|value| value as u8), out);
            }
            (_, 2) => {
                let pairs = row.as_chunks::<2>().0.iter();
                let values = pairs.map(|&bytes| head.byte(u16::from_be_bytes(bytes).into()));
                put(values, head.samples, out);
            }
            (_, _) if head.most == 255 => put(row.iter().copied(), head.samples, out),
            (_, _) => {
                let values = row.iter().map(|&value| head.byte(value.into()));
                put(values, head.samples, out);
            }
        }
    }
    Ok(())
}

/// Puts samples into pixels.
fn put(values: impl Iterator<Item = u8>, samples: usize, out: &mut [u8]) {
    match samples {
        1 => convert::grey_to_rgb(values, out),
        _ => out
            .iter_mut()
            .zip(values)
            .for_each(|(out, value)| *out = value),
    }
}

/// The bytes behind a comment's end.
fn behind_comment(data: &[u8]) -> &[u8] {
    let end = data.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    end.map_or(&[], |end| &data[end + 1..])
}

/// Digits, which need nothing between them.
fn plain_bits(job: &Job<'_>, data: &[u8], rgb: &mut [u8]) -> Result<(), ImageError> {
    /// Pillow reads so many bytes at once (`SAFEBLOCK`), and refuses what is no digit in any of them.
    const BLOCK: usize = 1 << 20;
    let mut rest = data;
    for out in rgb.as_chunks_mut::<3>().0 {
        job.stop.work(4)?;
        let bit = next_bit(&mut rest)?.ok_or_else(truncated)?;
        *out = [bit; 3];
    }
    let read = (data.len() - rest.len()).next_multiple_of(BLOCK);
    let behind = data.len().saturating_sub(read);
    while rest.len() > behind {
        job.stop.work(4)?;
        next_bit(&mut rest)?;
    }
    Ok(())
}

/// The level of the next digit, if there is one.
fn next_bit(data: &mut &[u8]) -> Result<Option<u8>, ImageError> {
    while let Some((&byte, rest)) = data.split_first() {
        *data = rest;
        match byte {
            b'0' => return Ok(Some(255)),
            b'1' => return Ok(Some(0)),
            b'#' => *data = behind_comment(data),
            _ if is_space(byte) => {}
            _ => return Err(damaged("a digit of its pixels is not 0 or 1")),
        }
    }
    Ok(None)
}

/// Decimal numbers with white space between them; comments are as if they were not there.
fn plain(job: &Job<'_>, head: &Head, mut data: &[u8], rgb: &mut [u8]) -> Result<(), ImageError> {
    for out in rgb.as_chunks_mut::<3>().0 {
        let before = data.len();
        *out = match head.samples {
            1 => [value(head, &mut data)?; 3],
            _ => [
                value(head, &mut data)?,
                value(head, &mut data)?,
                value(head, &mut data)?,
            ],
        };
        job.stop.work((before - data.len()) as u64 * 3 + 10)?;
    }
    Ok(())
}

/// The next decimal number, as a byte.
fn value(head: &Head, data: &mut &[u8]) -> Result<u8, ImageError> {
    /// Digits of the longest number.
    const LONGEST: usize = 10;
    let (mut value, mut digits) = (0u64, 0);
    loop {
        let Some((&byte, rest)) = data.split_first() else {
            match digits {
                0 => return Err(truncated()),
                _ => break,
            }
        };
        *data = rest;
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                value = value * 10 + u64::from(byte - b'0');
                if digits > LONGEST {
                    return Err(damaged("a number of its pixels is too long"));
                }
            }
            b'#' => *data = behind_comment(data),
            _ if !is_space(byte) => return Err(damaged("a number of its pixels is not a number")),
            _ if digits > 0 => break,
            _ => {}
        }
    }
    match u32::try_from(value) {
        Ok(value) if value <= head.most => Ok(head.byte(value)),
        _ => Err(damaged("a pixel is brighter than its header allows")),
    }
}
