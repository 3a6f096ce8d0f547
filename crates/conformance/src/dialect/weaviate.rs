//! `/vectorize` of the container of Weaviate's module multi2vec-clip.

use serde_json::json;

use super::base64;
use crate::property::Picture;
use crate::target::{Failure, Rows, Target};
use crate::wire::{Wire, rows};

pub(super) struct Weaviate<'a> {
    pub(super) wire: &'a Wire,
}

impl Target for Weaviate<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let body = json!({ "texts": texts, "images": [] });
        let answer = self.wire.post_json("/vectorize", &body)?;
        rows(answer.get("textVectors"))
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        let images: Vec<String> = pictures.iter().map(base64).collect();
        let body = json!({ "texts": [], "images": images });
        let answer = self.wire.post_json("/vectorize", &body)?;
        rows(answer.get("imageVectors"))
    }
}
