//! The index that the service searches at `/search`: what `embed` wrote.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use siglip2_bulk::search::ServedIndex;
use siglip2_flags::{path, switch};

use crate::fingerprint::Fingerprint;
use crate::service::{Models, VectorIndex as _};

/// What is searched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Search")]
pub struct IndexSettings {
    /// What embed wrote, to be searched at /search: folders, or .parquet or .npy files, separated
    /// by commas or spaces, of one model, or of each model that is served. They are mapped into
    /// memory at startup, Parquet files after they were decoded into a temporary file; a restart
    /// reads them again.
    #[arg(
        long = "index",
        env = "SEARCH_INDEX",
        value_name = "FILE-OR-DIR",
        value_delimiter = ',',
        num_args = 1..,
        value_parser = path
    )]
    pub served_index: Vec<PathBuf>,

    /// Search vectors that do not say what made them, such as clip-retrieval's.
    #[arg(long, env = "INDEX_UNCHECKED", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub index_unchecked: bool,
}

/// An index cannot be searched: its files cannot be read, or no model made it.
#[derive(Debug, thiserror::Error)]
#[error("--index (SEARCH_INDEX): {0}")]
pub(crate) struct UnusableIndex(#[source] Box<dyn Error + Send + Sync>);

/// Indexes that are open, of which it is not known yet whose vectors they have.
#[derive(Default)]
pub(crate) struct Indexes(Vec<Arc<ServedIndex>>);

impl IndexSettings {
    /// Opens what is named. One model gets its index at once, so that it is told of while the
    /// model is loaded; of several, the one that made it gets it by [`Indexes::give_to`].
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or fits no model.
    pub(crate) fn open(&self, models: &Models) -> Result<Indexes, UnusableIndex> {
        self.find(models).map_err(UnusableIndex)
    }

    fn find(&self, models: &Models) -> Result<Indexes, Box<dyn Error + Send + Sync>> {
        if self.served_index.is_empty() {
            return Ok(Indexes::default());
        }
        let mut indexes = Vec::new();
        for files in self.by_model(models)? {
            let mut index = ServedIndex::open(&files, self.index_unchecked)?;
            tracing::info!(files = files.len(), "opening the index");
            index.unpack();
            let index = Arc::new(index);
            let about = index.about();
            if models.is_one() {
                models.first().give_index(Arc::clone(&index) as _)?;
            }
            tracing::info!(
                rows = about.rows,
                dimensions = about.dimensions,
                files = about.files.join(", "),
                "the index is open"
            );
            if index.is_incomplete() {
                tracing::warn!("the run that writes the index is not done: some rows are missing");
            }
            indexes.push(index);
        }
        Ok(Indexes(indexes))
    }

    /// The files of each index: with one model all, with several those of each vector space.
    fn by_model(&self, models: &Models) -> Result<Vec<Vec<PathBuf>>, Box<dyn Error + Send + Sync>> {
        if models.is_one() {
            return Ok(vec![self.served_index.clone()]);
        }
        let mut indexes: Vec<(Option<Fingerprint>, Vec<PathBuf>)> = Vec::new();
        for path in &self.served_index {
            let alone = ServedIndex::open(&[path], self.index_unchecked)?;
            let space = alone.about().fingerprint;
            match indexes.iter_mut().find(|(known, _)| *known == space) {
                Some((_, files)) => files.push(path.clone()),
                None => indexes.push((space, vec![path.clone()])),
            }
        }
        Ok(indexes.into_iter().map(|(_, files)| files).collect())
    }
}

impl Indexes {
    /// Gives each to the model that made it. The models are loaded.
    ///
    /// # Errors
    ///
    /// When one has the vectors of no model.
    pub(crate) fn give_to(self, models: &Models) -> Result<(), UnusableIndex> {
        let given = match models.is_one() {
            true => models.first().check_index(),
            false => self
                .0
                .into_iter()
                .try_for_each(|index| models.give_index(index)),
        };
        given.map_err(|error| UnusableIndex(error.into()))
    }
}
