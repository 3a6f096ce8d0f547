//! `/v1/embeddings`, with pictures as data URIs or behind a `modality`.

use serde_json::{Value, json};

use super::data_uri;
use crate::property::Picture;
use crate::target::{Failure, Rows, Target};
use crate::wire::{Wire, no_vectors, row};

/// OpenAI's shape; NVIDIA's NIM and others take data URIs among the strings.
pub(super) struct OpenAi<'a> {
    pub(super) wire: &'a Wire,
    pub(super) model: &'a str,
}

impl OpenAi<'_> {
    fn ask(&self, input: Vec<String>) -> Result<Rows, Failure> {
        let body = json!({ "model": self.model, "input": input, "encoding_format": "float" });
        let path = path(self.wire);
        data(&self.wire.post_json(path, &body)?)
    }
}

impl Target for OpenAi<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        self.ask(texts.iter().map(|&text| text.to_owned()).collect())
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        self.ask(pictures.iter().map(data_uri).collect())
    }
}

/// infinity's shape: the modality is a field, and by default the path has no version.
pub(super) struct Infinity<'a> {
    pub(super) wire: &'a Wire,
    pub(super) model: &'a str,
}

impl Infinity<'_> {
    fn ask(&self, input: Vec<String>, modality: &str) -> Result<Rows, Failure> {
        let body = json!({
            "model": self.model,
            "input": input,
            "modality": modality,
            "encoding_format": "float",
        });
        data(&self.wire.post_json("/embeddings", &body)?)
    }
}

impl Target for Infinity<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        self.ask(texts.iter().map(|&text| text.to_owned()).collect(), "text")
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        self.ask(pictures.iter().map(data_uri).collect(), "image")
    }
}

/// The path, for an address with or without the version.
pub(super) fn path(wire: &Wire) -> &'static str {
    match wire.ends_with("/v1") {
        true => "/embeddings",
        false => "/v1/embeddings",
    }
}

/// The vectors of `data`, in the order of their indices.
pub(super) fn data(answer: &Value) -> Result<Rows, Failure> {
    let data = answer.get("data").and_then(Value::as_array);
    let mut rows = Vec::new();
    for (place, entry) in data.ok_or_else(no_vectors)?.iter().enumerate() {
        let index = entry.get("index").and_then(Value::as_u64);
        let index = index.unwrap_or(place as u64);
        let vector = entry.get("embedding").and_then(row);
        rows.push((index, vector.ok_or_else(no_vectors)?));
    }
    rows.sort_by_key(|(index, _)| *index);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::data;

    #[test]
    fn rows_are_put_in_the_order_of_their_indices() {
        let answer = json!({ "data": [
            { "index": 1, "embedding": [3.0, 4.0] },
            { "index": 0, "embedding": [1.0, 2.0] },
        ] });
        assert_eq!(data(&answer).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        for wrong in [json!({}), json!({ "data": [{ "embedding": "AAAA" }] })] {
            assert!(data(&wrong).is_err(), "{wrong}");
        }
    }
}
