//! Blocks of 4 x 4 pixels: BC1 to BC5 (S3TC and RGTC), with Pillow's rounding, which cuts off what
//! is behind the point.

use super::bc7;
use crate::inspect::{array, u16_le};

/// The colours of a block, row by row.
pub(super) type Block = [[u8; 3]; 16];

/// How a block is coded.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Two colours and two between them, or one and black.
    Bc1,
    /// The same behind 4 bits of alpha for each pixel.
    Bc2,
    /// The same behind interpolated alpha.
    Bc3,
    /// One channel.
    Bc4,
    /// Red and green, each as one channel; blue is nothing.
    Bc5 {
        /// Whether they are from -128 to 127.
        signed: bool,
    },
    /// See [`bc7`].
    Bc7,
}

impl Kind {
    /// Bytes of a block.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bc1 | Self::Bc4 => 8,
            Self::Bc2 | Self::Bc3 | Self::Bc5 { .. } | Self::Bc7 => 16,
        }
    }

    /// The pixels of a block.
    pub(super) fn pixels(self, block: &[u8]) -> Block {
        let behind = block.get(8..).unwrap_or_default();
        match self {
            Self::Bc1 => colours(block, false),
            Self::Bc2 | Self::Bc3 => colours(behind, true),
            Self::Bc4 => channel(block, false).map(|grey| [grey; 3]),
            Self::Bc5 { signed } => {
                let (red, green) = (channel(block, signed), channel(behind, signed));
                let blue = if signed { 128 } else { 0 };
                std::array::from_fn(|nth| [red[nth], green[nth], blue])
            }
            Self::Bc7 => bc7::pixels(array(block, 0).unwrap_or_default()),
        }
    }
}

/// A colour of 5, 6 and 5 bits.
fn of_565(colour: u16) -> [u8; 3] {
    let [red, green, blue] = [colour >> 11, colour >> 5 & 63, colour & 31].map(|part| part as u8);
    [
        red << 3 | red >> 2,
        green << 2 | green >> 4,
        blue << 3 | blue >> 2,
    ]
}

/// Pixels of BC1. With an alpha of its own a block always has four colours.
fn colours(block: &[u8], four: bool) -> Block {
    let end = |at| u16_le(block, at).unwrap_or(0);
    let (first, second) = (of_565(end(0)), of_565(end(2)));
    let mix = |a: u16, b: u16, by: u16| {
        std::array::from_fn(|nth| {
            ((a * u16::from(first[nth]) + b * u16::from(second[nth])) / by) as u8
        })
    };
    let between = if four || end(0) > end(2) {
        [mix(2, 1, 3), mix(1, 2, 3)]
    } else {
        [mix(1, 1, 2), [0; 3]]
    };
    let colours = [first, second, between[0], between[1]];
    let indices = u32::from_le_bytes(array(block, 4).unwrap_or_default());
    std::array::from_fn(|nth| colours[(indices >> (2 * nth) & 3) as usize])
}

/// One channel: two values and six between them, or four and the ends of the range.
fn channel(block: &[u8], signed: bool) -> [u8; 16] {
    let [first, second, rest @ ..] = array::<8>(block, 0).unwrap_or_default();
    // Signed values are moved up by 128.
    let [first, second] = [first, second].map(|end| if signed { end ^ 0x80 } else { end });
    let mix = |a: u16, b: u16| ((a * u16::from(first) + b * u16::from(second)) / (a + b)) as u8;
    let values = if first > second {
        [
            mix(6, 1),
            mix(5, 2),
            mix(4, 3),
            mix(3, 4),
            mix(2, 5),
            mix(1, 6),
        ]
    } else {
        [mix(4, 1), mix(3, 2), mix(2, 3), mix(1, 4), 0, 255]
    };
    let indices = rest.iter().rev();
    let indices = indices.fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
    std::array::from_fn(|nth| match (indices >> (3 * nth) & 7) as usize {
        0 => first,
        1 => second,
        between => values[between - 2],
    })
}
