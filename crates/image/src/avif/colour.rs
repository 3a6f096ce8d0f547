//! From planes to RGB, in the arithmetic that Pillow's libavif chooses for a picture.
//!
//! libavif 1.4 hands most pictures to libyuv, in 8 bits: deeper samples are cut to eight first,
//! unless there is alpha. The rest it converts in floating point ([`float`]): grey, matrices
//! that libyuv does not have, and RGB that was stored as it is.

mod float;
mod integer;
mod upsample;

use super::layout::Cicp;
use super::planes::Planes;
use super::{Stop, damaged};
use crate::ImageError;
use float::Float;
use integer::Integer;
use upsample::{Sample, Sampling};

/// Codes of ITU-T H.273 for what luma and chroma are made from.
mod matrix {
    pub(super) const IDENTITY: u16 = 0;
    pub(super) const BT_709: u16 = 1;
    pub(super) const UNSPECIFIED: u16 = 2;
    pub(super) const FCC: u16 = 4;
    pub(super) const BT_470_BG: u16 = 5;
    pub(super) const BT_601: u16 = 6;
    pub(super) const SMPTE_240: u16 = 7;
    pub(super) const YCGCO: u16 = 8;
    pub(super) const BT_2020: u16 = 9;
    pub(super) const FROM_PRIMARIES: u16 = 12;
}

/// How the samples of a picture become RGB.
enum Conversion {
    Integer(Integer),
    Float(Box<Float>),
    /// The three planes are green, blue and red.
    Stored,
}

/// Converts a picture to RGB; `has_alpha` says whether it has alpha, which makes a
/// difference to the arithmetic, and `alpha` is what its colours are to be divided by.
pub(super) fn convert(
    planes: &Planes,
    cicp: Cicp,
    has_alpha: bool,
    alpha: Option<&Alpha>,
    rgb: &mut [u8],
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    let conversion = choose(planes, cicp, has_alpha)?;
    match &conversion {
        Conversion::Integer(integer) if integer.narrow => {
            rows::<u8>(planes, &conversion, alpha, rgb, stop)
        }
        _ if planes.depth == 8 => rows::<u8>(planes, &conversion, alpha, rgb, stop),
        _ => rows::<u16>(planes, &conversion, alpha, rgb, stop),
    }
}

/// libavif's choice (src/reformat.c and src/reformat_libyuv.c).
fn choose(planes: &Planes, cicp: Cicp, has_alpha: bool) -> Result<Conversion, ImageError> {
    let grey = planes.monochrome() && !has_alpha;
    let constants = match grey {
        true => None,
        false => integer::constants(cicp, planes.monochrome()),
    };
    if !float::can(cicp, planes) {
        return Err(ImageError::Unsupported {
            format: "AVIF with colours of a kind that Pillow does not convert",
        });
    }
    Ok(match constants {
        Some(constants) => Conversion::Integer(Integer::new(constants, planes, has_alpha)),
        None if cicp.matrix == matrix::IDENTITY
            && cicp.full_range
            && planes.depth == 8
            && !planes.monochrome() =>
        {
            Conversion::Stored
        }
        None => Conversion::Float(Box::new(Float::new(cicp, planes))),
    })
}

/// Rows of the three planes, at full width.
struct Row<T> {
    y: Vec<T>,
    u: Vec<T>,
    v: Vec<T>,
}

fn rows<T: Sample>(
    planes: &Planes,
    conversion: &Conversion,
    alpha: Option<&Alpha>,
    rgb: &mut [u8],
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    let width = planes.width;
    // Every pixel is written, or none is given out: the memory may have been another picture's.
    if width == 0 || rgb.len() != width * planes.height * 3 {
        return Err(damaged("its planes are not of its size"));
    }
    let mut row = Row {
        y: vec![T::default(); width],
        u: vec![T::default(); width],
        v: vec![T::default(); width],
    };
    let mut sampling = Sampling::new(planes);
    if let Conversion::Integer(integer) = conversion {
        sampling.nearest = integer.nearest;
    }
    let floats = matches!(conversion, Conversion::Float(_));
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        stop.work(width as u64 * 12)?;
        sampling.luma(y, &mut row.y)?;
        if !planes.monochrome() && !floats {
            sampling.chroma(y, 1, &mut row.u)?;
            sampling.chroma(y, 2, &mut row.v)?;
        }
        let pixels = out.as_chunks_mut::<3>().0;
        match conversion {
            Conversion::Integer(integer) if planes.monochrome() => {
                for (out, y) in pixels.iter_mut().zip(&row.y) {
                    *out = [integer.grey(y.wide()); 3];
                }
            }
            Conversion::Integer(integer) => {
                let chroma = row.u.iter().zip(&row.v);
                for (out, (y, (u, v))) in pixels.iter_mut().zip(row.y.iter().zip(chroma)) {
                    *out = integer.rgb(y.wide(), u.wide(), v.wide());
                }
            }
            Conversion::Stored => {
                let chroma = row.u.iter().zip(&row.v);
                for (out, (g, (b, r))) in pixels.iter_mut().zip(row.y.iter().zip(chroma)) {
                    *out = [r, g, b].map(|sample| sample.wide() as u8);
                }
            }
            Conversion::Float(float) => float.row(&mut sampling, y, &row.y, pixels)?,
        }
        if let Some(alpha) = alpha {
            alpha.divide(y, pixels)?;
        }
    }
    Ok(())
}

/// Alpha that the colours of a picture were multiplied by.
pub(super) struct Alpha {
    planes: Planes,
    full_range: bool,
    /// Whether more than eight bits are rounded to eight, or cut.
    rounded: bool,
}

impl Alpha {
    /// The luma of a picture as alpha.
    pub(super) fn new(
        planes: Planes,
        full_range: bool,
        colour: &Planes,
    ) -> Result<Self, ImageError> {
        if planes.depth != colour.depth {
            return Err(damaged("its alpha has another depth than its colours"));
        }
        // libyuv cuts alpha where it converts it along with the colours.
        let apart = colour.monochrome() || (colour.depth, colour.halved) == (12, (true, true));
        Ok(Self {
            planes,
            full_range,
            rounded: apart,
        })
    }

    /// Divides a row of colours by it: libyuv's `ARGBUnattenuate`, as its vector code for x86
    /// computes it.
    fn divide(&self, y: usize, pixels: &mut [[u8; 3]]) -> Result<(), ImageError> {
        let mut row = vec![0u16; self.planes.width];
        Sampling::new(&self.planes).luma(y, &mut row)?;
        for (pixel, alpha) in pixels.iter_mut().zip(row) {
            let factor = match self.eight_bits(alpha.into()) {
                0 => 0,
                1 => 0xffff,
                255 => 256,
                alpha => 0x1_0000 / alpha,
            };
            *pixel = pixel.map(|colour| match (u32::from(colour) * 257 * factor) >> 16 {
                // Words are packed to bytes as if they had a sign.
                0x8000.. => 0,
                value => value.min(255) as u8,
            });
        }
        Ok(())
    }

    /// A sample in full range and 8 bits.
    fn eight_bits(&self, sample: u32) -> u32 {
        let depth = u32::from(self.planes.depth);
        let most = (1 << depth) - 1;
        let mut sample = sample as i32;
        if !self.full_range {
            let (low, high) = (16 << (depth - 8), 235 << (depth - 8));
            sample = ((sample - low) * most + (high - low) / 2) / (high - low);
        }
        let sample = sample.clamp(0, most);
        match self.rounded && depth > 8 {
            true => (0.5 + sample as f32 / most as f32 * 255.0) as u32,
            false => (sample >> (depth - 8)) as u32,
        }
    }
}
