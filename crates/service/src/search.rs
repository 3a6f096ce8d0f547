//! The stored vectors that are nearest to a text or an image, where the service was given an
//! index of them.
//!
//! ```text
//! query --embed--> vector --turn--> VectorIndex::search on all cores --> hits
//!   |                        |
//!   +-- two permits: the query's, and one until the search has ended
//!                            +-- one search at a time: each uses the whole memory bandwidth
//! ```
//!
//! The index itself is a trait: what opens files is in the crate that writes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::error::ServiceError;
use crate::items::Item;
use crate::metrics::{Stage, StageTiming};
use crate::request::Request;
use crate::service::Service;
use crate::unfit_index::UnfitIndex;
use siglip2_model::fingerprint::Fingerprint;

/// Stored vectors that can be searched.
pub trait VectorIndex: Send + Sync {
    /// What is in it.
    fn about(&self) -> &IndexInfo;

    /// The rows whose vectors have the highest cosine with `query`, best first. It returns
    /// within milliseconds of `stop` becoming true.
    ///
    /// # Errors
    ///
    /// See [`IndexError`].
    fn search(
        &self,
        query: &[f32],
        wanted: &Wanted,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Hit>, IndexError>;
}

/// What is in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// Rows, with those that have no vector.
    pub rows: u64,
    /// Floats in a vector.
    pub dimensions: usize,
    /// Where it was read from, as it was asked for.
    pub files: Vec<String>,
    /// The space of the vectors, if the files say.
    pub fingerprint: Option<Fingerprint>,
    /// The model that made them, if the files say.
    pub model: Option<String>,
    /// Whether the vectors have length one.
    pub normalized: bool,
    /// The columns that rows have besides their names, in the order of the files.
    pub columns: Vec<String>,
}

/// What is wanted of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many rows.
    pub top: usize,
    /// Which of their columns.
    pub columns: Columns,
    /// Bytes that names and columns of all rows may take as JSON.
    pub max_bytes: usize,
}

/// Which columns of rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// Only the names of the rows.
    #[default]
    None,
    /// Those of these names.
    Named(Vec<String>),
    /// All.
    All,
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its number in the index, from 0.
    pub row: u64,
    /// Its name.
    pub id: String,
    /// The cosine of its vector and the query's.
    pub cosine: f32,
    /// Its columns, as a JSON object, if they were wanted.
    pub columns: Option<String>,
}

/// Why a search found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It was told to stop.
    #[error("the search was stopped")]
    Stopped,
    /// Rows have no such column.
    #[error("{0}")]
    NoColumn(String),
    /// Names and columns take more bytes than they may.
    #[error("{0}")]
    TooLarge(String),
    /// A file cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// The index of a service, and the turn of those who search it.
pub(crate) struct Searching {
    index: OnceLock<Arc<dyn VectorIndex>>,
    turn: Arc<Semaphore>,
}

impl Searching {
    /// No index; searches of all models have one turn.
    pub(crate) fn new(turn: Arc<Semaphore>) -> Self {
        Self {
            index: OnceLock::new(),
            turn,
        }
    }
}

impl Service {
    /// Gives the service an index, once. Whether its vectors are the model's is known when the
    /// model is loaded: see [`Service::check_index`].
    ///
    /// # Errors
    ///
    /// When its vectors have another length than the model's, or there is an index already.
    pub fn give_index(&self, index: Arc<dyn VectorIndex>) -> Result<(), UnfitIndex> {
        let (own, theirs) = (self.info().dimensions, index.about().dimensions);
        if own != theirs {
            return Err(UnfitIndex::Length {
                files: index.about().files.join(", "),
                theirs,
                model: self.info().name.clone(),
                own,
            });
        }
        self.metrics().index_rows(index.about().rows);
        let given = self.searching().index.set(index);
        given.map_err(|_| UnfitIndex::Second)
    }

    /// What is in its index, if it has one.
    pub fn index(&self) -> Option<&IndexInfo> {
        Some(self.searching().index.get()?.about())
    }

    /// Checks that the vectors of the index are of the space of the model's. An index that
    /// does not say what made it passes: whoever gave it has decided.
    ///
    /// # Errors
    ///
    /// [`UnfitIndex::OtherModel`].
    pub fn check_index(&self) -> Result<(), UnfitIndex> {
        let Some(about) = self.index() else {
            return Ok(());
        };
        let Some(theirs) = about.fingerprint else {
            return Ok(());
        };
        let own = self.fingerprints().map(|own| own.of(about.normalized));
        if own == Some(theirs) {
            return Ok(());
        }
        Err(UnfitIndex::OtherModel {
            files: about.files.join(", "),
            made_by: about.model.as_deref().unwrap_or("another model").to_owned(),
            theirs,
            model: self.info().name.clone(),
            own: own.map_or("unknown".to_owned(), |own| own.to_string()),
        })
    }
}

/// Tells a search that nobody waits for it any more, when it is dropped.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Request {
    /// The rows of the index that are nearest to a text or an image. It takes two permits, for
    /// the query and for the search. A search whose request has gone ends within milliseconds.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; [`ServiceError::Index`] where it is about the index.
    pub async fn search(&self, query: Item, wanted: Wanted) -> Result<Vec<Hit>, ServiceError> {
        self.in_time(async {
            let searching = self.service.searching();
            let index = searching.index.get().map(Arc::clone).ok_or_else(|| {
                ServiceError::Internal("the service has no index to search".to_owned())
            })?;
            let (running, mut permits) = self.reserve(2)?;
            let rows = match query {
                Item::Image(file) => self.image_rows(running, vec![file], &mut permits).await?,
                Item::Text(text) => {
                    let texts = vec![text];
                    let (found, _) = self.submit_texts(running, texts, &mut permits).await?;
                    self.text_rows(found).await?
                }
            };
            let query = rows.into_iter().next().unwrap_or_default();
            let began = Instant::now();
            // It is never closed.
            let turn = Arc::clone(&searching.turn).acquire_owned().await;
            let gone = Arc::new(AtomicBool::new(false));
            let _leaving = Leaving(Arc::clone(&gone));
            let metrics = Arc::clone(self.service.metrics());
            let searched = tokio::task::spawn_blocking(move || {
                // Both are given back when the search has ended, and not when its client goes.
                let _held = (turn, permits);
                let began = Instant::now();
                let found = index.search(&query, &wanted, &|| gone.load(Ordering::Relaxed));
                let rows = found.is_ok().then(|| index.about().rows);
                metrics.searched(rows, began.elapsed());
                found
            });
            let found = searched.await.map_err(|error| {
                ServiceError::Internal(format!("the index was not searched: {error}"))
            })?;
            let timing = StageTiming::since(Stage::Search, began);
            self.context.timings.note(timing);
            self.service.metrics().stage(timing.stage, timing.took);
            found.map_err(|error| match error {
                IndexError::Stopped => ServiceError::Expired,
                error => ServiceError::Index(error),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_tells_the_search() {
        let gone = Arc::new(AtomicBool::new(false));
        drop(Leaving(Arc::clone(&gone)));
        assert!(gone.load(Ordering::Relaxed));
    }
}
