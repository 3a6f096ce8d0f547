//! Every vector against the query, on all cores.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array as _, FixedSizeListArray};
use arrow_schema::DataType;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::decode::Decoder;
use super::error::SearchError;
use super::index::{Array, Form, Index, Table, size};
use super::top::{Found, Top};
use crate::options::Number;
use crate::table::{Stopped, TableError};

/// Rows of an array that a thread takes at a time.
const STRETCH: u64 = 8192;

/// A part of an index that one thread does.
enum Piece<'a> {
    Group {
        table: &'a Table,
        column: usize,
        /// In the table.
        rows: Range<u64>,
        /// In the index.
        first: u64,
    },
    Stretch {
        array: &'a Array,
        /// In the array.
        begin: u64,
        end: u64,
        /// In the index.
        first: u64,
    },
}

/// What every piece is compared with.
struct Query<'a> {
    vector: &'a [f32],
    normalized: bool,
    /// Whether nobody waits for the search any more; asked once in a piece of some megabytes.
    stop: &'a (dyn Fn() -> bool + Sync),
    decoder: Decoder,
}

/// The best rows for a query of length one; none where it was told to stop.
pub(super) fn scan(
    index: &Index,
    vector: &[f32],
    top: usize,
    threads: usize,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Vec<Found>>, SearchError> {
    let pieces = pieces(index);
    let query = Query {
        vector,
        normalized: index.made().is_some_and(|made| made.normalized),
        stop,
        decoder: Decoder::new(threads),
    };
    let next = AtomicUsize::new(0);
    let work = || -> Result<Top, SearchError> {
        let mut best = Top::new(top);
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop() {
                break;
            }
            query.piece(piece, &mut best)?;
        }
        Ok(best)
    };
    let found = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut found = vec![work()];
        for other in others {
            let result = other.join();
            found.push(result.unwrap_or(Err(SearchError::Panicked)));
        }
        found
    });
    let mut best = Top::new(top);
    for part in found {
        best.take(part?);
    }
    Ok((!stop()).then(|| best.sorted()))
}

fn pieces(index: &Index) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    for file in &index.files {
        match &file.form {
            Form::Parquet(table, column, _) => {
                for rows in table.table.rows_of_groups(file.rows) {
                    pieces.push(Piece::Group {
                        table,
                        column: *column,
                        first: file.first + rows.start,
                        rows,
                    });
                }
            }
            Form::Npy(array, ..) => {
                let mut begin = 0;
                while begin < file.rows {
                    let end = file.rows.min(begin + STRETCH);
                    pieces.push(Piece::Stretch {
                        array,
                        begin,
                        end,
                        first: file.first + begin,
                    });
                    begin = end;
                }
            }
        }
    }
    pieces
}

impl Query<'_> {
    fn piece(&self, piece: &Piece<'_>, best: &mut Top) -> Result<(), SearchError> {
        match piece {
            Piece::Group {
                table,
                column,
                rows,
                first,
            } => self
                .group(table, *column, rows, *first, best)
                .map_err(|error| SearchError::unreadable(&table.path, error)),
            Piece::Stretch {
                array,
                begin,
                end,
                first,
            } => {
                let row = self.vector.len() * size(array.number);
                let at = |index: u64| array.start + usize::try_from(index).unwrap_or(0) * row;
                let bytes = &array.mapping.bytes()[at(*begin)..at(*end)];
                self.stretch(bytes, array.number, *first, best);
                Ok(())
            }
        }
    }

    fn stretch(&self, bytes: &[u8], number: Number, first: u64, best: &mut Top) {
        let dimensions = self.vector.len();
        let mut floats = vec![0_f32; dimensions];
        let mut halves = vec![f16::ZERO; dimensions];
        let rows = bytes.chunks_exact(dimensions * size(number));
        for (row, bytes) in (first..).zip(rows) {
            let score = match number {
                Number::Float32 => self.score_bytes(bytes, &mut floats),
                Number::Float16 => {
                    let pairs = bytes.as_chunks::<2>().0;
                    for (half, pair) in halves.iter_mut().zip(pairs) {
                        *half = f16::from_le_bytes(*pair);
                    }
                    halves.convert_to_f32_slice(&mut floats);
                    self.score(&floats)
                }
            };
            best.offer(Found { score, row });
        }
    }

    fn score_bytes(&self, bytes: &[u8], floats: &mut [f32]) -> f32 {
        if self.normalized {
            return dot_bytes(bytes, self.vector);
        }
        for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *float = f32::from_le_bytes(*bytes);
        }
        self.score(floats)
    }

    fn group(
        &self,
        table: &Table,
        column: usize,
        rows: &Range<u64>,
        first: u64,
        best: &mut Top,
    ) -> Result<(), TableError> {
        let column = (column, self.vector.len());
        let read = self
            .decoder
            .read(&table.table, column, rows, &mut |row, lists| {
                let goes_on = !(self.stop)();
                if goes_on {
                    self.batch(lists, first + (row - rows.start), best);
                }
                Ok::<_, Infallible>(goes_on)
            });
        read.map_err(|stopped| match stopped {
            Stopped::Table(error) => error,
            Stopped::Taker(never) => match never {},
        })
    }

    fn batch(&self, lists: &FixedSizeListArray, first: u64, best: &mut Top) {
        let values = lists.values();
        let mut floats = Vec::new();
        let vectors: &[f32] = match values.data_type() {
            DataType::Float16 => {
                let halves = values.as_primitive::<Float16Type>().values();
                floats.resize(halves.len(), 0.0);
                halves.convert_to_f32_slice(&mut floats);
                &floats
            }
            _ => values.as_primitive::<Float32Type>().values(),
        };
        let vectors = vectors.chunks_exact(self.vector.len());
        for ((index, vector), row) in vectors.enumerate().zip(first..) {
            if lists.is_valid(index) {
                let score = self.score(vector);
                best.offer(Found { score, row });
            }
        }
    }

    fn score(&self, vector: &[f32]) -> f32 {
        let product = dot(vector, self.vector);
        if self.normalized {
            return product;
        }
        let length = dot(vector, vector).sqrt();
        // What is no number has no length either, and stays none.
        if length == 0.0 { 0.0 } else { product / length }
    }
}

/// Sums that are formed side by side, so that the compiler makes vector code of them: four
/// registers of eight floats, or eight of four.
const LANES: usize = 32;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_parts, a_rest) = a.as_chunks::<LANES>();
    let (b_parts, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0_f32; LANES];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The same, of floats in a file, which need not be where floats may lie.
fn dot_bytes(a: &[u8], b: &[f32]) -> f32 {
    let (a_parts, a_rest) = a.as_chunks::<4>().0.as_chunks::<LANES>();
    let (b_parts, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0_f32; LANES];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f32::from_le_bytes(*a) * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest: f32 = rest.map(|(a, b)| f32::from_le_bytes(*a) * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_no_numbers_are_not_found_and_those_of_no_length_have_no_cosine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.npy");
        let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n";
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend((head.len() as u16).to_le_bytes());
        array.extend(head.as_bytes());
        let numbers = [f32::NAN, 1.0, 0.0, 0.0, 3.0, 4.0];
        array.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        std::fs::write(&path, array).unwrap();
        let found = Index::open(&[path])
            .unwrap()
            .nearest(&[3.0, 4.0], 9, 1)
            .unwrap();
        let found: Vec<(u64, f32)> = found.iter().map(|it| (it.row, it.score)).collect();
        assert_eq!(found, [(2, 1.0), (1, 0.0)]);
    }

    #[test]
    fn products_are_those_of_f64_at_every_length() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in [1, 4, 31, 32, 33, 64, 768] {
            let mut vector = || -> Vec<f32> { (0..length).map(|_| random.f32() - 0.5).collect() };
            let (a, b) = (vector(), vector());
            let bytes: Vec<u8> = a.iter().flat_map(|value| value.to_le_bytes()).collect();
            let pairs = a.iter().zip(&b);
            let exact: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-5);
            assert_eq!(dot_bytes(&bytes, &b), dot(&a, &b));
        }
    }
}
