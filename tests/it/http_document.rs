//! The OpenAPI document and the service say the same.
//!
//! Every answer to `common::ask`, in all tests, is held to the document (`common::document`).
//! Here is what is left: that every status and every route of it can be had, and that what
//! is not in it is found.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::index::OneRow;
use crate::common::{Answer, Form, Server, ask, document, get, png, post_json, request};
use serde_json::Value;
use siglip2_embeddings::http::{HttpSettings, openapi_document};

/// The operations of the document: path, method, statuses.
fn operations() -> Vec<(String, String, BTreeSet<u16>)> {
    let document = serde_json::to_value(openapi_document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            let statuses = statuses.map(|status| status.parse().unwrap()).collect();
            operations.push((path.clone(), method.clone(), statuses));
        }
    }
    operations
}

/// A good request.
fn good(method: &str, path: &str) -> Vec<u8> {
    let form = Form::new()
        .file("file", "a.png", png(1, 2, 3))
        .file("files", "a.png", png(1, 2, 3))
        .text("texts", "[\"a\"]")
        .text("labels", "[\"a\"]")
        .text("query", "a");
    match (method, path) {
        ("get", _) => get(path),
        (_, "/embed/text" | "/vectorize" | "/v2/embed") => post_json(path, r#"{"texts": ["a"]}"#),
        (_, "/search") => post_json(path, r#"{"query": "a"}"#),
        (_, "/embed" | "/") => post_json(path, r#"{"inputs": "a"}"#),
        (_, "/predict") => Form::new()
            .text("entries", r#"{"clip": {"textual": {"modelName": "x"}}}"#)
            .text("text", "a")
            .post(path),
        (_, path) if path.ends_with("/embeddings") => {
            post_json(path, r#"{"input": "a", "model": "m"}"#)
        }
        (_, path) if path.ends_with("/infer") => post_json(
            path,
            r#"{"inputs": [{"name": "texts", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}"#,
        ),
        _ => form.post(path),
    }
}

#[tokio::test]
async fn every_route_that_is_described_is_served() {
    let server = Server::start(HttpSettings::default()).await;
    let operations = operations();
    assert_eq!(operations.len(), 32);
    let index = Arc::new(OneRow::default());
    server.service.give_index(index).unwrap();
    for (path, method, statuses) in &operations {
        let name = server.service.info().name.replace('"', "%22");
        let path = path.replace("{model}", &name);
        let answer = ask(server.address, good(method, &path)).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
        assert!(statuses.contains(&answer.status), "{method} {path}");
    }
    let served = ask(server.address, get("/openapi.json")).await;
    assert_eq!(
        served.json(),
        serde_json::to_value(openapi_document()).unwrap()
    );
}

/// Where the query's `apply_orientation` is described, a wrong value of it is refused; where it is not,
/// it is told as ignored, as is a parameter that there is not.
#[tokio::test]
async fn apply_orientation_is_read_from_the_query_where_it_is_described() {
    let server = Server::start(HttpSettings::default()).await;
    let index = Arc::new(OneRow::default());
    server.service.give_index(index).unwrap();
    let document = serde_json::to_value(openapi_document()).unwrap();
    let name = server.service.info().name.replace('"', "%22");
    let mut turned = BTreeSet::new();
    for (path, method, _) in operations() {
        let parameters = &document["paths"][&path][&method]["parameters"];
        let parameters = parameters.as_array().unwrap().iter();
        let described: BTreeSet<&str> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let path = path.replace("{model}", &name);
        let without = good(&method, &path);
        for parameter in ["apply_orientation", "none_such"] {
            let target = format!(" {path}?{parameter}=neither HTTP/1.1");
            let line = format!(" {path} HTTP/1.1");
            let at = without
                .windows(line.len())
                .position(|part| part == line.as_bytes())
                .unwrap();
            let mut asked = without.clone();
            asked.splice(at..at + line.len(), target.bytes());
            let answer = ask(server.address, asked).await;
            let told = format!("{method} {path} {parameter}: {}", answer.text());
            match described.contains(parameter) {
                true => {
                    assert!(matches!(answer.status, 400 | 422), "{told}");
                    assert!(answer.text().contains(parameter), "{told}");
                    turned.insert(path.clone());
                }
                false => {
                    assert!(answer.status < 300, "{told}");
                    let ignored = answer.header("x-ignored").unwrap_or_default();
                    assert!(ignored.contains(parameter), "{told} {ignored}");
                }
            }
        }
    }
    assert!(turned.contains("/predict") && turned.contains("/embed/images"));
}

#[tokio::test]
async fn every_path_says_which_methods_it_has() {
    let server = Server::start(HttpSettings::default()).await;
    for (path, method, _) in operations() {
        let has = |method: &str| {
            operations()
                .iter()
                .any(|(p, m, _)| *p == path && m == method)
        };
        let (expected, other) = match (has("get"), has("post")) {
            (true, true) => ("GET, HEAD, OPTIONS, POST", "PUT"),
            (true, false) => ("GET, HEAD, OPTIONS", "POST"),
            _ => ("OPTIONS, POST", "GET"),
        };
        let path = path.replace("{model}", "a");
        let answer = ask(server.address, request("OPTIONS", &path, &[], b"")).await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (204, 0),
            "{method} {path}"
        );
        assert_eq!(answer.header("allow"), Some(expected), "{path}");
        let answer = ask(server.address, request(other, &path, &[], b"")).await;
        assert_eq!(answer.status, 405, "{other} {path}");
        assert_eq!(answer.header("allow"), Some(expected), "{path}");
    }
    let answer = ask(server.address, request("OPTIONS", "*", &[], b"")).await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    assert_eq!(
        ask(server.address, request("OPTIONS", "/nowhere", &[], b""))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_is_counted_is_what_may_be_answered() {
    let server = Server::start(HttpSettings::default()).await;
    let metrics = ask(server.address, get("/metrics")).await.text().to_owned();
    let counted = |endpoint: &str, status: u16| {
        metrics.contains(&format!(
            "siglip2_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}} "
        ))
    };
    let document = serde_json::to_value(openapi_document()).unwrap();
    for (path, method, statuses) in operations() {
        let name = &document["paths"][&path][&method]["operationId"];
        let name = name.as_str().unwrap();
        for status in 200..600 {
            let may_be =
                statuses.contains(&status) || status == 200 || [204, 405, 499].contains(&status);
            assert_eq!(counted(name, status), may_be, "{name} {status}");
        }
    }
    assert!(counted("unknown", 404) && !counted("unknown", 200));
}

fn answer(status: u16, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = headers
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Answer {
        status,
        headers: headers.collect(),
        body: body.to_string().into_bytes(),
    }
}

#[test]
fn what_is_not_described_is_found() {
    let kind = ("content-type", "application/json");
    let ready = serde_json::json!({"status": "ready"});
    let found = |answer: &Answer| {
        std::panic::catch_unwind(|| document::check(b"GET /ready HTTP/1.1\r\n", answer)).is_err()
    };
    assert!(!found(&answer(200, &[kind], &ready)));
    for (what, wrong) in [
        ("status", answer(418, &[kind], &ready)),
        ("header", answer(200, &[kind, ("x-new", "1")], &ready)),
        (
            "kind",
            answer(200, &[("content-type", "text/plain")], &ready),
        ),
        (
            "field",
            answer(
                200,
                &[kind],
                &serde_json::json!({"status": "ready", "new": 1}),
            ),
        ),
        (
            "type",
            answer(200, &[kind], &serde_json::json!({"status": 1})),
        ),
        ("absence", answer(200, &[kind], &serde_json::json!({}))),
    ] {
        assert!(found(&wrong), "{what}");
    }
}
