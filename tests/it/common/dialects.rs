//! What the tests of the paths of other services share.

use serde_json::{Value, json};

use super::{Answer, Form, Server, ask, png, post_json};
use siglip2_embeddings::http::HttpSettings;

/// A service with the settings that it has by default.
pub async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

/// The vectors of texts by the service's own path.
pub async fn texts(server: &Server, texts: &[&str]) -> Vec<Value> {
    let body = json!({ "texts": texts }).to_string();
    let answer = ask(server.address, post_json("/embed/text", &body)).await;
    answer.json()["embeddings"].as_array().unwrap().clone()
}

/// The same of images that `png` draws.
pub async fn images(server: &Server, images: &[u8]) -> Vec<Value> {
    let form = images.iter().fold(Form::new(), |form, &at| {
        form.file("files", "a.png", png(at, 20, 30))
    });
    let answer = ask(server.address, form.post("/embed/images")).await;
    answer.json()["embeddings"].as_array().unwrap().clone()
}

/// A good answer.
pub async fn good(server: &Server, path: &str, body: &Value) -> Value {
    let answer = ask(server.address, post_json(path, &body.to_string())).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    answer.json()
}

/// The status, and the sentence in `field`, which `detail` has too.
pub fn told(answer: &Answer, field: &str) -> (u16, String) {
    let json = answer.json();
    assert_eq!(json["detail"], json[field], "{json}");
    let sentence = json[field].as_str().unwrap_or_else(|| panic!("{json}"));
    (answer.status, sentence.to_owned())
}

/// Sends what is refused.
pub async fn refusals(server: &Server, path: &str, field: &str, cases: &[(Value, u16, &str)]) {
    for (body, status, said) in cases {
        let answer = ask(server.address, post_json(path, &body.to_string())).await;
        let (got, sentence) = told(&answer, field);
        assert_eq!(got, *status, "{body}: {sentence}");
        assert!(sentence.contains(said), "{body}: {sentence}");
    }
}
