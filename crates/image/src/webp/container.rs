//! The chunks of a WebP: where the first frame is, and how large it says to be.

use super::damaged;
use crate::ImageError;
use crate::exif::Metadata;
use crate::inspect::{array, u16_le, u32_le};

/// The coded pixels of a frame.
#[derive(Clone, Copy)]
pub(super) enum Coded<'a> {
    /// A VP8 key frame, and the alpha that goes with it.
    Lossy {
        frame: &'a [u8],
        alpha: Option<&'a [u8]>,
    },
    Lossless(&'a [u8]),
}

/// The first frame.
pub(super) struct Frame<'a> {
    pub(super) coded: Coded<'a>,
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What the first chunk says.
enum First {
    /// One frame and no more.
    Simple,
    Extended {
        animated: bool,
    },
}

fn truncated() -> ImageError {
    damaged("the file is cut short")
}

/// A number of three bytes.
fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]))
}

/// Width and height of the canvas, from the first chunk.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    first(bytes).map(|(size, _)| size)
}

fn first(bytes: &[u8]) -> Result<((u32, u32), First), ImageError> {
    let kind = array::<4>(bytes, 12).ok_or_else(truncated)?;
    let body = bytes.get(20..).unwrap_or_default();
    match &kind {
        b"VP8 " => Ok((lossy_size(body)?, First::Simple)),
        b"VP8L" => Ok((lossless_size(body)?, First::Simple)),
        b"VP8X" => {
            const ANIMATED: u8 = 2;
            let side = |at| u24_le(body, at).map(|side| side + 1);
            let size = side(4).zip(side(7)).ok_or_else(truncated)?;
            let animated = body.first().is_some_and(|flags| flags & ANIMATED != 0);
            Ok((size, First::Extended { animated }))
        }
        _ => Err(damaged("its first chunk is not one that WebP begins with")),
    }
}

fn lossy_size(frame: &[u8]) -> Result<(u32, u32), ImageError> {
    match array(frame, 3) {
        Some([0x9d, 0x01, 0x2a]) => {}
        Some(_) => return Err(damaged("its frame has no start code")),
        None => return Err(truncated()),
    }
    let side = |at| u16_le(frame, at).map(|side| u32::from(side & 0x3fff));
    side(6).zip(side(8)).ok_or_else(truncated)
}

fn lossless_size(frame: &[u8]) -> Result<(u32, u32), ImageError> {
    match frame.first() {
        Some(0x2f) => {}
        Some(_) => return Err(damaged("its lossless frame has no signature")),
        None => return Err(truncated()),
    }
    let bits = u32_le(frame, 1).ok_or_else(truncated)?;
    Ok(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
}

/// The chunks of a file or frame, one after the other.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    /// Its kind and its body; an error where the body is longer than what is left.
    type Item = Result<([u8; 4], &'a [u8]), ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, length) = (array(self.rest, 0)?, u32_le(self.rest, 4)? as usize);
        let after = self.rest.get(8..)?;
        let Some(body) = after.get(..length) else {
            self.rest = &[];
            return Some(Err(truncated()));
        };
        self.rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Ok((kind, body)))
    }
}

/// The first frame, whatever the flags of the file announce beside it: they may promise
/// alpha or metadata that is not there.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Frame<'_>, ImageError> {
    // libwebp, and so Pillow, refuses a file that is shorter than it says, wherever
    // the first frame ends, and does not look behind that length.
    let length = u32_le(bytes, 4).unwrap_or(0) as usize;
    let bytes = bytes
        .get(..length.saturating_add(8))
        .ok_or_else(truncated)?;
    let (canvas, first) = first(bytes)?;
    let body = bytes.get(12..).unwrap_or_default();
    let frame = match first {
        First::Extended { animated: true } => moving(body)?,
        First::Extended { animated: false } | First::Simple => {
            let (coded, (width, height)) = coded(body)?;
            Frame {
                coded,
                left: 0,
                top: 0,
                width,
                height,
            }
        }
    };
    let within = |at: u32, side: u32, most: u32| u64::from(at) + u64::from(side) <= u64::from(most);
    if !within(frame.left, frame.width, canvas.0) || !within(frame.top, frame.height, canvas.1) {
        return Err(damaged("its first frame does not fit the canvas"));
    }
    if !matches!(first, First::Extended { animated: true }) && (frame.width, frame.height) != canvas
    {
        return Err(damaged("its headers contradict each other"));
    }
    Ok(frame)
}

/// The first chunks with EXIF and XMP data, where the flags of the file announce them.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    const EXIF: u8 = 8;
    const XMP: u8 = 4;
    let mut found = Metadata::default();
    let extended = bytes.get(12..16) == Some(b"VP8X");
    let flags = bytes.get(20).copied().filter(|_| extended).unwrap_or(0);
    let rest = bytes.get(12..).unwrap_or_default();
    for (kind, body) in (Chunks { rest }).map_while(Result::ok) {
        let (place, flag) = match &kind {
            b"EXIF" => (&mut found.exif, EXIF),
            b"XMP " => (&mut found.xmp, XMP),
            _ => continue,
        };
        if flags & flag != 0 && place.is_none() {
            *place = Some(body.into());
        }
    }
    found
}

/// The first frame of an animation: shown as it is, on black.
fn moving(chunks: &[u8]) -> Result<Frame<'_>, ImageError> {
    for chunk in (Chunks { rest: chunks }) {
        let (kind, body) = chunk?;
        if &kind != b"ANMF" {
            continue;
        }
        let number = |at| u24_le(body, at).ok_or_else(truncated);
        let (width, height) = (number(6)? + 1, number(9)? + 1);
        let (coded, size) = coded(body.get(16..).ok_or_else(truncated)?)?;
        if size != (width, height) {
            return Err(damaged("its headers contradict each other"));
        }
        return Ok(Frame {
            coded,
            left: number(0)?.saturating_mul(2),
            top: number(3)?.saturating_mul(2),
            width,
            height,
        });
    }
    Err(damaged("it has no frame"))
}

/// The first coded picture among chunks.
fn coded(chunks: &[u8]) -> Result<(Coded<'_>, (u32, u32)), ImageError> {
    let mut alpha = None;
    for chunk in (Chunks { rest: chunks }) {
        let (kind, body) = chunk?;
        match &kind {
            b"ALPH" => alpha = alpha.or(Some(body)),
            b"VP8 " => return Ok((Coded::Lossy { frame: body, alpha }, lossy_size(body)?)),
            b"VP8L" => return Ok((Coded::Lossless(body), lossless_size(body)?)),
            _ => {}
        }
    }
    Err(damaged("it has no frame"))
}
