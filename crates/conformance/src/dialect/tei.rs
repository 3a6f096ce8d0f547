//! `/embed` of text-embeddings-inference, which has no pictures.

use serde_json::json;

use crate::target::{Failure, Rows, Target};
use crate::wire::{Wire, rows};

pub(super) struct Tei<'a> {
    pub(super) wire: &'a Wire,
}

impl Target for Tei<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let body = json!({ "inputs": texts, "normalize": true, "truncate": true });
        rows(Some(&self.wire.post_json("/embed", &body)?))
    }
}
