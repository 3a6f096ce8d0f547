//! Base64 as Python's `base64.b64decode` reads it.
//!
//! The service that this one replaces used that function, and it is generous: what
//! is not of the alphabet (line breaks, spaces) is skipped, and whatever follows
//! complete padding is ignored. It is strict in one thing: the padding must be
//! there. Clients may depend on either.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a text is no base64.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Base64Error {
    /// The last group is cut short.
    #[error("its padding is wrong")]
    Padding,
    /// The last group has one character, which makes no byte.
    #[error("its {0} data characters are one more than a multiple of 4")]
    Length(usize),
    /// A data URI without its comma.
    #[error("it begins like a data URI but has no comma")]
    DataUri,
}

/// The bytes of a base64 text, or of a data URI with one in it.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let text = text.trim_start();
    let is_uri = text
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let data = if is_uri {
        // Its parameters may have commas in them; base64 has none.
        text.rsplit_once(',').ok_or(Base64Error::DataUri)?.1
    } else {
        text
    };
    // What is written as it should be is read fast; the rest as Python would.
    STANDARD
        .decode(data)
        .or_else(|_| as_python(data.as_bytes()))
}

/// What is likely to have gone wrong with a text that turned out to be no image.
pub(crate) fn mistake(text: &str) -> Option<&'static str> {
    /// So much of it shows what it is.
    const LOOKED_AT: usize = 64 << 10;
    let text = text.trim();
    let begins = |with: &str| {
        let start = text.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if begins("http://") || begins("https://") {
        return Some("It is a URL, and this service fetches none: send the image itself.");
    }
    if text.starts_with("b'") || text.starts_with("b\"") {
        return Some(
            "It looks like the repr of Python bytes: make a string of them first, with .decode().",
        );
    }
    let data = match begins("data:") {
        true => text.rsplit(',').next().unwrap_or_default(),
        false => text,
    };
    let looked_at = &data.as_bytes()[..data.len().min(LOOKED_AT)];
    if looked_at.contains(&b'-') || looked_at.contains(&b'_') {
        return Some(
            "It has - or _ in it, as URL-safe base64 does: send standard base64, with + and /.",
        );
    }
    if looked_at.contains(&b' ') && !looked_at.contains(&b'+') {
        return Some("It has spaces where there may have been a +: percent-encode the form.");
    }
    None
}

/// `binascii.a2b_base64` without `strict_mode`.
fn as_python(text: &[u8]) -> Result<Vec<u8>, Base64Error> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    // Bits that wait for more, the position in the group of 4, and its padding.
    let (mut left, mut quad, mut pads) = (0_u8, 0_u8, 0_u8);
    let mut characters = 0_usize;
    for &character in text {
        if character == b'=' {
            pads = pads.saturating_add(1);
            if quad >= 2 && quad.saturating_add(pads) >= 4 {
                return Ok(bytes);
            }
            if quad < 2 {
                pads = 0;
            }
            continue;
        }
        let Some(value) = value_of(character) else {
            continue;
        };
        characters += 1;
        pads = 0;
        match quad {
            0 => left = value,
            1 => {
                bytes.push(left << 2 | value >> 4);
                left = value & 0x0f;
            }
            2 => {
                bytes.push(left << 4 | value >> 2);
                left = value & 0x03;
            }
            _ => bytes.push(left << 6 | value),
        }
        quad = (quad + 1) % 4;
    }
    match quad {
        0 => Ok(bytes),
        1 => Err(Base64Error::Length(characters)),
        _ => Err(Base64Error::Padding),
    }
}

fn value_of(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_data_uri() {
        assert_eq!(decode("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode("data:image/png;base64,aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode("  DATA:;base64,aGVsbG8=").unwrap(), b"hello");
        assert_eq!(
            decode("data:image/png;base64").unwrap_err(),
            Base64Error::DataUri
        );
        assert_eq!(decode("").unwrap(), b"");
    }

    #[test]
    fn parameters_of_a_data_uri_may_have_commas() {
        let uri = "data:image/png;name=\"a,b\";base64,aGVsbG8=";
        assert_eq!(decode(uri).unwrap(), b"hello");
    }

    #[test]
    fn common_mistakes_are_recognized_and_good_base64_is_not() {
        for (text, said) in [
            ("https://example.com/a.jpg", "URL"),
            ("HTTP://x", "URL"),
            ("b'iVBORw0KGgo='", "Python"),
            ("iVBO_w0K-go=", "URL-safe"),
            ("data:image/png;base64,iVBO_w0KGgo=", "URL-safe"),
            ("/9j/4AAQ SkZJ", "spaces"),
        ] {
            assert!(
                mistake(text).is_some_and(|cause| cause.contains(said)),
                "{text}"
            );
        }
        for text in [
            "aGVsbG8=",
            "aGVs\r\nbG8=",
            "data:image/x-png;base64,aGVsbG8=",
            "a+ b",
            "",
        ] {
            assert_eq!(mistake(text), None, "{text}");
        }
    }

    /// Each of these was put to `base64.b64decode` of CPython 3.
    #[test]
    fn oddities_as_in_python() {
        let cases: [(&str, Result<&[u8], Base64Error>); 15] = [
            ("aGVs\r\nbG8=\n", Ok(b"hello")),
            ("a G-V_s b!G8=", Ok(b"hello")),
            ("aGVsbG8", Err(Base64Error::Padding)),
            ("aGVsbG8==", Ok(b"hello")),
            ("aGVsbG8=trailing", Ok(b"hello")),
            ("aA=", Err(Base64Error::Padding)),
            ("aA==", Ok(b"h")),
            ("aA=\n=", Ok(b"h")),
            ("aGVsb", Err(Base64Error::Length(5))),
            ("=aGVsbG8=", Ok(b"hello")),
            ("a=GVsbG8=", Ok(b"hello")),
            ("aG=VsbG8=", Ok(b"hello")),
            ("====", Ok(b"")),
            ("not base64!", Err(Base64Error::Length(9))),
            ("aB==", Ok(b"h")),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text), expected.map(<[u8]>::to_vec), "{text:?}");
        }
    }
}
