//! What a key frame says before its macroblocks (RFC 6386, section 9 and 19.2), as libwebp reads it.

use super::bits::Bits;
use super::modes::SEGMENTS;
use super::tokens::{self, Places};
use super::{likely, quantizers, updates};
use crate::ImageError;
use crate::inspect::{array, u16_le};
use crate::webp::damaged;

/// Factors of coefficients, of the first of a block and of the others.
#[derive(Clone, Copy, Default)]
pub(super) struct Factors {
    pub(super) luma: [i32; 2],
    /// Of the block that the first coefficients of luma are in.
    pub(super) luma_first: [i32; 2],
    pub(super) chroma: [i32; 2],
}

/// How the edges of a macroblock are filtered.
#[derive(Clone, Copy, Default)]
pub(super) struct Strength {
    /// How much an edge may differ; 0 for no filter.
    pub(super) limit: i16,
    /// How much its neighbours may differ.
    pub(super) inner_limit: i16,
    /// From where on there is a contrast that is left alone.
    pub(super) contrast: i16,
}

/// Which filter there is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    Simple,
    Normal,
}

/// A key frame.
pub(super) struct Frame<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Where modes are read from.
    pub(super) modes: Bits<'a>,
    /// Where coefficients are: the partitions take turns, row by row. There are 1, 2, 4 or 8.
    pub(super) coefficients: Vec<Bits<'a>>,
    pub(super) segments: Option<[u8; 3]>,
    pub(super) factors: [Factors; SEGMENTS],
    pub(super) filter: Filter,
    /// By segment, and by whether the macroblock is predicted in blocks of four by four.
    pub(super) strengths: [[Strength; 2]; SEGMENTS],
    pub(super) places: Box<[Places; 4]>,
    /// The probability of a macroblock without coefficients, if they are told apart.
    pub(super) skip: Option<u8>,
}

fn short() -> ImageError {
    damaged("its lossy frame is cut short")
}

/// Whether there are segments, and what they change.
#[derive(Default)]
struct Segments {
    used: bool,
    map: Option<[u8; 3]>,
    /// Whether the numbers are for themselves, or are added to those of the frame.
    relative: bool,
    quantizers: [i32; SEGMENTS],
    levels: [i32; SEGMENTS],
}

impl Segments {
    fn read(bits: &mut Bits<'_>) -> Self {
        let mut segments = Self {
            used: bits.flag(),
            ..Self::default()
        };
        if !segments.used {
            return segments;
        }
        let has_map = bits.flag();
        if bits.flag() {
            segments.relative = !bits.flag();
            segments.quantizers = [(); SEGMENTS].map(|()| bits.optional(7));
            segments.levels = [(); SEGMENTS].map(|()| bits.optional(6));
        }
        if has_map {
            let mut likely = || if bits.flag() { bits.number(8) } else { 255 };
            segments.map = Some([(); 3].map(|()| likely()));
        }
        segments
    }

    /// The number of a segment, of those given for the frame and for segments.
    fn of(&self, segment: usize, frame: i32, segments: &[i32; SEGMENTS]) -> i32 {
        match (self.used, self.relative) {
            (false, _) => frame,
            (true, false) => segments[segment],
            (true, true) => frame + segments[segment],
        }
    }
}

/// The loop filter of the frame.
struct Filters {
    kind: Filter,
    level: i32,
    sharpness: i32,
    /// What is added to the level of all macroblocks, and of those of four by four.
    deltas: [i32; 2],
}

impl Filters {
    fn read(bits: &mut Bits<'_>) -> Self {
        let simple = bits.flag();
        let level = i32::from(bits.number(6));
        let sharpness = i32::from(bits.number(3));
        let with_deltas = bits.flag();
        let mut deltas = [0; 8];
        if with_deltas && bits.flag() {
            // Four by the frame that is referred to, of which a key frame has the first; then four by mode.
            deltas = deltas.map(|_| bits.optional(6));
        }
        Self {
            kind: match (level, simple) {
                (0, _) => Filter::None,
                (_, true) => Filter::Simple,
                (_, false) => Filter::Normal,
            },
            level,
            sharpness,
            deltas: [deltas[0], deltas[4]],
        }
    }

    fn strength(&self, level: i32, four_by_four: bool) -> Strength {
        let [all, four] = self.deltas;
        let level = level + all + if four_by_four { four } else { 0 };
        let level = level.clamp(0, 63);
        if level == 0 {
            return Strength::default();
        }
        let mut inner = level;
        if self.sharpness > 0 {
            inner >>= if self.sharpness > 4 { 2 } else { 1 };
            inner = inner.min(9 - self.sharpness);
        }
        let inner = inner.max(1);
        Strength {
            limit: (2 * level + inner) as i16,
            inner_limit: inner as i16,
            contrast: match level {
                40.. => 2,
                15.. => 1,
                _ => 0,
            },
        }
    }
}

/// The partitions of coefficients: the lengths of all but the last, then one after the other. One that is
/// longer than what is left ends there.
fn partitions(bytes: &[u8], count: usize) -> Result<Vec<Bits<'_>>, ImageError> {
    let (lengths, mut rest) = bytes.split_at_checked(3 * (count - 1)).ok_or_else(short)?;
    let mut partitions = Vec::with_capacity(count);
    for &[a, b, c] in lengths.as_chunks::<3>().0 {
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let (partition, behind) = rest.split_at(length.min(rest.len()));
        partitions.push(Bits::new(partition));
        rest = behind;
    }
    if rest.is_empty() {
        return Err(short());
    }
    partitions.push(Bits::new(rest));
    Ok(partitions)
}

/// Factors of each segment.
fn factors(bits: &mut Bits<'_>, segments: &Segments) -> [Factors; SEGMENTS] {
    let base = i32::from(bits.number(7));
    let [luma_dc, first_dc, first_ac, chroma_dc, chroma_ac] = [(); 5].map(|()| bits.optional(4));
    let mut nth = 0..SEGMENTS;
    [(); SEGMENTS].map(|()| {
        let q = segments.of(nth.next().unwrap_or(0), base, &segments.quantizers);
        Factors {
            luma: [quantizers::dc(q + luma_dc), quantizers::ac(q)],
            luma_first: [
                2 * quantizers::dc(q + first_dc),
                (quantizers::ac(q + first_ac) * 155 / 100).max(8),
            ],
            chroma: [
                quantizers::dc((q + chroma_dc).min(117)),
                quantizers::ac(q + chroma_ac),
            ],
        }
    })
}

/// Reads up to the modes of the first macroblock.
pub(super) fn read(bytes: &[u8]) -> Result<Frame<'_>, ImageError> {
    let [a, b, c] = array(bytes, 0).ok_or_else(short)?;
    let tag = u32::from_le_bytes([a, b, c, 0]);
    let is_key_frame = tag & 1 == 0;
    let is_shown = tag & 16 != 0;
    if !is_key_frame || !is_shown || tag >> 1 & 7 > 3 {
        return Err(damaged(
            "its lossy frame is not one that is shown by itself",
        ));
    }
    if array(bytes, 3) != Some([0x9d, 0x01, 0x2a]) {
        return Err(damaged("its frame has no start code"));
    }
    let side = |at| u16_le(bytes, at).map(|side| usize::from(side & 0x3fff));
    let (width, height) = side(6).zip(side(8)).ok_or_else(short)?;
    if width == 0 || height == 0 {
        return Err(damaged("its lossy frame has no pixels"));
    }
    let body = bytes.get(10..).ok_or_else(short)?;
    let (modes, behind) = body
        .split_at_checked((tag >> 5) as usize)
        .ok_or_else(short)?;
    let mut bits = Bits::new(modes);
    // The space of colours, and whether values have to be clamped: they always are.
    bits.number(2);
    let segments = Segments::read(&mut bits);
    let filters = Filters::read(&mut bits);
    let coefficients = partitions(behind, 1 << bits.number(2))?;
    let factors = factors(&mut bits, &segments);
    // Whether the probabilities are kept for frames to come.
    bits.flag();
    let mut probabilities = likely::AT_FIRST;
    let news = updates::UPDATES.as_flattened().as_flattened();
    let all = probabilities.as_flattened_mut().as_flattened_mut();
    for (likely, update) in all.iter_mut().zip(news) {
        for (likely, &update) in likely.iter_mut().zip(update) {
            if bits.get(update) {
                *likely = bits.number(8);
            }
        }
    }
    let skip = bits.flag().then(|| bits.number(8));
    if bits.ended() {
        return Err(short());
    }
    let mut nth = 0..SEGMENTS;
    let strengths = [(); SEGMENTS].map(|()| {
        let segment = nth.next().unwrap_or(0);
        let level = segments.of(segment, filters.level, &segments.levels);
        [false, true].map(|four_by_four| filters.strength(level, four_by_four))
    });
    Ok(Frame {
        width,
        height,
        modes: bits,
        coefficients,
        segments: segments.map,
        factors,
        filter: filters.kind,
        strengths,
        places: Box::new(tokens::by_place(&probabilities)),
        skip,
    })
}
