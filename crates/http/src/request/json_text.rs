//! The encoding of a JSON body. Python's `json.loads` takes UTF-8, UTF-16 and UTF-32, with a
//! byte order mark or without, and tells them apart by where their zeros are; so clients of
//! the service that this one replaces may send any of them.

use std::borrow::Cow;
use std::fmt;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16(Order),
    Utf32(Order),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

/// A body is not in the encoding that it seems to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotText {
    encoding: Encoding,
    at: usize,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.encoding {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16(_) => "UTF-16",
            Encoding::Utf32(_) => "UTF-32",
        };
        write!(f, "it is not {name} at byte {}", self.at)
    }
}

/// The text of a body, without its byte order mark.
pub(crate) fn decode(body: &[u8]) -> Result<Cow<'_, str>, NotText> {
    let (encoding, mark) = detect(body);
    let body = &body[mark..];
    let not_text = |at| NotText {
        encoding,
        at: mark + at,
    };
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(body)
            .map(Cow::Borrowed)
            .map_err(|error| not_text(error.valid_up_to())),
        Encoding::Utf16(order) => {
            let (units, rest) = body.as_chunks::<2>();
            let units = units.iter().map(|&unit| match order {
                Order::Big => u16::from_be_bytes(unit),
                Order::Little => u16::from_le_bytes(unit),
            });
            let mut text = String::with_capacity(body.len());
            let mut at = 0;
            for decoded in char::decode_utf16(units) {
                let character = decoded.map_err(|_| not_text(at))?;
                at += character.len_utf16() * 2;
                text.push(character);
            }
            match rest.is_empty() {
                true => Ok(Cow::Owned(text)),
                false => Err(not_text(at)),
            }
        }
        Encoding::Utf32(order) => {
            let (units, rest) = body.as_chunks::<4>();
            let mut text = String::with_capacity(body.len() / 2);
            for (at, &unit) in units.iter().enumerate() {
                let code = match order {
                    Order::Big => u32::from_be_bytes(unit),
                    Order::Little => u32::from_le_bytes(unit),
                };
                text.push(char::from_u32(code).ok_or(not_text(at * 4))?);
            }
            match rest.is_empty() {
                true => Ok(Cow::Owned(text)),
                false => Err(not_text(body.len() - rest.len())),
            }
        }
    }
}

/// The bytes that [`decode`] takes at most: UTF-8 is read where it is; of the others a buffer
/// grows, the old one beside the new.
pub(crate) fn decoded_bytes(body: &[u8]) -> usize {
    match detect(body).0 {
        Encoding::Utf8 => 0,
        Encoding::Utf16(_) | Encoding::Utf32(_) => 3 * body.len(),
    }
}

/// The bytes that the strings in a body take at most when they are copied: two bytes of UTF-16 may be three
/// of UTF-8.
pub(crate) fn text_bytes(body: &[u8]) -> usize {
    match detect(body).0 {
        Encoding::Utf8 | Encoding::Utf32(_) => body.len(),
        Encoding::Utf16(_) => body.len() / 2 * 3,
    }
}

/// The encoding, and the length of its mark: `json.detect_encoding`.
fn detect(body: &[u8]) -> (Encoding, usize) {
    use Encoding::{Utf8, Utf16, Utf32};
    use Order::{Big, Little};
    match body {
        [0, 0, 0xfe, 0xff, ..] => (Utf32(Big), 4),
        [0xff, 0xfe, 0, 0, ..] => (Utf32(Little), 4),
        [0xfe, 0xff, ..] => (Utf16(Big), 2),
        [0xff, 0xfe, ..] => (Utf16(Little), 2),
        [0xef, 0xbb, 0xbf, ..] => (Utf8, 3),
        [0, 0, _, _, ..] => (Utf32(Big), 0),
        [0, _, _, _, ..] | [0, _] => (Utf16(Big), 0),
        [_, 0, 0, 0, ..] => (Utf32(Little), 0),
        [_, 0, _, _, ..] | [_, 0] => (Utf16(Little), 0),
        _ => (Utf8, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encodings_of_json_loads() {
        let text = "[\"a\u{e4}\u{1f600}\"]";
        let utf16 = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<_>>();
        let utf32 = |to: fn(u32) -> [u8; 4]| {
            text.chars()
                .flat_map(|c| to(u32::from(c)))
                .collect::<Vec<_>>()
        };
        for (mark, body) in [
            (&b"\xef\xbb\xbf"[..], text.as_bytes().to_vec()),
            (b"\xfe\xff", utf16(u16::to_be_bytes)),
            (b"\xff\xfe", utf16(u16::to_le_bytes)),
            (b"\0\0\xfe\xff", utf32(u32::to_be_bytes)),
            (b"\xff\xfe\0\0", utf32(u32::to_le_bytes)),
        ] {
            assert_eq!(decode(&body).unwrap(), text, "{body:?}");
            assert!(text.len() <= text_bytes(&body), "{body:?}");
            assert_eq!(decode(&[mark, &body].concat()).unwrap(), text, "{body:?}");
        }
        assert_eq!(decode(b"1").unwrap(), "1");
        assert_eq!(decode(b"1\0").unwrap(), "1");
        assert_eq!(decode(b"\x001").unwrap(), "1");
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn what_is_not_in_its_encoding_is_told_where() {
        for (body, said) in [
            (&b"[\"\xff\"]"[..], "it is not UTF-8 at byte 2"),
            (b"\xff\xfe[\0\0\xd8]\0", "it is not UTF-16 at byte 4"),
            (b"\xff\xfe[\0]", "it is not UTF-16 at byte 4"),
            (b"\0\0\xfe\xff\0\x11\0\0", "it is not UTF-32 at byte 4"),
            (b"\0\0\xfe\xff\0\0\0[\0", "it is not UTF-32 at byte 8"),
        ] {
            assert_eq!(decode(body).unwrap_err().to_string(), said, "{body:?}");
        }
    }
}
