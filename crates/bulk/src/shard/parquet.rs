//! Parquet with the vectors as lists of fixed size.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float16Array, Float32Array, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::{Form, RowFile};
use crate::disk::Temporary;
use crate::options::Number;
use crate::row::{EMBEDDING, ERROR};

/// Rows of a row group: what is held in memory while it is written, and what one thread reads
/// at a time.
const GROUP_ROWS: usize = 8192;

/// Bytes of a row group at most, where columns that pass through are large: a group is in memory
/// until it is written.
const GROUP_BYTES: usize = 256 << 20;

/// How files of vectors are written: compression, encodings and row groups.
///
/// # Errors
///
/// None that is known: the library checks the level of compression.
pub fn vector_properties(number: Number) -> io::Result<WriterPropertiesBuilder> {
    let zstd = ZstdLevel::try_new(1).map_err(io::Error::other)?;
    let vectors = ColumnPath::from(vec![
        EMBEDDING.to_owned(),
        "list".to_owned(),
        "item".to_owned(),
    ]);
    // First bytes with first bytes: zstd then takes 15% off the vectors, and 7% otherwise.
    // Of half floats, not every reader knows that encoding.
    let encoding = match number {
        Number::Float32 => Encoding::BYTE_STREAM_SPLIT,
        Number::Float16 => Encoding::PLAIN,
    };
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        // Floats of vectors are all different.
        .set_column_dictionary_enabled(vectors.clone(), false)
        .set_column_encoding(vectors.clone(), encoding)
        .set_column_statistics_enabled(vectors, EnabledStatistics::None))
}

/// A Parquet file of columns.
pub(super) struct Table {
    file: Temporary,
    writer: ArrowWriter<File>,
}

impl Table {
    pub(super) fn new(file: Temporary, form: &Form, schema: SchemaRef) -> io::Result<Self> {
        let metadata = form
            .metadata()
            .map(|(name, value)| KeyValue::new(name.to_owned(), value));
        let properties = vector_properties(form.number)?
            .set_created_by(format!("siglip2-embeddings {}", form.identity.version))
            .set_key_value_metadata(Some(metadata.to_vec()))
            .build();
        let writer = ArrowWriter::try_new(file.writer()?, schema, Some(properties))
            .map_err(io::Error::other)?;
        Ok(Self { file, writer })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.writer.write(batch).map_err(io::Error::other)
    }

    pub(super) fn end(self) -> io::Result<Temporary> {
        self.writer.close().map_err(io::Error::other)?;
        Ok(self.file)
    }
}

/// As [`Table`], with a column of vectors.
pub(super) struct Vectors {
    table: Table,
    schema: SchemaRef,
    item: FieldRef,
    number: Number,
    dimensions: usize,
}

impl Vectors {
    pub(super) fn new(file: Temporary, form: &Form, columns: &SchemaRef) -> io::Result<Self> {
        let number = match form.number {
            Number::Float32 => DataType::Float32,
            Number::Float16 => DataType::Float16,
        };
        let item = Arc::new(Field::new_list_field(number, true));
        let dimensions = form.identity.dimensions;
        let length = i32::try_from(dimensions).map_err(io::Error::other)?;
        let list = DataType::FixedSizeList(Arc::clone(&item), length);
        let mut fields: Vec<FieldRef> = columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(EMBEDDING, list, true)));
        fields.push(Arc::new(Field::new(ERROR, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            table: Table::new(file, form, Arc::clone(&schema))?,
            schema,
            item,
            number: form.number,
            dimensions,
        })
    }

    fn vectors(&self, vectors: &[Option<&[f32]>]) -> io::Result<ArrayRef> {
        let zeros = vec![0.0; self.dimensions];
        let values = vectors
            .iter()
            .flat_map(|vector| vector.unwrap_or(&zeros))
            .copied();
        let values: ArrayRef = match self.number {
            Number::Float32 => Arc::new(Float32Array::from_iter_values(values)),
            Number::Float16 => {
                let halves = values.map(f16::from_f32);
                Arc::new(Float16Array::from_iter_values(halves))
            }
        };
        let nulls: NullBuffer = vectors.iter().map(Option::is_some).collect();
        let length = i32::try_from(self.dimensions).map_err(io::Error::other)?;
        let lists =
            FixedSizeListArray::try_new(Arc::clone(&self.item), length, values, Some(nulls))
                .map_err(io::Error::other)?;
        Ok(Arc::new(lists))
    }
}

impl RowFile for Vectors {
    fn write(&mut self, columns: &RecordBatch, vectors: &[Option<&[f32]>]) -> io::Result<()> {
        let mut arrays = columns.columns().to_vec();
        arrays.insert(arrays.len().saturating_sub(1), self.vectors(vectors)?);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        self.table.write(&batch)
    }

    fn end(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        Ok(vec![self.table.end()?])
    }
}
