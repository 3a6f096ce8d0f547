//! What the load test sends, for those who measure what else is done with it.
//!
//! ```
//! let photos = siglip2_load_test::samples::jpegs((64, 48), 4, 1)?;
//! let texts = siglip2_load_test::samples::texts(10, 1);
//! assert_eq!((photos.len(), texts.len()), (4, 10));
//! # Ok::<(), siglip2_load_test::samples::CannotDraw>(())
//! ```

use bytes::Bytes;

use crate::options::DrawnFormat;
use crate::{pictures, texts};

/// The encoder failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CannotDraw(crate::error::Error);

/// The first pictures of a run with this `--seed` that draws them in one size, width and height in
/// pixels, as JPEGs.
///
/// # Errors
///
/// When the encoder fails.
pub fn jpegs(size: (u32, u32), number: u32, seed: u64) -> Result<Vec<Bytes>, CannotDraw> {
    let drawn = pictures::drawn(number, &[size], DrawnFormat::Jpeg, seed).map_err(CannotDraw)?;
    Ok(drawn.into_iter().map(|picture| picture.bytes).collect())
}

/// The first texts of a run with this `--seed`.
pub fn texts(number: u64, seed: u64) -> Vec<String> {
    (0..number).map(|n| texts::text(n, seed)).collect()
}
