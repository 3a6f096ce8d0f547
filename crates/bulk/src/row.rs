//! Rows on their way: what is to be embedded, and what became of it.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::RowError;

/// The column of names of rows.
pub const ID: &str = "id";
/// The column of vectors.
pub const EMBEDDING: &str = "embedding";
/// The column of what was wrong with rows that have no vector.
pub const ERROR: &str = "error";
/// The column of captions.
pub const TEXT: &str = "text";

/// Rows that are read, embedded and written together.
pub(crate) const CHUNK_ROWS: usize = 64;

/// Bytes of what was read from which on a chunk gets no further row.
pub(crate) const CHUNK_BYTES: u64 = 32 << 20;

/// Bytes that the file of one picture may have; more is an error of its row.
pub(crate) const MAX_FILE: u64 = 256 << 20;

/// What a row has to be embedded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// The file of a picture.
    Picture(Bytes),
    /// Where it is.
    File(PathBuf),
    /// A text.
    Text(String),
    /// Nothing, and why.
    Bad(String),
}

/// Bytes that a text of a table may have.
pub(crate) const LONGEST_TEXT: u64 = 16 << 20;

impl Content {
    /// A picture's file, unless it is too large.
    pub(crate) fn picture(bytes: Bytes) -> Self {
        match bytes.len() as u64 {
            length if length > MAX_FILE => Self::Bad(too_large(length)),
            _ => Self::Picture(bytes),
        }
    }

    /// A text, unless it is too long.
    pub(crate) fn text(text: String) -> Self {
        match text.len() as u64 {
            length if length > LONGEST_TEXT => Self::Bad(format!(
                "the text has {length} bytes; at most {LONGEST_TEXT} are read"
            )),
            _ => Self::Text(text),
        }
    }
}

/// What the row of a file says that is too large.
pub(crate) fn too_large(length: u64) -> String {
    format!("the file has {length} bytes; at most {MAX_FILE} are read")
}

/// Some rows of a shard. The columns are those of the result except the vector and the error,
/// names first, and all but the names may be null.
pub(crate) struct Chunk {
    pub(crate) columns: RecordBatch,
    pub(crate) contents: Vec<Content>,
    /// Memory that the contents hold.
    pub(crate) bytes: u64,
    /// The permits for it.
    pub(crate) lease: Option<OwnedSemaphorePermit>,
    /// The permits for what the columns hold.
    pub(crate) columns_lease: Option<OwnedSemaphorePermit>,
}

impl Chunk {
    pub(crate) fn new(columns: RecordBatch, contents: Vec<Content>) -> Self {
        let bytes = contents.iter().map(|content| match content {
            Content::Picture(bytes) => bytes.len() as u64,
            Content::Text(text) => text.len() as u64,
            Content::File(_) | Content::Bad(_) => 0,
        });
        Self {
            bytes: bytes.sum(),
            columns,
            contents,
            lease: None,
            columns_lease: None,
        }
    }

    /// One row that says why rows cannot be read.
    pub(crate) fn bad(columns: &SchemaRef, id: &str, error: String) -> Self {
        let nulls = columns.fields().iter().skip(1);
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![id]))];
        arrays.extend(nulls.map(|field| new_null_array(field.data_type(), 1)));
        Self::new(batch(columns, arrays), vec![Content::Bad(error)])
    }
}

/// Columns of the same length, by construction of the callers.
pub(crate) fn batch(columns: &SchemaRef, arrays: Vec<ArrayRef>) -> RecordBatch {
    match RecordBatch::try_new(Arc::clone(columns), arrays) {
        Ok(batch) => batch,
        // The arrays are made by the code that made the schema.
        Err(error) => unreachable!("columns that do not fit their schema: {error}"),
    }
}

/// A schema with the names first and these columns of text, which may be null.
pub(crate) fn text_columns(names: &[&str]) -> SchemaRef {
    let mut fields = vec![Field::new(ID, DataType::Utf8, false)];
    fields.extend(
        names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true)),
    );
    Arc::new(Schema::new(fields))
}

/// What became of the rows of a chunk: a vector, or a sentence.
pub(crate) struct Embedded {
    pub(crate) columns: RecordBatch,
    pub(crate) outcomes: Vec<Result<Vec<f32>, RowError>>,
    /// The permits for what the columns hold, until they are written.
    pub(crate) _columns_lease: Option<OwnedSemaphorePermit>,
}
