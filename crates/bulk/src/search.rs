//! The rows of a result that are nearest to a query, exactly: every vector is looked at.
//!
//! ```text
//! FILE or DIR --index--> pieces (row groups, stretches of arrays)
//!                          |  all cores, each with its own best rows
//! query --model--> vector -+--scan--> top --rows--> names and columns --> lines, JSON, HTML
//! ```

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use siglip2_flags::{count, path, text};

mod decode;
mod error;
mod index;
mod rows;
mod scan;
mod served;
mod sheet;
mod top;
mod unpacked;

pub use error::SearchError;
pub use index::{Index, Made};
pub use served::ServedIndex;
pub use sheet::sheet;

/// Bytes of texts that the columns of all rows may have which are found at a time.
const MOST_TOLD: usize = 256 << 20;

/// What is looked for, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Search")]
pub struct SearchOptions {
    /// What embed wrote, folders or .parquet and .npy files of one model; and last what to look
    /// for, a text, or with --image the path of a picture.
    // One list: of two, the parser would take a folder before a flag for the query.
    #[arg(value_name = "FILE-OR-DIR... QUERY", value_parser = text, num_args = 1.., required = true)]
    what: Vec<String>,

    /// The query is the path of a picture.
    #[arg(long)]
    pub image: bool,

    /// How many rows to show.
    #[arg(long, default_value_t = 10, value_parser = count)]
    pub top: usize,

    /// Write a JSON array to standard output, with all columns of the rows.
    #[arg(long)]
    pub json: bool,

    /// Write a page with the pictures to this file.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub html: Option<PathBuf>,

    /// Search vectors that do not say what made them, such as clip-retrieval's.
    #[arg(long)]
    pub unchecked: bool,
}

impl SearchOptions {
    /// What is searched, and for what.
    ///
    /// # Errors
    ///
    /// [`SearchError::NotAsked`], when one of them is missing.
    pub fn asked(&self) -> Result<(&[String], &str), SearchError> {
        match self.what.split_last() {
            Some((query, _)) if is_result(Path::new(query)) => Err(SearchError::NotAsked(format!(
                "{query} is what embed wrote: say last what to look for (search FILE-OR-DIR... \
                     QUERY)"
            ))),
            Some((query, index)) if !index.is_empty() => Ok((index, query)),
            _ => Err(SearchError::NotAsked(
                "say what to search and what to look for: search FILE-OR-DIR... QUERY".to_owned(),
            )),
        }
    }
}

/// Whether a path is that of a result: nobody looks for the words of its name.
fn is_result(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    path.join("_embed").is_dir() || ((ending == "parquet" || ending == "npy") && path.is_file())
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The cosine of its vector and the query's.
    pub score: f32,
    /// Its columns, without the vector.
    pub columns: Map<String, Value>,
}

impl Hit {
    /// Its name.
    pub fn id(&self) -> &str {
        name_of(&self.columns)
    }
}

/// The name that is among these columns of a row.
fn name_of(columns: &Map<String, Value>) -> &str {
    let mut names = index::NAMES.iter();
    let name = names.find_map(|name| columns.get(*name)?.as_str());
    name.unwrap_or("")
}

impl Index {
    /// The `top` rows whose vectors have the highest cosine with `query`, best first; of
    /// equals, the first ones.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or `query` has another length.
    pub fn search(
        &self,
        query: &[f32],
        top: usize,
        threads: usize,
    ) -> Result<Vec<Hit>, SearchError> {
        let best = self.nearest(query, top, threads)?;
        let mut rows = vec![Map::new(); best.len()];
        let mut room = MOST_TOLD;
        rows::read(self, &best, &|_| true, &mut |place, columns| {
            // Each row names its columns anew.
            let bytes = columns
                .iter()
                .map(|(name, it)| name.len() + it.as_str().map_or(0, str::len));
            let left = room.checked_sub(bytes.sum());
            room = left.ok_or_else(|| {
                SearchError::Unfit(format!(
                    "the columns of the rows that were found have more than {MOST_TOLD} bytes: \
                     ask for fewer rows with --top"
                ))
            })?;
            rows[place] = columns;
            Ok(())
        })?;
        let hits = best.into_iter().zip(rows);
        Ok(hits
            .map(|(found, columns)| Hit {
                score: found.score,
                columns,
            })
            .collect())
    }

    /// As [`Index::search`], only the cosines and numbers of rows.
    ///
    /// # Errors
    ///
    /// As [`Index::search`].
    pub fn nearest(
        &self,
        query: &[f32],
        top: usize,
        threads: usize,
    ) -> Result<Vec<Found>, SearchError> {
        let found = self.nearest_until(query, top, threads, &|| false)?;
        found.ok_or(SearchError::Stopped)
    }

    /// As [`Index::nearest`], until `stop` says that nobody waits for it any more: then none.
    ///
    /// # Errors
    ///
    /// As [`Index::search`].
    pub fn nearest_until(
        &self,
        query: &[f32],
        top: usize,
        threads: usize,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<Found>>, SearchError> {
        if query.len() != self.dimensions() {
            return Err(SearchError::OtherLength {
                query: query.len(),
                vectors: self.dimensions(),
            });
        }
        let length = query
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum::<f64>()
            .sqrt();
        let unit: Vec<f32> = query
            .iter()
            .map(|&value| (f64::from(value) / length.max(f64::MIN_POSITIVE)) as f32)
            .collect();
        scan::scan(self, &unit, top, threads, stop)
    }
}

pub use top::Found;
