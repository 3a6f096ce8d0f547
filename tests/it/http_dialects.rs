//! The paths of Cohere, text-embeddings-inference, Weaviate and immich: what their clients send gets
//! the vectors of the service's own paths, and what is refused is refused in their shape. The others
//! have files of their own: `http_openai`, `http_classify`, `http_kserve`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::dialects::{good, images, refusals, server, texts, told};
use crate::common::{Form, Server, ask, encoded, get, png, post_json, uri};

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
                "at the start",
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
async fn the_bare_address_takes_every_task_of_hugging_faces_clients() {
    let server = server().await;
    let labels = json!({ "candidate_labels": ["cat", "dog"], "hypothesis_template": "one {}" });
    let sentences = json!({ "source_sentence": "one cat", "sentences": ["a cat", "two dogs"] });
    for (path, body, count) in [
        (
            "/classify",
            json!({ "inputs": encoded(1), "parameters": labels }),
            2,
        ),
        (
            "/similarity",
            json!({ "inputs": sentences, "parameters": {} }),
            2,
        ),
        ("/embed", json!({ "inputs": "a cat", "parameters": {} }), 1),
        (
            "/embed",
            json!({ "inputs": ["a cat", uri(1)], "parameters": null }),
            2,
        ),
    ] {
        let answer = good(&server, "/", &body).await;
        assert_eq!(answer, good(&server, path, &body).await, "{body}");
        assert_eq!(answer.as_array().unwrap().len(), count, "{body}");
    }
    let none = json!({ "candidate_labels": [] });
    refusals(
        &server,
        "/",
        "error",
        &[
            (
                json!({ "inputs": encoded(1), "parameters": none }),
                400,
                "must have classes",
            ),
            (
                json!({ "inputs": "QUJD", "parameters": labels }),
                400,
                "inputs: ",
            ),
            (json!({ "parameters": labels }), 400, "must have inputs"),
            (
                json!({ "inputs": { "source_sentence": "a" } }),
                400,
                "a list of strings",
            ),
        ],
    )
    .await;
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

#[tokio::test]
async fn similarity_of_text_embeddings_inference() {
    let server = server().await;
    let sentences = ["a cat", "two dogs", "a cat"];
    let rows: Vec<Vec<f64>> = texts(&server, &["one cat", "a cat", "two dogs"])
        .await
        .into_iter()
        .map(|row| serde_json::from_value(row).unwrap())
        .collect();
    let cosine = |at: usize| -> f64 { rows[0].iter().zip(&rows[at]).map(|(a, b)| a * b).sum() };
    let expected = [cosine(1), cosine(2), cosine(1)];
    let inputs = json!({ "source_sentence": "one cat", "sentences": sentences });
    for body in [
        json!({ "inputs": inputs }),
        // As huggingface_hub sends it.
        json!({ "inputs": inputs, "parameters": {} }),
        json!({ "inputs": inputs, "parameters": { "truncate": false, "truncation_direction": "Right" } }),
    ] {
        let answer = good(&server, "/similarity", &body).await;
        let got: Vec<f64> = serde_json::from_value(answer).unwrap();
        assert_eq!(got.len(), 3);
        for (got, want) in got.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }
    let long = "word ".repeat(200);
    for (body, status, said) in [
        (json!({ "inputs": "a" }), 400, "inputs must be an object"),
        (
            json!({ "inputs": { "sentences": ["a"] } }),
            400,
            "inputs must have source_sentence",
        ),
        (
            json!({ "inputs": { "source_sentence": "a", "sentences": [] } }),
            400,
            "sentences must not be empty",
        ),
        (
            json!({ "inputs": { "source_sentence": "a", "sentences": ["b", 1] } }),
            400,
            "sentences[1]",
        ),
        (
            json!({ "inputs": inputs, "parameters": { "prompt_name": "query" } }),
            400,
            "prompt_name",
        ),
        (
            json!({ "inputs": inputs, "parameters": { "truncation_direction": "left" } }),
            400,
            "truncation_direction",
        ),
        (
            json!({ "inputs": { "source_sentence": "a", "sentences": ["b", long] }, "parameters": { "truncate": false } }),
            413,
            "sentences[1]",
        ),
    ] {
        let answer = ask(server.address, post_json("/similarity", &body.to_string())).await;
        let (got, sentence) = answer.error();
        assert_eq!(got, status, "{body}: {sentence}");
        assert!(sentence.contains(said), "{body}: {sentence}");
    }
    // What is ours is ours, by the same path.
    let own = json!({ "image_base64": [encoded(1)], "texts": ["a cat"] });
    let answer = good(&server, "/similarity", &own).await;
    assert_eq!(answer["similarities"].as_array().unwrap().len(), 1);
}
