//! Why vectors cannot be searched.

use std::path::{Path, PathBuf};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It is not said what to search, or what to look for.
    #[error("{0}")]
    NotAsked(String),
    /// A file or folder cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What is named has no vectors that can be searched together: which, and why.
    #[error("{0}")]
    Unfit(String),
    /// The query has as many numbers, and the vectors have others.
    #[error("the query has {query} numbers, and the vectors {vectors}")]
    OtherLength {
        /// Numbers of the query.
        query: usize,
        /// Numbers of a vector.
        vectors: usize,
    },
    /// It was told to stop.
    #[error("the search was stopped")]
    Stopped,
    /// A thread panicked.
    #[error("a file could not be searched")]
    Panicked,
}

impl SearchError {
    /// A file or folder that cannot be read.
    pub(super) fn unreadable(path: &Path, why: impl ToString) -> Self {
        Self::Unreadable {
            path: path.into(),
            why: why.to_string(),
        }
    }
}

/// What is wrong with what is named.
impl From<String> for SearchError {
    fn from(sentence: String) -> Self {
        Self::Unfit(sentence)
    }
}
