//! Tables that are searched again and again are decoded once, into a file without a name, which
//! is then searched as an array is: mapped into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array as _, FixedSizeListArray};
use half::f16;
use siglip2_mapping::Mapping;

use super::decode::Decoder;
use super::index::{Array, Form, Index, Table, size};
use crate::options::Number;
use crate::table::Stopped;

/// How many times as large as in its table an array may be. Vectors can hardly be compressed; a
/// table of which a few bytes become gigabytes must not fill a disk.
const MOST_TIMES: u64 = 16;

/// Vectors on their way into the file.
struct Unpacking<'a> {
    table: &'a Table,
    column: usize,
    rows: u64,
    number: Number,
    /// Where they begin in the file.
    start: u64,
    failed: AtomicBool,
}

impl Index {
    /// Decodes the vectors of all tables into a temporary file. A table that cannot be decoded
    /// stays as it is: searches say what is wrong with it.
    ///
    /// # Errors
    ///
    /// When there is no place for the file. Nothing has changed then.
    pub(super) fn unpack(&mut self, threads: usize) -> io::Result<()> {
        let dimensions = self.dimensions();
        let mut wanted = Vec::new();
        let mut end = 0_u64;
        for (place, vectors) in self.files.iter().enumerate() {
            let Form::Parquet(table, column, number) = &vectors.form else {
                continue;
            };
            let row = (dimensions * size(*number)) as u64;
            let bytes = vectors.rows.checked_mul(row);
            // Whatever the table says of itself, its column is a part of its file.
            let packed = packed(table, *column).min(table.table.file_length());
            let most = packed.saturating_mul(MOST_TIMES);
            let Some(bytes) = bytes.filter(|&bytes| bytes <= most) else {
                continue;
            };
            // What no row group has would be vectors of zeros here.
            let there = table.table.rows_of_groups(u64::MAX).last();
            if there.is_none_or(|rows| rows.end < vectors.rows) {
                continue;
            }
            let unpacking = Unpacking {
                table,
                column: *column,
                rows: vectors.rows,
                number: *number,
                start: end,
                failed: AtomicBool::new(false),
            };
            wanted.push((place, unpacking));
            end = end.saturating_add(bytes.next_multiple_of(64));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let file = tempfile::tempfile()?;
        unpack_all(&wanted, dimensions, &file, threads)?;
        let done: Vec<(usize, u64, Number)> = wanted
            .into_iter()
            .filter(|(_, unpacking)| !unpacking.failed.load(Ordering::Relaxed))
            .map(|(place, unpacking)| (place, unpacking.start, unpacking.number))
            .collect();
        // What is behind the last vector is never read, but a mapping has to have it.
        file.set_len(end)?;
        let mapping = Mapping::unnamed(&file)?;
        for (place, start, number) in done {
            let Some(vectors) = self.files.get_mut(place) else {
                continue;
            };
            let array = Array {
                mapping,
                start: usize::try_from(start).map_err(io::Error::other)?,
                number,
            };
            vectors.unpack(array);
        }
        Ok(())
    }
}

/// Bytes of a column in its file.
fn packed(table: &Table, column: usize) -> u64 {
    let schema = table.table.metadata().parquet_schema();
    let groups = table.table.groups().iter();
    let chunks = groups.flat_map(|group| group.columns().iter().enumerate());
    let sizes = chunks
        .filter(|(leaf, _)| schema.get_column_root_idx(*leaf) == column)
        .map(|(_, chunk)| u64::try_from(chunk.compressed_size()).unwrap_or(0));
    sizes.fold(0, u64::saturating_add)
}

/// Decodes row group by row group, on so many threads.
fn unpack_all(
    wanted: &[(usize, Unpacking<'_>)],
    dimensions: usize,
    file: &File,
    threads: usize,
) -> io::Result<()> {
    let pieces: Vec<(&Unpacking<'_>, Range<u64>)> = wanted
        .iter()
        .flat_map(|(_, unpacking)| {
            let rows = unpacking.table.table.rows_of_groups(unpacking.rows);
            rows.map(move |rows| (unpacking, rows))
        })
        .collect();
    let decoder = Decoder::new(threads);
    let next = AtomicUsize::new(0);
    let no_room = Mutex::new(None);
    let work = || {
        while let Some((unpacking, rows)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            match unpacking.piece(&decoder, rows, dimensions, file) {
                Ok(()) => {}
                Err(Stopped::Table(error)) => {
                    if !unpacking.failed.swap(true, Ordering::Relaxed) {
                        let path = unpacking.table.path.display();
                        tracing::warn!(%path, %error, "a table of the index cannot be decoded");
                    }
                }
                Err(Stopped::Taker(error)) => {
                    next.store(pieces.len(), Ordering::Relaxed);
                    *no_room.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(work);
        }
        work();
    });
    let no_room = no_room.into_inner();
    no_room
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

impl Unpacking<'_> {
    fn piece(
        &self,
        decoder: &Decoder,
        rows: &Range<u64>,
        dimensions: usize,
        file: &File,
    ) -> Result<(), Stopped<io::Error>> {
        let row = (dimensions * size(self.number)) as u64;
        let column = (self.column, dimensions);
        decoder.read(&self.table.table, column, rows, &mut |first, lists| {
            file.write_all_at(&bytes(lists, dimensions), self.start + first * row)?;
            Ok(true)
        })
    }
}

/// Vectors as an array has them; those of rows without one are no numbers.
fn bytes(lists: &FixedSizeListArray, dimensions: usize) -> Vec<u8> {
    let values = lists.values();
    match values.as_primitive_opt::<Float16Type>() {
        Some(halves) => {
            let of = |half: &f16| half.to_le_bytes();
            joined(lists, halves.values(), dimensions, of, f16::NAN)
        }
        None => {
            let floats = values.as_primitive_opt::<Float32Type>();
            let floats = floats.map_or(&[][..], |floats| floats.values());
            joined(lists, floats, dimensions, |it| it.to_le_bytes(), f32::NAN)
        }
    }
}

fn joined<T, const N: usize>(
    lists: &FixedSizeListArray,
    numbers: &[T],
    dimensions: usize,
    of: impl Fn(&T) -> [u8; N],
    none: T,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(numbers.len() * N);
    for (row, vector) in numbers.chunks_exact(dimensions).enumerate() {
        match lists.is_valid(row) {
            true => bytes.extend(vector.iter().flat_map(&of)),
            false => bytes.extend((0..dimensions).flat_map(|_| of(&none))),
        }
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, RecordBatch};
    use arrow_schema::{DataType, Field};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// Writes a table of vectors of 64 numbers, so many rows to a row group.
    pub(in crate::search) fn write(path: &Path, vectors: Vec<f32>, group: usize) {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vectors));
        let lists = FixedSizeListArray::try_new(item, 64, values, None).unwrap();
        let table = RecordBatch::try_from_iter([("embedding", Arc::new(lists) as ArrayRef)]);
        let table = table.unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group))
            .build();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, table.schema(), Some(properties)).unwrap();
        writer.write(&table).unwrap();
        writer.close().unwrap();
    }

    fn drawn(rows: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(5);
        (0..rows * 64).map(|_| random.f32() - 0.5).collect()
    }

    #[test]
    fn an_array_takes_the_place_of_a_table_and_finds_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let vectors = drawn(1500);
        write(&folder.path().join("a.parquet"), vectors.clone(), 400);
        write(&folder.path().join("b.parquet"), drawn(3), 400);
        // Some bytes that would become an array of many times as many.
        write(&folder.path().join("c.parquet"), vec![1.0; 64 * 5000], 5000);
        let mut index = Index::open(&[folder.path()]).unwrap();
        let query = &vectors[64 * 777..64 * 778];
        let found = index.nearest(query, 100, 3).unwrap();
        assert_eq!(found[0].row, 777);
        index.unpack(3).unwrap();
        let is_array =
            |vectors: &super::super::index::Vectors| matches!(vectors.form, Form::Npy(..));
        let arrays: Vec<bool> = index.files.iter().map(is_array).collect();
        assert_eq!(arrays, [true, true, false]);
        assert_eq!(index.nearest(query, 100, 3).unwrap(), found);
        assert_eq!(index.rows(), 6503);
        // Once is enough.
        index.unpack(1).unwrap();
        assert_eq!(index.nearest(query, 100, 1).unwrap(), found);
    }

    #[test]
    fn a_thread_that_needs_more_than_its_share_gets_it_up_to_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, drawn(20_000), 20_000);
        let index = Index::open(&[path]).unwrap();
        let table = index.files[0].table().unwrap();
        let read = |decoder: Decoder| {
            let mut rows = 0;
            let read = decoder.read(&table.table, (0, 64), &(0..20_000), &mut |first, lists| {
                assert_eq!(first, rows);
                rows += lists.len() as u64;
                Ok::<_, io::Error>(true)
            });
            (rows, read.map_err(|stopped| format!("{stopped:?}")))
        };
        // Pages have a megabyte.
        assert_eq!(read(Decoder::holding(16 << 20, 1)), (20_000, Ok(())));
        assert_eq!(read(Decoder::holding(16 << 20, 1000)), (20_000, Ok(())));
        let (rows, read) = read(Decoder::holding(100 << 10, 1));
        assert_eq!(rows, 0);
        assert!(read.unwrap_err().contains("TooMuch"));
    }
}
