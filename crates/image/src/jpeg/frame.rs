//! What the headers of a JPEG say, read as Pillow's plugin reads them: it decides what a
//! JPEG is before libjpeg sees it.

use super::damaged;
use crate::inspect::u16_be;
use crate::{ImageError, ImageFormat};

/// One colour component of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors, 1..=4 in a file that libjpeg takes.
    pub(super) across: u8,
    pub(super) down: u8,
}

/// What the frame header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: u32,
    pub(super) height: u32,
    components: [Component; 4],
    count: usize,
    pub(super) progressive: bool,
    /// Whether libjpeg keeps the coefficients of the whole picture: a progressive file,
    /// or a first scan without all components.
    pub(super) buffered: bool,
}

impl Frame {
    pub(super) fn components(&self) -> &[Component] {
        self.components.get(..self.count).unwrap_or_default()
    }

    /// The largest sampling factors, across and down.
    fn largest(&self) -> (u32, u32) {
        let factor = |of: fn(&Component) -> u8| {
            let all = self.components().iter().map(|c| u32::from(of(c)));
            all.max().unwrap_or(1).max(1)
        };
        (factor(|c| c.across), factor(|c| c.down))
    }

    /// Blocks of 8 x 8 samples that libjpeg keeps of a component, across and down: whole
    /// units of the interleaved scan.
    pub(super) fn blocks(&self, component: &Component) -> (u64, u64) {
        let (most_across, most_down) = self.largest();
        let units = |side: u32, most: u32, own: u8| {
            u64::from(side.div_ceil(8 * most)) * u64::from(own.max(1))
        };
        (
            units(self.width, most_across, component.across),
            units(self.height, most_down, component.down),
        )
    }

    /// Bytes that a decoder takes beside the pixels: the coefficients if it keeps them, with a bit for each that is
    /// not zero, and some rows of each component.
    pub(super) fn scratch(&self) -> u64 {
        let (_, most_down) = self.largest();
        let mut bytes = 0;
        for component in self.components() {
            let (across, down) = self.blocks(component);
            // Rows that wait for their neighbours below before they are upsampled.
            bytes += across * 8 * u64::from(component.down.max(1)) * 16;
            if self.buffered {
                bytes += across * down * (128 + 8);
            }
        }
        // Rows at full width, one in CMYK among them.
        bytes + u64::from(self.width) * (3 * u64::from(most_down) + 8) + FIXED
    }
}

/// Tables and states of libjpeg that do not depend on the picture.
const FIXED: u64 = 128 << 10;

/// Segments and single markers that a file may have before its first scan. Encoders write some ten; a profile of colours
/// has 255 at most. Without a bound a large file could have more of them than can be looked at in a moment.
const MOST_MARKERS: usize = 1 << 16;

/// How many bytes of 0xFF these begin with.
fn repeated(bytes: &[u8]) -> usize {
    // Many at a time, as there may be megabytes of them.
    let (chunks, _) = bytes.as_chunks::<64>();
    let whole = chunks.iter().take_while(|chunk| **chunk == [0xff; 64]);
    let start = 64 * whole.count();
    let rest = &bytes[start..];
    start + rest.iter().take_while(|&&byte| byte == 0xff).count()
}

/// The last frame header before the first scan.
///
/// Follows Pillow's own marker walk: junk between segments is skipped, 8 bits and 1, 3 or
/// 4 components are asked for, and some segments that it reads may not be too short.
pub(super) fn read(bytes: &[u8]) -> Result<Frame, ImageError> {
    walk(bytes, |_, _| {})
}

/// As [`read`], and hands each segment before the first scan to `see`, with its marker.
pub(super) fn walk<'a>(
    bytes: &'a [u8],
    mut see: impl FnMut(u8, &'a [u8]),
) -> Result<Frame, ImageError> {
    let truncated = || damaged("the file is cut short: it ends within its header");
    let mut frame = None;
    let (mut at, mut markers) = (2, 0);
    loop {
        // Anything that is not 0xFF is junk between segments; 0xFF may be repeated.
        at += memchr::memchr(0xff, bytes.get(at..).unwrap_or_default()).ok_or_else(truncated)?;
        at += repeated(&bytes[at..]);
        let marker = *bytes.get(at).ok_or_else(truncated)?;
        at += 1;
        markers += 1;
        if markers > MOST_MARKERS {
            return Err(ImageError::TooComplex {
                format: ImageFormat::Jpeg,
                reason: format!("it has more than {MOST_MARKERS} segments before its first scan"),
            });
        }
        match marker {
            // A stuffed byte, or a marker that stands alone.
            0x00 | 0xd0..=0xd9 | 0xc8 | 0xf0..=0xfd => continue,
            0x01..=0xbf => return Err(damaged(format_args!("unknown marker 0xFF{marker:02X}"))),
            _ => {}
        }
        let length = usize::from(u16_be(bytes, at).ok_or_else(truncated)?);
        let segment = bytes
            .get(at + 2..at + length.max(2))
            .ok_or_else(truncated)?;
        at += length.max(2);
        see(marker, segment);
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => {
                frame = Some(frame_header(marker, segment)?);
            }
            0xda => {
                let mut frame =
                    frame.ok_or_else(|| damaged("its first scan comes before its frame header"))?;
                frame.buffered |= segment.first().copied().map(usize::from) != Some(frame.count);
                return Ok(frame);
            }
            0xdb if !are_quantization_tables(segment) => {
                return Err(damaged("its quantization tables are too short"));
            }
            0xe0 if segment.starts_with(b"JFIF") && segment.len() < 7 => {
                return Err(damaged("its JFIF segment is too short"));
            }
            0xed if is_broken_photoshop(segment) => {
                return Err(damaged("its Photoshop segment is too short"));
            }
            0xee if segment.starts_with(b"Adobe") && segment.len() < 7 => {
                return Err(damaged("its Adobe segment is too short"));
            }
            _ => {}
        }
    }
}

fn frame_header(marker: u8, segment: &[u8]) -> Result<Frame, ImageError> {
    let &[bits, h1, h0, w1, w0, count, ref rest @ ..] = segment else {
        return Err(damaged("its frame header is too short"));
    };
    if let Some(format) = unsupported(marker, bits) {
        return Err(ImageError::Unsupported { format });
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(damaged(format_args!("it has {count} colour components")));
    }
    if rest.len() % 3 != 0 {
        return Err(damaged("its frame header has half a component"));
    }
    let count = usize::from(count);
    let mut components = [Component::default(); 4];
    for (component, bytes) in components
        .iter_mut()
        .zip(rest.as_chunks::<3>().0)
        .take(count)
    {
        *component = Component {
            id: bytes[0],
            across: bytes[1] >> 4,
            down: bytes[1] & 15,
        };
    }
    Ok(Frame {
        width: u32::from(u16::from_be_bytes([w1, w0])),
        height: u32::from(u16::from_be_bytes([h1, h0])),
        components,
        count,
        progressive: matches!(marker, 0xc2 | 0xca),
        buffered: matches!(marker, 0xc2 | 0xca),
    })
}

/// The kinds of JPEG that libjpeg does not decode, by frame marker and sample depth.
fn unsupported(marker: u8, bits: u8) -> Option<&'static str> {
    match (marker, bits) {
        (0xc3, _) => Some("lossless JPEG"),
        (0xc5..=0xc7 | 0xcd..=0xcf | 0xde, _) => Some("hierarchical JPEG"),
        (0xcb, _) => Some("lossless arithmetic-coded JPEG"),
        (_, 8) => None,
        (_, 12) => Some("12-bit JPEG"),
        _ => Some("JPEG with an unusual sample depth"),
    }
}

/// Whether a segment is whole tables: a byte that says whether the 64 numbers have one
/// byte each or two, then those.
fn are_quantization_tables(mut segment: &[u8]) -> bool {
    while let Some((&kind, rest)) = segment.split_first() {
        let length = if kind < 16 { 64 } else { 128 };
        let Some(rest) = rest.get(length..) else {
            return false;
        };
        segment = rest;
    }
    true
}

/// Whether Pillow trips over the image resources in a segment of Photoshop: where the
/// length of a name lies behind the end. Numbers behind the end only end its walk.
fn is_broken_photoshop(segment: &[u8]) -> bool {
    const RESOLUTION: u16 = 0x03ed;
    let Some(resources) = segment.strip_prefix(b"Photoshop 3.0\0") else {
        return false;
    };
    // Resources are aligned from the beginning of the segment, which is even here as well.
    let mut rest = resources;
    while rest.starts_with(b"8BIM") {
        let Some(code) = u16_be(rest, 4) else {
            return false;
        };
        let Some(&name) = rest.get(6) else {
            return true;
        };
        let at = (7 + usize::from(name)).next_multiple_of(2);
        let Some(size) = crate::inspect::u32_be(rest, at) else {
            return false;
        };
        let data = rest.get(at + 4..).unwrap_or_default();
        let size = size as usize;
        if code == RESOLUTION && size.min(data.len()) < 14 {
            return false;
        }
        rest = data.get(size.next_multiple_of(2)..).unwrap_or_default();
    }
    false
}
