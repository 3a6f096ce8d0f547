//! Parquet tables, read in bounded memory whoever wrote them: for `embed` from files, and for
//! searches from mapped ones.
//!
//! A table's description and the heads of its pages are looked at before memory is taken for what
//! they say ([`pages`]).

use std::ops::Range;
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

mod encoded;
mod error;
mod head;
mod pages;

pub(crate) use error::TableError;
#[cfg(test)]
pub(crate) use head::tests::head;
pub(crate) use pages::MOST;

/// Bytes that the description at a table's end may have: its columns and row groups, which take
/// several times as much memory.
pub(crate) const LONGEST_FOOTER: u64 = 64 << 20;

/// Columns that a table may have: each takes memory for every row.
pub(crate) const MOST_COLUMNS: usize = 10_000;

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
        let metadata = ArrowReaderMetadata::load(&from, ArrowReaderOptions::new())?;
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
        let mut reader = self.reader(rows, &groups)?;
        loop {
            budget.next_rows();
            let Some(batch) = reader.next() else { break };
            let batch = batch?;
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

/// The row groups that rows are in, and the rows as they are counted in these groups alone. The
/// rows are in order.
fn inside(all: &[RowGroupMetaData], rows: &[Range<u64>]) -> (Vec<usize>, Vec<Range<u64>>) {
    let sizes = all
        .iter()
        .map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
    let (mut groups, mut ranges) = (Vec::new(), Vec::new());
    let (mut start, mut before) = (0_u64, 0_u64);
    for (index, size) in sizes.enumerate() {
        let end = start.saturating_add(size);
        let first = rows.partition_point(|range| range.end <= start);
        let parts = rows[first..].iter().take_while(|range| range.start < end);
        let parts = parts.map(|range| range.start.max(start)..range.end.min(end));
        let known = ranges.len();
        ranges.extend(
            parts
                .filter(|range| !range.is_empty())
                .map(|range| before + (range.start - start)..before + (range.end - start)),
        );
        if ranges.len() > known {
            groups.push(index);
            before = before.saturating_add(end - start);
        }
        start = end;
    }
    (groups, ranges)
}

/// Rows from the first to the last of any `at_once` rows that are read one after the other, and at
/// least as many: where they lie close, the reader decodes those between them, too.
fn span(ranges: &[Range<u64>], at_once: usize) -> u64 {
    let at_once = (at_once as u64).max(1);
    let mut widest = at_once;
    // Behind the last row of range `first` come the ranges up to `end`, with so many rows.
    let (mut end, mut behind) = (0, 0_u64);
    for (first, range) in ranges.iter().enumerate() {
        if end <= first {
            (end, behind) = (first + 1, 0);
        }
        while behind < at_once - 1
            && let Some(next) = ranges.get(end)
        {
            behind += next.end - next.start;
            end += 1;
        }
        let too_many = behind.saturating_sub(at_once - 1);
        let last = ranges[end - 1].end - too_many.min(behind);
        widest = widest.max(last.saturating_sub(range.end.saturating_sub(1)));
        if let Some(next) = ranges.get(first + 1).filter(|_| end > first + 1) {
            behind -= next.end - next.start;
        }
    }
    widest
}

/// Whether the reader was built with what unpacks this.
fn is_read(codec: Compression) -> bool {
    use Compression::{GZIP, SNAPPY, UNCOMPRESSED, ZSTD};
    matches!(codec, UNCOMPRESSED | SNAPPY | GZIP(_) | ZSTD(_))
}

/// Drops the first rows of ranges.
fn pass(ranges: &mut Vec<Range<u64>>, mut rows: u64) {
    let mut whole = 0;
    for range in ranges.iter_mut() {
        let length = range.end - range.start;
        if length > rows {
            range.start += rows;
            break;
        }
        rows -= length;
        whole += 1;
    }
    ranges.drain(..whole);
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]
mod tests {
    use parquet::file::metadata::ColumnChunkMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// Row groups of these sizes.
    fn groups(sizes: &[i64]) -> Vec<RowGroupMetaData> {
        let schema = parse_message_type("message table { required int32 a; }").unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        let group = |rows: &i64| {
            let column = ColumnChunkMetaData::builder(schema.column(0))
                .build()
                .unwrap();
            let group = RowGroupMetaData::builder(Arc::clone(&schema)).set_num_rows(*rows);
            group.set_column_metadata(vec![column]).build().unwrap()
        };
        sizes.iter().map(group).collect()
    }

    #[test]
    fn rows_between_those_that_are_read_count() {
        assert_eq!(span(&[0..1000], 16), 16);
        assert_eq!(span(&[5..6], 16), 16);
        assert_eq!(span(&[], 16), 16);
        assert_eq!(span(&[0..1, 50_000..50_001], 16), 50_001);
        assert_eq!(span(&[0..1, 50_000..50_001], 1), 1);
        assert_eq!(span(&[0..1, 2..3, 4..5, 6..7], 2), 3);
        assert_eq!(span(&[0..1, 2..3, 4..5, 100..101], 3), 99);
        // Fifteen rows of the second range with the last of the first.
        assert_eq!(span(&[0..100, 1000..1100], 16), 916);
        let every_other: Vec<Range<u64>> = (0..1001).map(|at| 2 * at..2 * at + 1).collect();
        assert_eq!(span(&every_other, 16), 31);
        let and_one = [&every_other[..], &[50_000..50_001]].concat();
        assert_eq!(span(&and_one, 16), 50_001 - 2 * 986);
    }

    #[test]
    fn rows_are_counted_in_the_groups_that_they_are_in() {
        let all = groups(&[10, 0, 10, 10, -5, 10]);
        assert_eq!(inside(&all, &[3..5]), (vec![0], vec![3..5]));
        assert_eq!(
            inside(&all, &[12..13, 19..20]),
            (vec![2], vec![2..3, 9..10])
        );
        // Over the ends of groups, and with one left out in between.
        assert_eq!(
            inside(&all, &[8..12, 35..36]),
            (vec![0, 2, 5], vec![8..10, 10..12, 25..26])
        );
        // What is not there is missing, and nothing has no groups.
        assert_eq!(inside(&all, &[38..50]), (vec![5], vec![8..10]));
        assert_eq!(inside(&all, &[5..5, 50..60]), (vec![], vec![]));
    }

    #[test]
    fn rows_that_were_read_are_dropped_from_the_ranges() {
        let mut ranges = vec![2..5, 7..8, 9..20];
        pass(&mut ranges, 0);
        assert_eq!(ranges, [2..5, 7..8, 9..20]);
        pass(&mut ranges, 2);
        assert_eq!(ranges, [4..5, 7..8, 9..20]);
        pass(&mut ranges, 3);
        assert_eq!(ranges, [10..20]);
        pass(&mut ranges, 10);
        assert_eq!(ranges, []);
    }
}
