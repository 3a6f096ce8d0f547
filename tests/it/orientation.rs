//! Pictures are turned as their orientation tag says, where the service or the request says so.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::common::client::{Form, ask, get, request};
use crate::common::model::service;
use crate::common::server::Server;

/// One of the pictures of tools/make_orientation_fixtures.py, which all have the same pixels.
fn picture(name: &str) -> Vec<u8> {
    let all = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/orientation.json"
    );
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(all).unwrap()).unwrap();
    let found = all.iter().find(|picture| picture["name"] == name).unwrap();
    BASE64_STANDARD
        .decode(found["file"].as_str().unwrap())
        .unwrap()
}

struct Vectors {
    vector: Value,
    fingerprint: String,
}

/// The vector of a picture, with a word on turning in the form, in the query, or in both.
async fn vector(server: &Server, name: &str, form: Option<&str>, query: Option<&str>) -> Vectors {
    let mut parts = Form::new().file("file", "a", picture(name));
    if let Some(word) = form {
        parts = parts.text("apply_orientation", word);
    }
    let path = match query {
        Some(word) => format!("/embed/image?apply_orientation={word}"),
        None => "/embed/image".to_owned(),
    };
    let answer = ask(server.address, parts.post(&path)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Vectors {
        vector: answer.json()["embeddings"].clone(),
        fingerprint: answer.header("x-embedding-fingerprint").unwrap().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_its_pictures_turned() {
    let server = Server::of(service("demo", &["--image-cache-bytes", "1MiB"])).await;
    // TIFF is turned in any case, so it tells what the others become.
    let stored = vector(&server, "tiff none", None, None).await;
    let turned = vector(&server, "tiff 6", None, None).await;
    assert_ne!(stored.vector, turned.vector);
    for name in ["png 6", "webp 6", "png xmp"] {
        // Twice, because the second time the vector comes from the cache.
        for _ in 0..2 {
            let plain = vector(&server, name, None, None).await;
            assert_eq!(plain.vector, stored.vector, "{name}");
            assert_eq!(plain.fingerprint, stored.fingerprint);
            for (form, query) in [
                (Some("true"), None),
                (None, Some("true")),
                // The form counts.
                (Some("true"), Some("false")),
            ] {
                let said = vector(&server, name, form, query).await;
                assert_eq!(said.vector, turned.vector, "{name} {form:?} {query:?}");
                assert_ne!(said.fingerprint, stored.fingerprint);
            }
            let not = vector(&server, name, Some("false"), Some("true")).await;
            assert_eq!(not.vector, stored.vector, "{name}");
        }
    }
    let form = Form::new().file("file", "a", picture("png 6"));
    let form = form.text("apply_orientation", "maybe");
    assert_eq!(
        ask(server.address, form.post("/embed/image")).await.status,
        422
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_turns_all_pictures_and_says_so() {
    let plain = Server::of(service("demo", &[])).await;
    let turning = Server::of(service("demo", &["--apply-orientation"])).await;
    let turned = vector(&plain, "tiff 6", None, None).await;
    let asked = vector(&plain, "png 6", Some("1"), None).await;
    let by_setting = vector(&turning, "png 6", None, None).await;
    assert_eq!(by_setting.vector, turned.vector);
    assert_eq!(by_setting.fingerprint, asked.fingerprint);
    let info = ask(turning.address, get("/info")).await.json();
    assert_eq!(info["fingerprint"], json!(by_setting.fingerprint));
    assert_eq!(info["limits"]["apply_orientation"], json!(true));
    let not = vector(&turning, "png 6", None, Some("0")).await;
    assert_eq!(not.vector, vector(&plain, "png 6", None, None).await.vector);

    // What has no form of its own has the query: a body that is a file, and the dialects.
    let file = request(
        "POST",
        "/embed/image?apply_orientation=true",
        &[("Content-Type", "image/png")],
        &picture("png 6"),
    );
    let answer = ask(plain.address, file).await;
    assert_eq!(answer.json()["embeddings"], turned.vector);
    let uri = BASE64_STANDARD.encode(picture("png 6"));
    // JSON has a field, which counts before the query.
    let body = json!({"image_base64": uri, "apply_orientation": true});
    let headers = [("Content-Type", "application/json")];
    for path in ["/embed/image", "/embed/image?apply_orientation=false"] {
        let sent = request("POST", path, &headers, body.to_string().as_bytes());
        let answer = ask(plain.address, sent).await;
        assert_eq!(answer.json()["embeddings"], turned.vector, "{path}");
    }
    let body = json!({"model": "x", "input": [format!("data:image/png;base64,{uri}")]});
    let path = "/v1/embeddings?apply_orientation=true";
    let headers = [("Content-Type", "application/json")];
    let sent = request("POST", path, &headers, body.to_string().as_bytes());
    let answer = ask(plain.address, sent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("x-embedding-fingerprint"),
        Some(asked.fingerprint.as_str())
    );
    assert_eq!(answer.json()["data"][0]["embedding"], turned.vector[0]);

    // immich's form has the field as well, which counts before the query.
    let stored = (json!(13), json!(9));
    for (query, said, expected) in [
        ("", Some("true"), &asked),
        ("?apply_orientation=true", None, &asked),
        ("?apply_orientation=true", Some("false"), &not),
    ] {
        let mut form = Form::new()
            .text("entries", r#"{"clip": {"visual": {"modelName": "x"}}}"#)
            .file("image", "a.png", picture("png 6"));
        if let Some(word) = said {
            form = form.text("apply_orientation", word);
        }
        let answer = ask(plain.address, form.post(&format!("/predict{query}"))).await;
        let sides = |answer: &Value| (answer["imageWidth"].clone(), answer["imageHeight"].clone());
        let (width, height) = sides(&answer.json());
        match expected.fingerprint == asked.fingerprint {
            true => assert_eq!((&height, &width), (&stored.0, &stored.1)),
            false => assert_eq!((&width, &height), (&stored.0, &stored.1)),
        }
        let clip = answer.json()["clip"].as_str().unwrap().to_owned();
        let vector: Value = serde_json::from_str(&clip).unwrap();
        assert_eq!(vector, expected.vector[0], "{query} {said:?}");
        assert_eq!(
            answer.header("x-embedding-fingerprint"),
            Some(expected.fingerprint.as_str())
        );
    }
}
