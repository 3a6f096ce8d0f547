//! JPEGs that another decoder may have in place of libjpeg: plain ones, in which nothing is wrong.
//!
//! Decoders agree on intact baseline files, but for a few levels of brightness. On everything else
//! each has habits of its own: what is refused, what is padded, which colours are meant. So a file is
//! looked at here first, to its last bit, and whatever is unusual in it is left to libjpeg.

use siglip2_jpeg::Plain;

use super::work;
use crate::inspect::inspect;
use crate::{ImageFormat, ImageLimits, Orientation};

/// A file of fewer pixels is left to the CPU: one core decodes some 5,000 a second, and a device's
/// decoder, which takes a while to set up each picture, does no more than a dozen cores.
const LEAST_PIXELS: u64 = 256 * 256;

/// A baseline JPEG that any decoder understands in the same way.
///
/// It has one frame of 8 bits (SOF0), in YCbCr, 4:4:4, 4:2:2 or 4:2:0, and one scan of all three
/// components; every table that is used is there and sound; every code of the scan belongs to its
/// table, no block has more than 64 coefficients, restart markers are in order, and the scan ends
/// with its last block and the end marker.
#[derive(Debug)]
pub struct IntactJpeg<'a> {
    width: u32,
    height: u32,
    /// The segments that decoding needs, the scan's data and the end marker.
    parts: Vec<&'a [u8]>,
}

/// The start marker, and a JFIF segment that says nothing but that the colours are YCbCr.
const START: [u8; 20] = *b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

impl<'a> IntactJpeg<'a> {
    /// Looks at a file. `None`: it is for [`decode()`](crate::decode()), which decodes it or says why
    /// not.
    pub fn read(bytes: &'a [u8], limits: &ImageLimits) -> Option<Self> {
        let limits = &ImageLimits {
            reduce_for: None,
            ..*limits
        };
        let header = inspect(bytes, limits).ok()?;
        let plain = header.format == ImageFormat::Jpeg
            && header.orientation == Orientation::STORED
            && header.pixel_bytes() >= 3 * LEAST_PIXELS
            && header.check(header.whole_bytes(), limits).is_ok();
        if !plain {
            return None;
        }
        work(bytes, limits).ok()?;
        let file = Plain::read(bytes).filter(|file| file.is_baseline() && !file.is_gray())?;
        let size = (header.width as usize, header.height as usize);
        if (file.width(), file.height()) != size {
            return None;
        }
        let mut parts = file.segments().to_vec();
        parts.push(file.data().get(..file.walk()?)?);
        Some(Self {
            width: header.width,
            height: header.height,
            parts,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes that [`IntactJpeg::write_to`] writes.
    pub fn file_bytes(&self) -> usize {
        START.len() + self.parts.iter().map(|part| part.len()).sum::<usize>()
    }

    /// Writes the file without what is not needed for decoding: metadata, thumbnails, and what
    /// follows the end marker. `out` has [`IntactJpeg::file_bytes`] bytes; false if not.
    pub fn write_to(&self, out: &mut [u8]) -> bool {
        if out.len() != self.file_bytes() {
            return false;
        }
        let mut rest = out;
        for part in std::iter::once(&START[..]).chain(self.parts.iter().copied()) {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = behind;
        }
        true
    }
}
