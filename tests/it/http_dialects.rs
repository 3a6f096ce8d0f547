//! The paths of Cohere, text-embeddings-inference, Weaviate, immich and KServe, and zero-shot
//! classification: what their clients send gets the vectors of the service's own paths, and
//! what is refused is refused in their shape. OpenAI's is in `http_openai`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{Answer, Form, Server, ask, encoded, get, png, post_json, request, uri};
use siglip2_embeddings::http::HttpSettings;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

async fn texts(server: &Server, texts: &[&str]) -> Vec<Value> {
    let body = json!({ "texts": texts }).to_string();
    let answer = ask(server.address, post_json("/embed/text", &body)).await;
    answer.json()["embeddings"].as_array().unwrap().clone()
}

async fn images(server: &Server, images: &[u8]) -> Vec<Value> {
    let form = images.iter().fold(Form::new(), |form, &at| {
        form.file("files", "a.png", png(at, 20, 30))
    });
    let answer = ask(server.address, form.post("/embed/images")).await;
    answer.json()["embeddings"].as_array().unwrap().clone()
}

async fn good(server: &Server, path: &str, body: &Value) -> Value {
    let answer = ask(server.address, post_json(path, &body.to_string())).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    answer.json()
}

/// The status, and the sentence in `field`, which `detail` has too.
fn told(answer: &Answer, field: &str) -> (u16, String) {
    let json = answer.json();
    assert_eq!(json["detail"], json[field], "{json}");
    let sentence = json[field].as_str().unwrap_or_else(|| panic!("{json}"));
    (answer.status, sentence.to_owned())
}

async fn refusals(server: &Server, path: &str, field: &str, cases: &[(Value, u16, &str)]) {
    for (body, status, said) in cases {
        let answer = ask(server.address, post_json(path, &body.to_string())).await;
        let (got, sentence) = told(&answer, field);
        assert_eq!(got, *status, "{body}: {sentence}");
        assert!(sentence.contains(said), "{body}: {sentence}");
    }
}

#[tokio::test]
async fn cohere() {
    let server = server().await;
    let (words, pictures) = (
        texts(&server, &["a cat", "two dogs"]).await,
        images(&server, &[1, 2]).await,
    );
    let types = ["float", "int8", "uint8", "binary", "ubinary", "base64"];
    let body = json!({ "model": "m", "texts": ["a cat", "two dogs"], "embedding_types": types });
    let answer = good(&server, "/v2/embed", &body).await;
    assert_eq!(answer["embeddings"]["float"], json!(words));
    assert_eq!(answer["embeddings"].as_object().unwrap().len(), types.len());
    assert_eq!(answer["texts"], json!(["a cat", "two dogs"]));
    let decoded = |row: &Value| STANDARD.decode(row.as_str().unwrap()).unwrap();
    let floats: Vec<f32> = serde_json::from_value(words[1].clone()).unwrap();
    let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(decoded(&answer["embeddings"]["base64"][1]), bytes);
    let largest = floats.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let expected: Vec<i64> = floats
        .iter()
        .map(|&x| (f64::from(x) * (127.0 / f64::from(largest))).round() as i64)
        .collect();
    assert_eq!(answer["embeddings"]["int8"][1], json!(expected));

    let body = json!({ "images": [uri(1), encoded(2)], "input_type": "image" });
    let answer = good(&server, "/v2/embed", &body).await;
    assert_eq!(answer["embeddings"], json!({ "float": pictures }));
    assert_eq!(
        answer["meta"]["billed_units"],
        json!({ "input_tokens": 0, "images": 2 })
    );
    let body = json!({ "inputs": [
        { "content": [{ "type": "text", "text": "a cat" }] },
        { "content": [{ "type": "image_url", "image_url": { "url": uri(2) } }] },
        { "content": [{ "type": "image_url", "image_url": uri(1) }] },
        { "content": "two dogs" },
    ] });
    let answer = good(&server, "/v2/embed", &body).await;
    let expected = [&words[0], &pictures[1], &pictures[0], &words[1]];
    assert_eq!(answer["embeddings"]["float"], json!(expected));

    refusals(
        &server,
        "/v2/embed",
        "message",
        &[
            (json!({}), 400, "one of: texts, images, inputs"),
            (
                json!({ "texts": ["a"], "images": [uri(1)] }),
                400,
                "one of: texts, images, inputs",
            ),
            (json!({ "texts": "a" }), 400, "texts must be a list"),
            (json!({ "texts": [1] }), 400, "texts[0]"),
            (
                json!({ "images": ["https://x/a.jpg"] }),
                400,
                "fetches none",
            ),
            (json!({ "images": ["QUJD"] }), 400, "images[0]"),
            (
                json!({ "inputs": [{ "content": [
            { "type": "text", "text": "a" },
            { "type": "image_url", "image_url": uri(1) },
        ] }] }),
                400,
                "more than one part",
            ),
            (json!({ "inputs": [{}] }), 400, "inputs[0] has no content"),
            (
                json!({ "inputs": [{ "content": [] }] }),
                400,
                "inputs[0] has no content",
            ),
            (
                json!({ "texts": ["a"], "embedding_types": ["int4"] }),
                400,
                "embedding_types",
            ),
            (
                json!({ "texts": ["a"], "output_dimension": 1 }),
                400,
                "Matryoshka",
            ),
            (
                json!({ "texts": ["word ".repeat(200)], "truncate": "NONE" }),
                413,
                "tokens",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn text_embeddings_inference() {
    let server = server().await;
    let words = texts(&server, &["a cat", "two dogs"]).await;
    let pictures = images(&server, &[1]).await;
    for path in ["/embed", "/"] {
        let answer = good(&server, path, &json!({ "inputs": ["a cat", "two dogs"] })).await;
        assert_eq!(answer, json!(words));
        let body = json!({ "inputs": "a cat", "truncate": true, "truncation_direction": "Right" });
        assert_eq!(good(&server, path, &body).await, json!([words[0]]));
        let body = json!({ "inputs": ["a cat", uri(1)], "prompt_name": null });
        assert_eq!(
            good(&server, path, &body).await,
            json!([words[0], pictures[0]])
        );
    }
    let raw = good(
        &server,
        "/embed",
        &json!({ "inputs": "a cat", "normalize": false }),
    )
    .await;
    assert_ne!(raw[0], words[0]);
    refusals(
        &server,
        "/embed",
        "error",
        &[
            (json!({}), 400, "must have inputs"),
            (json!({ "inputs": [[1, 2]] }), 400, "token ids"),
            (
                json!({ "inputs": "a", "prompt_name": "query" }),
                400,
                "prompt_name",
            ),
            (
                json!({ "inputs": "a", "truncation_direction": "left" }),
                400,
                "at its start",
            ),
            (json!({ "inputs": "a", "truncate": "yes" }), 400, "truncate"),
            (json!({ "inputs": "a", "dimensions": 1 }), 400, "Matryoshka"),
            (
                json!({ "inputs": "word ".repeat(200), "truncate": false }),
                413,
                "tokens",
            ),
        ],
    )
    .await;
    let wrong = ask(server.address, post_json("/embed", "{}")).await.json();
    assert_eq!(wrong["error_type"], "validation");
    let info = ask(server.address, get("/info")).await.json();
    assert_eq!(info["model_id"], info["model"]);
    assert_eq!(info["model_dtype"], "float32");
    assert_eq!(info["max_input_length"], info["text_tokens"]);
    assert!(info["model_type"]["embedding"].is_object());
}

#[tokio::test]
async fn weaviate() {
    let server = server().await;
    let answer = good(
        &server,
        "/vectorize",
        &json!({ "texts": ["a cat"], "images": [encoded(1), encoded(2)] }),
    )
    .await;
    assert_eq!(
        answer["textVectors"],
        json!(texts(&server, &["a cat"]).await)
    );
    assert_eq!(
        answer["imageVectors"],
        json!(images(&server, &[1, 2]).await)
    );
    let none = good(
        &server,
        "/vectorize",
        &json!({ "texts": null, "images": [] }),
    )
    .await;
    assert_eq!(none, json!({ "textVectors": [], "imageVectors": [] }));
    refusals(
        &server,
        "/vectorize",
        "error",
        &[
            (json!({ "images": ["QUJD"] }), 400, "images[0]"),
            (json!({ "texts": [null] }), 400, "texts[0]"),
            (json!([]), 400, "must be an object"),
        ],
    )
    .await;
    for path in ["/.well-known/live", "/.well-known/ready"] {
        let answer = ask(server.address, get(path)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
    }
    assert!(ask(server.address, get("/meta")).await.json().is_object());
    let starting = Server::starting().await;
    assert_eq!(
        ask(starting.address, get("/.well-known/live")).await.status,
        204
    );
    assert_eq!(
        ask(starting.address, get("/.well-known/ready"))
            .await
            .status,
        503
    );
}

#[tokio::test]
async fn immich() {
    let server = server().await;
    let entries = |task: &str| json!({ "clip": { task: { "modelName": "x" } } }).to_string();
    let form =
        Form::new()
            .text("entries", entries("visual"))
            .file("image", "a.png", png(1, 20, 30));
    let answer = ask(server.address, form.post("/predict")).await.json();
    let vector: Value = serde_json::from_str(answer["clip"].as_str().unwrap()).unwrap();
    assert_eq!(vector, images(&server, &[1]).await[0]);
    assert_eq!(
        (&answer["imageHeight"], &answer["imageWidth"]),
        (&json!(8), &json!(8))
    );
    let form = Form::new()
        .text("entries", entries("textual"))
        .text("text", "a cat");
    let answer = ask(server.address, form.post("/predict")).await.json();
    let vector: Value = serde_json::from_str(answer["clip"].as_str().unwrap()).unwrap();
    assert_eq!(vector, texts(&server, &["a cat"]).await[0]);
    assert_eq!(answer.as_object().unwrap().len(), 1);

    for (entries, status, said) in [
        (entries("visual"), 400, "no file in image"),
        ("{".into(), 400, "entries is not valid JSON"),
        (entries("x"), 400, "visual, textual"),
        (r#"{"facial-recognition": {}}"#.into(), 400, "no other task"),
        (String::new(), 422, "entries"),
    ] {
        let form = Form::new().text("entries", &entries);
        let answer = ask(server.address, form.post("/predict")).await;
        let (got, sentence) = told(&answer, "error");
        assert_eq!(got, status, "{entries}: {sentence}");
        assert!(sentence.contains(said), "{entries}: {sentence}");
    }
    assert_eq!(ask(server.address, get("/ping")).await.text(), "pong");
}

/// The scores of a label in a result.
fn score<'a>(result: &'a Value, label: &str) -> &'a Value {
    let scores = result["scores"].as_array().unwrap();
    scores.iter().find(|score| score["label"] == label).unwrap()
}

#[tokio::test]
async fn zero_shot_scores_are_those_of_similarity() {
    let server = server().await;
    let labels = ["cat", "two dogs"];
    let sentences = labels.map(|label| format!("This is a photo of {label}."));
    let form =
        Form::new()
            .file("files", "a.png", png(1, 20, 30))
            .file("files", "b.png", png(200, 20, 30));
    let similarity = form.clone().text("texts", json!(sentences).to_string());
    let similarity = ask(server.address, similarity.post("/similarity"))
        .await
        .json();
    let by_form = form.clone().text("labels", json!(labels).to_string());
    let by_form = ask(server.address, by_form.post("/classify")).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    let by_form = by_form.json();
    let body = json!({ "images": [encoded(1), uri(200)], "labels": labels });
    let by_json = good(&server, "/classify", &body).await;
    let vectors = images(&server, &[1, 200]).await;
    let given = json!({ "embeddings": vectors, "labels": labels });
    let by_vector = good(&server, "/classify", &given).await;
    for picture in 0..2 {
        for (at, label) in labels.iter().enumerate() {
            let expected = similarity["similarities"][at][picture].as_f64().unwrap();
            for answer in [&by_form, &by_json, &by_vector] {
                let got = score(&answer["results"][picture], label);
                let probability = got["score"].as_f64().unwrap();
                assert!(
                    (probability - expected).abs() < 1e-6,
                    "{got} is not {expected}"
                );
                let logit = got["logit"].as_f64().unwrap();
                assert!((1.0 / (1.0 + (-logit).exp()) - probability).abs() < 1e-12);
                assert!(got["cosine"].as_f64().unwrap().abs() <= 1.0 + 1e-6);
            }
        }
    }
    assert_eq!(by_form["results"][1]["filename"], "b.png");
    assert_eq!(
        by_json["hypothesis_templates"],
        json!(["This is a photo of {}."])
    );

    let body = json!({ "images": [encoded(1)], "labels": labels, "activation": "softmax" });
    let softmax = good(&server, "/classify", &body).await;
    let scores = softmax["results"][0]["scores"].as_array().unwrap();
    let sum: f64 = scores
        .iter()
        .filter_map(|score| score["score"].as_f64())
        .sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert!(scores[0]["score"].as_f64() >= scores[1]["score"].as_f64());

    let hugging = json!({ "inputs": encoded(1), "parameters": { "candidate_labels": labels } });
    let hugging = good(&server, "/classify", &hugging).await;
    let first = &by_json["results"][0]["scores"][0];
    assert_eq!(
        hugging[0],
        json!({ "label": first["label"], "score": first["score"] })
    );
    assert_eq!(hugging.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn several_templates_are_averaged() {
    let server = server().await;
    let templates = ["a {}.", "the {} here"];
    let vectors: Vec<Vec<f64>> = texts(&server, &["a cat.", "the cat here"])
        .await
        .into_iter()
        .map(|row| serde_json::from_value(row).unwrap())
        .collect();
    let mean: Vec<f64> = vectors[0]
        .iter()
        .zip(&vectors[1])
        .map(|(a, b)| a + b)
        .collect();
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    let picture: Vec<f64> = serde_json::from_value(images(&server, &[1]).await.remove(0)).unwrap();
    let expected: f64 = mean.iter().zip(&picture).map(|(a, b)| a / norm * b).sum();
    let body =
        json!({ "images": [encoded(1)], "labels": ["cat"], "hypothesis_templates": templates });
    let answer = good(&server, "/classify", &body).await;
    let got = answer["results"][0]["scores"][0]["cosine"]
        .as_f64()
        .unwrap();
    assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
}

#[tokio::test]
async fn zero_shot_refuses_with_a_sentence() {
    let settings = HttpSettings {
        max_text_bytes: 1000,
        max_images_per_request: 3,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let dimensions = server.service.info().dimensions;
    let row = vec![0.5; dimensions];
    refusals(&server, "/classify", "error", &[
        (json!({ "images": [encoded(1)] }), 400, "must have labels"),
        (json!({ "images": [encoded(1)], "labels": [] }), 400, "labels must not be empty"),
        (json!({ "images": [encoded(1)], "labels": "cat" }), 400, "labels must be a list"),
        (json!({ "images": [encoded(1)], "labels": ["a", 1] }), 400, "labels[1]"),
        (json!({ "labels": ["a"] }), 400, "one of: images, embeddings, inputs"),
        (json!({ "images": [], "embeddings": [], "labels": ["a"] }), 400, "one of: images"),
        (json!({ "images": ["QUJD"], "labels": ["a"] }), 400, "images[0]"),
        (json!({ "images": ["http://x"], "labels": ["a"] }), 400, "fetches none"),
        (json!({ "embeddings": [[1.0]], "labels": ["a"] }), 400, "embeddings[0] must be a list"),
        (json!({ "embeddings": [row, vec!["x"; dimensions]], "labels": ["a"] }), 400, "embeddings[1]"),
        (json!({ "embeddings": vec![row.clone(); 4], "labels": ["a"] }), 413, "more than the 3"),
        (json!({ "images": [], "labels": ["a"], "hypothesis_template": "x" }), 400, "has no {}"),
        (
            json!({ "images": [], "labels": ["a"], "hypothesis_template": "{}", "hypothesis_templates": ["{}"] }),
            400,
            "both",
        ),
        (json!({ "images": [], "labels": ["a"], "activation": "tanh" }), 400, "activation"),
        // A label in each of many holes: refused before the sentence is made.
        (json!({ "images": [], "labels": ["x".repeat(900)], "hypothesis_template": "{}".repeat(400) }), 413, "labels[0] has 360000 bytes"),
        (json!({ "images": [], "labels": ["a"], "hypothesis_templates": vec!["{}"; 129] }), 413, "128"),
    ])
    .await;
    let far = format!(
        r#"{{"labels": ["a"], "embeddings": [[{}1e39]]}}"#,
        "0,".repeat(dimensions - 1)
    );
    let answer = ask(server.address, post_json("/classify", &far)).await;
    assert_eq!(told(&answer, "error").0, 400);
    let form = Form::new().file("files", "a.png", png(1, 2, 3));
    for (form, status, said) in [
        (form.clone(), 422, "labels"),
        (
            form.clone().text("labels", "cat"),
            400,
            "labels is not valid JSON",
        ),
        (
            form.clone()
                .text("labels", "[\"a\"]")
                .text("activation", "x"),
            400,
            "activation",
        ),
        (Form::new().text("labels", "[\"a\"]"), 422, "files"),
    ] {
        let answer = ask(server.address, form.post("/classify")).await;
        let (got, sentence) = told(&answer, "error");
        assert_eq!(got, status, "{sentence}");
        assert!(sentence.contains(said), "{sentence}");
    }
}

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
            (json!({ "inputs": [words, words] }), 400, "comes twice"),
            (
                json!({ "inputs": [words, words, words] }),
                413,
                "more than the 2",
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
