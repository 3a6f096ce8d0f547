//! The numbers behind the resize: which source pixels a target pixel is made of along one
//! side, and with what weights, as `fast_image_resize` computes them.
//!
//! ```text
//! (filter, length, size) --f64 windows--> normalized to a sum of 1 --> i16 and a precision
//! ```
//!
//! The CPU path lets `fast_image_resize` compute them, where that is the same; a device gets
//! them as a table, so that both round in the same place and are equal byte for byte. A target value is
//! `clamp((1 << (precision - 1) + sum(weight * pixel)) >> precision, 0, 255)`.
//!
//! Source of the formulas: `precompute_coefficients` (src/convolution/mod.rs), the filter
//! functions (src/convolution/filters.rs) and `Normalizer16`
//! (src/convolution/optimisations.rs) of fast_image_resize 6, which has them from
//! Pillow-SIMD. The order of operations is theirs, because f64 sums depend on it.

use std::f64::consts::PI;

use crate::processor::Filter;

/// 32 bits, less 8 for the result and 2 for sums outside of 0..1 (filters with negative
/// lobes).
const MAX_PRECISION: u32 = 22;
/// A weight is an i16: below `1 << 15`.
const WEIGHT_BITS: u32 = 15;
/// For a single weight of 1: any precision whose `1 << precision` is an i16 would do.
const UNIT_PRECISION: u32 = 14;

/// The source pixels of one target pixel along one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window<'a> {
    /// The first source pixel.
    pub start: u32,
    /// The weights of it and of those behind it, in units of `2^-precision`.
    pub weights: &'a [i16],
}

/// The windows of all target pixels along one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coefficients {
    precision: u32,
    /// First source pixel, and where the weights end in `weights`; they begin where the
    /// window before ends.
    windows: Vec<(u32, usize)>,
    weights: Vec<i16>,
}

impl Coefficients {
    /// The windows of `size` target pixels over `length` source pixels, both at least 1.
    ///
    /// For `length == size` every filter would give the source back; the resize leaves
    /// such a pass out.
    pub fn new(filter: Filter, length: u32, size: u32) -> Self {
        match filter {
            Filter::Nearest => Self::nearest(length, size),
            Filter::Bilinear => Self::convolution(bilinear, 1.0, length, size),
            Filter::Bicubic => Self::convolution(catmull_rom, 2.0, length, size),
            Filter::Lanczos => Self::convolution(lanczos3, 3.0, length, size),
        }
    }

    /// No window is longer than this many pixels.
    pub fn longest(filter: Filter, length: u32, size: u32) -> usize {
        let support = match filter {
            Filter::Nearest => return 1,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        };
        longest(support, f64::from(length) / f64::from(size)).min(length as usize)
    }

    /// Bits behind the point of a weight; 1..=22.
    pub fn precision(&self) -> u32 {
        self.precision
    }

    /// The windows, one for each target pixel, in order.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = Window<'_>> {
        let mut from = 0;
        self.windows.iter().map(move |&(start, to)| {
            let weights = &self.weights[from..to];
            from = to;
            Window { start, weights }
        })
    }

    /// One pixel each: torchvision's `nearest-exact`, see [`nearest_source`].
    fn nearest(length: u32, size: u32) -> Self {
        Self {
            precision: UNIT_PRECISION,
            windows: (0..size)
                .map(|at| (nearest_source(at, length, size), at as usize + 1))
                .collect(),
            weights: vec![1 << UNIT_PRECISION; size as usize],
        }
    }

    fn convolution(filter: fn(f64) -> f64, support: f64, length: u32, size: u32) -> Self {
        let scale = f64::from(length) / f64::from(size);
        let filter_scale = scale.max(1.0);
        let radius = support * filter_scale;
        let recip_filter_scale = 1.0 / filter_scale;
        let mut windows = Vec::with_capacity(size as usize);
        let mut weights: Vec<f64> = Vec::with_capacity(longest(support, scale) * size as usize);
        // The largest of all, for the precision.
        let mut largest = 0.0_f64;
        for target in 0..size {
            let centre = (f64::from(target) + 0.5) * scale;
            let first = (centre - radius).floor().max(0.0) as u32;
            let end = (centre + radius).ceil().min(f64::from(length)) as u32;
            let centre = centre - 0.5;
            let from = weights.len();
            let mut sum = 0.0;
            let mut start = first;
            for x in first..end {
                let weight = filter((f64::from(x) - centre) * recip_filter_scale);
                // Weights of 0 at the start and at the end are no part of the window.
                if x == start && weight == 0.0 {
                    start += 1;
                } else {
                    weights.push(weight);
                    sum += weight;
                }
            }
            while weights.len() > from && weights.last() == Some(&0.0) {
                weights.pop();
            }
            for weight in &mut weights[from..] {
                if sum != 0.0 {
                    *weight /= sum;
                }
                largest = largest.max(*weight);
            }
            windows.push((start, weights.len()));
        }
        let precision = precision(largest);
        let unit = f64::from(1_u32 << precision);
        Self {
            precision,
            windows,
            weights: weights
                .iter()
                .map(|weight| (weight * unit).round() as i16)
                .collect(),
        }
    }
}

/// The source pixel whose area holds the centre of target pixel `at`, with the scale in f32
/// as in ATen's `nearest_neighbor_exact_compute_source_index`.
pub(super) fn nearest_source(at: u32, length: u32, size: u32) -> u32 {
    let scale = length as f32 / size as f32;
    let source = ((at as f32 + 0.5) * scale).floor() as u32;
    source.min(length - 1)
}

/// Pixels in a window at most, for `scale` source pixels per target pixel.
fn longest(support: f64, scale: f64) -> usize {
    (support * scale.max(1.0)).ceil() as usize * 2 + 1
}

/// The most bits with which the largest weight is still an i16, as ATen counts them:
/// `fast_image_resize` stops one short of the last (see `far`).
fn precision(largest: f64) -> u32 {
    (0..MAX_PRECISION)
        .find(|bits| {
            let next = (largest * f64::from(1_u32 << (bits + 1))).round();
            next >= f64::from(1_u32 << WEIGHT_BITS)
        })
        .unwrap_or(MAX_PRECISION)
}

fn bilinear(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.) * x - (A + 3.)) * x * x + 1.
    } else if x < 2.0 {
        (((x - 5.) * x + 8.) * x - 4.) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

fn lanczos3(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.)
    } else {
        0.0
    }
}
