//! The resize of a picture whose rows come one after the other, from top to bottom: what is
//! between the two passes is in memory, and the picture never is.
//!
//! The first pass works on each row by itself, so strips of rows give what the whole picture
//! gives. Where width and height change places when the picture is turned, the stored rows are
//! columns of what is resized; see `turned`.

use std::ops::Range;

use super::passes::{Pass, is_far};
use super::turned::Columns;
use super::{across, down, middle};
use crate::orientation::Orientation;
use crate::processor::{Filter, Processor};
use crate::target::Target;
use crate::work::Stop;
use crate::{ImageError, RgbImage};

/// Bytes of a strip, as far as whole rows allow. The weights of the first pass are computed
/// anew for each strip, so a strip must not be small.
pub(crate) const STRIP_BYTES: usize = 2 << 20;

/// Rows of a strip at least.
const STRIP_ROWS: usize = 16;

/// Rows of `width` pixels in a strip.
fn rows_in_strip(width: usize) -> usize {
    (STRIP_BYTES / (3 * width.max(1))).max(STRIP_ROWS)
}

/// A picture that was decoded and has gone through the first pass of its resize.
pub struct Narrowed {
    target: Target,
    filter: Filter,
    orientation: Orientation,
    /// The size of the picture as it is stored.
    stored: (usize, usize),
    /// What the whole turned picture is resized to, in pixels.
    size: (u32, u32),
    /// The columns of it that are wanted.
    columns: Range<u32>,
    is_far: bool,
    strip: Vec<u8>,
    /// Rows in the strip.
    filled: usize,
    /// Rows that have left it.
    done: usize,
    /// The first pass, where rows are columns.
    turned: Option<Columns>,
    between: Vec<u8>,
}

impl std::fmt::Debug for Narrowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Narrowed")
            .field("stored", &self.stored)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Narrowed {
    /// Before the first row of a picture that is stored in this size.
    pub(crate) fn new(
        processor: &Processor,
        stored: (u32, u32),
        orientation: Orientation,
    ) -> Result<Self, ImageError> {
        let (target, filter) = (processor.target(), processor.filter());
        let (width, height) = orientation.size(stored);
        let size = target.resized(width, height);
        let columns = match target {
            Target::Middle { side, .. } => middle::columns(size, side)?,
            Target::Square { .. } | Target::Patches { .. } => 0..size.0,
        };
        let stored = (stored.0 as usize, stored.1 as usize);
        let turned = orientation
            .swaps()
            .then(|| Columns::new(filter, stored, size.0, columns.clone(), orientation));
        let rows = match turned {
            Some(_) => 1,
            None => rows_in_strip(stored.0).min(stored.1),
        };
        Ok(Self {
            target,
            filter,
            orientation,
            stored,
            size,
            is_far: is_far(filter, width, size.0) || is_far(filter, height, size.1),
            strip: vec![0; rows * stored.0 * 3],
            filled: 0,
            done: 0,
            turned,
            between: vec![0; columns.len() * height as usize * 3],
            columns,
        })
    }

    /// The bytes of the next row, to be written before the next one is asked for.
    pub(crate) fn next_row(&mut self, stop: &Stop<'_>) -> Result<&mut [u8], ImageError> {
        let row = self.stored.0 * 3;
        if (self.filled + 1) * row > self.strip.len() {
            self.flush(stop)?;
        }
        let at = self.filled * row;
        self.filled += 1;
        self.strip
            .get_mut(at..at + row)
            .ok_or_else(|| super::unlikely("a row has no place"))
    }

    /// Takes the rows in the strip through the first pass.
    fn flush(&mut self, stop: &Stop<'_>) -> Result<(), ImageError> {
        /// Nanoseconds of the first pass for each byte of a row, a little above what is measured.
        const BYTE: u64 = 1;
        let (width, filled) = (self.stored.0, std::mem::take(&mut self.filled));
        if filled == 0 {
            return Ok(());
        }
        let strip = &mut self.strip[..filled * width * 3];
        stop.work(strip.len() as u64 * BYTE)?;
        let first = self.done;
        self.done += filled;
        if let Some(turned) = &mut self.turned {
            for (y, row) in (first..).zip(strip.chunks_exact(width * 3)) {
                turned.add(y, row, &mut self.between);
            }
            return Ok(());
        }
        if matches!(self.orientation.tag(), 2 | 3) {
            for row in strip.chunks_exact_mut(width * 3) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        let row = self.columns.len() * 3;
        let out = self.between.get_mut(first * row..self.done * row);
        let out = out.ok_or_else(|| super::unlikely("there are more rows than the height"))?;
        // What fast_image_resize does not do: see `passes`.
        let own = self.is_far || self.columns.len() != self.size.0 as usize;
        let width = self.stored.0 as u32;
        if own || self.filter == Filter::Nearest {
            let columns = self.columns.clone();
            Pass::new(self.filter, width, self.size.0, columns).along_rows(strip, out);
            return Ok(());
        }
        across(strip, (width, filled as u32), self.filter, self.size.0, out)
    }

    /// The second pass: what the vision tower takes. All rows were given.
    ///
    /// # Errors
    ///
    /// When the picture cannot be resized.
    pub fn finish(mut self) -> Result<RgbImage, ImageError> {
        self.flush(&Stop::never())?;
        let columns = self.columns.len();
        let height = self.orientation.size(self.stored).1;
        if matches!(self.orientation.tag(), 3 | 4) {
            self.turn_rows(columns);
        }
        let (filter, between) = (self.filter, self.between);
        if let Target::Middle { side, .. } = self.target {
            return middle::cut(&between, columns, height as u32, self.size, side, filter);
        }
        let out = if height as u32 == self.size.1 {
            between
        } else {
            let mut out = vec![0; columns * self.size.1 as usize * 3];
            let from = (columns as u32, height as u32);
            if self.is_far || filter == Filter::Nearest {
                Pass::whole(filter, from.1, self.size.1).along_columns(&between, from.0, &mut out);
            } else {
                down(&between, from, filter, self.size.1, &mut out)?;
            }
            out
        };
        let resized = RgbImage::new(self.size.0, self.size.1, out);
        resized.ok_or_else(|| super::unlikely("the picture has another size"))
    }

    /// The rows in the opposite order.
    fn turn_rows(&mut self, columns: usize) {
        let rows = self.between.len() / (columns * 3).max(1);
        let (upper, lower) = self.between.split_at_mut(rows / 2 * columns * 3);
        let lower = lower[rows % 2 * columns * 3..].chunks_exact_mut(columns.max(1) * 3);
        for (above, below) in upper.chunks_exact_mut(columns.max(1) * 3).zip(lower.rev()) {
            above.swap_with_slice(below);
        }
    }
}

/// Bytes that a [`Narrowed`] takes at most, until and with the second pass.
pub(crate) fn bytes(target: Target, stored: (u32, u32), orientation: Orientation) -> u64 {
    let (width, height) = orientation.size(stored);
    let (between, resized) = target.resize_bytes(width, height);
    let first = match orientation.swaps() {
        true => Columns::bytes(stored),
        false => (rows_in_strip(stored.0 as usize) as u64) * u64::from(stored.0) * 3,
    };
    between + resized + first
}
