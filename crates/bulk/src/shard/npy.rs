//! NumPy arrays beside tables of metadata, as clip-retrieval and autofaiss read them: row by
//! row the same, so rows without a vector are in neither.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use half::f16;

use super::parquet::Table;
use super::{Form, RowFile};
use crate::disk::Temporary;
use crate::options::{Kind, Number};
use crate::row::{ID, TEXT};

/// Bytes of the header: room for any number of rows.
pub(crate) const HEADER: usize = 128;

/// An array and its table.
pub(super) struct Npy {
    vectors: Temporary,
    writer: BufWriter<File>,
    metadata: Table,
    schema: SchemaRef,
    number: Number,
    dimensions: usize,
    rows: u64,
}

impl Npy {
    pub(super) fn new(
        vectors: Temporary,
        metadata: Temporary,
        form: &Form,
        columns: &SchemaRef,
    ) -> io::Result<Self> {
        // The names that clip-retrieval's index gives its columns.
        let has = |name: &str| columns.fields().iter().any(|it| it.name() == name);
        let renamed = columns.fields().iter().map(|field| {
            let field = Field::clone(field);
            match field.name().as_str() {
                ID if form.kind == Kind::Pictures && !has("image_path") => {
                    field.with_name("image_path")
                }
                TEXT if !has("caption") => field.with_name("caption"),
                _ => field,
            }
        });
        let schema = Arc::new(Schema::new(renamed.collect::<Vec<_>>()));
        let mut writer = BufWriter::with_capacity(1 << 18, vectors.writer()?);
        writer.write_all(&[0; HEADER])?;
        Ok(Self {
            vectors,
            writer,
            metadata: Table::new(metadata, form, Arc::clone(&schema))?,
            schema,
            number: form.number,
            dimensions: form.identity.dimensions,
            rows: 0,
        })
    }
}

impl RowFile for Npy {
    fn write(&mut self, columns: &RecordBatch, vectors: &[Option<&[f32]>]) -> io::Result<()> {
        for vector in vectors.iter().flatten() {
            self.rows += 1;
            for &value in *vector {
                match self.number {
                    Number::Float32 => self.writer.write_all(&value.to_le_bytes())?,
                    Number::Float16 => {
                        let half = f16::from_f32(value);
                        self.writer.write_all(&half.to_le_bytes())?;
                    }
                }
            }
        }
        let kept: BooleanArray = vectors
            .iter()
            .map(|vector| Some(vector.is_some()))
            .collect();
        // All but the column of errors, which the rows that are kept do not have.
        let arrays = columns
            .columns()
            .split_last()
            .map_or(&[][..], |(_, rest)| rest);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays.to_vec())
            .and_then(|batch| filter_record_batch(&batch, &kept))
            .map_err(io::Error::other)?;
        self.metadata.write(&batch)
    }

    fn end(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        let mut file = self
            .writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(self.number, self.rows, self.dimensions)?)?;
        Ok(vec![self.vectors, self.metadata.end()?])
    }
}

/// The header of an array, version 1.0 of the format.
pub(crate) fn header(number: Number, rows: u64, dimensions: usize) -> io::Result<[u8; HEADER]> {
    let descr = match number {
        Number::Float32 => "<f4",
        Number::Float16 => "<f2",
    };
    let text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}"
    );
    let mut header = [b' '; HEADER];
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    header[8..10].copy_from_slice(&(HEADER as u16 - 10).to_le_bytes());
    header
        .get_mut(10..10 + text.len())
        .ok_or_else(|| io::Error::other("the shape does not fit the header"))?
        .copy_from_slice(text.as_bytes());
    header[HEADER - 1] = b'\n';
    Ok(header)
}
