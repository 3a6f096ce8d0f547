//! The files of one shard while they are written.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::columns::{conform, texts};
use crate::disk::{Disk, Temporary};
use crate::identity::Identity;
use crate::options::{Format, Kind, Number};
use crate::output::{DoneShard, Output};
use crate::row::{Embedded, ID};

mod jsonl;
pub(crate) mod npy;
mod parquet;

pub use self::parquet::vector_properties;

/// What every shard of a run has in common.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) identity: Identity,
    pub(crate) normalized: bool,
    pub(crate) number: Number,
    pub(crate) kind: Kind,
    /// The columns of all shards, where they become one file that needs the same ones.
    pub(crate) columns: Option<SchemaRef>,
}

impl Form {
    fn metadata(&self) -> [(&'static str, String); 5] {
        self.identity.metadata(self.normalized)
    }
}

/// A file of rows.
trait RowFile: Send {
    fn write(&mut self, columns: &RecordBatch, vectors: &[Option<&[f32]>]) -> io::Result<()>;

    /// Writes what is left and gives the files back, to be put in their places.
    fn end(self: Box<Self>) -> io::Result<Vec<Temporary>>;
}

/// See the module.
pub(crate) struct Shard {
    index: usize,
    disk: Disk,
    file: Box<dyn RowFile>,
    columns: Option<SchemaRef>,
    errors: Option<(Temporary, BufWriter<std::fs::File>)>,
    done: DoneShard,
}

impl Shard {
    /// Begins a shard of rows with these columns.
    pub(crate) fn begin(
        output: &Output,
        form: &Form,
        index: usize,
        columns: &SchemaRef,
    ) -> io::Result<Self> {
        let disk = output.disk.clone();
        // A run before may have found others.
        disk.remove(&output.errors(index))?;
        disk.remove(&output.errors(index).with_extension("jsonl.tmp"))?;
        let files = output.files(index);
        let mut targets = files
            .iter()
            .map(|file| disk.create(&output.root.join(file)));
        let mut target = || {
            targets
                .next()
                .unwrap_or(Err(io::ErrorKind::NotFound.into()))
        };
        let columns = Arc::clone(form.columns.as_ref().unwrap_or(columns));
        let file: Box<dyn RowFile> = match output.plan.format {
            Format::Parquet => Box::new(parquet::Vectors::new(target()?, form, &columns)?),
            Format::Npy => Box::new(npy::Npy::new(target()?, target()?, form, &columns)?),
            Format::Jsonl => Box::new(jsonl::Jsonl::new(target()?, form)?),
        };
        drop(targets);
        Ok(Self {
            index,
            disk,
            file,
            columns: form.columns.clone(),
            errors: None,
            done: DoneShard {
                rows: 0,
                errors: 0,
                files,
            },
        })
    }

    /// Writes rows.
    pub(crate) fn write(&mut self, output: &Output, rows: &Embedded) -> io::Result<()> {
        self.disk.writes(&output.root)?;
        let vectors: Vec<Option<&[f32]>> = rows
            .outcomes
            .iter()
            .map(|outcome| outcome.as_ref().ok().map(Vec::as_slice))
            .collect();
        let columns = match &self.columns {
            Some(schema) => conform(&rows.columns, schema)?,
            None => rows.columns.clone(),
        };
        let columns = with_errors(&columns, rows)?;
        self.file.write(&columns, &vectors)?;
        self.done.rows += rows.outcomes.len() as u64;
        if rows.outcomes.iter().all(Result::is_ok) {
            return Ok(());
        }
        let ids = texts(rows.columns.column(0)).map_err(io::Error::other)?;
        for (id, outcome) in ids.iter().zip(&rows.outcomes) {
            let Err(error) = outcome else { continue };
            self.done.errors += 1;
            let (_, list) = match &mut self.errors {
                Some(list) => list,
                none => {
                    let file = self.disk.create(&output.errors(self.index))?;
                    let writer = BufWriter::new(file.writer()?);
                    none.insert((file, writer))
                }
            };
            let line = serde_json::json!({ ID: id, "error": error.0 });
            writeln!(list, "{line}")?;
        }
        Ok(())
    }

    /// Puts everything in its place, the record that the shard is done last.
    pub(crate) fn end(self, output: &Output) -> io::Result<DoneShard> {
        for file in self.file.end()? {
            self.disk.commit(file)?;
        }
        if let Some((file, mut list)) = self.errors {
            list.flush()?;
            self.disk.commit(file)?;
        }
        output.note(self.index, &self.done)?;
        Ok(self.done)
    }

    /// Drops what was written.
    pub(crate) fn discard(self) {
        if let Ok(files) = self.file.end() {
            files.into_iter().for_each(Temporary::discard);
        }
        if let Some((file, _)) = self.errors {
            file.discard();
        }
    }
}

/// The columns with that of errors behind them.
fn with_errors(columns: &RecordBatch, rows: &Embedded) -> io::Result<RecordBatch> {
    use arrow_array::{ArrayRef, StringArray};
    use arrow_schema::{DataType, Field, Schema};

    let errors = rows.outcomes.iter().map(|outcome| outcome.as_ref().err());
    let errors: ArrayRef = Arc::new(errors.collect::<StringArray>());
    let schema = columns.schema();
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(
        crate::row::ERROR,
        DataType::Utf8,
        true,
    )));
    let mut columns = columns.columns().to_vec();
    columns.push(errors);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(io::Error::other)
}
