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
        flags: u8,
    },
}

/// Flags of the first chunk.
const ANIMATED: u8 = 2;
const XMP: u8 = 4;
const EXIF: u8 = 8;
const ALPHA: u8 = 16;
/// With that of a colour profile, all that there are.
const KNOWN: u8 = 32 | ALPHA | EXIF | XMP | ANIMATED;

/// Bytes of a chunk that begins a frame of an animation, before the chunks in it.
const FRAME_HEAD: usize = 16;

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
        b"VP8 " => Ok((lossy_size(body, u32_le(bytes, 16))?, First::Simple)),
        b"VP8L" => Ok((lossless_size(body)?, First::Simple)),
        b"VP8X" => {
            let side = |at| u24_le(body, at).map(|side| side + 1);
            let size = side(4).zip(side(7)).ok_or_else(truncated)?;
            let flags = body.first().copied().unwrap_or(0);
            if u32_le(bytes, 16) != Some(10) || flags & !KNOWN != 0 {
                return Err(damaged("its first chunk is of no known kind"));
            }
            Ok((size, First::Extended { flags }))
        }
        _ => Err(damaged("its first chunk is not one that WebP begins with")),
    }
}

/// Width and height of a VP8 frame, of a chunk of so many bytes.
fn lossy_size(frame: &[u8], length: Option<u32>) -> Result<(u32, u32), ImageError> {
    match array(frame, 3) {
        Some([0x9d, 0x01, 0x2a]) => {}
        Some(_) => return Err(damaged("its frame has no start code")),
        None => return Err(truncated()),
    }
    let bits = u24_le(frame, 0).ok_or_else(truncated)?;
    let (later, version, shown) = (bits & 1, bits >> 1 & 7, bits >> 4 & 1);
    if later != 0 || version > 3 || shown == 0 || length.is_none_or(|length| bits >> 5 >= length) {
        return Err(damaged("its frame is none that a picture can begin with"));
    }
    let side = |at| u16_le(frame, at).map(|side| u32::from(side & 0x3fff));
    let size = side(6).zip(side(8)).ok_or_else(truncated)?;
    if size.0 == 0 || size.1 == 0 {
        return Err(damaged("its frame has no pixels"));
    }
    Ok(size)
}

fn lossless_size(frame: &[u8]) -> Result<(u32, u32), ImageError> {
    match frame.first() {
        Some(0x2f) => {}
        Some(_) => return Err(damaged("its lossless frame has no signature")),
        None => return Err(truncated()),
    }
    let bits = u32_le(frame, 1).ok_or_else(truncated)?;
    if bits >> 29 != 0 {
        return Err(damaged("its lossless frame is of no known version"));
    }
    Ok(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
}

/// A chunk: its kind, its body, and what is behind it.
type Chunk<'a> = ([u8; 4], &'a [u8], &'a [u8]);

/// The next chunk, if there is anything. What is there has to be whole, with the byte that makes an
/// odd length even.
fn next(rest: &[u8]) -> Result<Option<Chunk<'_>>, ImageError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let kind = array(rest, 0).ok_or_else(truncated)?;
    let length = u32_le(rest, 4).ok_or_else(truncated)? as usize;
    let after = rest.get(8..).ok_or_else(truncated)?;
    let behind = after.get(length.next_multiple_of(2)..);
    let parts = after.get(..length).zip(behind);
    let (body, behind) = parts.ok_or_else(truncated)?;
    Ok(Some((kind, body, behind)))
}

/// Chunks that belong together: a picture, and alpha beside it.
#[derive(Default)]
struct Picture<'a> {
    coded: Option<(Coded<'a>, (u32, u32))>,
    alpha: Option<&'a [u8]>,
    /// Alpha came behind the picture, where nobody looks for it.
    is_alpha_late: bool,
}

impl<'a> Picture<'a> {
    /// Takes the chunks of a picture from the front.
    fn take(rest: &mut &'a [u8]) -> Result<Self, ImageError> {
        let mut found = Self::default();
        while let Some((kind, body, behind)) = next(rest)? {
            // libwebp gives its decoders the byte that makes a length even, too.
            let padded = rest.get(8..rest.len() - behind.len()).unwrap_or(body);
            match &kind {
                b"ALPH" if found.alpha.is_none() => {
                    found.alpha = Some(body);
                    found.is_alpha_late = found.coded.is_some();
                }
                b"VP8L" if found.alpha.is_some() => {
                    return Err(damaged("its lossless frame has alpha twice"));
                }
                b"VP8 " if found.coded.is_none() => {
                    let size = lossy_size(body, u32_le(rest, 4))?;
                    let (frame, alpha) = (padded, None);
                    found.coded = Some((Coded::Lossy { frame, alpha }, size));
                }
                b"VP8L" if found.coded.is_none() => {
                    found.coded = Some((Coded::Lossless(padded), lossless_size(padded)?));
                }
                _ => break,
            }
            *rest = behind;
        }
        Ok(found)
    }

    fn is_empty(&self) -> bool {
        self.coded.is_none() && self.alpha.is_none()
    }

    /// The frame that it is, at a place of a canvas.
    fn frame(
        self,
        (left, top): (u32, u32),
        canvas: (u32, u32),
        is_whole: bool,
    ) -> Result<Frame<'a>, ImageError> {
        let (mut coded, (width, height)) = self.coded.ok_or_else(no_frame)?;
        if self.is_alpha_late {
            return Err(damaged("its alpha is behind its frame"));
        }
        if let Coded::Lossy { alpha, .. } = &mut coded {
            *alpha = self.alpha;
        }
        if is_whole && (width, height) != canvas {
            return Err(damaged("its headers contradict each other"));
        }
        let within = |at: u32, side: u32, most: u32| u64::from(at) + u64::from(side) <= most.into();
        if !within(left, width, canvas.0) || !within(top, height, canvas.1) {
            return Err(damaged("one of its frames does not fit the canvas"));
        }
        Ok(Frame {
            coded,
            left,
            top,
            width,
            height,
        })
    }
}

fn no_frame() -> ImageError {
    damaged("it has no frame")
}

/// The first frame, whatever the flags of the file announce beside it: they may promise
/// alpha or metadata that is not there.
///
/// libwebp, and so Pillow, goes through all chunks of a file first, and refuses it for any of them.
/// It also refuses a file that is shorter than it says, and does not look behind that length.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Frame<'_>, ImageError> {
    let length = u32_le(bytes, 4).unwrap_or(0) as usize;
    let bytes = bytes
        .get(..length.saturating_add(8))
        .ok_or_else(truncated)?;
    let (canvas, first) = first(bytes)?;
    let mut rest = bytes.get(12..).unwrap_or_default();
    match first {
        First::Simple => {
            let mut picture = Picture::take(&mut rest)?;
            (picture.alpha, picture.is_alpha_late) = (None, false);
            picture.frame((0, 0), canvas, true)
        }
        First::Extended { flags } => extended(rest, canvas, flags),
    }
}

/// The first frame of a file whose first chunk is of the extended kind.
fn extended(chunks: &[u8], canvas: (u32, u32), flags: u8) -> Result<Frame<'_>, ImageError> {
    let animated = flags & ANIMATED != 0;
    let (_, _, mut rest) = next(chunks)?.ok_or_else(truncated)?;
    let (mut shown, mut announced) = (None, false);
    while let Some((kind, body, behind)) = next(rest)? {
        match &kind {
            b"VP8X" => return Err(damaged("it has two headers")),
            b"ALPH" | b"VP8 " | b"VP8L" => {
                if announced || animated || shown.is_some() {
                    return Err(damaged("it has a picture where none belongs"));
                }
                let mut picture = Picture::take(&mut rest)?;
                if flags & ALPHA == 0 {
                    (picture.alpha, picture.is_alpha_late) = (None, false);
                }
                shown = Some(picture.frame((0, 0), canvas, true)?);
                continue;
            }
            b"ANIM" if body.len() < 5 => return Err(truncated()),
            b"ANIM" => announced = true,
            b"ANMF" => {
                if !announced {
                    return Err(damaged("its frames are not announced"));
                }
                let (picture, place) = moving(&mut rest, body)?;
                if animated && !picture.is_empty() {
                    let frame = picture.frame(place, canvas, false)?;
                    shown = shown.or(Some(frame));
                }
                continue;
            }
            _ => {}
        }
        rest = behind;
    }
    shown.ok_or_else(no_frame)
}

/// The first chunks with EXIF and XMP data, where the flags of the file announce them.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    let mut found = Metadata::default();
    let extended = bytes.get(12..16) == Some(b"VP8X");
    let flags = bytes.get(20).copied().filter(|_| extended).unwrap_or(0);
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Ok(Some((kind, body, behind))) = next(rest) {
        rest = behind;
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

/// The picture of an animation at the front of `rest`, in a chunk with this body, and its place:
/// shown as it is, on black. Goes behind what is read of it. There may be none in it.
///
/// As in libwebp the size that counts is that of the picture, and chunks behind it are taken for
/// those of the file.
fn moving<'a>(rest: &mut &'a [u8], body: &[u8]) -> Result<(Picture<'a>, (u32, u32)), ImageError> {
    let number = |at| u24_le(body, at).ok_or_else(truncated);
    let [left, top, width, height] = [number(0)?, number(3)?, number(6)?, number(9)?];
    if (u64::from(width) + 1) * (u64::from(height) + 1) > u64::from(u32::MAX) {
        return Err(damaged("one of its frames is too large"));
    }
    let length = body.len().next_multiple_of(2);
    let inside = length.checked_sub(FRAME_HEAD).ok_or_else(truncated)?;
    *rest = rest.get(8 + FRAME_HEAD..).unwrap_or_default();
    if rest.is_empty() {
        return Err(truncated());
    }
    let before = rest.len();
    let picture = Picture::take(rest)?;
    if before - rest.len() > inside {
        return Err(damaged("one of its frames is longer than it says"));
    }
    Ok((picture, (left.saturating_mul(2), top.saturating_mul(2))))
}
