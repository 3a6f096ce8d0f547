//! JPEGs that another decoder may have in place of libjpeg: plain ones, in which nothing is wrong.
//!
//! Decoders agree on intact baseline files, but for a few levels of brightness. On everything else
//! each has habits of its own: what is refused, what is padded, which colours are meant. So a file is
//! looked at here first, to its last bit, and whatever is unusual in it is left to libjpeg.

use super::entropy::{self, BlockCodes, Codes};
use super::work;
use crate::inspect::{inspect, u16_be};
use crate::{ImageFormat, ImageLimits, Orientation};

/// A file of fewer pixels is left to the CPU: one core decodes some 3,000 a second, and a device's
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
        let intact = Walk::default().read(bytes)?;
        ((intact.width, intact.height) == (header.width, header.height)).then_some(intact)
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

/// A component of the frame.
#[derive(Clone, Copy)]
struct Component {
    id: u8,
    across: u8,
    down: u8,
    quantization: u8,
}

/// What has been read of a file.
#[derive(Default)]
struct Walk<'a> {
    parts: Vec<&'a [u8]>,
    quantization: [bool; 4],
    /// By identifier, 0 or 1.
    dc: [Option<Codes>; 2],
    ac: [Option<Codes>; 2],
    frame: Option<(u32, u32, [Component; 3])>,
    interval: u64,
}

impl<'a> Walk<'a> {
    fn read(mut self, bytes: &'a [u8]) -> Option<IntactJpeg<'a>> {
        let mut at = 2;
        loop {
            let &[0xff, marker] = bytes.get(at..)?.first_chunk()? else {
                return None;
            };
            let length = usize::from(u16_be(bytes, at + 2)?);
            let whole = bytes.get(at..at + 2 + length)?;
            let segment = whole.get(4..)?;
            at += whole.len();
            match marker {
                0xee if segment.starts_with(b"Adobe") => {
                    // 1 is YCbCr.
                    if segment.get(11) != Some(&1) {
                        return None;
                    }
                }
                // Metadata.
                0xe0..=0xef | 0xfe => {}
                0xdb => self.quantization_tables(segment)?,
                0xc4 => self.codes(segment)?,
                0xc0 => self.frame(segment)?,
                0xdd => self.interval = u16_be(segment, 0).filter(|_| segment.len() == 2)?.into(),
                0xda => {
                    let length = self.scan(segment, bytes.get(at..)?)?;
                    self.parts.push(whole);
                    self.parts.push(bytes.get(at..at + length)?);
                    let (width, height, _) = self.frame?;
                    return Some(IntactJpeg {
                        width,
                        height,
                        parts: self.parts,
                    });
                }
                _ => return None,
            }
            if matches!(marker, 0xdb | 0xc4 | 0xc0 | 0xdd) {
                self.parts.push(whole);
            }
        }
    }

    fn quantization_tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&id, rest)) = segment.split_first() {
            // 8 bits each: those of 16 have 16 in `id`.
            let steps = rest.get(..64).filter(|steps| !steps.contains(&0))?;
            *self.quantization.get_mut(usize::from(id))? = true;
            segment = &rest[steps.len()..];
        }
        Some(())
    }

    fn codes(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(..count)?;
            let tables = match kind >> 4 {
                0 if symbols.iter().all(|&size| size <= 11) => &mut self.dc,
                // Without a value there is the end of a block, or a run of 16 zeros.
                1 if symbols.iter().all(|&symbol| match symbol & 15 {
                    0 => matches!(symbol, 0 | 0xf0),
                    size => size <= 10,
                }) =>
                {
                    &mut self.ac
                }
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(Codes::new(counts, symbols)?);
            segment = &rest[count..];
        }
        Some(())
    }

    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let &[8, h1, h0, w1, w0, 3, ref rest @ ..] = segment else {
            return None;
        };
        let read = |of: &[u8; 3]| Component {
            id: of[0],
            across: of[1] >> 4,
            down: of[1] & 15,
            quantization: of[2],
        };
        let (of_three, []) = rest.as_chunks::<3>() else {
            return None;
        };
        let components = <&[[u8; 3]; 3]>::try_from(of_three)
            .ok()?
            .map(|of| read(&of));
        let [light, blue, red] = &components;
        let plain = [light.id, blue.id, red.id] == [1, 2, 3]
            && matches!((light.across, light.down), (1, 1) | (2, 1) | (2, 2))
            && [blue, red].iter().all(|it| (it.across, it.down) == (1, 1));
        let size = |high, low| u32::from(u16::from_be_bytes([high, low]));
        if !plain || self.frame.is_some() {
            return None;
        }
        self.frame = Some((size(w1, w0), size(h1, h0), components));
        Some(())
    }

    /// Walks through the scan; returns the length of its data with the end marker.
    fn scan(&self, segment: &[u8], data: &[u8]) -> Option<usize> {
        let &[3, c1, t1, c2, t2, c3, t3, 0, 63, 0] = segment else {
            return None;
        };
        let (width, height, components) = self.frame?;
        let mut blocks = Vec::new();
        for (component, (id, tables)) in components.iter().zip([(c1, t1), (c2, t2), (c3, t3)]) {
            let quantization = self.quantization.get(usize::from(component.quantization));
            if component.id != id || quantization != Some(&true) {
                return None;
            }
            let codes = |of: &'_ [Option<Codes>; 2], number: u8| -> Option<usize> {
                let number = usize::from(number);
                of.get(number)?.as_ref().map(|_| number)
            };
            let dc = codes(&self.dc, tables >> 4)?;
            let ac = codes(&self.ac, tables & 15)?;
            for _ in 0..component.across * component.down {
                blocks.push(BlockCodes {
                    dc: self.dc[dc].as_ref()?,
                    ac: self.ac[ac].as_ref()?,
                });
            }
        }
        let [light, ..] = components;
        let units = |side: u32, factor: u8| u64::from(side.div_ceil(8 * u32::from(factor)));
        let units = units(width, light.across) * units(height, light.down);
        entropy::walk(data, &blocks, units, self.interval)
    }
}
