//! Files of vectors, opened.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use siglip2_mapping::Mapping;
use siglip2_model::fingerprint::Fingerprint;

use super::error::SearchError;
use crate::identity::{FINGERPRINT, MODEL, NORMALIZED};
use crate::join::metadata_of;
use crate::options::Number;
use crate::output::DoneShard;
use crate::row::{EMBEDDING, ERROR, ID};
use crate::table::{self, LONGEST_FOOTER};

/// What made the vectors of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Their space.
    pub fingerprint: Fingerprint,
    /// The model, as it was asked for.
    pub model: String,
    /// Whether they have length one.
    pub normalized: bool,
}

/// Vectors that can be searched.
pub struct Index {
    pub(super) files: Vec<Vectors>,
    dimensions: usize,
    rows: u64,
    made: Option<Made>,
    incomplete: bool,
    /// Bytes of the descriptions of all tables, which stay in memory.
    descriptions: u64,
}

/// The vectors of one file.
pub(super) struct Vectors {
    pub(super) path: PathBuf,
    /// The number of its first row in the index.
    pub(super) first: u64,
    pub(super) rows: u64,
    pub(super) form: Form,
}

pub(super) enum Form {
    /// Parquet, the place of the column, and what its numbers are.
    Parquet(Table, usize, Number),
    /// An array, and the table of its rows.
    Npy(Array, Option<Table>),
}

/// A Parquet file in memory. A file that is renamed over it changes nothing here.
pub(super) struct Table {
    pub(super) path: PathBuf,
    pub(super) table: table::Table<Bytes>,
}

/// An array in memory.
pub(super) struct Array {
    pub(super) mapping: Mapping,
    pub(super) start: usize,
    pub(super) number: Number,
}

impl Index {
    /// Opens what embed wrote: folders, or files of them.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read or has no vectors, or they do not belong together.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SearchError> {
        Self::open_within(paths, LONGEST_FOOTER)
    }

    /// The same, with so many bytes of descriptions at most.
    fn open_within<P: AsRef<Path>>(paths: &[P], most: u64) -> Result<Self, SearchError> {
        let mut index = Self {
            files: Vec::new(),
            dimensions: 0,
            rows: 0,
            made: None,
            incomplete: false,
            descriptions: 0,
        };
        for path in paths.iter().map(AsRef::as_ref) {
            // What is not there has no form that could be wrong.
            fs::metadata(path).map_err(|error| SearchError::unreadable(path, error))?;
            let (files, incomplete) = if path.is_dir() {
                listed(path)?
            } else {
                (vec![path.to_owned()], false)
            };
            if files.is_empty() {
                return Err(format!(
                    "{} has no .parquet or .npy files of vectors",
                    path.display()
                )
                .into());
            }
            index.incomplete |= incomplete;
            for file in files {
                index.add(file, most)?;
            }
        }
        Ok(index)
    }

    fn add(&mut self, path: PathBuf, most: u64) -> Result<(), SearchError> {
        let opened = match path.extension().and_then(|it| it.to_str()) {
            Some("npy") => npy(&path)?,
            Some("parquet") => parquet(&path)?,
            _ => {
                return Err(format!(
                    "{} is not searched: only .parquet and .npy files are",
                    path.display()
                )
                .into());
            }
        };
        let Opened {
            form,
            rows,
            dimensions,
            made,
        } = opened;
        self.descriptions += match &form {
            Form::Parquet(table, ..) | Form::Npy(_, Some(table)) => table.table.footer(),
            Form::Npy(_, None) => 0,
        };
        if self.descriptions > most {
            return Err(format!(
                "the descriptions of all tables up to {} have {} bytes; at most {most} \
                 are read: search fewer files at a time, or write them with larger row groups",
                path.display(),
                self.descriptions
            )
            .into());
        }
        let space = |made: &Option<Made>| made.as_ref().map(|it| (it.fingerprint, it.normalized));
        if !self.files.is_empty()
            && (dimensions, space(&made)) != (self.dimensions, space(&self.made))
        {
            return Err(format!(
                "the vectors of {} were not made by what made those before it",
                path.display()
            )
            .into());
        }
        (self.dimensions, self.made) = (dimensions, made);
        self.files.push(Vectors {
            path,
            first: self.rows,
            rows,
            form,
        });
        self.rows += rows;
        Ok(())
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Rows, with those that have no vector.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What made the vectors, if the files say.
    pub fn made(&self) -> Option<&Made> {
        self.made.as_ref()
    }

    /// Whether the run that writes it is not done.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The columns that rows have besides their names, vectors and errors, each once, in the
    /// order of the files.
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for table in self.files.iter().filter_map(Vectors::table) {
            for field in table.table.metadata().schema().fields() {
                let name = field.name();
                if ![EMBEDDING, ERROR].contains(&name.as_str())
                    && !NAMES.contains(&name.as_str())
                    && !columns.contains(name)
                {
                    columns.push(name.clone());
                }
            }
        }
        columns
    }

    /// Bytes of the vectors.
    pub fn bytes(&self) -> u64 {
        let bytes = |file: &Vectors| match &file.form {
            Form::Npy(Array { number, .. }, _) | Form::Parquet(_, _, number) => {
                file.rows * (self.dimensions * size(*number)) as u64
            }
        };
        self.files.iter().map(bytes).sum()
    }
}

/// Columns that name rows: ours, and clip-retrieval's.
pub(super) const NAMES: [&str; 2] = [ID, "image_path"];

impl Vectors {
    /// The vectors of its table are in an array now.
    pub(super) fn unpack(&mut self, array: Array) {
        let table = match std::mem::replace(&mut self.form, Form::Npy(array, None)) {
            Form::Parquet(table, ..) => Some(table),
            Form::Npy(_, table) => table,
        };
        if let Form::Npy(_, of) = &mut self.form {
            *of = table;
        }
    }

    /// The table of its rows, if there is one.
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.form {
            Form::Parquet(table, ..) => Some(table),
            Form::Npy(_, table) => table.as_ref(),
        }
    }
}

/// Bytes of a number.
pub(super) fn size(number: Number) -> usize {
    match number {
        Number::Float32 => 4,
        Number::Float16 => 2,
    }
}

/// The files of a folder, in order, and whether some are not written yet.
fn listed(folder: &Path) -> Result<(Vec<PathBuf>, bool), SearchError> {
    let records = folder.join("_embed/done");
    if records.is_dir() {
        let mut files = Vec::new();
        for record in sorted(&records, "json")? {
            let read = fs::read(&record).map_err(|error| error.to_string());
            let done: DoneShard = read
                .and_then(|json| serde_json::from_slice(&json).map_err(|it| it.to_string()))
                .map_err(|error| SearchError::unreadable(&record, error))?;
            // The first is the one with the vectors.
            files.extend(done.files.first().map(|file| folder.join(file)));
        }
        let plan = fs::read(folder.join("_embed/plan.json")).ok();
        let shards = plan
            .and_then(|plan| serde_json::from_slice::<serde_json::Value>(&plan).ok())
            .and_then(|plan| plan.get("shards")?.as_u64());
        let incomplete = shards.is_none_or(|shards| (files.len() as u64) < shards);
        return Ok((files, incomplete));
    }
    for (place, extension) in [
        (folder.to_owned(), "parquet"),
        (folder.to_owned(), "npy"),
        (folder.join("img_emb"), "npy"),
        (folder.join("text_emb"), "npy"),
    ] {
        if place.is_dir() {
            let files = sorted(&place, extension)?;
            if !files.is_empty() {
                return Ok((files, false));
            }
        }
    }
    Ok((Vec::new(), false))
}

fn sorted(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, SearchError> {
    let failed = |error: std::io::Error| SearchError::unreadable(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

struct Opened {
    form: Form,
    rows: u64,
    dimensions: usize,
    made: Option<Made>,
}

fn load(path: &Path) -> Result<Table, SearchError> {
    let mapping = Mapping::open(path).map_err(|error| SearchError::unreadable(path, error))?;
    let table = table::Table::open(Bytes::from_static(mapping.bytes()))
        .map_err(|error| SearchError::unreadable(path, error))?;
    Ok(Table {
        path: path.to_owned(),
        table,
    })
}

fn parquet(path: &Path) -> Result<Opened, SearchError> {
    let table = load(path)?;
    let fields = table.table.metadata().schema().fields();
    let place = fields.iter().position(|field| field.name() == EMBEDDING);
    let column = place.map(|place| (place, fields[place].data_type()));
    let Some((place, DataType::FixedSizeList(item, dimensions))) = column else {
        return Err(format!(
            "{} has no column `{EMBEDDING}` of lists of a fixed size",
            path.display()
        )
        .into());
    };
    let number = match item.data_type() {
        DataType::Float32 => Number::Float32,
        DataType::Float16 => Number::Float16,
        other => {
            return Err(format!(
                "the vectors of {} are of {other}; float32 and float16 are searched",
                path.display(),
            )
            .into());
        }
    };
    let dimensions = usize::try_from(*dimensions).unwrap_or(0);
    if dimensions == 0 {
        return Err(format!("the vectors of {} have no numbers", path.display()).into());
    }
    let rows = table.table.metadata().metadata().file_metadata().num_rows();
    Ok(Opened {
        rows: u64::try_from(rows).unwrap_or(0),
        dimensions,
        made: made(table.table.metadata()),
        form: Form::Parquet(table, place, number),
    })
}

fn made(metadata: &ArrowReaderMetadata) -> Option<Made> {
    let entries = metadata.metadata().file_metadata().key_value_metadata()?;
    let value = |name: &str| {
        let entry = entries.iter().find(|entry| entry.key == name);
        entry?.value.as_deref()
    };
    Some(Made {
        fingerprint: value(FINGERPRINT)?.parse().ok()?,
        model: value(MODEL)?.to_owned(),
        normalized: value(NORMALIZED)? == "true",
    })
}

fn npy(path: &Path) -> Result<Opened, SearchError> {
    let mapping = Mapping::open(path).map_err(|error| SearchError::unreadable(path, error))?;
    let header = header(mapping.bytes()).ok_or_else(|| {
        format!(
            "{} is no array of float32 or float16 in two dimensions",
            path.display()
        )
    })?;
    let (start, number, rows, dimensions) = header;
    let wanted = rows.checked_mul((dimensions * size(number)) as u64);
    if wanted.is_none_or(|wanted| wanted > (mapping.bytes().len() - start) as u64) {
        return Err(format!("{} is cut short", path.display()).into());
    }
    let table = table(path);
    let table = table.is_file().then(|| load(&table)).transpose()?;
    let array = Array {
        mapping,
        start,
        number,
    };
    Ok(Opened {
        rows,
        dimensions,
        made: table
            .as_ref()
            .and_then(|table| made(table.table.metadata())),
        form: Form::Npy(array, table),
    })
}

/// Where the table of an array is: NAME.metadata.parquet beside NAME.npy, or
/// metadata/metadata_N.parquet for img_emb/img_emb_N.npy.
fn table(path: &Path) -> PathBuf {
    let beside = metadata_of(path);
    if beside.is_file() {
        return beside;
    }
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = path
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let number = stem.rsplit('_').next().unwrap_or("0");
    root.join(format!("metadata/metadata_{number}.parquet"))
}

/// Where an array begins, what its numbers are, rows and columns.
fn header(bytes: &[u8]) -> Option<(usize, Number, u64, usize)> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (start, length): (usize, usize) = match rest.first()? {
        1 => (
            10,
            u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?).into(),
        ),
        2 | 3 => {
            let length = u32::from_le_bytes(rest.get(2..6)?.try_into().ok()?);
            (12, usize::try_from(length).ok()?)
        }
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(start..start.checked_add(length)?)?).ok()?;
    let after = |name: &str| {
        let at = text.find(name)? + name.len();
        Some(text[at..].trim_start_matches([':', ' ', '\'']))
    };
    let number = match after("'descr'")? {
        text if text.starts_with("<f4") => Number::Float32,
        text if text.starts_with("<f2") => Number::Float16,
        _ => return None,
    };
    if !after("'fortran_order'")?.starts_with("False") {
        return None;
    }
    let shape = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
    let (rows, columns) = shape.split_once(',')?;
    let columns = columns.trim().trim_end_matches(',');
    let dimensions: usize = columns.parse().ok().filter(|&columns| columns > 0)?;
    Some((
        start + length,
        number,
        rows.trim().parse().ok()?,
        dimensions,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_bounded_one_by_one_and_together() {
        let folder = tempfile::tempdir().unwrap();
        // Of a table that only has a description, of as many bytes as can be said.
        let lies = folder.path().join("lies.parquet");
        fs::write(&lies, b"PAR1....\xff\xff\xff\x7fPAR1").unwrap();
        let refused = Index::open(&[&lies]).err().unwrap().to_string();
        assert!(refused.contains("has 2147483647 bytes"), "{refused}");
        for name in ["a.parquet", "b.parquet"] {
            let vectors = (0..640).map(|it| it as f32).collect();
            crate::search::unpacked::tests::write(&folder.path().join(name), vectors, 64);
        }
        let one = Index::open(&[folder.path().join("a.parquet")]).unwrap();
        assert!(Index::open_within(&[folder.path()], one.descriptions).is_err());
        fs::remove_file(lies).unwrap();
        let refused = Index::open_within(&[folder.path()], one.descriptions);
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("b.parquet have"), "{refused}");
        let both = Index::open_within(&[folder.path()], 2 * one.descriptions).unwrap();
        assert_eq!(both.rows(), 20);
    }

    #[test]
    fn headers_are_those_of_numpy() {
        // numpy.lib.format.write_array_header_1_0, and _2_0.
        let one = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, \
                    'shape': (3, 4), }            \n";
        assert_eq!(header(one), Some((80, Number::Float32, 3, 4)));
        let two = b"\x93NUMPY\x02\x00\x44\x00\x00\x00{'descr': '<f2', 'fortran_order': False, \
                    'shape': (30, 768), }       \n";
        assert_eq!(header(two), Some((80, Number::Float16, 30, 768)));
        for wrong in [
            &b"\x93NUMPY\x01\x00\xff\xff{"[..],
            b"\x93NUMPY",
            b"",
            b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }\n",
        ] {
            assert_eq!(header(wrong), None);
        }
    }
}
