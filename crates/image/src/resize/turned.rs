//! The first pass of the resize of a picture whose stored rows are columns of the turned one.
//!
//! Each row adds to the sums of all target columns that it has a part in. The sums are the whole
//! numbers that the other way round has, and are rounded as there, so the result is the same.

use std::ops::Range;

use super::coefficients::Coefficients;
use super::passes::byte;
use crate::orientation::Orientation;
use crate::processor::Filter;

/// See the module.
pub(super) struct Columns {
    /// Number of stored rows.
    height: usize,
    /// Whether the stored rows are columns from right to left.
    from_right: bool,
    /// Whether the pixels of a stored row come from bottom to top.
    from_bottom: bool,
    wanted: Range<u32>,
    precision: u32,
    /// For each source column where its parts end in `parts`; they begin where those of the
    /// column before end.
    ends: Vec<usize>,
    /// Target column and weight.
    parts: Vec<(u32, i16)>,
    /// Of each target column its sums, while it has some, and how many parts it still lacks.
    sums: Vec<(Option<Vec<i32>>, usize)>,
    /// Memory of sums that are done.
    free: Vec<Vec<i32>>,
}

impl Columns {
    /// For a picture that is stored in this size and is resized to `size` columns once it is
    /// turned, of which those in `wanted` are made.
    pub(super) fn new(
        filter: Filter,
        (_, height): (usize, usize),
        size: u32,
        wanted: Range<u32>,
        orientation: Orientation,
    ) -> Self {
        // Where nothing is to be resized, each column is one of the source's.
        let filter = match height as u32 == size {
            true => Filter::Nearest,
            false => filter,
        };
        let coefficients = Coefficients::new(filter, height as u32, size);
        let mut by_source = vec![Vec::new(); height];
        let mut sums = Vec::with_capacity(size as usize);
        for (target, window) in (0..).zip(coefficients.windows()) {
            let mut lacks = 0;
            if wanted.contains(&target) {
                let sources = by_source.iter_mut().skip(window.start as usize);
                for (source, &weight) in sources.zip(window.weights) {
                    source.push((target, weight));
                    lacks += 1;
                }
            }
            sums.push((None, lacks));
        }
        let mut parts = Vec::new();
        let ends = by_source
            .into_iter()
            .map(|own| {
                parts.extend(own);
                parts.len()
            })
            .collect();
        Self {
            height,
            from_right: matches!(orientation.tag(), 6 | 7),
            from_bottom: matches!(orientation.tag(), 7 | 8),
            wanted,
            precision: coefficients.precision(),
            ends,
            parts,
            sums,
            free: Vec::new(),
        }
    }

    /// Bytes that it takes at most where the picture is not enlarged: sums of eight columns, as
    /// Lanczos has them, and weights.
    pub(super) fn bytes((width, height): (u32, u32)) -> u64 {
        u64::from(width) * 3 * (8 * 4 + 1) + u64::from(height) * 160
    }

    /// Adds stored row `y`, and puts the columns that are then whole into rows of the wanted
    /// ones.
    pub(super) fn add(&mut self, y: usize, row: &[u8], between: &mut [u8]) {
        let column = match self.from_right {
            true => self.height - 1 - y,
            false => y,
        };
        let from = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        for part in from..self.ends[column] {
            let (target, weight) = self.parts[part];
            let (sums, lacks) = &mut self.sums[target as usize];
            let half = 1 << (self.precision - 1);
            let sums = sums.get_or_insert_with(|| {
                let mut sums = self.free.pop().unwrap_or_default();
                sums.clear();
                sums.resize(row.len(), half);
                sums
            });
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * i32::from(weight);
            }
            *lacks -= 1;
            if *lacks == 0 {
                self.put(target, between);
            }
        }
    }

    /// Rounds the sums of a target column.
    fn put(&mut self, target: u32, between: &mut [u8]) {
        let Some(sums) = self.sums[target as usize].0.take() else {
            return;
        };
        let (columns, at) = (self.wanted.len(), (target - self.wanted.start) as usize);
        let pixels = sums.as_chunks::<3>().0;
        for (x, pixel) in pixels.iter().enumerate() {
            let y = match self.from_bottom {
                true => pixels.len() - 1 - x,
                false => x,
            };
            let to = (y * columns + at) * 3;
            if let Some(to) = between.get_mut(to..to + 3) {
                to.copy_from_slice(&pixel.map(|sum| byte(sum, self.precision)));
            }
        }
        self.free.push(sums);
    }
}
