//! XPM, pictures as strings of C, read as Pillow's `XpmImagePlugin` reads them: a string with the
//! size, one for each colour with its key, and strings of keys. Colours are hexadecimal or `None`,
//! which is black here; names of colours are refused.

use std::collections::HashMap;

use super::decode::Job;
use super::text::{is_space, line, number, trimmed};
use super::{ImageError, ImageFormat};

const MAGIC: &[u8] = b"/* XPM */";
/// Bytes of memory for a colour: its key's place, the colour, and room in the table.
const COLOUR: u64 = 96;
/// The shortest line of a colour, but for its key.
const COLOUR_LINE: u64 = 8;

fn damaged(reason: impl std::fmt::Display) -> ImageError {
    ImageError::damaged(ImageFormat::Xpm, reason)
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// Whether a file is one.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What the first string says.
struct Header<'a> {
    width: u32,
    height: u32,
    colours: u32,
    /// Bytes of a key.
    key: usize,
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let mut rest = bytes.get(MAGIC.len()..).unwrap_or_default();
        loop {
            let line = line(&mut rest, usize::MAX).ok_or_else(truncated)?;
            let Some(words) = line.strip_prefix(b"\"").and_then(four_words) else {
                continue;
            };
            let [width, height, colours, key] = words.map(number);
            let number = |number: Option<u32>| {
                number.ok_or_else(|| damaged("one of the numbers at its beginning is none"))
            };
            return Ok(Self {
                width: number(width)?,
                height: number(height)?,
                colours: number(colours)?,
                key: number(key)? as usize,
                rest,
            });
        }
    }
}

/// Four words of digits, or of none, with a space between them.
fn four_words(line: &[u8]) -> Option<[&[u8]; 4]> {
    let mut words = [&line[..0]; 4];
    let mut rest = line;
    for (nth, word) in words.iter_mut().enumerate() {
        if nth > 0 {
            rest = rest.strip_prefix(b" ")?;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (*word, rest) = rest.split_at(digits);
    }
    Some(words)
}

/// Width and height.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let header = Header::read(bytes)?;
    Ok((header.width, header.height))
}

/// Bytes that decoding takes beside the pixels: the table of colours, of which there are no more
/// than lines that fit into the file.
pub(super) fn scratch(bytes: &[u8]) -> Result<u64, ImageError> {
    let header = Header::read(bytes)?;
    let lines = header.rest.len() as u64 / COLOUR_LINE;
    Ok(u64::from(header.colours).min(lines) * COLOUR + (4 << 10))
}

/// The colour of a line, and its key.
fn colour(line: &[u8], key: usize) -> Option<(&[u8], [u8; 3])> {
    let line = trimmed(line);
    let rest = line.get(key + 1..line.len().checked_sub(2)?)?;
    let mut words = rest
        .split(|&byte| is_space(byte))
        .filter(|word| !word.is_empty());
    loop {
        // Words come in pairs: what a colour is for, and the colour.
        let context = words.next()?;
        let word = words.next();
        if context == b"c" {
            return Some((line.get(1..key + 1)?, of_word(word?)?));
        }
    }
}

fn of_word(word: &[u8]) -> Option<[u8; 3]> {
    if word == b"None" {
        return Some([0; 3]);
    }
    let digits = word
        .strip_prefix(b"#")
        .filter(|digits| !digits.is_empty())?;
    let value = digits.iter().try_fold(0u32, |value, &digit| {
        // The last six count.
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })?;
    let [_, rgb @ ..] = value.to_be_bytes();
    Some(rgb)
}

/// Decodes to RGB.
pub(super) fn decode(job: &Job<'_>, rgb: &mut [u8]) -> Result<(), ImageError> {
    /// Nanoseconds to look a key up.
    const KEY: u64 = 60;
    let Header {
        colours, key, rest, ..
    } = Header::read(job.bytes)?;
    let mut rest = rest;
    let mut table = HashMap::new();
    for _ in 0..colours {
        let line = line(&mut rest, usize::MAX).ok_or_else(truncated)?;
        job.stop.work(2 * KEY + line.len() as u64)?;
        let (key, colour) =
            colour(line, key).ok_or_else(|| damaged("one of its colours is none"))?;
        table.insert(key, colour);
    }
    let mut pixels = rgb.as_chunks_mut::<3>().0.iter_mut();
    let mut heading = false;
    while pixels.len() > 0 {
        let line = line(&mut rest, usize::MAX).ok_or_else(truncated)?;
        job.stop.work(line.len() as u64)?;
        if !heading && trimmed(line) == b"/* pixels */" {
            heading = true;
            continue;
        }
        // What is between the first and the last quotation mark.
        let mut marks = (0..line.len()).filter(|&at| line[at] == b'"');
        let keys = marks.next().zip(marks.next_back());
        let keys = keys.and_then(|(first, last)| line.get(first + 1..last));
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
            continue;
        };
        if key == 0 {
            return Err(damaged("its keys have no letters"));
        }
        for key in keys.chunks(key) {
            job.stop.work(KEY)?;
            let colour = table.get(key);
            let colour =
                colour.ok_or_else(|| damaged("a pixel has a key that stands for no colour"))?;
            // What is too much at the end of a line is looked at, and dropped.
            if let Some(pixel) = pixels.next() {
                *pixel = *colour;
            }
        }
    }
    Ok(())
}
