//! Pictures in files of their own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_schema::SchemaRef;
use blake3::Hasher;

use super::spool::{ReadFrom, Spool};
use super::{Cut, Source};
use crate::error::InputError;
use crate::options::Reading;
use crate::row::{CHUNK_ROWS, Chunk, Content, TEXT, batch, text_columns};

/// Bytes of a caption that are read.
const LONGEST_CAPTION: u64 = 64 << 10;

/// A list that grows.
pub(super) struct List {
    spool: Spool,
    hasher: Hasher,
    cuts: Vec<Cut>,
    rows: u64,
    at: u64,
    shard_size: u64,
    captions: bool,
}

impl List {
    pub(super) fn new(reading: &Reading) -> Result<Self, InputError> {
        Ok(Self {
            spool: Spool::new()?,
            hasher: Hasher::new(),
            cuts: Vec::new(),
            rows: 0,
            at: 0,
            shard_size: reading.shard_size as u64,
            captions: reading.captions,
        })
    }

    pub(super) fn push(&mut self, path: &Path) -> Result<(), InputError> {
        if self.rows.is_multiple_of(self.shard_size) {
            self.cuts.push(Cut {
                first: self.rows,
                rows: Some(0),
                at: self.at,
                line: 0,
                bytes: 0,
            });
        }
        if let Some(Cut {
            rows: Some(rows), ..
        }) = self.cuts.last_mut()
        {
            *rows += 1;
        }
        self.rows += 1;
        for part in [path.as_os_str().as_bytes(), &[0]] {
            self.spool.write(part)?;
            self.hasher.update(part);
            self.at += part.len() as u64;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<Pictures, InputError> {
        Ok(Pictures {
            list: self.spool.end()?,
            digest: self.hasher.finalize(),
            cuts: self.cuts,
            columns: text_columns(if self.captions { &[TEXT] } else { &[] }),
            captions: self.captions,
        })
    }
}

/// A list of pictures.
pub(super) struct Pictures {
    list: Arc<File>,
    digest: blake3::Hash,
    cuts: Vec<Cut>,
    columns: SchemaRef,
    captions: bool,
}

impl Source for Pictures {
    fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.update(b"pictures");
        hasher.update(self.digest.as_bytes());
    }

    fn read(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool) {
        let mut names = BufReader::new(ReadFrom {
            file: Arc::clone(&self.list),
            at: cut.at,
        });
        let mut left = cut.rows.unwrap_or(0);
        let mut name = Vec::new();
        while left > 0 {
            let mut paths: Vec<PathBuf> = Vec::new();
            while left > 0 && paths.len() < CHUNK_ROWS {
                name.clear();
                let error = match names.read_until(0, &mut name) {
                    Ok(0) => "it ends too early".to_owned(),
                    Ok(_) => {
                        name.pop();
                        paths.push(OsStr::from_bytes(&name).into());
                        left -= 1;
                        continue;
                    }
                    Err(error) => error.to_string(),
                };
                let error = format!("the list of pictures cannot be read: {error}");
                emit(Chunk::bad(&self.columns, "", error));
                return;
            }
            let ids = paths.iter().map(|path| Some(path.to_string_lossy()));
            let mut columns: Vec<ArrayRef> = vec![Arc::new(ids.collect::<StringArray>())];
            if self.captions {
                let captions = paths.iter().map(|path| caption(path));
                columns.push(Arc::new(captions.collect::<StringArray>()));
            }
            let columns = batch(&self.columns, columns);
            let contents = paths.into_iter().map(Content::File).collect();
            if !emit(Chunk::new(columns, contents)) {
                return;
            }
        }
    }
}

/// The text beside a picture: `a.txt` for `a.jpg`.
fn caption(picture: &Path) -> Option<String> {
    let mut text = Vec::new();
    let path = picture.with_extension("txt");
    // Opening a pipe waits for one who writes.
    std::fs::metadata(&path).ok().filter(|it| it.is_file())?;
    let file = File::open(path).ok()?;
    file.take(LONGEST_CAPTION).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}
