//! Why inputs cannot be taken, and why a run ended before its end.

use std::path::{Path, PathBuf};

/// Why a run ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// The settings or the inputs are wrong, or do not fit what was begun.
    #[error("{0}")]
    Unusable(String),
    /// The result cannot be written.
    #[error("{0}")]
    Disk(String),
    /// The engine, or every service, is gone.
    #[error("{0}")]
    Engine(String),
}

/// Why what is named cannot be embedded, or not be written where it is to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is no room for what has to be kept of it.
    #[error("{0}")]
    NoRoom(String),
    /// It is nothing that is embedded, or settings say something else of it: what, and what to do.
    #[error("{0}")]
    Unfit(String),
}

impl InputError {
    /// A file or folder that cannot be read.
    pub(crate) fn unreadable(path: &Path, why: impl ToString) -> Self {
        Self::Unreadable {
            path: path.into(),
            why: why.to_string(),
        }
    }
}

/// A sentence that says it all.
impl From<String> for InputError {
    fn from(sentence: String) -> Self {
        Self::Unfit(sentence)
    }
}

impl From<InputError> for BulkError {
    fn from(error: InputError) -> Self {
        Self::Unusable(error.to_string())
    }
}
