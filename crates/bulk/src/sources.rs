//! What is read, and how it is cut into shards.
//!
//! ```text
//! INPUT --braces, globs, folders--> pictures --(every --shard-size)--> shards
//!                                   tars     --(each)----------------> shards
//!                                   tables   --(every --shard-size)--> shards
//! ```
//!
//! The cut depends on the inputs and the settings alone. So every process that is given the
//! same ones has the same shards, and a run that goes on has those of the run before.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use blake3::Hasher;

pub(crate) use self::parquet::picture_of_row;
use crate::error::InputError;
use crate::options::{Kind, Reading};
use crate::row::Chunk;

mod csv;
mod files;
mod lines;
mod parquet;
mod patterns;
mod pictures;
mod spool;
mod standard_input;
mod tar;
mod walk;

/// Names that are pictures' in folders and tars, in lower case.
const PICTURES: [&str; 9] = [
    "jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "jfif",
];

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// See [`crate::fuzzing`].
#[cfg(fuzzing)]
pub(crate) fn read_parquet(path: &Path, reading: &Reading) -> Result<u64, InputError> {
    // A bound that the fuzzer reaches.
    let table = parquet::Table::open(path, reading)?.holding(32 << 20);
    let mut rows = 0;
    for cut in table.cuts() {
        table.read(cut, &mut |chunk| {
            rows += chunk.columns.num_rows() as u64;
            true
        });
    }
    Ok(rows)
}

/// A part of a source that is one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its first row, counted in the source from 0.
    pub(crate) first: u64,
    /// Its rows, if they are known before it is read.
    pub(crate) rows: Option<u64>,
    /// Where it begins, in bytes, where that means something.
    pub(crate) at: u64,
    /// The line there, from 1, where that means something.
    pub(crate) line: u64,
    /// Bytes to read, as far as they are known.
    pub(crate) bytes: u64,
}

/// One thing that is read from beginning to end: a list of pictures, a tar, a table.
pub(crate) trait Source: Send + Sync {
    /// The columns that its rows have, names first.
    fn columns(&self) -> &SchemaRef;

    /// Its shards.
    fn cuts(&self) -> &[Cut];

    /// Adds what tells this source from another.
    fn digest(&self, hasher: &mut Hasher);

    /// Reads a shard: gives its rows to `emit` in order, until that answers false. What
    /// cannot be read is a row with an error.
    fn read(&self, cut: &Cut, emit: &mut dyn FnMut(Chunk) -> bool);
}

/// All that is read.
pub(crate) struct Sources {
    pub(crate) list: Vec<Arc<dyn Source>>,
    /// Files of folders that are neither pictures nor tars.
    pub(crate) passed_over: u64,
}

impl Sources {
    /// Finds what the settings name.
    ///
    /// # Errors
    ///
    /// When something is missing or cannot be understood.
    pub(crate) fn open(reading: &Reading) -> Result<Self, InputError> {
        let mut opening = Opening {
            reading,
            list: Vec::new(),
            pictures: None,
            passed_over: 0,
        };
        if let Some(list) = &reading.list {
            files::each_path(list, &mut |path| opening.picture(path))?;
        }
        for input in &reading.inputs {
            if input == STANDARD_INPUT {
                opening.end_pictures()?;
                opening.list.push(standard_input::open(reading)?);
                continue;
            }
            patterns::each_path(input, &mut |path| opening.path(&path))?;
        }
        opening.end_pictures()?;
        let Opening {
            list, passed_over, ..
        } = opening;
        if list.iter().all(|source| source.cuts().is_empty()) {
            return Err(InputError::Unfit(match reading.kind {
                Kind::Pictures => format!(
                    "there is nothing to embed: folders have no pictures ({}) and no tars; Parquet \
                     files are to be named, as in DIR/*.parquet",
                    PICTURES.join(", ")
                ),
                Kind::Texts => "there is nothing to embed: no texts".to_owned(),
            }));
        }
        Ok(Self { list, passed_over })
    }

    /// What tells these inputs from others.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Hasher::new();
        for source in &self.list {
            source.digest(&mut hasher);
        }
        hasher.finalize().to_hex().as_str()[..32].to_owned()
    }
}

struct Opening<'a> {
    reading: &'a Reading,
    list: Vec<Arc<dyn Source>>,
    /// Pictures that follow each other, whichever inputs named them.
    pictures: Option<pictures::List>,
    passed_over: u64,
}

impl Opening<'_> {
    fn picture(&mut self, path: &Path) -> Result<(), InputError> {
        let pictures = match &mut self.pictures {
            Some(pictures) => pictures,
            none => none.insert(pictures::List::new(self.reading)?),
        };
        pictures.push(path)
    }

    fn end_pictures(&mut self) -> Result<(), InputError> {
        if let Some(pictures) = self.pictures.take() {
            self.list.push(Arc::new(pictures.end()?));
        }
        Ok(())
    }

    fn add(&mut self, source: impl Source + 'static) -> Result<(), InputError> {
        self.end_pictures()?;
        self.list.push(Arc::new(source));
        Ok(())
    }

    fn path(&mut self, path: &Path) -> Result<(), InputError> {
        let metadata = std::fs::metadata(path).map_err(cannot_read(path))?;
        if metadata.is_dir() {
            return walk::each_file(path, &mut |path| self.found(path));
        }
        let name = Name::of(path);
        match (self.reading.kind, name) {
            (_, Name::Tar) => self.add(tar::Tar::open(path, self.reading)?),
            (_, Name::Parquet) => self.add(parquet::Table::open(path, self.reading)?),
            (Kind::Texts, Name::Csv(separator)) => {
                self.add(csv::Csv::open(path, separator, self.reading)?)
            }
            (Kind::Texts, name) => {
                let form = match name {
                    Name::JsonLines => lines::Form::Json,
                    _ => lines::Form::Plain,
                };
                self.add(lines::Lines::open(path, form, self.reading)?)
            }
            (Kind::Pictures, Name::Csv(_) | Name::JsonLines | Name::Text) => Err(format!(
                "{} is no picture: --texts embeds the texts in it, --list takes it for a list of \
                 paths of pictures",
                path.display()
            )
            .into()),
            (Kind::Pictures, _) => self.picture(path),
        }
    }

    /// A file in a folder.
    fn found(&mut self, path: &Path) -> Result<(), InputError> {
        match (self.reading.kind, Name::of(path)) {
            (_, Name::Tar) => self.add(tar::Tar::open(path, self.reading)?),
            (Kind::Pictures, Name::Picture) => self.picture(path),
            (Kind::Texts, Name::Text) => {
                self.add(lines::Lines::open(path, lines::Form::Plain, self.reading)?)
            }
            _ => {
                self.passed_over += 1;
                Ok(())
            }
        }
    }
}

/// What a file's name says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Picture,
    Tar,
    Parquet,
    Csv(u8),
    JsonLines,
    Text,
    Other,
}

impl Name {
    fn of(path: &Path) -> Self {
        let lower = |text: Option<&OsStr>| {
            text.map(|text| text.to_string_lossy().to_ascii_lowercase())
                .unwrap_or_default()
        };
        let name = lower(path.file_name());
        if name.ends_with(".tar.gz") {
            return Self::Tar;
        }
        match lower(path.extension()).as_str() {
            "tar" | "tgz" => Self::Tar,
            "parquet" => Self::Parquet,
            "csv" => Self::Csv(b','),
            "tsv" => Self::Csv(b'\t'),
            "jsonl" | "ndjson" => Self::JsonLines,
            "txt" => Self::Text,
            other if PICTURES.contains(&other) => Self::Picture,
            _ => Self::Other,
        }
    }
}

/// Adds a file by its path and its length.
fn digest_file(hasher: &mut Hasher, kind: &str, path: &Path, length: u64) {
    hasher.update(kind.as_bytes());
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update(&[0]);
    hasher.update(&length.to_le_bytes());
}

/// A failure with a file.
fn cannot_read(path: &Path) -> impl Fn(std::io::Error) -> InputError {
    let path: PathBuf = path.into();
    move |error| InputError::unreadable(&path, error)
}
