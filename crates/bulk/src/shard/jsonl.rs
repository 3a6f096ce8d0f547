//! JSON objects, one a line.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use arrow_array::RecordBatch;
use half::f16;
use serde_json::Map;

use super::{Form, RowFile};
use crate::columns::json;
use crate::disk::Temporary;
use crate::identity::FINGERPRINT;
use crate::options::Number;
use crate::row::EMBEDDING;

/// A file of objects.
pub(super) struct Jsonl {
    file: Temporary,
    writer: BufWriter<File>,
    number: Number,
    /// What ends every row: lines of several runs may be put together, so each says what made it.
    end: String,
}

impl Jsonl {
    pub(super) fn new(file: Temporary, form: &Form) -> io::Result<Self> {
        let number = form.number;
        Ok(Self {
            end: format!(",\"{FINGERPRINT}\":\"{}\"}}\n", form.identity.fingerprint),
            writer: BufWriter::with_capacity(1 << 18, file.writer()?),
            file,
            number,
        })
    }
}

impl RowFile for Jsonl {
    fn write(&mut self, columns: &RecordBatch, vectors: &[Option<&[f32]>]) -> io::Result<()> {
        let schema = columns.schema();
        let mut rows = vec![Map::new(); vectors.len()];
        for (field, column) in schema.fields().iter().zip(columns.columns()) {
            let values = json(column).map_err(|kind| {
                io::Error::other(format!(
                    "the column {} is of the type {kind}, which --format jsonl does not carry: \
                     leave it out by naming the others with --columns",
                    field.name()
                ))
            })?;
            for (row, value) in rows.iter_mut().zip(values) {
                row.insert(field.name().clone(), value);
            }
        }
        for (row, vector) in rows.into_iter().zip(vectors) {
            // A name is always there, so that there is something before the comma.
            let mut line = serde_json::to_vec(&row)?;
            line.pop();
            write!(line, ",\"{EMBEDDING}\":")?;
            // Not by way of a `Value`, which has doubles, with twice the digits.
            match (vector, self.number) {
                (None, _) => line.extend_from_slice(b"null"),
                (Some(vector), Number::Float32) => serde_json::to_writer(&mut line, vector)?,
                (Some(vector), Number::Float16) => {
                    let halves = vector.iter().map(|&value| f16::from_f32(value).to_f32());
                    serde_json::to_writer(&mut line, &halves.collect::<Vec<_>>())?;
                }
            }
            line.extend_from_slice(self.end.as_bytes());
            self.writer.write_all(&line)?;
        }
        Ok(())
    }

    fn end(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        self.writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(vec![self.file])
    }
}
