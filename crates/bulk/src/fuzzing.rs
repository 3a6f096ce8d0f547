//! A door for the fuzz targets in `fuzz/`, in builds with `--cfg fuzzing` only.

use std::path::Path;

use crate::error::InputError;
use crate::options::Reading;
use crate::sources;

/// Reads a Parquet table as `embed` does, and says how many rows it gave, bad ones included.
///
/// # Errors
///
/// Why it is refused before a row of it is read.
pub fn parquet(path: &Path, reading: &Reading) -> Result<u64, InputError> {
    sources::read_parquet(path, reading)
}
