//! What is wrong with an answer.

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It is not JSON, or lacks a field.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It contradicts what the service says of its model.
    #[error("`dimensions` is {found}, but /info says {expected}")]
    Dimensions {
        /// What the answer says.
        found: usize,
        /// What /info says.
        expected: usize,
    },
    /// A matrix of scores has another shape.
    #[error("`similarities` is not {texts} rows of {images}")]
    Shape {
        /// Texts of the request.
        texts: usize,
        /// Images of the request.
        images: usize,
    },
    /// A score is no probability.
    #[error("a similarity is outside 0..1")]
    Similarity,
    /// An answer in bytes has another length.
    #[error("the answer has {bytes} bytes where {rows} rows of {dimensions} floats were asked for")]
    Bytes {
        /// Its length.
        bytes: usize,
        /// The rows that were asked for.
        rows: usize,
        /// Floats in each.
        dimensions: usize,
    },
    /// Rows are missing, or there are too many.
    #[error("`{field}` has {found} rows where {expected} were asked for")]
    Rows {
        /// The field of the answer.
        field: &'static str,
        /// Its rows.
        found: usize,
        /// The rows that were asked for.
        expected: usize,
    },
    /// A row has another length than the model's vectors.
    #[error("row {row} of `{field}` has {found} numbers, but /info says {expected}")]
    Length {
        /// Which row, from 0.
        row: usize,
        /// The field of the answer.
        field: &'static str,
        /// The row's length.
        found: usize,
        /// The length that /info says.
        expected: usize,
    },
    /// A row has numbers that are none.
    #[error("row {row} of `{field}` is not finite")]
    NotFinite {
        /// Which row, from 0.
        row: usize,
        /// The field of the answer.
        field: &'static str,
    },
    /// A row was not normalized.
    #[error("row {row} of `{field}` has norm {norm:.4}, not 1")]
    Norm {
        /// Which row, from 0.
        row: usize,
        /// The field of the answer.
        field: &'static str,
        /// Its norm.
        norm: f64,
    },
    /// The ranking is for another query.
    #[error("`query` is not the one that was sent")]
    Query,
    /// The ranking is of other files.
    #[error("`rankings` does not name each of the {0} files once")]
    Files(usize),
    /// The ranks do not count up.
    #[error("entry {entry} has rank {rank}")]
    Rank {
        /// Which entry, from 1.
        entry: usize,
        /// Its rank.
        rank: usize,
    },
    /// A score is no probability.
    #[error("a score is {0}, outside 0..1")]
    Score(f64),
    /// The scores do not go down.
    #[error("`rankings` is not sorted by score")]
    Order,
}
