//! This service's own endpoints.

use serde_json::json;

use crate::multipart::Form;
use crate::property::Picture;
use crate::target::{Failure, Rows, Target};
use crate::wire::{Wire, rows};

pub(super) struct Native<'a> {
    pub(super) wire: &'a Wire,
}

impl Target for Native<'_> {
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
        let body = json!({ "texts": texts, "normalize": true });
        let answer = self.wire.post_json("/embed/text", &body)?;
        rows(answer.get("embeddings"))
    }

    fn pictures(&self, pictures: &[Picture]) -> Result<Rows, Failure> {
        let (path, part) = match pictures.len() {
            1 => ("/embed/image", "file"),
            _ => ("/embed/images", "files"),
        };
        let form = files(Form::new(), part, pictures).text("normalize", "true");
        let (kind, body) = form.end();
        let answer = self.wire.post(path, &kind, &body)?;
        rows(answer.get("embeddings"))
    }

    fn probabilities(&self, texts: &[&str], pictures: &[Picture]) -> Result<Rows, Failure> {
        let form = files(Form::new(), "files", pictures);
        let (kind, body) = form.text("texts", &json!(texts).to_string()).end();
        let answer = self.wire.post("/similarity", &kind, &body)?;
        rows(answer.get("similarities"))
    }
}

fn files(mut form: Form, part: &str, pictures: &[Picture]) -> Form {
    for picture in pictures {
        form = form.file(part, picture.name, picture.media_type, picture.bytes);
    }
    form
}
