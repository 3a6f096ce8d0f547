//! What vectors were made with: written into every file, and asked for before vectors of
//! different makes are compared.

use serde::{Deserialize, Serialize};
use siglip2_model::fingerprint::Fingerprint;

/// Keys in the metadata of Parquet files.
pub(crate) const FINGERPRINT: &str = "siglip2.fingerprint";
pub(crate) const MODEL: &str = "siglip2.model";
pub(crate) const PRECISION: &str = "siglip2.precision";
pub(crate) const NORMALIZED: &str = "siglip2.normalized";
pub(crate) const VERSION: &str = "siglip2.version";

/// What made vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The vector space.
    pub fingerprint: Fingerprint,
    /// The model's name, as it was asked for.
    pub model: String,
    /// What products are computed in.
    pub precision: String,
    /// Floats per vector.
    pub dimensions: usize,
    /// The version of the program.
    pub version: String,
}

impl Identity {
    /// Names and values for the metadata of a file.
    pub(crate) fn metadata(&self, normalized: bool) -> [(&'static str, String); 5] {
        [
            (FINGERPRINT, self.fingerprint.to_string()),
            (MODEL, self.model.clone()),
            (PRECISION, self.precision.clone()),
            (NORMALIZED, normalized.to_string()),
            (VERSION, self.version.clone()),
        ]
    }
}
