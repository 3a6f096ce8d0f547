//! Why a run ended before its end.

/// See the module.
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
