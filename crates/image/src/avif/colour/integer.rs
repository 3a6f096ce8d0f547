//! libyuv's conversion from YUV to RGB: 8 bits, factors of six binary places.
//!
//! The factors are those of `source/row_common.cc`, which says how each was rounded; that of
//! blue is held to 128 where it would be more, because libyuv's vector code multiplies signed
//! bytes.

use super::super::layout::Cicp;
use super::super::planes::Planes;
use super::matrix;

/// Factors and offset of a conversion.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    /// Of luma, for samples of 16 bits, with 16 places more.
    luma: u32,
    /// Added to the luma, with half a level in it.
    offset: i32,
    u_to_blue: i32,
    u_to_green: i32,
    v_to_green: i32,
    v_to_red: i32,
}

const fn limited(luma: u32, u_to_green: i32, v_to_green: i32, v_to_red: i32) -> Constants {
    Constants {
        luma,
        offset: -1160,
        u_to_blue: 128,
        u_to_green,
        v_to_green,
        v_to_red,
    }
}

const fn full([u_to_blue, u_to_green, v_to_green, v_to_red]: [i32; 4]) -> Constants {
    Constants {
        luma: 16_320,
        offset: 32,
        u_to_blue,
        u_to_green,
        v_to_green,
        v_to_red,
    }
}

/// The constants for a picture, if libavif lets libyuv convert it.
pub(super) fn constants(cicp: Cicp, monochrome: bool) -> Option<Constants> {
    use matrix::{BT_470_BG, BT_601, BT_709, BT_2020, FROM_PRIMARIES, IDENTITY, UNSPECIFIED};
    let matrix = match (cicp.matrix, cicp.primaries) {
        (FROM_PRIMARIES, 1 | 2) => BT_709,
        (FROM_PRIMARIES, 5 | 6) => BT_601,
        (FROM_PRIMARIES, 9) => BT_2020,
        (IDENTITY, _) if monochrome => BT_601,
        (matrix, _) => matrix,
    };
    match (matrix, cicp.full_range) {
        (BT_709, true) => Some(full([119, 12, 30, 101])),
        (BT_470_BG | BT_601 | UNSPECIFIED, true) => Some(full([113, 22, 46, 90])),
        (BT_2020, true) => Some(full([120, 11, 37, 94])),
        (BT_709, false) => Some(limited(18_997, 14, 34, 115)),
        (BT_470_BG | BT_601 | UNSPECIFIED, false) => Some(limited(18_997, 25, 52, 102)),
        (BT_2020, false) => Some(limited(19_003, 12, 42, 107)),
        _ => None,
    }
}

/// See the module.
pub(super) struct Integer {
    constants: Constants,
    /// Samples are cut to eight bits before chroma is upsampled, or have no more.
    pub(super) narrow: bool,
    /// Chroma is repeated, not upsampled.
    pub(super) nearest: bool,
    depth: u32,
}

impl Integer {
    pub(super) fn new(constants: Constants, planes: &Planes, has_alpha: bool) -> Self {
        // libavif knows functions for deeper samples only if they give alpha as well, and for
        // 12 bits only one.
        let deep = has_alpha && !planes.monochrome();
        let ten = deep && planes.depth == 10;
        let twelve = deep && planes.depth == 12 && planes.halved == (true, true);
        Self {
            constants,
            narrow: !(ten || twelve),
            nearest: twelve,
            depth: planes.depth.into(),
        }
    }

    /// Luma of 16 bits, from a sample.
    #[inline]
    fn widen(&self, y: u32) -> u32 {
        if self.narrow {
            y * 0x101
        } else {
            y << (16 - self.depth) | y >> (2 * self.depth - 16)
        }
    }

    #[inline]
    fn luma(&self, y: u32) -> i32 {
        ((self.widen(y) * self.constants.luma) >> 16) as i32 + self.constants.offset
    }

    /// A pixel of luma alone.
    #[inline]
    pub(super) fn grey(&self, y: u32) -> u8 {
        (self.luma(y) >> 6).clamp(0, 255) as u8
    }

    /// A pixel.
    #[inline]
    pub(super) fn rgb(&self, y: u32, u: u32, v: u32) -> [u8; 3] {
        let shift = if self.narrow { 0 } else { self.depth - 8 };
        let chroma = |sample: u32| (sample >> shift) as i32 - 128;
        let (y, u, v) = (self.luma(y), chroma(u), chroma(v));
        let of = &self.constants;
        [
            y + v * of.v_to_red,
            y - (u * of.u_to_green + v * of.v_to_green),
            y + u * of.u_to_blue,
        ]
        .map(|level| (level >> 6).clamp(0, 255) as u8)
    }
}
