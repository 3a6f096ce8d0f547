//! Lossy WebP: a key frame of VP8 (RFC 6386), decoded as libwebp decodes it, then libwebp's way from YUV to
//! RGB.
//!
//! ```text
//! frame --header--> probabilities, factors, strengths of filters; partitions of bits
//! for each macroblock, from left to right and from top to bottom:
//!       --modes---> how it is predicted
//!       --tokens--> coefficients
//!       --predict, transform--> samples
//!       --filter--> edges between blocks, in a window of two rows of macroblocks
//! for each row of macroblocks:
//!       --colour--> the rows of RGB that no filter changes any more
//! ```
//!
//! It is decoded here so that it can be ended after each row of macroblocks, takes some rows of memory rather
//! than whole planes, and is held to its work: a frame of few bytes can ask for much, as a bit that is
//! likely takes next to none.

mod bits;
mod colour;
mod filter;
mod header;
mod likely;
mod modes;
mod predict;
mod quantizers;
mod tokens;
mod transform;
mod updates;
mod window;

use header::Frame;
use modes::{Beside, Luma, Macroblock, Mode4};
use predict::{ChromaSamples, LumaSamples, ORIGIN};
use tokens::Reader;
use transform::{Block, STRIDE};
use window::Window;

use super::{Out, damaged};
use crate::work::{self, Stop};
use crate::{ImageError, ImageFormat};

/// Nanoseconds for a pixel, without what its coefficients take.
const PIXEL: u64 = 20;

/// Nanoseconds for a bit of coefficients that was decoded. On an EPYC (Zen 4) 4 to 7 were measured, the most
/// for numbers of twelve bits that cannot be foretold.
const BIT: u64 = 7;

/// Bytes that decoding takes beside the pixels.
pub(super) fn scratch(width: u64) -> u64 {
    let macroblocks = width.div_ceil(16);
    // Two rows of samples, what is above of samples and modes, and two rows of chroma at full width.
    macroblocks * (2 * (256 + 128) + 32 + size_of::<Above>() as u64 + 32) + (64 << 10)
}

/// What a macroblock leaves to those below it, or to the right.
#[derive(Clone, Copy)]
struct Above {
    modes: Beside,
    /// Which blocks have coefficients: four of luma, then two for each chroma, then those that the first
    /// coefficients of luma are in.
    filled: [bool; 9],
}

const NOTHING: Above = Above {
    modes: [Mode4::Mean; 4],
    filled: [false; 9],
};

/// The coefficients of a macroblock.
struct Coefficients {
    /// 16 blocks of luma, and four for each chroma.
    blocks: [Block; 24],
    /// What transform each of them needs.
    needs: [Needs; 24],
}

/// What transform a block needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Nothing,
    First,
    Three,
    Whole,
}

impl Needs {
    fn of(block: &Block, end: usize) -> Self {
        match end {
            4.. => Self::Whole,
            2.. => Self::Three,
            _ if block[0] != 0 => Self::First,
            _ => Self::Nothing,
        }
    }
}

impl Coefficients {
    fn is_empty(&self) -> bool {
        self.needs.iter().all(|&needs| needs == Needs::Nothing)
    }

    /// Reads those of a macroblock. They were all zero.
    fn read(
        &mut self,
        reader: &mut Reader<'_, '_>,
        frame: &Frame<'_>,
        macroblock: &Macroblock,
        above: &mut [bool; 9],
        left: &mut [bool; 9],
    ) {
        let factors = &frame.factors[macroblock.segment];
        let count = |above: bool, left: bool| usize::from(above) + usize::from(left);
        let (kind, first) = match macroblock.luma {
            Luma::Blocks(_) => (tokens::LUMA, 0),
            Luma::Whole(_) => {
                let mut block = [0; 16];
                let context = count(above[8], left[8]);
                let places = &frame.places[tokens::LUMA_FIRST];
                let end = reader.block(places, context, factors.luma_first, 0, &mut block);
                above[8] = end > 0;
                left[8] = end > 0;
                let firsts = match end {
                    0 | 1 => [((i32::from(block[0]) + 3) >> 3) as i16; 16],
                    _ => transform::of_first(&block),
                };
                for (block, first) in self.blocks.iter_mut().zip(firsts) {
                    block[0] = first;
                }
                (tokens::LUMA_REST, 1)
            }
        };
        let mut read = |nth: usize, kind: usize, first, factors, at: (usize, usize)| {
            let (above, left) = (&mut above[at.0], &mut left[at.1]);
            let block = &mut self.blocks[nth];
            let context = count(*above, *left);
            let end = reader.block(&frame.places[kind], context, factors, first, block);
            *above = end > first;
            *left = *above;
            self.needs[nth] = Needs::of(block, end);
        };
        for nth in 0..16 {
            read(nth, kind, first, factors.luma, (nth % 4, nth / 4));
        }
        for nth in 0..8 {
            let at = 4 + nth / 4 * 2;
            let place = (at + nth % 2, at + nth / 2 % 2);
            read(16 + nth, tokens::CHROMA, 0, factors.chroma, place);
        }
    }

    fn add(&self, nth: usize, samples: &mut [u8], at: usize) {
        let block = &self.blocks[nth];
        match self.needs[nth] {
            Needs::Nothing => {}
            Needs::First => transform::first_only(block[0], samples, at),
            Needs::Three => transform::three(block, samples, at),
            Needs::Whole => transform::whole(block, samples, at),
        }
    }

    /// All four of a chroma plane: whole where any of them has more than its first coefficient.
    fn add_chroma(&self, plane: usize, samples: &mut [u8]) {
        let blocks = 16 + 4 * plane..20 + 4 * plane;
        let most = self.needs[blocks.clone()].iter().max();
        for (nth, index) in blocks.enumerate() {
            let at = ORIGIN + nth / 2 * 4 * STRIDE + nth % 2 * 4;
            match most {
                Some(Needs::Three | Needs::Whole) => {
                    transform::whole(&self.blocks[index], samples, at);
                }
                _ => self.add(index, samples, at),
            }
        }
    }
}

/// The samples of the macroblock that is being decoded.
struct Planes {
    luma: LumaSamples,
    chroma: [ChromaSamples; 2],
}

/// The last rows of samples of the macroblocks above, before they are filtered.
struct Bottoms {
    luma: Vec<[u8; 16]>,
    chroma: Vec<[[u8; 8]; 2]>,
}

impl Planes {
    /// Predicts a macroblock, and adds what its coefficients say.
    fn reconstruct(
        &mut self,
        (x, y): (usize, usize),
        macroblock: &Macroblock,
        coefficients: &Coefficients,
        bottoms: &mut Bottoms,
    ) {
        if x > 0 {
            self.luma.step();
            self.chroma.iter_mut().for_each(ChromaSamples::step);
        } else {
            self.luma.begin_row(y == 0);
            self.chroma
                .iter_mut()
                .for_each(|plane| plane.begin_row(y == 0));
        }
        let mut right = [127; 4];
        if y > 0 {
            self.luma.set_above(&bottoms.luma[x]);
            for (plane, above) in self.chroma.iter_mut().zip(&bottoms.chroma[x]) {
                plane.set_above(above);
            }
            // Beyond the right edge, the last sample goes on.
            right = match bottoms.luma.get(x + 1) {
                Some(next) => [next[0], next[1], next[2], next[3]],
                None => [bottoms.luma[x][15]; 4],
            };
        }
        let there = (y > 0, x > 0);
        let at = |nth: usize| ORIGIN + nth / 4 * 4 * STRIDE + nth % 4 * 4;
        match &macroblock.luma {
            Luma::Whole(mode) => {
                self.luma.predict(*mode, there);
                for nth in 0..16 {
                    coefficients.add(nth, &mut self.luma.0, at(nth));
                }
            }
            Luma::Blocks(modes) => {
                self.luma.set_right(right);
                for (nth, &mode) in modes.iter().enumerate() {
                    self.luma.predict4(mode, at(nth));
                    coefficients.add(nth, &mut self.luma.0, at(nth));
                }
            }
        }
        for (nth, plane) in self.chroma.iter_mut().enumerate() {
            plane.predict(macroblock.chroma, there);
            coefficients.add_chroma(nth, &mut plane.0);
        }
        bottoms.luma[x].copy_from_slice(self.luma.row(15));
        for (bottom, plane) in bottoms.chroma[x].iter_mut().zip(&self.chroma) {
            bottom.copy_from_slice(plane.row(7));
        }
    }
}

/// Counts what a frame has taken, and ends it where that is too much.
struct Meter<'a> {
    stop: &'a Stop<'a>,
    spent: u64,
}

impl Meter<'_> {
    fn work(&mut self, nanoseconds: u64) -> Result<(), ImageError> {
        self.spent += nanoseconds;
        work::check(ImageFormat::WebP, self.spent, "its frame")?;
        self.stop.work(nanoseconds)
    }
}

/// Decodes to the rows of `out`.
pub(super) fn decode(
    frame: &[u8],
    size: (u32, u32),
    out: &mut Out<'_>,
    stop: &Stop<'_>,
) -> Result<(), ImageError> {
    let mut frame = header::read(frame)?;
    let size = (size.0 as usize, size.1 as usize);
    if (frame.width, frame.height) != size {
        return Err(damaged("its headers contradict each other"));
    }
    let (across, down) = (frame.width.div_ceil(16), frame.height.div_ceil(16));
    let mut meter = Meter { stop, spent: 0 };
    let mut aboves = vec![NOTHING; across];
    let mut bottoms = Bottoms {
        luma: vec![[0; 16]; across],
        chroma: vec![[[0; 8]; 2]; across],
    };
    let mut planes = Planes {
        luma: LumaSamples::new(),
        chroma: [ChromaSamples::new(), ChromaSamples::new()],
    };
    let mut window = Window::new(size, frame.filter);
    let partitions = frame.coefficients.len();
    for y in 0..down {
        let mut left = NOTHING;
        let mut decoded = 0;
        // Copied, as the frame is looked at while it is read.
        let mut tokens = frame.coefficients[y % partitions];
        for (x, above) in aboves.iter_mut().enumerate() {
            let macroblock = Macroblock::read(
                &mut frame.modes,
                frame.segments,
                frame.skip,
                &mut above.modes,
                &mut left.modes,
            );
            let mut coefficients = Coefficients {
                blocks: [[0; 16]; 24],
                needs: [Needs::Nothing; 24],
            };
            if macroblock.skipped {
                // The first coefficients of luma have their own block, or none that counts.
                let kept = match macroblock.luma {
                    Luma::Whole(_) => (false, false),
                    Luma::Blocks(_) => (above.filled[8], left.filled[8]),
                };
                above.filled = [false; 9];
                left.filled = [false; 9];
                (above.filled[8], left.filled[8]) = kept;
            } else {
                let mut reader = Reader {
                    bits: &mut tokens,
                    decoded: 0,
                };
                let filled = (&mut above.filled, &mut left.filled);
                coefficients.read(&mut reader, &frame, &macroblock, filled.0, filled.1);
                decoded += u64::from(reader.decoded);
            }
            planes.reconstruct((x, y), &macroblock, &coefficients, &mut bottoms);
            let four_by_four = matches!(macroblock.luma, Luma::Blocks(_));
            let strength = frame.strengths[macroblock.segment][usize::from(four_by_four)];
            window.put(x, &planes.luma, &planes.chroma);
            let inner = four_by_four || !coefficients.is_empty();
            window.filter((x, y), strength, inner);
        }
        if tokens.ended() || frame.modes.ended() {
            return Err(damaged("its lossy frame is cut short"));
        }
        frame.coefficients[y % partitions] = tokens;
        meter.work(across as u64 * 256 * PIXEL + decoded * BIT)?;
        window.row_done(y, out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_WORK;

    /// A frame that would pass it has hundreds of megabytes, so it is only said here.
    #[test]
    fn a_frame_that_takes_too_long_is_ended_in_the_middle() {
        let stop = Stop::never();
        let mut meter = Meter {
            stop: &stop,
            spent: MAX_WORK - 10,
        };
        assert_eq!(meter.work(10), Ok(()));
        let error = meter.work(1).unwrap_err();
        assert!(matches!(error, ImageError::TooComplex { .. }), "{error}");
        // The pixels of the largest frame that can be written are not too many by themselves.
        const { assert!(16_383 * 16_383 * PIXEL < MAX_WORK) };
    }
}
