//! KServe's protocol, in JSON and with the binary extension.

use serde_json::{Value, json};

use crate::common::dialects::{good, images, refusals, server, texts, told};
use crate::common::{Server, ask, get, png, post_json, request, uri};

const INFER: &str = "/v2/models/siglip2/infer";

fn tensor(name: &str, data: Value) -> Value {
    let count = data.as_array().map_or(0, Vec::len);
    json!({ "name": name, "shape": [count], "datatype": "BYTES", "data": data })
}

/// A body with these elements behind its JSON.
fn binary(json: &Value, elements: &[&[u8]]) -> Vec<u8> {
    let mut behind = Vec::new();
    for element in elements {
        behind.extend((element.len() as u32).to_le_bytes());
        behind.extend(*element);
    }
    with_bytes(json, &behind)
}

/// A body with these bytes behind its JSON.
fn with_bytes(json: &Value, behind: &[u8]) -> Vec<u8> {
    let json = json.to_string();
    let body = [json.as_bytes(), behind].concat();
    let length = json.len().to_string();
    let headers = [
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", length.as_str()),
    ];
    request("POST", INFER, &headers, &body)
}

#[tokio::test]
async fn kserve_in_json() {
    let server = server().await;
    let words = texts(&server, &["a cat", "two dogs"]).await;
    let body = json!({ "id": "7", "inputs": [
        tensor("images", json!([uri(1)])), tensor("texts", json!(["a cat", "two dogs"])),
    ] });
    let answer = good(&server, INFER, &body).await;
    assert_eq!(answer["id"], "7");
    assert_eq!(answer["model_name"], "siglip2");
    let dimensions = server.service.info().dimensions;
    let flat = |rows: &[Value]| {
        let rows = rows.iter().flat_map(|row| row.as_array().unwrap().clone());
        Value::from(rows.collect::<Vec<_>>())
    };
    assert_eq!(
        answer["outputs"][0],
        json!({
            "name": "text_embeddings", "datatype": "FP32", "shape": [2, dimensions],
            "data": flat(&words),
        })
    );
    assert_eq!(
        answer["outputs"][1]["data"],
        flat(&images(&server, &[1]).await)
    );
    let nested = json!({ "inputs": [{
        "name": "texts", "shape": [2, 1], "datatype": "BYTES", "data": [["a cat"], ["two dogs"]],
    }], "outputs": [{ "name": "text_embeddings" }] });
    assert_eq!(
        good(&server, INFER, &nested).await["outputs"][0]["data"],
        flat(&words)
    );

    for path in [
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/siglip2/ready",
        "/v2",
    ] {
        assert_eq!(ask(server.address, get(path)).await.status, 200, "{path}");
    }
    let own = server.service.info().name.replace('"', "%22");
    for name in ["siglip2", "siglip2/versions/1", &own] {
        let model = ask(server.address, get(&format!("/v2/models/{name}")))
            .await
            .json();
        assert_eq!(model["inputs"][0]["datatype"], "BYTES");
    }
    let starting = Server::starting().await;
    assert_eq!(
        ask(starting.address, get("/v2/health/ready")).await.status,
        503
    );
    assert_eq!(
        ask(starting.address, get("/v2/health/live")).await.status,
        200
    );
}

#[tokio::test]
async fn kserve_in_binary() {
    let server = server().await;
    let input = |name: &str, count: usize, size: usize| {
        json!({ "name": name, "shape": [count], "datatype": "BYTES",
                "parameters": { "binary_data_size": size } })
    };
    let picture = png(1, 20, 30);
    let head = json!({
        "inputs": [input("texts", 2, 5 + 8 + 8), input("images", 1, picture.len() + 4)],
        "parameters": { "binary_data_output": true },
    });
    let sent = binary(&head, &[b"a cat", b"two dogs", &picture]);
    let answer = ask(server.address, sent).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let length = answer.header("inference-header-content-length").unwrap();
    let (json, bytes) = answer.body.split_at(length.parse().unwrap());
    let json: Value = serde_json::from_slice(json).unwrap();
    let dimensions = server.service.info().dimensions;
    assert_eq!(
        json["outputs"][0]["parameters"]["binary_data_size"],
        2 * 4 * dimensions
    );
    let mut rows = texts(&server, &["a cat", "two dogs"]).await;
    rows.extend(images(&server, &[1]).await);
    let rows: Vec<Vec<f32>> = serde_json::from_value(json!(rows)).unwrap();
    let expected: Vec<u8> = rows.concat().iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(bytes, expected);

    let one = |size: usize| json!({ "inputs": [input("texts", 1, size)] });
    for (sent, said) in [
        (binary(&one(100), &[b"a"]), "bytes are left"),
        (with_bytes(&one(4), &[1, 0, 0, 0]), "its binary data"),
        (with_bytes(&one(3), &[1, 0, 0]), "its binary data"),
        (binary(&one(5), &[b"a", b"b"]), "no input claims"),
        (
            binary(&json!({ "inputs": [input("texts", 2, 5)] }), &[b"a"]),
            "2 elements",
        ),
        (
            binary(&json!({ "inputs": [input("texts", 1, 10)] }), &[b"a", b"b"]),
            "1 elements",
        ),
        (binary(&one(5), &[b"\xff"]), "not UTF-8"),
    ] {
        let (status, sentence) = told(&ask(server.address, sent).await, "error");
        assert_eq!(status, 400, "{sentence}");
        assert!(sentence.contains(said), "{sentence} has no {said}");
    }
    for (length, said) in [
        ("99", "the body has"),
        ("x", "whole number"),
        ("-1", "whole number"),
    ] {
        let headers = [("Inference-Header-Content-Length", length)];
        let answer = ask(server.address, request("POST", INFER, &headers, b"{}")).await;
        let (status, sentence) = told(&answer, "error");
        assert_eq!(status, 400);
        assert!(sentence.contains(said), "{sentence}");
    }
}

#[tokio::test]
async fn kserve_refuses_with_a_sentence() {
    let server = server().await;
    let words = tensor("texts", json!(["a"]));
    let with = |field: &str, value: Value| {
        let mut tensor = words.clone();
        tensor[field] = value;
        json!({ "inputs": [tensor] })
    };
    refusals(
        &server,
        INFER,
        "error",
        &[
            (json!({}), 400, "must have inputs"),
            (json!({ "inputs": {} }), 400, "inputs must be a list"),
            (
                json!({ "inputs": [words, words] }),
                400,
                "repeats an earlier",
            ),
            (
                json!({ "inputs": [words, words, words] }),
                413,
                "the limit of 2",
            ),
            (with("name", json!("x")), 400, "there are \"texts\""),
            (with("datatype", json!("FP32")), 400, "must be BYTES"),
            (with("shape", json!([2])), 400, "2 elements"),
            (with("shape", json!([-1])), 400, "whole number"),
            (with("shape", json!([u64::MAX, 3])), 413, "too many"),
            (with("shape", json!([1_000_000])), 413, "1000000 elements"),
            (with("data", json!([1])), 400, "texts[0] must be a string"),
            (with("data", Value::Null), 400, "has no data"),
            (
                json!({ "inputs": [tensor("images", json!(["QUJD"]))] }),
                400,
                "images[0]",
            ),
            (
                json!({ "inputs": [words], "outputs": [{ "name": "image_embeddings" }] }),
                400,
                "outputs[0]",
            ),
            (
                json!({ "inputs": [words], "outputs": [{ "name": "x" }] }),
                400,
                "outputs[0].name",
            ),
            (
                json!({ "inputs": [words], "id": "x".repeat(2000) }),
                400,
                "id has more",
            ),
            (
                json!({ "inputs": [words], "outputs": [{
                    "name": "text_embeddings", "parameters": { "classification": 3 },
                }] }),
                400,
                "outputs[0] asks for a classification",
            ),
            (
                json!({ "inputs": [words], "outputs": [{
                    "name": "text_embeddings", "parameters": { "shared_memory_region": "x" },
                }] }),
                400,
                "outputs[0] is in shared memory",
            ),
            (
                with("parameters", json!({ "shared_memory_region": "x" })),
                400,
                "inputs[0] is in shared memory",
            ),
        ],
    )
    .await;
    for path in ["/v2/models/x", "/v2/models/x/ready", "/v2/nothing"] {
        let answer = ask(server.address, get(path)).await;
        assert_eq!(told(&answer, "error").0, 404, "{path}");
    }
    let answer = ask(server.address, post_json("/v2/models/x/infer", "{}")).await;
    assert_eq!(told(&answer, "error").0, 404);
}
