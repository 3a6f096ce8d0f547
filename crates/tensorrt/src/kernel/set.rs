//! A coefficient set as encoded in the table: `Set` in resize.cu.
//!
//! Weights are stored in pairs: the first pairs of all target lines, then the second pairs, and
//! so on. So neighbouring threads, which work on neighbouring lines, read neighbouring words.

use siglip2_image::Coefficients;

/// Pixels of a tile of the width pass, as in resize.cu.
const TILE_PIXELS: u32 = 768;
/// The most columns of a tile: `THREADS / (TILE_ROWS / ROWS)` of resize.cu.
const TILE_COLUMNS: u32 = 64;

/// Which pass a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Axis {
    /// The width pass: starts are whole words of four pixels.
    Across,
    /// The height pass.
    Down,
}

impl Axis {
    /// The unit of which every start and every number of weights is a multiple.
    fn unit(self) -> u32 {
        match self {
            Self::Across => 4,
            Self::Down => 1,
        }
    }
}

/// The coefficients of one side of a picture, encoded.
pub(super) struct Set {
    bytes: Vec<u8>,
    columns: u32,
}

impl Set {
    /// Encodes the windows over `length` source lines.
    pub(super) fn new(axis: Axis, coefficients: &Coefficients, length: u32) -> Self {
        let windows: Vec<_> = coefficients.windows().collect();
        let starts = starts(axis, windows.iter().map(|window| window.start));
        let longest = windows
            .iter()
            .zip(&starts)
            .map(|(window, start)| (window.start - start) as usize + window.weights.len())
            .max()
            .unwrap_or(0);
        let pairs = pairs(axis, longest);

        let mut weights = vec![0_i16; pairs * 2 * windows.len()];
        for (line, (window, start)) in windows.iter().zip(&starts).enumerate() {
            let first = (window.start - start) as usize;
            for (tap, weight) in (first..).zip(window.weights) {
                weights[(tap / 2 * windows.len() + line) * 2 + tap % 2] = *weight;
            }
        }

        let mut bytes = Vec::with_capacity(encoded_bytes(pairs, windows.len()));
        bytes.extend(coefficients.precision().to_le_bytes());
        bytes.extend((pairs as u32).to_le_bytes());
        bytes.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
        bytes.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
        Self {
            bytes,
            columns: columns(&starts, pairs as u32 * 2, length),
        }
    }

    /// The encoded set; a multiple of 4 bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Target columns of a tile of the width pass.
    pub(super) fn columns(&self) -> u32 {
        self.columns
    }

    /// The largest size of a set whose windows have at most `longest` weights.
    pub(super) fn most_bytes(axis: Axis, longest: usize, size: u32) -> usize {
        // A start may move forward to become a multiple of its unit.
        let moved = axis.unit() as usize - 1;
        encoded_bytes(pairs(axis, longest + moved), size as usize)
    }
}

fn encoded_bytes(pairs: usize, size: usize) -> usize {
    8 + size * 4 + pairs * size * 4
}

/// Pairs that hold `weights` weights.
fn pairs(axis: Axis, weights: usize) -> usize {
    weights.next_multiple_of(axis.unit().max(2) as usize) / 2
}

/// Where the windows start in the table: at whole units, and never before the preceding window.
/// A cubic window has weights of 0 at its start if a source pixel lies in its centre; those
/// were left out, so it may start after the next window.
fn starts(axis: Axis, windows: impl DoubleEndedIterator<Item = u32>) -> Vec<u32> {
    let mut least = u32::MAX;
    let mut starts: Vec<u32> = windows
        .rev()
        .map(|start| {
            least = least.min(start / axis.unit() * axis.unit());
            least
        })
        .collect();
    starts.reverse();
    starts
}

/// The most columns of a tile whose source pixels fit in shared memory at once, distributed
/// evenly; 1 if a single window is longer than that.
fn columns(starts: &[u32], weights: u32, length: u32) -> u32 {
    let size = starts.len() as u32;
    let row_end = length.next_multiple_of(4);
    let fits = |columns: u32| {
        starts.chunks(columns as usize).all(|tile| {
            let (first, last) = (tile.first(), tile.last());
            first.zip(last).is_none_or(|(first, last)| {
                (last + weights).min(row_end).saturating_sub(*first) <= TILE_PIXELS
            })
        })
    };
    (size.div_ceil(TILE_COLUMNS)..=size)
        .map(|tiles| size.div_ceil(tiles))
        .find(|&columns| fits(columns))
        .unwrap_or(1)
}
