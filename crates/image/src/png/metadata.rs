//! What a PNG has beside its pixels: EXIF data in a chunk of its own or in a text, XMP data in
//! a text.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::ZlibDecoder;

use super::chunks::{self, Head, MAX_TEXT, split};
use crate::exif::Metadata;
use crate::inspect::u32_be;

/// The name of the text that ImageMagick puts EXIF data into, as hexadecimal digits.
const RAW_EXIF: &[u8] = b"Raw profile type exif";

/// The name of the text that is XMP data.
const XMP: &[u8] = b"XML:com.adobe.xmp";

/// What its chunks say, before and behind the image data. Of several the last counts.
pub(crate) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    let mut found = Metadata::default();
    // Only the last ones are unpacked, and when the others are passed: each may become a megabyte.
    let (mut raw_exif, mut xmp) = (None, None);
    let (mut in_data, mut behind, mut animated) = (false, false, false);
    let mut at = 8;
    while let Some(Head { kind, length, body }) = chunks::head(bytes, at) {
        let Some(body) = body.get(..length) else {
            break;
        };
        behind |= in_data && &kind != b"IDAT";
        match &kind {
            b"IEND" => break,
            _ if !chunks::is_word(&kind) => break,
            // The next frame.
            b"fcTL" if behind && animated => break,
            b"acTL" => animated |= matches!(u32_be(body, 0), Some(2..)),
            b"IDAT" => in_data = true,
            b"eXIf" => found.exif = Some(body.into()),
            b"tEXt" | b"zTXt" | b"iTXt" => {
                if let Some((key, text)) = text(&kind, body) {
                    match key {
                        b"exif" => {
                            if let Text::Plain(text) = text {
                                found.exif = Some(text.into());
                            }
                        }
                        RAW_EXIF => raw_exif = Some(text),
                        XMP => xmp = Some(text),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        at = at.saturating_add(12).saturating_add(length);
    }
    found.xmp = xmp.and_then(Text::unpacked);
    if found.exif.is_none() {
        found.exif = raw_exif
            .and_then(Text::unpacked)
            .and_then(|text| from_hexadecimal(&text))
            .map(Cow::Owned);
    }
    found
}

/// The text of a chunk, as it lies there.
#[derive(Clone, Copy)]
enum Text<'a> {
    Plain(&'a [u8]),
    /// Packed, and empty where it is damaged.
    Packed(&'a [u8]),
    /// Packed, and no text where it is damaged.
    PackedWhole(&'a [u8]),
}

impl<'a> Text<'a> {
    fn unpacked(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Text::Plain(text) => Some(text.into()),
            Text::Packed(packed) => Some(unpacked(packed).unwrap_or_default().into()),
            Text::PackedWhole(packed) => unpacked(packed).map(Cow::Owned),
        }
    }
}

/// The key and the text of a chunk, if it is one of those that matter.
fn text<'a>(kind: &[u8; 4], body: &'a [u8]) -> Option<(&'a [u8], Text<'a>)> {
    let (key, value) = split(body);
    if ![b"exif", RAW_EXIF, XMP].contains(&key) {
        return None;
    }
    let text = match kind {
        b"tEXt" => Text::Plain(value),
        b"zTXt" => match value {
            [0, packed @ ..] => Text::Packed(packed),
            _ => return None,
        },
        _ => {
            let &[packed, method, ref rest @ ..] = value else {
                return None;
            };
            let text = rest.splitn(3, |&byte| byte == 0).nth(2)?;
            match (packed, method) {
                // EXIF data is never told in this way.
                _ if key == b"exif" => return None,
                (0, _) => Text::Plain(text),
                (_, 0) => Text::PackedWhole(text),
                _ => return None,
            }
        }
    };
    Some((key, text))
}

/// What was packed, if it is whole and no more than Pillow unpacks.
fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut unpacker = ZlibDecoder::new(packed).take(MAX_TEXT + 1);
    unpacker.read_to_end(&mut text).ok()?;
    (text.len() as u64 <= MAX_TEXT).then_some(text)
}

/// The digits behind the third line, as bytes.
fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.splitn(4, |&byte| byte == b'\n').nth(3)?;
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let digits = lines.iter().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits.map(|&byte| digit(byte)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
