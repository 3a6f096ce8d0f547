//! Pages of a Parquet table, each of which is looked at before memory is taken for it.
//!
//! Whoever writes a table chooses how large its pages are, and the reader takes memory for what
//! their heads say. So each head is read here first ([`head`]), and the sum of what all columns
//! hold while some rows are decoded is kept below [`MOST`]: pages as they are in the file and
//! decompressed, dictionaries, and what the values of those rows become. Values can be larger than
//! the page that they are in: a row repeats the longest value of a dictionary, values share their
//! beginnings, and a run of a few bytes stands for a million items of a list.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::encoded::{Rows, lengths, longest_value};
use super::head::{self, DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, Head, Kind};

/// Bytes that all columns together may hold while rows are decoded.
pub(crate) const MOST: u64 = 1 << 30;

/// Bytes of an item beside its value: its levels, its offset, and the list's.
const ITEM: u64 = 24;

/// What is too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch {
    column: String,
    what: &'static str,
    bytes: u64,
}

impl TooMuch {
    /// As a sentence.
    pub(super) fn sentence(&self, most: u64) -> String {
        let Self {
            column,
            what,
            bytes,
        } = self;
        format!(
            "the column {column} has {what} that takes {bytes} bytes of memory, with which all \
             columns take more than the {most} that may be held: write the table with smaller \
             pages or row groups (some hundred rows)"
        )
    }
}

/// What the columns of a table hold, and may hold.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    /// Rows that are decoded at a time.
    at_once: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    columns: Vec<Kept>,
    /// Bytes of the pages that were read for these rows.
    taken: u64,
    refused: Option<TooMuch>,
}

/// What a column keeps.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    dictionary: u64,
    /// The page that was read last.
    page: u64,
    /// That of the rows before, where these ones begin.
    page_before: u64,
    /// What rows become of the page that was read last, and at most of those of these rows.
    decoded: u64,
    most_decoded: u64,
}

impl Budget {
    pub(super) fn new(most: u64, at_once: usize, columns: usize) -> Self {
        let state = State {
            columns: vec![Kept::default(); columns],
            ..State::default()
        };
        Self {
            most,
            at_once: at_once as u64,
            state: Mutex::new(state),
        }
    }

    /// The next rows are decoded: of what those before had only the last pages are held.
    pub(super) fn next_rows(&self) {
        let mut state = self.state();
        state.taken = 0;
        for kept in &mut state.columns {
            kept.page_before = kept.page;
            kept.most_decoded = kept.decoded;
        }
    }

    /// The next row group of a column is read.
    fn next_chunk(&self, column: usize) {
        if let Some(kept) = self.state().columns.get_mut(column) {
            (kept.dictionary, kept.page, kept.decoded) = (0, 0, 0);
        }
    }

    /// Why a page was refused, if one was.
    pub(super) fn refused(&self) -> Option<TooMuch> {
        self.state().refused.clone()
    }

    /// Takes a number of bytes for a column: `change` says for what. So many more are held only
    /// meanwhile.
    fn take(
        &self,
        chunk: &Chunk,
        what: &'static str,
        (bytes, meanwhile): (u64, u64),
        change: impl FnOnce(&mut State, usize),
    ) -> Result<()> {
        let mut state = self.state();
        if chunk.index >= state.columns.len() {
            return Err(damaged());
        }
        change(&mut state, chunk.index);
        let held = state.columns.iter().flat_map(|kept| {
            let Kept {
                dictionary,
                page_before,
                most_decoded,
                ..
            } = *kept;
            [dictionary, page_before, most_decoded]
        });
        let held = held.fold(meanwhile, u64::saturating_add);
        if held.saturating_add(state.taken) <= self.most {
            return Ok(());
        }
        state.refused = Some(TooMuch {
            column: chunk.name.clone(),
            what,
            bytes,
        });
        Err(ParquetError::General("it takes too much memory".to_owned()))
    }

    /// Numbers that are put in one after another are never half a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some row groups of a table, whose pages are looked at.
pub(super) struct Groups<R> {
    pub(super) from: Arc<R>,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) groups: Vec<usize>,
    pub(super) budget: Arc<Budget>,
}

impl<R> Groups<R> {
    fn of(&self, group: usize) -> Option<&RowGroupMetaData> {
        self.metadata.row_groups().get(group)
    }
}

impl<R: ChunkReader + 'static> RowGroups for Groups<R> {
    fn num_rows(&self) -> usize {
        let rows = self.row_groups().map(RowGroupMetaData::num_rows);
        rows.map(|rows| usize::try_from(rows).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunks = self.row_groups().map(|group| {
            let rows = usize::try_from(group.num_rows())?;
            let columns = group.columns();
            let chunk = columns
                .get(column)
                .ok_or(ParquetError::IndexOutOfBound(column, columns.len()))?;
            Ok((chunk.clone(), rows))
        });
        let chunks: Vec<_> = chunks.collect::<Result<_>>()?;
        Ok(Box::new(Chunks {
            from: Arc::clone(&self.from),
            column,
            chunks: chunks.into_iter(),
            budget: Arc::clone(&self.budget),
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.groups.iter().filter_map(|&group| self.of(group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of a column, one of each row group.
struct Chunks<R> {
    from: Arc<R>,
    column: usize,
    chunks: std::vec::IntoIter<(ColumnChunkMetaData, usize)>,
    budget: Arc<Budget>,
}

impl<R: ChunkReader + 'static> Iterator for Chunks<R> {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (chunk, rows) = self.chunks.next()?;
        let pages = Pages::new(&self.from, self.column, &chunk, rows, &self.budget);
        Some(pages.map(|pages| Box::new(pages) as _))
    }
}

impl<R: ChunkReader + 'static> PageIterator for Chunks<R> {}

/// What is known of a chunk.
struct Chunk {
    index: usize,
    name: String,
    physical: Type,
    /// How often its values are in memory beside their page, where they are no words of a dictionary: as
    /// the reader decodes them, and once more as texts.
    copies: u64,
    /// Bytes of a value of fixed length.
    width: u64,
    /// Bits of a repetition level; none in columns without lists.
    repetition: u32,
    has_definition: bool,
    is_packed: bool,
    /// Whether the reader unpacks a page to its end, however much more it has than its head says.
    is_gzip: bool,
}

/// The pages of a chunk.
struct Pages<R: ChunkReader> {
    inner: SerializedPageReader<R>,
    from: Arc<R>,
    /// Where the next head is, and bytes of the chunk from there on.
    at: u64,
    left: u64,
    chunk: Chunk,
    budget: Arc<Budget>,
    is_first: bool,
    /// The longest value of the dictionary.
    longest: u64,
    rows: Rows,
}

impl<R: ChunkReader> Pages<R> {
    fn new(
        from: &Arc<R>,
        index: usize,
        chunk: &ColumnChunkMetaData,
        rows: usize,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        let start = chunk.dictionary_page_offset();
        let start = start.unwrap_or(chunk.data_page_offset());
        let (Ok(at), Ok(left)) = (u64::try_from(start), u64::try_from(chunk.compressed_size()))
        else {
            return Err(damaged());
        };
        let described = chunk.column_descr();
        let levels = u32::try_from(described.max_rep_level()).unwrap_or(0);
        let physical = described.physical_type();
        let width = match physical {
            Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(described.type_length()).unwrap_or(0),
            _ => 0,
        };
        let is_text = described.converted_type() == ConvertedType::UTF8
            || described.logical_type_ref() == Some(&LogicalType::String);
        let copies = match physical {
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => 1 + u64::from(is_text),
            _ => 0,
        };
        budget.next_chunk(index);
        Ok(Self {
            inner: SerializedPageReader::new(Arc::clone(from), chunk, rows, None)?,
            from: Arc::clone(from),
            at,
            left,
            chunk: Chunk {
                index,
                name: described.path().string(),
                physical,
                copies,
                width,
                repetition: u32::BITS - levels.leading_zeros(),
                has_definition: described.max_def_level() > 0,
                is_packed: chunk.compression() != Compression::UNCOMPRESSED,
                is_gzip: matches!(chunk.compression(), Compression::GZIP(_)),
            },
            budget: Arc::clone(budget),
            is_first: true,
            longest: width,
            rows: Rows::default(),
        })
    }

    /// The next head, if there is one, and where the one behind it is.
    fn head(&mut self) -> Result<Option<Head>> {
        if self.left == 0 {
            return Ok(None);
        }
        let from = self.from.get_read(self.at)?;
        let (head, length) = head::read(from.take(self.left))?;
        let behind = self.at + length;
        let length = length + head.packed;
        let is_dictionary = head.kind == Kind::Dictionary;
        // A dictionary elsewhere than at the beginning would take the place of one that is in use,
        // and nobody writes pages of the other kinds.
        if length > self.left || head.kind == Kind::Other || (is_dictionary && !self.is_first) {
            return Err(damaged());
        }
        if self.chunk.is_gzip && head.is_compressed {
            // Its levels are not packed where they stand apart from the values.
            let levels = match head.kind {
                Kind::DataV2 => head.levels.0.saturating_add(head.levels.1),
                _ => 0,
            };
            let packed = head.packed.checked_sub(levels).ok_or_else(damaged)?;
            let most = head.unpacked.checked_sub(levels).ok_or_else(damaged)?;
            // A page without values has nothing that is packed.
            if most > 0 {
                let from = self.from.get_read(behind.saturating_add(levels))?;
                if unpacked(from.take(packed), most)? > most {
                    return Err(damaged());
                }
            }
        }
        self.is_first = false;
        (self.at, self.left) = (self.at + length, self.left - length);
        if is_dictionary {
            // Every value has a byte, and one that says its length four more.
            let least = match self.chunk.physical {
                Type::BYTE_ARRAY => 4,
                _ => 1,
            };
            let (page, meanwhile) = self.sizes(&head);
            // Where there is no value the reader divides by their number.
            if head.values.saturating_mul(least) > page || (head.values == 0 && page > 0) {
                return Err(damaged());
            }
            // Decoded beside the page: the values, and an offset for each.
            let bytes = page.saturating_mul(3);
            let change = |state: &mut State, column: usize| {
                state.columns[column].dictionary = bytes;
            };
            let sizes = (bytes, meanwhile);
            self.budget
                .take(&self.chunk, "a dictionary", sizes, change)?;
        }
        Ok(Some(head))
    }

    /// Bytes of a page, and of what it is decompressed out of meanwhile. Without compression the
    /// page is what is in the file.
    fn sizes(&self, head: &Head) -> (u64, u64) {
        match self.chunk.is_packed && head.is_compressed {
            true => (head.unpacked, head.packed),
            false => (head.packed, 0),
        }
    }

    /// Takes what a page of values will hold.
    fn take(&mut self, head: &Head) -> Result<()> {
        let (page, meanwhile) = self.sizes(head);
        // The lengths of all values, and of what they share with the ones before.
        let lengths = match head.encoding {
            DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY => head.values.saturating_mul(8),
            _ => 0,
        };
        let copies = match head.is_of_dictionary() {
            true => 0,
            false => page.saturating_mul(self.chunk.copies),
        };
        let bytes = page.saturating_add(lengths).saturating_add(copies);
        let change = |state: &mut State, column: usize| {
            state.taken = state.taken.saturating_add(bytes);
            state.columns[column].page = bytes;
        };
        let sizes = (meanwhile.saturating_add(bytes), meanwhile);
        self.budget.take(&self.chunk, "a page", sizes, change)
    }

    /// Takes what the values of a page become, before they are decoded.
    fn take_values(&mut self, head: &Head, page: &Page) -> Result<()> {
        let buffer = page.buffer();
        let (repetition, values) = match page {
            Page::DataPage {
                rep_level_encoding,
                def_level_encoding,
                ..
            } => {
                let mut left = &buffer[..];
                let mut levels = |has: bool, encoding: Encoding| match (has, encoding) {
                    (false, _) => Some(&[][..]),
                    (true, Encoding::RLE) => {
                        let (length, rest) = left.split_first_chunk::<4>()?;
                        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                        let (levels, rest) = rest.split_at_checked(length)?;
                        left = rest;
                        Some(levels)
                    }
                    // Packed levels are of a form that is not written any more.
                    _ => None,
                };
                let repetition = levels(self.chunk.repetition > 0, *rep_level_encoding);
                let definition = levels(self.chunk.has_definition, *def_level_encoding);
                (repetition, definition.map(|_| left))
            }
            _ => {
                let (repetition, definition) = head.levels;
                let end = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
                let repetition_end = end(repetition);
                let both = end(repetition.saturating_add(definition));
                (buffer.get(..repetition_end), buffer.get(both..))
            }
        };
        let lists = match head.encoding {
            DELTA_LENGTH_BYTE_ARRAY => 1,
            DELTA_BYTE_ARRAY => 2,
            _ => 0,
        };
        // The decoder believes the numbers that stand among the values.
        let said = values.and_then(|values| lengths(values, lists));
        if lists > 0 && said.is_none_or(|said| said > head.values) {
            return Err(damaged());
        }
        let items = match (self.chunk.repetition, repetition) {
            (0, _) => 1,
            (bits, Some(levels)) => self.rows.longest(levels, bits, head.values),
            (_, None) => self.rows.all(head.values),
        };
        let longest = match head.encoding {
            _ if head.is_of_dictionary() => self.longest,
            DELTA_BYTE_ARRAY => buffer.len() as u64,
            _ => self.chunk.width,
        };
        let bytes = items
            .saturating_mul(ITEM.saturating_add(longest))
            .saturating_mul(self.budget.at_once);
        let what = match self.chunk.repetition {
            0 => "a value",
            _ => "a list",
        };
        let change = |state: &mut State, column: usize| {
            let kept = &mut state.columns[column];
            kept.decoded = bytes;
            kept.most_decoded = kept.most_decoded.max(bytes);
        };
        self.budget.take(&self.chunk, what, (bytes, 0), change)
    }

    /// A page that was read.
    fn told(&mut self, head: Option<&Head>, page: Page) -> Result<Page> {
        if page.is_dictionary_page() {
            if self.chunk.physical == Type::BYTE_ARRAY {
                self.longest = longest_value(page.buffer());
            }
            return Ok(page);
        }
        // The reader has read the same head.
        let head = head.filter(|head| head.kind != Kind::Dictionary);
        self.take_values(head.ok_or_else(damaged)?, &page)?;
        Ok(page)
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let head = self.head()?;
        if let Some(head) = &head
            && head.kind != Kind::Dictionary
        {
            self.take(head)?;
        }
        match self.inner.get_next_page()? {
            Some(page) => self.told(head.as_ref(), page).map(Some),
            None => Ok(None),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.head()?;
        self.rows.skip();
        self.inner.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        match self.inner.take_deferred_dictionary()? {
            Some(page) if page.is_dictionary_page() => self.told(None, page).map(Some),
            Some(_) => Err(damaged()),
            None => Ok(None),
        }
    }
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// Bytes that something has when it is unpacked, as far as it matters whether they are more than
/// `most`.
fn unpacked(from: impl Read, most: u64) -> Result<u64> {
    let unpacked = MultiGzDecoder::new(from).take(most.saturating_add(1));
    Ok(std::io::copy(&mut { unpacked }, &mut std::io::sink())?)
}

fn damaged() -> ParquetError {
    ParquetError::General("the head of a page is damaged".to_owned())
}
