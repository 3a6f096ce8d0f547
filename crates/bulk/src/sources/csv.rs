//! Tables of texts in CSV, with a line of names above. All columns go through as text.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use blake3::Hasher;
use csv::{ByteRecord, Position, Reader, ReaderBuilder, StringRecord};

use super::{Cut, Source, cannot_read, digest_file};
use crate::error::InputError;
use crate::options::{Reading, passed_through};
use crate::row::{CHUNK_BYTES, CHUNK_ROWS, Chunk, Content, ID, batch};
use crate::table::MOST_COLUMNS;

/// Bytes that one record may have: a quote that is never closed would take the whole file.
const LONGEST_RECORD: u64 = 16 << 20;

/// One CSV file.
pub(super) struct Csv {
    path: PathBuf,
    separator: u8,
    columns: SchemaRef,
    cuts: Vec<Cut>,
    length: u64,
    digest: blake3::Hash,
    text: usize,
    id: Option<usize>,
    /// Fields of a record, in the order of the columns behind the name.
    through: Vec<usize>,
}

impl Csv {
    pub(super) fn open(path: &Path, separator: u8, reading: &Reading) -> Result<Self, InputError> {
        let failed = |error: csv::Error| InputError::unreadable(path, error);
        let file = File::open(path).map_err(cannot_read(path))?;
        let length = file.metadata().map_err(cannot_read(path))?.len();
        let (mut reader, left) = reader(file, separator);
        let names = reader.headers().map_err(failed)?;
        if names.len() > MOST_COLUMNS {
            return Err(format!(
                "{} has {} columns; at most {MOST_COLUMNS} are read",
                path.display(),
                names.len()
            )
            .into());
        }
        let names: Vec<String> = names.iter().map(str::to_owned).collect();
        let named = |name: &str| names.iter().position(|it| it == name);
        let text = match &reading.column {
            Some(name) => named(name),
            None => ["text", "caption"].into_iter().find_map(named),
        }
        .or((names.len() == 1).then_some(0))
        .ok_or_else(|| {
            format!(
                "{} has the columns {}: say with --column which has the texts",
                path.display(),
                names.join(", ")
            )
        })?;
        let id = match &reading.id_column {
            Some(name) => Some(named(name).ok_or_else(|| {
                format!(
                    "{} has no column called {name} (--id-column)",
                    path.display()
                )
            })?),
            None => named(ID),
        };
        let mut through = Vec::new();
        let mut fields = vec![Field::new(ID, DataType::Utf8, false)];
        for (index, name) in names.iter().enumerate() {
            if Some(index) != id && passed_through(name, path, reading)? {
                through.push(index);
                fields.push(Field::new(name, DataType::Utf8, true));
            }
        }
        let mut cuts: Vec<Cut> = Vec::new();
        let mut hasher = Hasher::new();
        for name in &names {
            hasher.update(name.as_bytes());
            hasher.update(&[0]);
        }
        let mut record = ByteRecord::new();
        let mut rows = 0_u64;
        loop {
            left.set(LONGEST_RECORD);
            let position = reader.position().clone();
            if !reader.read_byte_record(&mut record).map_err(failed)? {
                break;
            }
            for field in &record {
                hasher.update(field);
                hasher.update(&[0]);
            }
            hasher.update(b"\n");
            if rows.is_multiple_of(reading.shard_size as u64) {
                cuts.push(Cut {
                    first: rows,
                    rows: Some(0),
                    at: position.byte(),
                    line: position.line(),
                    bytes: 0,
                });
            }
            if let Some(Cut {
                rows: Some(in_cut), ..
            }) = cuts.last_mut()
            {
                *in_cut += 1;
            }
            rows += 1;
        }
        Ok(Self {
            path: path.into(),
            separator,
            columns: Arc::new(Schema::new(fields)),
            cuts,
            length,
            digest: hasher.finalize(),
            text,
            id,
            through,
        })
    }

    fn records(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) -> Result<(), Unreadable> {
        let file = File::open(&self.path)?;
        let (mut reader, left) = reader(file, self.separator);
        let mut position = Position::new();
        position.set_byte(cut.at);
        position.set_line(cut.line);
        position.set_record(cut.first + 1);
        reader.seek(position)?;
        let (mut row, end) = (cut.first, cut.first + cut.rows.unwrap_or(0));
        while row < end {
            let mut records = Vec::new();
            let mut fault = None;
            let mut bytes = 0;
            while row < end && records.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
                left.set(LONGEST_RECORD);
                let mut record = ByteRecord::new();
                match reader.read_byte_record(&mut record) {
                    Ok(true) => {
                        // A field has its place beside its bytes.
                        bytes += (record.as_slice().len() + record.len() * 8) as u64;
                        records.push(decoded(record));
                    }
                    Ok(false) => fault = Some(Unreadable::Shorter),
                    Err(error) => fault = Some(error.into()),
                }
                if fault.is_some() {
                    break;
                }
                row += 1;
            }
            let first = row - records.len() as u64;
            if !records.is_empty() && !emit(self.chunk(first, &records)) {
                return Ok(());
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(())
    }

    fn chunk(&self, first: u64, records: &[(StringRecord, bool)]) -> Chunk {
        let file = self.path.to_string_lossy();
        let ids = records.iter().enumerate().map(|(index, (record, _))| {
            Some(match self.id.and_then(|column| record.get(column)) {
                Some(id) => id.to_owned(),
                None => format!("{file}#{}", first + index as u64),
            })
        });
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids.collect::<StringArray>())];
        for &column in &self.through {
            let values = records.iter().map(|(record, _)| record.get(column));
            arrays.push(Arc::new(values.collect::<StringArray>()));
        }
        let texts = records
            .iter()
            .map(|(record, is_utf8)| match record.get(self.text) {
                _ if !is_utf8 => Content::Bad("the record is not UTF-8".to_owned()),
                Some(text) => Content::Text(text.to_owned()),
                None => Content::Bad("the record has too few fields".to_owned()),
            });
        Chunk::new(batch(&self.columns, arrays), texts.collect())
    }
}

impl Source for Csv {
    fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    fn digest(&self, hasher: &mut Hasher) {
        digest_file(hasher, "csv", &self.path, self.length);
        hasher.update(self.digest.as_bytes());
    }

    fn read(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) {
        if let Err(error) = self.records(cut, emit) {
            let error = format!("the table cannot be read on: {error}");
            emit(Chunk::bad(
                &self.columns,
                &self.path.to_string_lossy(),
                error,
            ));
        }
    }
}

/// Why records cannot be read on.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Unopened(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] csv::Error),
    #[error("it has become shorter")]
    Shorter,
}

/// A record as text, and whether it is UTF-8; what is not is replaced.
fn decoded(record: ByteRecord) -> (StringRecord, bool) {
    match StringRecord::from_byte_record(record) {
        Ok(record) => (record, true),
        Err(error) => {
            let record = error.into_byte_record();
            (StringRecord::from_byte_record_lossy(record), false)
        }
    }
}

/// A reader, and the bytes that it may still read for the next record.
fn reader(file: File, separator: u8) -> (Reader<Bounded>, Rc<Cell<u64>>) {
    let left = Rc::new(Cell::new(LONGEST_RECORD));
    let bounded = Bounded {
        file,
        left: Rc::clone(&left),
    };
    let reader = ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .buffer_capacity(1 << 16)
        .from_reader(bounded);
    (reader, left)
}

struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => self.left.set(left),
            None => {
                return Err(io::Error::other(format!(
                    "a record has more than {LONGEST_RECORD} bytes; is a quote not closed?"
                )));
            }
        }
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_the_same_however_they_are_cut() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "name,text,id\nx,\"a, \"\"quoted\"\"\nline\",1\ny,plain,2\nz,last,3\n",
        )
        .unwrap();
        let mut before = None;
        for shard_size in 1..4 {
            let reading = Reading {
                shard_size,
                ..Reading::default()
            };
            let table = Csv::open(file.path(), b',', &reading).unwrap();
            let names: Vec<_> = table.columns.fields().iter().map(|it| it.name()).collect();
            assert_eq!(names, ["id", "name", "text"]);
            let mut texts = Vec::new();
            for cut in table.cuts() {
                table.read(cut, &mut |chunk| {
                    texts.extend(chunk.contents);
                    true
                });
            }
            let expected = ["a, \"quoted\"\nline", "plain", "last"];
            assert_eq!(texts, expected.map(|text| Content::Text(text.into())));
            let ids = before.get_or_insert_with(|| texts.clone());
            assert_eq!(*ids, texts);
        }
    }

    #[test]
    fn the_column_of_texts_must_be_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a,b\n1,2\n").unwrap();
        let error = Csv::open(file.path(), b',', &Reading::default()).map(drop);
        assert!(error.unwrap_err().to_string().contains("--column"));
    }

    #[test]
    fn another_header_is_another_table_and_a_record_that_is_no_text_costs_itself() {
        let digest = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let reading = Reading {
                column: Some("text".to_owned()),
                ..Reading::default()
            };
            let table = Csv::open(file.path(), b',', &reading).unwrap();
            let mut texts = Vec::new();
            table.read(&table.cuts()[0], &mut |chunk| {
                texts.extend(chunk.contents);
                true
            });
            (table.digest, texts)
        };
        assert_ne!(digest(b"text,name\na,b\n").0, digest(b"name,text\na,b\n").0);
        assert_ne!(
            digest(b"text,name\na,b\nc\n").0,
            digest(b"text,name\na\nb,c\n").0
        );
        let (_, texts) = digest(b"text\nplain\ncaf\xe9\nlast\n");
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[2], Content::Text("last".to_owned()));
        assert!(matches!(&texts[1], Content::Bad(why) if why.contains("UTF-8")));
    }
}
