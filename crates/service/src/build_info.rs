//! Facts about the running binary.

use serde::Serialize;

/// Facts about the running binary, for `/info` and the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BuildInfo {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, if known.
    pub commit: Option<&'static str>,
    /// The target it was built for, as Rust names it.
    pub target: &'static str,
    /// The Cargo features it was built with.
    pub features: Vec<&'static str>,
    /// Whether libjpeg has its vector code; it decodes the JPEGs that are not plain.
    pub jpeg_vector_code: bool,
}
