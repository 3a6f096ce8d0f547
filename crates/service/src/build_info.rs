//! What the running program is.

use serde::Serialize;

/// What the running program is, for `/info` and the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BuildInfo {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, where that is known.
    pub commit: Option<&'static str>,
    /// What it was built for, as Rust names it.
    pub target: &'static str,
    /// The Cargo features that are in it.
    pub features: Vec<&'static str>,
    /// Whether the JPEG decoder has its vector code.
    pub jpeg_vector_code: bool,
}
