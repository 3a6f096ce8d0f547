//! The two passes of a resize in plain code, for what `fast_image_resize` does not do: where so
//! many source pixels make a target pixel that weights have one bit more than it gives them
//! (from 128 to 1 on), and where only a part of the result is wanted.
//!
//! Over the same windows as a device makes them from [`Coefficients`]. It is slower than
//! vector code; what takes its time with large pictures is their decoding.

use std::ops::Range;

use super::coefficients::Coefficients;
use crate::processor::Filter;

/// Whether a pass is one that `fast_image_resize` cannot weigh.
pub(super) fn is_far(filter: Filter, length: u32, size: u32) -> bool {
    // No filter has a weight of 1/128 where this is not so.
    length / 64 > size && Coefficients::new(filter, length, size).precision() > 21
}

/// One pass: `length` pixels along a side to `size`, of which those in `wanted` are made.
pub(super) struct Pass {
    filter: Filter,
    length: u32,
    size: u32,
    wanted: Range<u32>,
}

impl Pass {
    pub(super) fn new(filter: Filter, length: u32, size: u32, wanted: Range<u32>) -> Self {
        Self {
            filter,
            length,
            size,
            wanted,
        }
    }

    /// All of it.
    pub(super) fn whole(filter: Filter, length: u32, size: u32) -> Self {
        Self::new(filter, length, size, 0..size)
    }

    /// Along rows of `length` pixels to rows of those wanted.
    pub(super) fn along_rows(&self, source: &[u8], out: &mut [u8]) {
        let (from, count) = (self.wanted.start as usize, self.wanted.len());
        let rows = source.chunks_exact(self.length as usize * 3);
        let rows = rows.zip(out.chunks_exact_mut(count.max(1) * 3));
        if self.length == self.size {
            rows.for_each(|(row, out)| out.copy_from_slice(&row[from * 3..][..count * 3]));
            return;
        }
        let coefficients = Coefficients::new(self.filter, self.length, self.size);
        for (row, out) in rows {
            let pixels = row.as_chunks::<3>().0;
            let windows = coefficients.windows().skip(from);
            for (window, out) in windows.zip(out.as_chunks_mut::<3>().0) {
                let mut sums = [1 << (coefficients.precision() - 1); 3];
                let under = pixels.get(window.start as usize..).unwrap_or_default();
                for (pixel, &weight) in under.iter().zip(window.weights) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(value) * i32::from(weight);
                    }
                }
                *out = sums.map(|sum| byte(sum, coefficients.precision()));
            }
        }
    }

    /// Along columns: `length` rows of `width` pixels to the rows wanted.
    pub(super) fn along_columns(&self, source: &[u8], width: u32, out: &mut [u8]) {
        let row_bytes = width as usize * 3;
        let from = self.wanted.start as usize;
        if self.length == self.size {
            out.copy_from_slice(&source[from * row_bytes..][..out.len()]);
            return;
        }
        let coefficients = Coefficients::new(self.filter, self.length, self.size);
        let mut sums = vec![0; row_bytes];
        let windows = coefficients.windows().skip(from);
        for (window, out) in windows.zip(out.chunks_exact_mut(row_bytes)) {
            sums.fill(1 << (coefficients.precision() - 1));
            let rows = source.chunks_exact(row_bytes).skip(window.start as usize);
            for (row, &weight) in rows.zip(window.weights) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(value) * i32::from(weight);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = byte(sum, coefficients.precision());
            }
        }
    }
}

pub(super) fn byte(sum: i32, precision: u32) -> u8 {
    (sum >> precision).clamp(0, 255) as u8
}
