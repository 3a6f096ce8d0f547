//! Texts, one a line: plain, or JSON objects with the text among their fields.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::SchemaRef;
use blake3::Hasher;
use serde_json::Value;

use super::spool::ReadFrom;
use super::{Cut, Source, cannot_read};
use crate::error::InputError;
use crate::options::Reading;
use crate::row::{CHUNK_BYTES, CHUNK_ROWS, Chunk, Content, TEXT, batch, text_columns};

/// Bytes that a line may have; the row of a longer one is an error.
const LONGEST_LINE: u64 = 1 << 20;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Json,
}

/// A file of lines. Empty ones are no rows.
pub(super) struct Lines {
    name: String,
    form: Form,
    /// Open, or where it is: a folder may have more files than a process may open.
    file: Result<Arc<File>, PathBuf>,
    digest: blake3::Hash,
    columns: SchemaRef,
    cuts: Vec<Cut>,
    /// Fields of JSON objects.
    text: Option<String>,
    id: Option<String>,
}

impl Lines {
    pub(super) fn open(path: &Path, form: Form, reading: &Reading) -> Result<Self, InputError> {
        let file = File::open(path).map_err(cannot_read(path))?;
        let name = path.to_string_lossy().into_owned();
        let mut lines = Self::of(name, file.into(), form, reading)?;
        lines.file = Err(path.into());
        Ok(lines)
    }

    /// The lines of a file that stays open.
    pub(super) fn of(
        name: String,
        file: Arc<File>,
        form: Form,
        reading: &Reading,
    ) -> Result<Self, InputError> {
        let columns = match form {
            Form::Plain => text_columns(&[TEXT]),
            Form::Json => text_columns(&[TEXT, "json"]),
        };
        let mut hasher = Hasher::new();
        let mut cuts: Vec<Cut> = Vec::new();
        let mut rows = 0;
        let mut reader = Numbered::new(&file, 0, 1);
        let mut line = Vec::new();
        loop {
            let (at, number) = (reader.at, reader.number);
            let read = reader
                .next(&mut line)
                .map_err(cannot_read(Path::new(&name)))?;
            if read == Some(0) {
                break;
            }
            hasher.update(&line);
            if read.is_none() {
                hasher.update(b"\0and more");
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match cuts.last_mut() {
                Some(Cut {
                    rows: Some(in_cut),
                    bytes,
                    ..
                }) if *in_cut < reading.shard_size as u64 => {
                    *in_cut += 1;
                    *bytes += line.len() as u64;
                }
                _ => cuts.push(Cut {
                    first: rows,
                    rows: Some(1),
                    at,
                    line: number,
                    bytes: line.len() as u64,
                }),
            }
            rows += 1;
        }
        Ok(Self {
            name,
            form,
            file: Ok(file),
            digest: hasher.finalize(),
            columns,
            cuts,
            text: reading.column.clone(),
            id: reading.id_column.clone(),
        })
    }

    /// A row: its name, its text, its JSON, or what is wrong.
    fn row(&self, line: &[u8], whole: bool, number: u64) -> (String, Content, Option<String>) {
        let place = format!("{}#{number}", self.name);
        let bad = |why: String| (place.clone(), Content::Bad(why), None);
        if !whole {
            return bad(format!("the line has more than {LONGEST_LINE} bytes"));
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return bad("the line is not UTF-8".to_owned());
        };
        let line = line.trim_end_matches(['\n', '\r']);
        if self.form == Form::Plain {
            return (place, Content::Text(line.to_owned()), None);
        }
        let value = match serde_json::from_str::<Value>(line) {
            Ok(value) => value,
            Err(error) => return bad(format!("the line is not JSON: {error}")),
        };
        if let Value::String(text) = value {
            return (place, Content::Text(text), None);
        }
        let id = match value.get(self.id.as_deref().unwrap_or("id")) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => place,
        };
        let names = ["text", "caption"];
        let text = match &self.text {
            Some(name) => value.get(name),
            None => names.iter().find_map(|name| value.get(name)),
        };
        let content = match text {
            Some(Value::String(text)) => Content::Text(text.clone()),
            _ => Content::Bad(format!(
                "the object has no text called {}",
                self.text.as_deref().unwrap_or("text or caption (--column)")
            )),
        };
        (id, content, Some(line.to_owned()))
    }
}

impl Source for Lines {
    fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.update(b"lines");
        hasher.update(self.name.as_bytes());
        hasher.update(&[0]);
        hasher.update(self.digest.as_bytes());
    }

    fn read(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) {
        let file = match &self.file {
            Ok(file) => Ok(Arc::clone(file)),
            Err(path) => File::open(path).map(Arc::new),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                let error = format!("the file cannot be read: {error}");
                emit(Chunk::bad(&self.columns, &self.name, error));
                return;
            }
        };
        let mut reader = Numbered::new(&file, cut.at, cut.line);
        let mut left = cut.rows.unwrap_or(0);
        let mut line = Vec::new();
        while left > 0 {
            let (mut ids, mut json, mut contents) = (Vec::new(), Vec::new(), Vec::new());
            let mut bytes = 0;
            while left > 0 && contents.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
                let number = reader.number;
                let read = match reader.next(&mut line) {
                    Ok(Some(0)) => Err("it has become shorter".to_owned()),
                    Ok(read) => Ok(read.is_some()),
                    Err(error) => Err(error.to_string()),
                };
                let (id, content, object) = match read {
                    Ok(_) if line.trim_ascii().is_empty() => continue,
                    Ok(whole) => self.row(&line, whole, number),
                    Err(error) => {
                        left = 1;
                        let why = format!("the file cannot be read on: {error}");
                        (self.name.clone(), Content::Bad(why), None)
                    }
                };
                bytes += line.len() as u64;
                ids.push(id);
                json.push(object);
                contents.push(content);
                left -= 1;
            }
            let texts = contents.iter().map(|content| match content {
                Content::Text(text) => Some(text.as_str()),
                _ => None,
            });
            let mut columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(ids)),
                Arc::new(texts.collect::<StringArray>()),
            ];
            if self.form == Form::Json {
                columns.push(Arc::new(StringArray::from(json)));
            }
            if !emit(Chunk::new(batch(&self.columns, columns), contents)) {
                return;
            }
        }
    }
}

/// Lines with their places. Of one that is too long only the beginning is kept.
struct Numbered {
    reader: BufReader<ReadFrom>,
    at: u64,
    number: u64,
}

impl Numbered {
    fn new(file: &Arc<File>, at: u64, number: u64) -> Self {
        let file = Arc::clone(file);
        Self {
            reader: BufReader::with_capacity(1 << 17, ReadFrom { file, at }),
            at,
            number,
        }
    }

    /// The length of the next line, with its end; 0 behind the last, none where the line is
    /// too long.
    fn next(&mut self, line: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
        line.clear();
        let mut limited = self.reader.by_ref().take(LONGEST_LINE);
        let read = limited.read_until(b'\n', line)?;
        self.at += read as u64;
        self.number += 1;
        if read as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            let rest = self.reader.skip_until(b'\n')?;
            self.at += rest as u64;
            if rest > 0 {
                return Ok(None);
            }
        }
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], form: Form, shard_size: usize) -> Vec<(String, Content)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let reading = Reading {
            shard_size,
            ..Reading::default()
        };
        let lines = Lines::open(file.path(), form, &reading).unwrap();
        let mut rows = Vec::new();
        for cut in lines.cuts() {
            let before = rows.len() as u64;
            assert_eq!(cut.first, before);
            lines.read(cut, &mut |chunk| {
                let ids = chunk.columns.column(0).as_any();
                let ids = ids.downcast_ref::<StringArray>().unwrap();
                for (id, content) in ids.iter().zip(chunk.contents) {
                    let id = id.unwrap().rsplit('#').next().unwrap();
                    rows.push((id.to_owned(), content));
                }
                true
            });
            assert_eq!(Some(rows.len() as u64 - before), cut.rows);
        }
        rows
    }

    #[test]
    fn the_rows_are_the_same_however_they_are_cut() {
        let mut text = b"one\n\n  \r\ntwo\r\n\xff\n".to_vec();
        text.extend(vec![b'a'; (2 << 20) + 7]);
        text.extend_from_slice(b"\nlast");
        let found = rows(&text, Form::Plain, 100);
        let texts: Vec<_> = found
            .iter()
            .map(|(id, content)| match content {
                Content::Text(text) => (id.as_str(), text.as_str()),
                Content::Bad(why) => (id.as_str(), why.as_str()),
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(
            texts,
            [
                ("1", "one"),
                ("4", "two"),
                ("5", "the line is not UTF-8"),
                ("6", "the line has more than 1048576 bytes"),
                ("7", "last")
            ]
        );
        for shard_size in 1..6 {
            assert_eq!(rows(&text, Form::Plain, shard_size), found);
        }
    }

    #[test]
    fn json_lines_have_their_text_in_a_field() {
        let text = b"{\"id\":7,\"text\":\"seven\"}\n\"bare\"\n{\"x\":1}\nnone\n";
        let found = rows(text, Form::Json, 2);
        assert_eq!(found[0], ("7".into(), Content::Text("seven".into())));
        assert_eq!(found[1], ("2".into(), Content::Text("bare".into())));
        assert!(matches!(&found[2].1, Content::Bad(why) if why.contains("no text")));
        assert!(matches!(&found[3].1, Content::Bad(why) if why.contains("not JSON")));
    }
}
