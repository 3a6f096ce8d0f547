//! Parquet tables, read in bounded memory whoever wrote them: for `embed` from files, and for
//! searches from mapped ones.
//!
//! A table's description and the heads of its pages are looked at before memory is taken for what
//! they say ([`pages`]).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Compression;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;

use self::pages::{Budget, Groups};
use self::ranges::{inside, pass, span};

mod description;
mod encoded;
mod error;
mod head;
mod pages;
mod ranges;
mod thrift;

pub(crate) use error::TableError;
#[cfg(test)]
pub(crate) use head::tests::{head, head_of_nulls};
pub(crate) use pages::MOST;

/// Bytes that the description at a table's end may have: its columns and row groups, which take
/// several times as much memory.
pub(crate) const LONGEST_FOOTER: u64 = 64 << 20;

/// Columns that a table may have: each takes memory for every row.
pub(crate) const MOST_COLUMNS: usize = 10_000;

/// Runs code of others on a file of others. It divides by zero, for instance, where a page says that it has
/// no values and has bytes; nothing of what it was working on is used after a panic.
fn careful<T, E: Into<TableError>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(Into::into),
        Err(_) => Err(TableError::Panicked),
    }
}

/// A table whose description was read.
pub(crate) struct Table<R> {
    from: Arc<R>,
    metadata: ArrowReaderMetadata,
    /// Bytes of its description in the file.
    footer: u64,
}

/// Why the reading of rows ended before their end.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    /// The table cannot be read on.
    Table(TableError),
    /// What was handed over was not taken.
    Taker(E),
}

impl<E, F: Into<TableError>> From<F> for Stopped<E> {
    fn from(error: F) -> Self {
        Self::Table(error.into())
    }
}

/// What is done with rows. False ends the reading.
pub(crate) type Take<'a, E> = &'a mut dyn FnMut(&RecordBatch) -> Result<bool, Stopped<E>>;

/// Which rows of a table are read, and what of them.
pub(crate) struct Rows {
    /// The columns, by their places.
    pub(crate) columns: Vec<usize>,
    /// The rows, in order.
    pub(crate) ranges: Vec<Range<u64>>,
    /// How many are decoded at a time, where that fits into memory.
    pub(crate) at_once: usize,
}

impl<R: ChunkReader + 'static> Table<R> {
    /// Reads a table's description.
    ///
    /// # Errors
    ///
    /// When it is none, or larger than is read.
    pub(crate) fn open(from: R) -> Result<Self, TableError> {
        // It ends with the length of the description, and a word.
        let end = match from.len().checked_sub(8) {
            Some(at) => from.get_bytes(at, 8)?,
            None => Default::default(),
        };
        let footer = match end.first_chunk::<4>() {
            Some(length) => u64::from(u32::from_le_bytes(*length)),
            None => 0,
        };
        if footer > LONGEST_FOOTER {
            return Err(TableError::LongDescription(footer));
        }
        // Of a file without the word the reader says what it is instead.
        if end.ends_with(b"PAR1")
            && let Some(at) = from.len().checked_sub(8 + footer)
        {
            let length = usize::try_from(footer).unwrap_or(usize::MAX);
            let description = from.get_bytes(at, length)?;
            description::pass_over(&description[..]).map_err(|_| TableError::BadDescription)?;
        }
        let options = ArrowReaderOptions::new();
        let metadata = careful(|| ArrowReaderMetadata::load(&from, options))?;
        let columns = metadata.parquet_schema().num_columns();
        if columns > MOST_COLUMNS {
            return Err(TableError::ManyColumns(columns));
        }
        Ok(Self {
            from: Arc::new(from),
            metadata,
            footer,
        })
    }

    /// Its description.
    pub(crate) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    /// Bytes that its description has in the file.
    pub(crate) fn footer(&self) -> u64 {
        self.footer
    }

    /// Bytes of its file.
    pub(crate) fn file_length(&self) -> u64 {
        self.from.len()
    }

    /// Its row groups.
    pub(crate) fn groups(&self) -> &[RowGroupMetaData] {
        self.metadata.metadata().row_groups()
    }

    /// The rows of each row group, without those beyond the table's first `most`.
    pub(crate) fn rows_of_groups(&self, most: u64) -> impl Iterator<Item = Range<u64>> {
        let mut begin = 0_u64;
        self.groups().iter().map(move |group| {
            let size = u64::try_from(group.num_rows()).unwrap_or(0);
            let rows = begin..begin.saturating_add(size).min(most);
            begin = rows.end;
            rows
        })
    }

    /// The row groups that rows are in.
    pub(crate) fn groups_of(&self, rows: &Range<u64>) -> impl Iterator<Item = &RowGroupMetaData> {
        let (groups, _) = inside(self.groups(), std::slice::from_ref(rows));
        groups
            .into_iter()
            .filter_map(|group| self.groups().get(group))
    }

    /// Hands over rows in order until `take` answers false, while all columns hold at most `most`
    /// bytes. Where as many rows as are asked for would be more, fewer are decoded at a time.
    ///
    /// # Errors
    ///
    /// When the table is damaged, one row is too much ([`TableError::TooMuch`]), or `take` fails.
    /// The rows before were handed over.
    pub(crate) fn read<E>(
        &self,
        mut rows: Rows,
        most: u64,
        take: Take<'_, E>,
    ) -> Result<(), Stopped<E>> {
        let columns = self.metadata.parquet_schema().num_columns();
        // Of groups in between, not even the heads of pages are looked at.
        let (groups, ranges) = inside(self.groups(), &rows.ranges);
        let wanted = rows.ranges.iter().map(|range| range.end - range.start);
        let there = ranges.iter().map(|range| range.end - range.start);
        if there.sum::<u64>() < wanted.sum() {
            return Err(Stopped::Table(TableError::FewerRows));
        }
        if ranges.is_empty() {
            return Ok(());
        }
        rows.ranges = ranges;
        loop {
            let decoded = usize::try_from(span(&rows.ranges, rows.at_once)).unwrap_or(usize::MAX);
            let budget = Arc::new(Budget::new(most, decoded, columns));
            let pages = Groups {
                from: Arc::clone(&self.from),
                metadata: Arc::clone(self.metadata.metadata()),
                groups: groups.clone(),
                budget: Arc::clone(&budget),
            };
            match (self.read_once(&mut rows, pages, take), budget.refused()) {
                // Fewer rows at a time hold less; where they begin depends on the table alone.
                (Err(Stopped::Table(_)), Some(_)) if rows.at_once > 1 => {
                    rows.at_once = (rows.at_once / 8).max(1);
                }
                (Err(Stopped::Table(_)), Some(too_much)) => {
                    return Err(Stopped::Table(TableError::TooMuch(too_much, most)));
                }
                (read, _) => return read,
            }
        }
    }

    /// Reads rows as long as they fit; what is left then is in the ranges.
    fn read_once<E>(
        &self,
        rows: &mut Rows,
        groups: Groups<R>,
        take: Take<'_, E>,
    ) -> Result<(), Stopped<E>> {
        let budget = Arc::clone(&groups.budget);
        let mut reader = careful(|| self.reader(rows, &groups))?;
        loop {
            budget.next_rows();
            let Some(batch) = careful(|| reader.next().transpose())? else {
                break;
            };
            if !take(&batch)? {
                return Ok(());
            }
            pass(&mut rows.ranges, batch.num_rows() as u64);
        }
        match rows.ranges.is_empty() {
            true => Ok(()),
            false => Err(Stopped::Table(TableError::FewerRows)),
        }
    }

    fn reader(
        &self,
        rows: &Rows,
        groups: &Groups<R>,
    ) -> Result<ParquetRecordBatchReader, TableError> {
        let schema = self.metadata.parquet_schema();
        let chunks = groups
            .groups
            .iter()
            .filter_map(|&group| self.groups().get(group));
        let chunks = chunks.flat_map(|group| group.columns().iter().enumerate());
        for (leaf, chunk) in chunks {
            let is_wanted = rows.columns.contains(&schema.get_column_root_idx(leaf));
            if is_wanted && !is_read(chunk.compression()) {
                return Err(TableError::OtherCodec {
                    column: chunk.column_descr().path().string(),
                    codec: chunk.compression().to_string(),
                });
            }
        }
        let mask = ProjectionMask::roots(schema, rows.columns.iter().copied());
        let hint = Some(self.metadata.schema().fields());
        let levels = parquet_to_arrow_field_levels(schema, mask, hint)?;
        let number = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
        let ranges = rows
            .ranges
            .iter()
            .map(|range| number(range.start)..number(range.end));
        let all = rows.ranges.last().map_or(0, |range| number(range.end));
        let selection = RowSelection::from_consecutive_ranges(ranges, all);
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(
            &levels,
            groups,
            rows.at_once,
            Some(selection),
        );
        Ok(reader?)
    }
}

/// Whether the reader was built with what unpacks this.
fn is_read(codec: Compression) -> bool {
    use Compression::{GZIP, SNAPPY, UNCOMPRESSED, ZSTD};
    matches!(codec, UNCOMPRESSED | SNAPPY | GZIP(_) | ZSTD(_))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use arrow_array::{ArrayRef, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    #[test]
    fn a_list_of_a_description_has_no_more_items_than_bytes() {
        let opened = |description: &[u8]| {
            let length = (description.len() as u32).to_le_bytes();
            let file = [b"PAR1", description, &length, b"PAR1"].concat();
            Table::open(Bytes::from(file)).map(drop).unwrap_err()
        };
        // A field of its own number, with a list of 2^31 - 1 items that have no bytes.
        let endless = [0x09, 0xc8, 0x01, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        let said = opened(&endless.repeat(20));
        assert!(matches!(said, TableError::BadDescription), "{said}");
        // What is well formed and describes no table is for the reader to refuse.
        let said = opened(&[0]);
        assert!(matches!(said, TableError::Damaged(_)), "{said}");
    }

    #[test]
    fn a_reader_that_panics_is_an_error() {
        let panics = || -> Result<(), TableError> { panic!("as it would at a division by zero") };
        let said = careful(panics).unwrap_err();
        assert!(matches!(said, TableError::Panicked), "{said}");
    }

    /// The reader decodes the rows between those that lie close, and then drops them.
    #[test]
    fn rows_between_those_that_are_read_are_decoded_in_bounded_memory() {
        // One value for all rows, so that the file is small.
        let value = "x".repeat(1 << 20);
        let column: ArrayRef = Arc::new(StringArray::from(vec![&*value; 1000]));
        let batch = RecordBatch::try_from_iter([("caption", column)]).unwrap();
        let mut file = Vec::new();
        let properties = WriterProperties::builder()
            .set_dictionary_page_size_limit(4 << 20)
            .build();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert!(file.len() < 4 << 20, "{}", file.len());
        let table = Table::open(Bytes::from(file)).unwrap();
        let read = |last: u64, most: u64| {
            let close = (0..40).map(|at| 2 * at..2 * at + 1);
            let rows = Rows {
                columns: vec![0],
                ranges: close.chain(std::iter::once(last..last + 1)).collect(),
                at_once: 16,
            };
            let mut sizes = Vec::new();
            let read = table.read(rows, most, &mut |batch| {
                sizes.push(batch.num_rows());
                Ok::<_, Stopped<Infallible>>(true)
            });
            read.unwrap();
            sizes
        };
        assert_eq!(read(80, 128 << 20), [16, 16, 9]);
        // Of the last sixteen most lie between, which would be 900 MiB.
        assert_eq!(read(999, 128 << 20), [1; 41]);
    }
}
