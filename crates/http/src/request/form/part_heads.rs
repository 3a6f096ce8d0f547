//! Control characters in the heads of a form's parts.
//!
//! Some clients send file names with them, and FastAPI takes them; multer keeps the headers of
//! a part in a type that cannot hold them, and refuses the whole form. So they are escaped
//! before multer sees them, and given back when a header is read. What is between the heads is
//! not touched, and not copied.

use bytes::Bytes;
use memchr::memmem::Finder;

/// Begins an escape. It is not UTF-8 anywhere, and is escaped itself.
const ESCAPE: u8 = 0xff;

/// What follows [`ESCAPE`] for itself and for DEL; the other control characters are moved up.
const ESCAPED_ESCAPE: u8 = 0xc0;
const ESCAPED_DELETE: u8 = 0xc1;
const UP: u8 = 0x80;

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// Escapes the heads in a stream of pieces.
#[derive(Debug)]
pub(crate) struct HeadEscaper {
    /// What precedes every part except the first.
    delimiter: Finder<'static>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Between heads; the last bytes, in which a delimiter may have begun.
    Content(Vec<u8>),
    /// In a head, of whose end so many bytes are here.
    Head(usize),
}

impl HeadEscaper {
    /// For a form with this boundary.
    pub(crate) fn new(boundary: &str) -> Self {
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        Self {
            delimiter,
            // The first boundary stands at the beginning of the body, or behind a line end.
            place: Place::Content(b"\r\n".to_vec()),
        }
    }

    /// The next piece, escaped.
    pub(crate) fn escape(&mut self, piece: Bytes) -> Bytes {
        let mut escaped = None;
        let mut at = 0;
        while at < piece.len() {
            match &mut self.place {
                Place::Content(tail) => {
                    let end = delimiter_end(&self.delimiter, tail, &piece[at..]);
                    if let Some(escaped) = &mut escaped {
                        let until = end.map_or(piece.len(), |end| at + end);
                        Vec::extend_from_slice(escaped, &piece[at..until]);
                    }
                    match end {
                        Some(end) => {
                            at += end;
                            self.place = Place::Head(0);
                        }
                        None => at = piece.len(),
                    }
                }
                Place::Head(matched) => {
                    let byte = piece[at];
                    *matched = match byte {
                        _ if byte == END[*matched] => *matched + 1,
                        b'\r' => 1,
                        _ => 0,
                    };
                    let ended = *matched == END.len();
                    let code = match byte {
                        b'\t' | b'\r' | b'\n' => None,
                        ESCAPE => Some(ESCAPED_ESCAPE),
                        0x7f => Some(ESCAPED_DELETE),
                        _ if byte < 0x20 => Some(byte + UP),
                        _ => None,
                    };
                    match (code, &mut escaped) {
                        (Some(code), escaped) => escaped
                            .get_or_insert_with(|| piece[..at].to_vec())
                            .extend_from_slice(&[ESCAPE, code]),
                        (None, Some(escaped)) => escaped.push(byte),
                        (None, None) => {}
                    }
                    at += 1;
                    if ended {
                        self.place = Place::Content(Vec::new());
                    }
                }
            }
        }
        escaped.map_or(piece, Bytes::from)
    }
}

/// Where the first delimiter ends in `bytes`, which follow `tail`; without one, the new tail is
/// left there.
fn delimiter_end(delimiter: &Finder<'_>, tail: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    let length = delimiter.needle().len();
    let before = tail.len();
    // One that lies across the two.
    tail.extend_from_slice(&bytes[..bytes.len().min(length - 1)]);
    if let Some(start) = delimiter.find(tail) {
        return Some(start + length - before);
    }
    if let Some(start) = delimiter.find(bytes) {
        return Some(start + length);
    }
    if bytes.len() >= length {
        tail.clear();
        tail.extend_from_slice(&bytes[bytes.len() - (length - 1)..]);
    } else {
        tail.drain(..tail.len().saturating_sub(length - 1));
    }
    None
}

/// The value of a part's header as its client sent it.
pub(crate) fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            ESCAPE => match bytes.next() {
                Some(ESCAPED_DELETE) => 0x7f,
                Some(code) if code < UP + 0x20 => code.wrapping_sub(UP),
                _ => ESCAPE,
            },
            byte => byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--B\r\nA: \x01\xff\x7f\r\n\r\ncontent\x01\xff\x7f\r\n--not\r\n\r\r\n--B \r\nB: \0\r\n\r\n\r\n--B\r\n\r\n\x02\r\n--B--\r\n\x03";

    fn escaped(body: &[u8], size: usize) -> Vec<u8> {
        let mut escaper = HeadEscaper::new("B");
        let pieces = body.chunks(size).map(Bytes::copy_from_slice);
        pieces.flat_map(|piece| escaper.escape(piece)).collect()
    }

    #[test]
    fn heads_are_escaped_and_contents_are_not_in_whatever_pieces_they_come() {
        let expected = b"--B\r\nA: \xff\x81\xff\xc0\xff\xc1\r\n\r\ncontent\x01\xff\x7f\r\n--not\r\n\r\r\n--B \r\nB: \xff\x80\r\n\r\n\r\n--B\r\n\r\n\x02\r\n--B--\r\n\xff\x83";
        for size in 1..=BODY.len() {
            assert_eq!(escaped(BODY, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_piece_without_them_is_the_same_piece() {
        let body = Bytes::from_static(b"--B\r\nA: b\r\n\r\n\x01\r\n--B--\r\n");
        let same = HeadEscaper::new("B").escape(body.clone());
        assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len()));
    }

    #[test]
    fn what_was_escaped_is_given_back() {
        let all: Vec<u8> = (0..=255).filter(|byte| !b"\r\n".contains(byte)).collect();
        let body = [b"--B\r\nA: ".as_slice(), &all, b"\r\n\r\n"].concat();
        for size in [1, 7, 1000] {
            let escaped = escaped(&body, size);
            let value = &escaped[8..escaped.len() - 4];
            assert!(
                value
                    .iter()
                    .all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
            );
            assert_eq!(unescaped(value), all);
        }
    }
}
