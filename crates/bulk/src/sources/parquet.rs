//! Parquet tables: a column of pictures' bytes (also Hugging Face's structs of `bytes` and
//! `path`), of paths, or of texts. All other columns go through as they are.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use blake3::Hasher;

use super::{Cut, Source, cannot_read, digest_file};
use crate::columns::{ColumnError, Values, bytes, texts};
use crate::error::InputError;
use crate::options::{Kind, Reading, passed_through};
use crate::row::{CHUNK_BYTES, CHUNK_ROWS, Chunk, Content, ID, text_columns};
use crate::table::{MOST, Rows, Stopped, TableError};

#[cfg(test)]
mod tests;

/// Shards of a table, whose places are all held: rows take no bytes of a table that only says that
/// it has them.
const MOST_SHARDS: u64 = 1 << 20;

/// Names by which the column is found, if there are several of its type.
const PICTURES: [&str; 6] = ["image", "jpg", "png", "img", "picture", "bytes"];
const PATHS: [&str; 7] = [
    "path",
    "image_path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
];
const TEXTS: [&str; 3] = ["text", "caption", "txt"];

/// One Parquet file.
pub(super) struct Table {
    path: PathBuf,
    /// Bytes that its columns may hold while they are decoded.
    most: u64,
    kind: Kind,
    length: u64,
    columns: SchemaRef,
    cuts: Vec<Cut>,
    content: usize,
    id: Option<usize>,
    /// The file's columns behind the name, in the order of the result.
    through: Vec<usize>,
}

impl Table {
    pub(super) fn open(path: &Path, reading: &Reading) -> Result<Self, InputError> {
        let file = File::open(path).map_err(cannot_read(path))?;
        let length = file.metadata().map_err(cannot_read(path))?.len();
        // Read again for each shard: those of thousands of tables would fill the memory.
        let table =
            crate::table::Table::open(file).map_err(|error| InputError::unreadable(path, error))?;
        let fields = table.metadata().schema().fields();
        let content = content(fields, path, reading)?;
        let id = match &reading.id_column {
            Some(name) => Some(
                named(fields, name)
                    .filter(|&index| is_name(fields[index].data_type()))
                    .ok_or_else(|| {
                        format!(
                            "{} has no column called {name} of texts or whole numbers \
                             (--id-column)",
                            path.display()
                        )
                    })?,
            ),
            None => named(fields, ID)
                .filter(|&index| index != content && is_name(fields[index].data_type())),
        };
        let mut through = Vec::new();
        let mut columns = vec![Field::new(ID, DataType::Utf8, false)];
        for (index, field) in fields.iter().enumerate() {
            let holds_pictures = index == content && !is_text(field.data_type());
            if Some(index) == id || holds_pictures || !passed_through(field.name(), path, reading)?
            {
                continue;
            }
            through.push(index);
            columns.push(field.as_ref().clone().with_nullable(true));
        }
        let groups = table.groups().iter();
        let rows: u64 = groups
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .fold(0, u64::saturating_add);
        let size = reading.shard_size as u64;
        if rows.div_ceil(size) > MOST_SHARDS {
            return Err(InputError::Unfit(format!(
                "{} says that it has {rows} rows, which are more than {MOST_SHARDS} shards: give a \
                 larger --shard-size, unless it is damaged",
                path.display()
            )));
        }
        let cuts = (0..rows.div_ceil(size)).map(|cut| Cut {
            first: cut * size,
            rows: Some(size.min(rows - cut * size)),
            at: 0,
            line: 0,
            bytes: length / rows.div_ceil(size),
        });
        Ok(Self {
            path: path.into(),
            most: MOST,
            kind: reading.kind,
            length,
            columns: Arc::new(Schema::new(columns)),
            cuts: cuts.collect(),
            content,
            id,
            through,
        })
    }

    /// With another bound of what its columns may hold.
    #[cfg(any(test, fuzzing))]
    pub(super) fn holding(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    fn batches(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) -> Result<(), TableError> {
        let table = crate::table::Table::open(File::open(&self.path)?)?;
        let wanted = cut.first..cut.first + cut.rows.unwrap_or(0);
        // As many rows at a time as a chunk's bytes hold.
        let widest = table.groups_of(&wanted).filter_map(|group| {
            let bytes = u64::try_from(group.total_byte_size()).ok()?;
            bytes.checked_div(u64::try_from(group.num_rows()).ok()?)
        });
        let at_once = CHUNK_BYTES / widest.max().unwrap_or(0).max(1);
        let columns = self.through.iter().chain([&self.content]).chain(&self.id);
        let rows = Rows {
            columns: columns.copied().collect(),
            ranges: vec![wanted.clone()],
            at_once: usize::try_from(at_once)
                .unwrap_or(CHUNK_ROWS)
                .clamp(1, CHUNK_ROWS),
        };
        let fields = table.metadata().schema().fields();
        let mut first = cut.first;
        let read = table.read(rows, self.most, &mut |batch| {
            let chunk = self.chunk(first, fields, batch).map_err(Stopped::Taker)?;
            first += batch.num_rows() as u64;
            Ok(emit(chunk))
        });
        read.map_err(|stopped| match stopped {
            Stopped::Table(error) | Stopped::Taker(error) => error,
        })
    }

    fn chunk(&self, first: u64, fields: &Fields, read: &RecordBatch) -> Result<Chunk, TableError> {
        let column = |index: usize| {
            let name = fields.get(index).map_or("", |field| field.name());
            read.column_by_name(name).ok_or(TableError::OtherColumns)
        };
        let file = self.path.to_string_lossy();
        let ids = match self.id {
            Some(index) => Some(texts(column(index)?)?),
            None => None,
        };
        let ids = (0..read.num_rows()).map(|row| {
            let id = ids.as_ref().and_then(|ids| ids[row].clone());
            Some(id.unwrap_or_else(|| format!("{file}#{}", first + row as u64)))
        });
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids.collect::<StringArray>())];
        for &index in &self.through {
            arrays.push(Arc::clone(column(index)?));
        }
        let column = column(self.content)?;
        let contents = self.contents(column)?;
        let columns = RecordBatch::try_new(Arc::clone(&self.columns), arrays)?;
        let mut chunk = Chunk::new(columns, contents);
        // Pictures share the column's memory, of which one that is kept keeps all.
        let shared = chunk
            .contents
            .iter()
            .any(|it| matches!(it, Content::Picture(_)));
        if shared {
            chunk.bytes = chunk.bytes.max(column.get_array_memory_size() as u64);
        }
        Ok(chunk)
    }

    fn contents(&self, column: &ArrayRef) -> Result<Vec<Content>, ColumnError> {
        if let DataType::Struct(_) = column.data_type() {
            return self.structs(column);
        }
        let missing = || Content::Bad("the row has nothing in this column".to_owned());
        if is_text(column.data_type()) {
            let values = texts(column)?.into_iter();
            return Ok(values
                .map(|value| match (value, self.kind) {
                    (None, _) => missing(),
                    (Some(text), Kind::Texts) => Content::text(text),
                    (Some(path), Kind::Pictures) => Content::File(path.into()),
                })
                .collect());
        }
        let values = bytes(column)?.into_iter();
        Ok(values
            .map(|value| value.map_or_else(missing, Content::picture))
            .collect())
    }

    /// Hugging Face's pictures: bytes, or a path where there are none.
    fn structs(&self, column: &ArrayRef) -> Result<Vec<Content>, ColumnError> {
        let of = Values::of(column);
        let files = match of.field("bytes") {
            Some(files) => bytes(files)?,
            None => vec![None; column.len()],
        };
        let paths = match of.field("path") {
            Some(paths) => texts(paths)?,
            None => vec![None; column.len()],
        };
        let pairs = files.into_iter().zip(paths).enumerate();
        Ok(pairs
            .map(|(row, pair)| match pair {
                _ if column.is_null(row) => Content::Bad("the row has no picture".to_owned()),
                (Some(bytes), _) => Content::picture(bytes),
                (None, Some(path)) => Content::File(path.into()),
                (None, None) => Content::Bad("the row has no picture".to_owned()),
            })
            .collect())
    }
}

/// The file of a picture in a row of a table, which is found as when the table is embedded.
pub(crate) fn picture_of_row(path: &Path, row: usize) -> Option<Vec<u8>> {
    let reading = Reading {
        kind: Kind::Pictures,
        ..Reading::default()
    };
    let mut table = Table::open(path, &reading).ok()?;
    (table.through, table.id, table.columns) = (Vec::new(), None, text_columns(&[]));
    let cut = Cut {
        first: row as u64,
        rows: Some(1),
        at: 0,
        line: 0,
        bytes: 0,
    };
    let mut found = None;
    table.read(&cut, &mut |mut chunk| {
        found = chunk.contents.pop();
        false
    });
    match found? {
        Content::Picture(bytes) => Some(bytes.into()),
        Content::File(_) | Content::Text(_) | Content::Bad(_) => None,
    }
}

/// Whether `columns::texts` takes it.
fn is_name(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_name(values),
        kind => is_text(kind) || kind.is_integer(),
    }
}

impl Source for Table {
    fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    fn digest(&self, hasher: &mut Hasher) {
        digest_file(hasher, "parquet", &self.path, self.length);
        let rows: u64 = self.cuts.iter().filter_map(|cut| cut.rows).sum();
        hasher.update(&rows.to_le_bytes());
    }

    fn read(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) {
        if let Err(error) = self.batches(cut, emit) {
            let others = match error {
                TableError::TooMuch(..) => {
                    ", or leave the column out by naming the others with --columns"
                }
                _ => "",
            };
            let error = format!("the table cannot be read on: {error}{others}");
            let id = format!("{}#{}", self.path.display(), cut.first);
            emit(Chunk::bad(&self.columns, &id, error));
        }
    }
}

fn named(fields: &Fields, name: &str) -> Option<usize> {
    fields.iter().position(|field| field.name() == name)
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn is_bytes(kind: &DataType) -> bool {
    match kind {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| field.name() == "bytes" && is_bytes(field.data_type())),
        _ => false,
    }
}

/// The column to embed.
fn content(fields: &Fields, path: &Path, reading: &Reading) -> Result<usize, InputError> {
    let fits = |index: &usize| {
        let kind = fields[*index].data_type();
        is_text(kind) || (reading.kind == Kind::Pictures && is_bytes(kind))
    };
    if let Some(name) = &reading.column {
        let index = named(fields, name)
            .ok_or_else(|| format!("{} has no column called {name}", path.display()))?;
        return Some(index).filter(fits).ok_or_else(|| {
            InputError::Unfit(format!(
                "the column {name} of {} is of the type {}, which cannot be embedded",
                path.display(),
                fields[index].data_type()
            ))
        });
    }
    let among = |names: &[&str], fits: fn(&DataType) -> bool| {
        let mut found = names.iter().filter_map(|name| named(fields, name));
        found.find(|&index| fits(fields[index].data_type()))
    };
    let only = |fits: fn(&DataType) -> bool| {
        let mut found = (0..fields.len()).filter(|&index| fits(fields[index].data_type()));
        found.next().filter(|_| found.next().is_none())
    };
    let found = match reading.kind {
        Kind::Pictures => among(&PICTURES, is_bytes)
            .or_else(|| only(is_bytes))
            .or_else(|| among(&PATHS, is_text)),
        Kind::Texts => among(&TEXTS, is_text).or_else(|| only(is_text)),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
        InputError::Unfit(format!(
            "{} has the columns {}: say with --column which to embed",
            path.display(),
            names.join(", ")
        ))
    })
}
