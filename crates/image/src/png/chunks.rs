//! The chunks of a PNG before and of its image data, with Pillow's rules on what is
//! damaged: it reads them all, and refuses a file for one that it need not have read.

use std::io::Read;

use flate2::bufread::ZlibDecoder;

use super::damaged;
use crate::ImageError;
use crate::inspect::{array, u32_be};

/// Text and profiles that a chunk may unpack to (Pillow's `MAX_TEXT_CHUNK`).
pub(super) const MAX_TEXT: u64 = 1 << 20;
/// And all texts together (Pillow's `MAX_TEXT_MEMORY`), in bytes or characters.
const MAX_TEXTS: u64 = 64 << 20;

/// What is needed to decode the pixels.
pub(super) struct Essence<'a> {
    /// The file without all that does not change the pixels: IHDR, PLTE and the first run
    /// of IDAT, with an end.
    pub(super) file: Vec<u8>,
    pub(super) palette: &'a [u8],
    /// Where the first frame of an animation lies if not on the whole canvas: left, top,
    /// width, height.
    pub(super) frame: Option<[u32; 4]>,
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// A chunk up to its body.
pub(super) struct Head<'a> {
    pub(super) kind: [u8; 4],
    pub(super) length: usize,
    /// All that follows, of this chunk and others.
    pub(super) body: &'a [u8],
}

pub(super) fn head(bytes: &[u8], at: usize) -> Option<Head<'_>> {
    let length = u32_be(bytes, at)? as usize;
    let kind = array(bytes, at + 4)?;
    let body = bytes.get(at + 8..)?;
    Some(Head { kind, length, body })
}

/// The header that counts: the last IHDR before the image data, of 13 bytes at least.
pub(super) fn header(bytes: &[u8]) -> Result<[u8; 13], ImageError> {
    let mut at = 8;
    let mut header = None;
    while let Some(Head { kind, length, body }) = head(bytes, at) {
        match &kind {
            // To Pillow it is a chunk like any other there.
            b"IDAT" if header.is_none() => {}
            b"IDAT" | b"fdAT" | b"IEND" => break,
            b"IHDR" => {
                if length < 13 {
                    return Err(damaged("its IHDR chunk is too short"));
                }
                header = Some(array(body, 0).ok_or_else(truncated)?);
            }
            _ => {}
        }
        at = at.saturating_add(12).saturating_add(length);
    }
    header.ok_or_else(|| match bytes.len() {
        ..33 => damaged("the file is cut short: it ends within its header"),
        _ => damaged("it has no IHDR chunk before its image data"),
    })
}

/// Reads all chunks up to the end of the image data.
///
/// Checksums count for the chunks before the image data but not for the data itself (zlib
/// has its own), and what comes behind the data may be missing. Texts and profiles, and the
/// bombs in them, are kept away from the decoder.
pub(super) fn essence(bytes: &[u8]) -> Result<Essence<'_>, ImageError> {
    let header = header(bytes)?;
    let mut essence = Essence {
        file: Vec::with_capacity(bytes.len() + 64),
        palette: &[],
        frame: None,
    };
    let mut before = Before::new(&header);
    let mut at = 8;
    let mut in_data = false;
    loop {
        let Some(Head { kind, length, body }) = head(bytes, at) else {
            if in_data {
                break;
            }
            return Err(truncated());
        };
        if &kind == b"IDAT" && before.begun {
            if !in_data {
                in_data = true;
                begin(&mut essence, &header, &before)?;
            }
            // The last one may be cut: whether enough is there, zlib will say.
            let body = &body[..body.len().min(length)];
            put(&mut essence.file, b"IDAT", body);
        } else if in_data {
            behind(bytes, at, &mut before)?;
            break;
        } else {
            if &kind == b"IEND" {
                return Err(damaged("it has no image data"));
            }
            if !is_word(&kind) {
                return Err(damaged("it has a broken chunk"));
            }
            if &kind == b"fdAT" {
                return Err(damaged("a frame of its animation comes before its image"));
            }
            let body = body.get(..length).ok_or_else(truncated)?;
            let stored = u32_be(bytes, at + 8 + length).ok_or_else(truncated)?;
            let kind_name = || String::from_utf8_lossy(&kind);
            if let Some(wrong) = before.read(&kind, body) {
                return Err(damaged(format_args!("its {} chunk {wrong}", kind_name())));
            }
            if crc32fast::hash(&bytes[at + 4..at + 8 + length]) != stored {
                return Err(damaged(format_args!(
                    "the checksum of its {} chunk is wrong",
                    kind_name()
                )));
            }
            match &kind {
                b"IHDR" => before.begun = true,
                // One before the header is of no kind of picture.
                b"PLTE" if before.begun => essence.palette = body,
                _ => {}
            }
        }
        at = at.saturating_add(12).saturating_add(length);
    }
    put(&mut essence.file, b"IEND", &[]);
    Ok(essence)
}

/// Reads the chunks behind the image data, as Pillow does once it has the pixels: without
/// a look at checksums, up to the end, the next frame or the first that is no chunk.
fn behind(bytes: &[u8], mut at: usize, before: &mut Before) -> Result<(), ImageError> {
    while let Some(Head { kind, length, body }) = head(bytes, at) {
        if &kind == b"IEND" || !is_word(&kind) || (&kind == b"fcTL" && before.animated) {
            break;
        }
        let body = body.get(..length).ok_or_else(truncated)?;
        if &kind != b"IDAT"
            && &kind != b"IHDR"
            && let Some(wrong) = before.read(&kind, body)
        {
            let kind = String::from_utf8_lossy(&kind);
            return Err(damaged(format_args!("its {kind} chunk {wrong}")));
        }
        at = at.saturating_add(12).saturating_add(length);
    }
    Ok(())
}

/// Whether four bytes can be the name of a chunk.
pub(super) fn is_word(kind: &[u8; 4]) -> bool {
    let of_word = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'_';
    kind.iter().all(of_word)
}

/// The header and the palette that the decoder sees: of the size of the first frame.
fn begin(essence: &mut Essence<'_>, header: &[u8; 13], before: &Before) -> Result<(), ImageError> {
    let mut header = *header;
    essence.frame = before.frame;
    if let Some([_, _, width, height]) = before.frame {
        header[..4].copy_from_slice(&width.to_be_bytes());
        header[4..8].copy_from_slice(&height.to_be_bytes());
        if width == 0 || height == 0 {
            return Err(damaged("its first frame has no pixels"));
        }
    }
    // Pillow looks at neither: there is one compression, and all but 0 is interlaced.
    header[10] = 0;
    header[12] = header[12].min(1);
    essence.file.extend_from_slice(b"\x89PNG\r\n\x1a\n");
    put(&mut essence.file, b"IHDR", &header);
    if header[9] == 3 {
        // The decoder wants one; which colours there are, the caller has.
        put(&mut essence.file, b"PLTE", &[0; 3]);
    }
    Ok(())
}

/// Appends a chunk; its checksum is not looked at.
fn put(file: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    // No body is longer than a chunk of the file was.
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    file.extend_from_slice(kind);
    file.extend_from_slice(body);
    file.extend_from_slice(&[0; 4]);
}

/// What was said before the image data.
struct Before {
    /// There was a header.
    begun: bool,
    size: (u32, u32),
    color: u8,
    /// The number of the last frame control.
    sequence: Option<u32>,
    frame: Option<[u32; 4]>,
    /// Whether it says that there are several frames.
    animated: bool,
    texts: u64,
    unpacked: u64,
}

impl Before {
    fn new(header: &[u8; 13]) -> Self {
        Self {
            begun: false,
            size: (
                u32_be(header, 0).unwrap_or(0),
                u32_be(header, 4).unwrap_or(0),
            ),
            color: header[9],
            sequence: None,
            frame: None,
            animated: false,
            texts: 0,
            unpacked: 0,
        }
    }

    /// Reads a chunk; what is wrong with it.
    fn read(&mut self, kind: &[u8; 4], body: &[u8]) -> Option<&'static str> {
        let least = match kind {
            b"gAMA" => 4,
            b"cHRM" => 32,
            b"sRGB" => 1,
            b"pHYs" => 9,
            b"acTL" => 8,
            b"fcTL" => 26,
            b"fdAT" => 4,
            b"tRNS" => match self.color {
                _ if !self.begun => 0,
                0 => 2,
                2 => 6,
                _ => 0,
            },
            _ => 0,
        };
        if body.len() < least {
            return Some("is too short");
        }
        match kind {
            b"IHDR" if body.get(11) != Some(&0) => Some("names an unknown filter"),
            b"acTL" => {
                self.animated = matches!(u32_be(body, 0), Some(2..=0x8000_0000));
                None
            }
            b"fcTL" => self.frame_control(body),
            b"fdAT" => self.number(body),
            b"iCCP" => {
                let name = body.iter().position(|&byte| byte == 0);
                match body.get(name.map_or(0, |at| at + 1)) {
                    Some(0) => {}
                    _ => return Some("has an unknown compression"),
                }
                let packed = body.get(name.map_or(1, |at| at + 2)..);
                self.unpack(packed.unwrap_or_default()).err()
            }
            b"tEXt" => {
                let (key, value) = split(body);
                match key {
                    [] => None,
                    _ => self.text(value.len() as u64),
                }
            }
            b"zTXt" => {
                let (key, value) = split(body);
                let packed = match value {
                    [0, packed @ ..] => packed,
                    [] => &[],
                    _ => return Some("has an unknown compression"),
                };
                match self.unpack(packed) {
                    Ok(length) if !key.is_empty() => self.text(length),
                    Ok(_) => None,
                    Err(wrong) => Some(wrong),
                }
            }
            b"iTXt" => self.international(body),
            _ => None,
        }
    }

    /// A frame control: Pillow refuses those that come out of order or reach beyond the
    /// canvas.
    fn frame_control(&mut self, body: &[u8]) -> Option<&'static str> {
        if let Some(wrong) = self.number(body) {
            return Some(wrong);
        }
        let number = |nth: usize| u32_be(body, nth * 4).unwrap_or(0);
        let [width, height, left, top] = [1, 2, 3, 4].map(number);
        let beyond =
            |at: u32, side: u32, most: u32| u64::from(at) + u64::from(side) > u64::from(most);
        let size = if self.begun { self.size } else { (0, 0) };
        if beyond(left, width, size.0) || beyond(top, height, size.1) {
            return Some("is of a frame beyond the canvas");
        }
        self.frame = Some([left, top, width, height]);
        None
    }

    /// The number of a chunk of an animation.
    fn number(&mut self, body: &[u8]) -> Option<&'static str> {
        let expected = self.sequence.map_or(Some(0), |last| last.checked_add(1));
        let number = u32_be(body, 0);
        self.sequence = number;
        (number != expected).then_some("is out of order")
    }

    fn text(&mut self, length: u64) -> Option<&'static str> {
        self.texts += length;
        (self.texts > MAX_TEXTS).then_some("is one text too many")
    }

    /// The length that text or a profile unpacks to, up to where it is damaged.
    fn unpack(&mut self, packed: &[u8]) -> Result<u64, &'static str> {
        let mut unpacked = ZlibDecoder::new(packed).take(MAX_TEXT + 1);
        let mut buffer = [0; 8 << 10];
        let mut length = 0;
        while let Ok(read @ 1..) = unpacked.read(&mut buffer) {
            length += read as u64;
        }
        self.unpacked += length;
        if length > MAX_TEXT || self.unpacked > 2 * MAX_TEXTS {
            return Err("unpacks to too much");
        }
        Ok(length)
    }

    /// Text in UTF-8, packed or not; what is not put together as it should be is passed
    /// over.
    fn international(&mut self, body: &[u8]) -> Option<&'static str> {
        let end = body.iter().position(|&byte| byte == 0)?;
        let &[packed, method, ref rest @ ..] = &body[end + 1..] else {
            return None;
        };
        let text = rest.splitn(3, |&byte| byte == 0).nth(2)?;
        match (packed, method) {
            (0, _) => self.text(text.len() as u64),
            (_, 0) => match self.unpack(text) {
                Ok(length) => self.text(length),
                Err(wrong) => Some(wrong),
            },
            _ => None,
        }
    }
}

/// A key and what follows behind a zero.
pub(super) fn split(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|&byte| byte == 0) {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, &[]),
    }
}
