//! Why inputs cannot be taken, and why a run ended before its end.

use std::io;
use std::path::{Path, PathBuf};

use crate::row::too_large;

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

/// Why a row has no vector: the sentence in its column of errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RowError(pub(crate) String);

impl AsRef<str> for RowError {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Why the file of a row was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadFile {
    #[error("the file cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It has so many bytes.
    #[error("{}", too_large(*.0))]
    TooLarge(u64),
    #[error("the file grows while it is read")]
    Grows,
    #[error("the file was not read: {0}")]
    Given(#[source] tokio::task::JoinError),
}

/// What differs between two plans: the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Difference(pub(crate) String);
