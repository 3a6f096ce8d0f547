//! A matrix that several threads write, each to blocks of its own.
//!
//! ```text
//!            columns 0    1    2
//!                  +----+----+----+
//!    rows 0        | 00 | 01 | 02 |      take(0, 1) lends block 01, once
//!                  +----+----+----+
//!         1        | 10 | 11 | 12 |
//!                  +----+----+----+
//! ```
//!
//! `chunks_mut` cannot lend rectangles. What makes this sound: the blocks of a grid do
//! not overlap, and each is lent once in a grid's life.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// `0..total` in `parts` ranges whose lengths differ by at most `unit`; all but the
/// last are multiples of `unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Even {
    total: usize,
    unit: usize,
    parts: usize,
}

impl Even {
    /// There is at least one part, and no part is empty unless `total` is 0.
    pub fn new(total: usize, unit: usize, parts: usize) -> Self {
        let unit = unit.max(1);
        Self {
            total,
            unit,
            parts: parts.min(total.div_ceil(unit)).max(1),
        }
    }

    /// How many there are.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The part `index`.
    pub fn range(&self, index: usize) -> Range<usize> {
        let units = self.total.div_ceil(self.unit);
        let at = |i: usize| (units * i / self.parts * self.unit).min(self.total);
        at(index)..at(index + 1)
    }

    /// All of them, in order.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.parts).map(move |index| self.range(index))
    }
}

/// A matrix divided into blocks.
pub struct Grid<'a, T> {
    start: *mut T,
    pitch: usize,
    rows: Vec<Range<usize>>,
    columns: Even,
    taken: Vec<AtomicBool>,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it lends each number to one thread at a time, as `&mut [T]` would.
unsafe impl<T: Send> Sync for Grid<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Grid<'_, T> {}

impl<'a, T> Grid<'a, T> {
    /// Divides `data`, whose rows are `pitch` apart.
    ///
    /// # Panics
    ///
    /// When `data` has fewer rows, or a row has more columns than `pitch`.
    pub fn new(data: &'a mut [T], pitch: usize, rows: Even, columns: Even) -> Self {
        Self::of(data, pitch, rows.ranges().collect(), columns)
    }

    /// As [`Grid::new`], with any ranges of rows that follow each other.
    ///
    /// # Panics
    ///
    /// As [`Grid::new`], and when the ranges overlap or are out of order.
    pub fn of(data: &'a mut [T], pitch: usize, rows: Vec<Range<usize>>, columns: Even) -> Self {
        assert!(columns.total <= pitch, "a row is longer than its pitch");
        let mut total = 0;
        for range in &rows {
            assert!(
                total <= range.start && range.start <= range.end,
                "ranges of rows overlap"
            );
            total = range.end;
        }
        assert!(
            total == 0 || (total - 1) * pitch + columns.total <= data.len(),
            "the matrix is larger than its memory"
        );
        let blocks = rows.len() * columns.parts;
        Self {
            start: data.as_mut_ptr(),
            pitch,
            rows,
            columns,
            taken: (0..blocks).map(|_| AtomicBool::new(false)).collect(),
            owner: PhantomData,
        }
    }

    /// How many blocks there are from top to bottom.
    pub fn parts(&self) -> usize {
        self.rows.len()
    }

    /// Lends the block at (`row`, `column`) of the grid.
    ///
    /// # Panics
    ///
    /// When it was lent before, or there is none.
    pub fn take(&self, row: usize, column: usize) -> Block<'_, T> {
        assert!(row < self.rows.len() && column < self.columns.parts);
        let before = self.taken[row * self.columns.parts + column].swap(true, Ordering::Relaxed);
        assert!(!before, "a block is lent once");
        let (rows, columns) = (self.rows[row].clone(), self.columns.range(column));
        Block {
            // Inside `data` by the check in `of`, unless the block is empty.
            start: self
                .start
                .wrapping_add(rows.start * self.pitch + columns.start),
            pitch: self.pitch,
            rows,
            columns,
            owner: PhantomData,
        }
    }
}

/// A rectangle of a matrix, borrowed uniquely. Rows and columns are counted as in the
/// whole matrix.
pub struct Block<'a, T> {
    start: *mut T,
    pitch: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` for each of its rows.
unsafe impl<T: Send> Send for Block<'_, T> {}

impl<T> Block<'_, T> {
    /// Its rows.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Its columns.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Its part of the row `row`.
    ///
    /// # Panics
    ///
    /// When the row is not in it.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows.contains(&row), "no row of this block");
        // SAFETY: a row inside the block, which lies in the matrix and is lent to
        // nobody else; `&mut self` lends one row at a time.
        unsafe {
            let start = self.start.add((row - self.rows.start) * self.pitch);
            std::slice::from_raw_parts_mut(start, self.columns.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_parts_cover_all_and_differ_by_a_unit() {
        for total in 0..70 {
            for unit in [1, 3, 16] {
                for parts in 1..9 {
                    let even = Even::new(total, unit, parts);
                    let mut next = 0;
                    let mut lengths = Vec::new();
                    for range in even.ranges() {
                        assert_eq!(range.start, next);
                        assert!(range.end == total || range.end % unit == 0);
                        next = range.end;
                        lengths.push(range.len().div_ceil(unit));
                    }
                    assert_eq!(next, total);
                    let (least, most) = (lengths.iter().min(), lengths.iter().max());
                    assert!(most.unwrap() - least.unwrap() <= 1);
                    assert!(total == 0 || *least.unwrap() > 0);
                }
            }
        }
    }

    #[test]
    fn blocks_written_by_threads_fill_the_matrix() {
        let (rows, columns) = (Even::new(13, 1, 3), Even::new(10, 4, 2));
        let mut data = vec![0; 13 * 12];
        let grid = Grid::new(&mut data, 12, rows, columns);
        std::thread::scope(|scope| {
            for r in 0..rows.parts() {
                for c in 0..columns.parts() {
                    let mut block = grid.take(r, c);
                    scope.spawn(move || {
                        for row in block.rows() {
                            block.row(row).fill(1 + r * 2 + c);
                        }
                    });
                }
            }
        });
        drop(grid);
        for (i, &value) in data.iter().enumerate() {
            assert_eq!(value == 0, i % 12 >= 10, "{i}");
        }
    }

    #[test]
    #[should_panic(expected = "lent once")]
    fn a_block_is_lent_once() {
        let mut data = [0; 4];
        let grid = Grid::new(&mut data, 2, Even::new(2, 1, 2), Even::new(2, 1, 1));
        grid.take(1, 0);
        grid.take(1, 0);
    }

    #[test]
    #[should_panic(expected = "larger than its memory")]
    fn a_matrix_beyond_its_memory_is_refused() {
        let mut data = [0; 5];
        Grid::new(&mut data, 3, Even::new(2, 1, 2), Even::new(3, 1, 1));
    }
}
