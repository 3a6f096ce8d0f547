//! Why a table cannot be read, or not be read on.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

use super::pages::TooMuch;
use super::{LONGEST_FOOTER, MOST_COLUMNS};
use crate::columns::ColumnError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Damaged(#[from] ParquetError),
    /// The same, while values are decoded.
    #[error(transparent)]
    Undecoded(#[from] ArrowError),
    /// The file cannot be opened.
    #[error(transparent)]
    Unopened(#[from] std::io::Error),
    /// Its description has so many bytes.
    #[error(
        "its description of columns and row groups has {0} bytes; at most {LONGEST_FOOTER} are \
         read: write it as several tables, or with larger row groups"
    )]
    LongDescription(u64),
    /// Its description is none.
    #[error("its description of columns and row groups is damaged")]
    BadDescription,
    /// It has so many columns.
    #[error("it has {0} columns; at most {MOST_COLUMNS} are read")]
    ManyColumns(usize),
    /// A column is compressed in another way.
    #[error(
        "the column {column} is compressed with {codec}; uncompressed columns and gzip, snappy and \
         zstd are read: write the table with one of them"
    )]
    OtherCodec {
        /// Which.
        column: String,
        /// As Parquet calls it.
        codec: String,
    },
    /// A row takes more memory than the bytes that may be held.
    #[error("{}", .0.sentence(*.1))]
    TooMuch(TooMuch, u64),
    /// It ends before the rows do that it says it has.
    #[error("it has fewer rows than it says")]
    FewerRows,
    /// The code that reads it panicked, which was told in the log.
    #[error("it is damaged in a way that its reader did not expect")]
    Panicked,
    /// It was replaced while it was read.
    #[error("its columns are others than before")]
    OtherColumns,
    /// A column has values of a type that is not read as what it is wanted for.
    #[error(transparent)]
    Column(#[from] ColumnError),
}
