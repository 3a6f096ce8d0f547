//! The index that the service searches at `/search`: what `embed` wrote.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use siglip2_bulk::search::ServedIndex;
use siglip2_flags::{path, switch};

use crate::service::Service;

/// What is searched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Search")]
pub struct IndexSettings {
    /// What embed wrote, to be searched at /search: folders, or .parquet or .npy files, of one
    /// model, separated by commas or spaces. They are mapped into memory at the start, and read
    /// anew by a restart.
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

impl IndexSettings {
    /// Opens the index, if one is named, and gives it to the service.
    ///
    /// # Errors
    ///
    /// A sentence, when it cannot be read or does not fit the model.
    pub(crate) fn give_to(&self, service: &Service) -> Result<(), String> {
        if self.served_index.is_empty() {
            return Ok(());
        }
        let index = ServedIndex::open(&self.served_index, self.index_unchecked)
            .map_err(|error| format!("--index (SEARCH_INDEX): {error}"))?;
        let is_incomplete = index.is_incomplete();
        service
            .give_index(Arc::new(index))
            .map_err(|error| format!("--index (SEARCH_INDEX): {error}"))?;
        if let Some(about) = service.index() {
            tracing::info!(
                rows = about.rows,
                dimensions = about.dimensions,
                files = about.files.join(", "),
                "the index is open"
            );
        }
        if is_incomplete {
            tracing::warn!("the run that writes the index is not done: some rows are missing");
        }
        Ok(())
    }
}
