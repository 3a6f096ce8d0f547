//! An index as a service searches it.

use std::path::Path;

use serde_json::{Map, Value};
use siglip2_service::{Columns, Hit, IndexError, IndexInfo, VectorIndex, Wanted};

use super::error::SearchError;
use super::index::{Index, NAMES};
use super::{name_of, rows};

/// An index, and what is told of it.
pub struct ServedIndex {
    index: Index,
    about: IndexInfo,
    threads: usize,
}

impl ServedIndex {
    /// Opens what embed wrote: folders, or files of them.
    ///
    /// # Errors
    ///
    /// As [`Index::open`]; and when the files do not say what made their vectors, unless
    /// `unchecked`.
    pub fn open<P: AsRef<Path>>(paths: &[P], unchecked: bool) -> Result<Self, SearchError> {
        let index = Index::open(paths)?;
        let files: Vec<String> = paths
            .iter()
            .map(|path| path.as_ref().display().to_string())
            .collect();
        let made = index.made();
        if made.is_none() && !unchecked {
            return Err(format!(
                "{} does not say which model made its vectors: --index-unchecked searches them \
                 all the same",
                files.join(", ")
            )
            .into());
        }
        let about = IndexInfo {
            rows: index.rows(),
            dimensions: index.dimensions(),
            files,
            fingerprint: made.map(|made| made.fingerprint),
            model: made.map(|made| made.model.clone()),
            normalized: made.is_none_or(|made| made.normalized),
            columns: index.columns(),
        };
        Ok(Self {
            threads: siglip2_flags::cores(),
            index,
            about,
        })
    }

    /// Decodes tables once, into a temporary file that is then searched as an array is. Where
    /// there is no room for it, every search decodes them.
    pub fn unpack(&mut self) {
        if let Err(error) = self.index.unpack(self.threads) {
            tracing::warn!(
                %error,
                "the vectors of the index cannot be kept in a temporary file (TMPDIR says where), \
                 so every search decodes the Parquet files: make room there, or write the index \
                 with --format npy"
            );
        }
    }

    /// Whether the run that writes it is not done.
    pub fn is_incomplete(&self) -> bool {
        self.index.is_incomplete()
    }

    fn refuse_unknown(&self, columns: &Columns) -> Result<(), IndexError> {
        let Columns::Named(names) = columns else {
            return Ok(());
        };
        match names.iter().find(|name| !self.about.columns.contains(name)) {
            None => Ok(()),
            Some(name) => Err(IndexError::NoColumn(format!(
                "The index has no column {:?}; it has: {}.",
                shown(name, 80),
                match self.about.columns.as_slice() {
                    [] => "none".to_owned(),
                    columns => shown(&columns.join(", "), 1000),
                }
            ))),
        }
    }
}

/// The beginning of what may be of any length. `{:.80?}` would not cut it.
fn shown(text: &str, characters: usize) -> String {
    let end = text.char_indices().nth(characters);
    match end {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

impl VectorIndex for ServedIndex {
    fn about(&self) -> &IndexInfo {
        &self.about
    }

    fn search(
        &self,
        query: &[f32],
        wanted: &Wanted,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Hit>, IndexError> {
        self.refuse_unknown(&wanted.columns)?;
        let found = self
            .index
            .nearest_until(query, wanted.top, self.threads, stop)
            .map_err(|error| IndexError::Unreadable(error.to_string()))?
            .ok_or(IndexError::Stopped)?;
        let mut hits: Vec<Hit> = found
            .iter()
            .map(|found| Hit {
                row: found.row,
                id: String::new(),
                cosine: found.score,
                columns: None,
            })
            .collect();
        let is_wanted = |name: &str| {
            NAMES.contains(&name)
                || match &wanted.columns {
                    Columns::None => false,
                    Columns::All => true,
                    Columns::Named(names) => names.iter().any(|it| it == name),
                }
        };
        let (mut bytes, mut too_large) = (0, false);
        let read = rows::read(&self.index, &found, &is_wanted, &mut |place, columns| {
            if stop() {
                return Err(SearchError::Stopped);
            }
            let (id, columns) = told(columns, &wanted.columns);
            let name = Value::from(id.as_str()).to_string();
            bytes += name.len() + columns.as_ref().map_or(0, String::len);
            if bytes > wanted.max_bytes {
                too_large = true;
                return Err(SearchError::Stopped);
            }
            if let Some(hit) = hits.get_mut(place) {
                (hit.id, hit.columns) = (id, columns);
            }
            Ok(())
        });
        match read {
            Ok(()) => Ok(hits),
            Err(_) if too_large => Err(IndexError::TooLarge(format!(
                "The names and columns of these rows take more than the {} bytes that they may: \
                 ask for fewer rows, or for fewer columns.",
                wanted.max_bytes
            ))),
            Err(SearchError::Stopped) => Err(IndexError::Stopped),
            Err(error) => Err(IndexError::Unreadable(error.to_string())),
        }
    }
}

/// The name of a row, and its other columns as JSON where they are wanted.
fn told(mut columns: Map<String, Value>, wanted: &Columns) -> (String, Option<String>) {
    let id = name_of(&columns).to_owned();
    if *wanted == Columns::None {
        return (id, None);
    }
    columns.retain(|name, _| !NAMES.contains(&name.as_str()));
    (id, Some(Value::Object(columns).to_string()))
}
