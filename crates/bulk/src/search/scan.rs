//! Every vector against the query, on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow_array::Array as _;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_schema::DataType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::error::SearchError;
use super::index::{Array, Form, Index, Table, size};
use super::top::{Found, Top};
use crate::options::Number;

/// Rows of an array that a thread takes at a time.
const STRETCH: u64 = 8192;

/// Rows of a row group that are decoded at a time: they stay in the second cache.
const DECODED: usize = 256;

/// A part of an index that one thread does.
enum Piece<'a> {
    Group {
        table: &'a Table,
        column: usize,
        group: usize,
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
            Form::Parquet(table, column) => {
                let mut first = file.first;
                for (group, rows) in table.metadata.metadata().row_groups().iter().enumerate() {
                    pieces.push(Piece::Group {
                        table,
                        column: *column,
                        group,
                        first,
                    });
                    first += u64::try_from(rows.num_rows()).unwrap_or(0);
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
                group,
                first,
            } => self
                .group(table, *column, *group, *first, best)
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
        group: usize,
        first: u64,
        best: &mut Top,
    ) -> Result<(), String> {
        let mask = ProjectionMask::roots(table.metadata.parquet_schema(), [column]);
        let (bytes, metadata) = (table.bytes.clone(), table.metadata.clone());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(DECODED)
            .build()
            .map_err(|error| error.to_string())?;
        let dimensions = self.vector.len();
        let mut row = first;
        let mut floats = Vec::new();
        for batch in reader {
            if (self.stop)() {
                return Ok(());
            }
            let batch = batch.map_err(|error| error.to_string())?;
            let lists = batch.column(0).as_fixed_size_list();
            let values = lists.values();
            let vectors: &[f32] = match values.data_type() {
                DataType::Float16 => {
                    let halves = values.as_primitive::<Float16Type>().values();
                    floats.resize(halves.len(), 0.0);
                    halves.convert_to_f32_slice(&mut floats);
                    &floats
                }
                _ => values.as_primitive::<Float32Type>().values(),
            };
            for (index, vector) in vectors.chunks_exact(dimensions).enumerate() {
                if lists.is_valid(index) {
                    let score = self.score(vector);
                    best.offer(Found { score, row });
                }
                row += 1;
            }
        }
        Ok(())
    }

    fn score(&self, vector: &[f32]) -> f32 {
        let product = dot(vector, self.vector);
        if self.normalized {
            return product;
        }
        let length = dot(vector, vector).sqrt();
        if length > 0.0 { product / length } else { 0.0 }
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
