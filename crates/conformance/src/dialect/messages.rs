//! `/v1/embeddings` as vLLM has it: texts in `input`, and one picture in `messages`.

use serde_json::json;

use super::data_uri;
use super::openai::{data, path};
use crate::property::Picture;
use crate::target::{Failure, Rows, Target};
use crate::wire::Wire;

pub(super) struct Messages<'a> {
    pub(super) wire: &'a Wire,
    pub(super) model: &'a str,
}

impl Target for Messages<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let body = json!({ "model": self.model, "input": texts, "encoding_format": "float" });
        data(&self.wire.post_json(path(self.wire), &body)?)
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        let [picture] = pictures else {
            return Err(Failure::NotOffered);
        };
        let part = json!({ "type": "image_url", "image_url": { "url": data_uri(picture) } });
        let body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": [part] }],
            "encoding_format": "float",
        });
        data(&self.wire.post_json(path(self.wire), &body)?)
    }
}
