//! `/v1/embeddings` and `/v1/models`: every shape gets the vectors of `/embed/text` and
//! `/embed/image`, and what is refused is refused with a sentence in OpenAI's shape.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::{Form, Server, ask, encoded, get, png, post_json, quick, request, uri};
use siglip2_embeddings::http::HttpSettings;

const PATH: &str = "/v1/embeddings";

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

/// The vectors of texts and images by the service's own paths.
async fn own(server: &Server, texts: &[&str], images: &[u8]) -> Vec<Value> {
    let body = json!({ "texts": texts }).to_string();
    let answer = ask(server.address, post_json("/embed/text", &body)).await;
    let mut rows = answer.json()["embeddings"].as_array().unwrap().clone();
    for &image in images {
        let form = Form::new().file("file", "a.png", png(image, 20, 30));
        let answer = ask(server.address, form.post("/embed/image")).await;
        rows.push(answer.json()["embeddings"][0].clone());
    }
    rows
}

async fn embeddings(server: &Server, body: &Value) -> Vec<Value> {
    let answer = ask(server.address, post_json(PATH, &body.to_string())).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    let json = answer.json();
    assert_eq!(json["object"], "list");
    assert_eq!(json["model"], server.service.info().name);
    let data = json["data"].as_array().unwrap();
    for (at, entry) in data.iter().enumerate() {
        assert_eq!(entry["object"], "embedding");
        assert_eq!(entry["index"], at);
    }
    data.iter()
        .map(|entry| entry["embedding"].clone())
        .collect()
}

/// The status and the sentence of a refusal, which stands in both places.
async fn refusal(server: &Server, sent: Vec<u8>) -> (u16, String) {
    let answer = ask(server.address, sent).await;
    let json = answer.json();
    let message = json["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(json["detail"], message, "{json}");
    assert!(json["error"]["type"].is_string(), "{json}");
    (answer.status, message.to_owned())
}

#[tokio::test]
async fn every_shape_gets_the_vectors_of_the_services_own_paths() {
    let server = server().await;
    let own = own(&server, &["a cat", "two dogs"], &[1, 2]).await;
    let [cat, dogs, one, two] = own.as_slice() else {
        panic!()
    };
    let message = |content: Value| json!([{ "role": "user", "content": content }]);
    let image_url = |at| json!({ "type": "image_url", "image_url": { "url": uri(at) } });
    let cases = [
        (json!({ "input": "a cat" }), vec![cat]),
        (
            json!({ "input": ["a cat", "two dogs"], "model": "x", "user": null }),
            vec![cat, dogs],
        ),
        // NIM: data URIs among the strings.
        (
            json!({ "input": ["a cat", uri(1), "two dogs", uri(2)] }),
            vec![cat, one, dogs, two],
        ),
        (json!({ "input": uri(2) }), vec![two]),
        // infinity: one kind for all.
        (
            json!({ "input": [uri(1), encoded(2)], "modality": "image" }),
            vec![one, two],
        ),
        (json!({ "input": "a cat", "modality": "text" }), vec![cat]),
        // Jina, SGLang, LlamaIndex: objects.
        (
            json!({ "input": [
                { "image": encoded(1) }, { "text": "a cat" }, { "url": uri(2), "text": null },
                { "bytes": encoded(1) }, "two dogs", { "image_url": { "url": uri(2) } },
                { "type": "image_base64", "image_base64": encoded(2) },
            ] }),
            vec![one, cat, two, one, dogs, two, two],
        ),
        (json!({ "input": { "text": "two dogs" } }), vec![dogs]),
        // vLLM: messages, of which one vector is made.
        (
            json!({ "messages": message(json!([image_url(1)])) }),
            vec![one],
        ),
        (json!({ "messages": message(json!("a cat")) }), vec![cat]),
        (
            json!({ "messages": [
                { "role": "system", "content": "" },
                { "role": "user", "content": [{ "type": "text", "text": "" }, image_url(2)] },
            ] }),
            vec![two],
        ),
        (
            json!({ "input": "a cat", "dimensions": server.service.info().dimensions }),
            vec![cat],
        ),
        // infinity's client, where its caller says nothing.
        (
            json!({ "input": ["a cat"], "dimensions": 0, "modality": "text" }),
            vec![cat],
        ),
    ];
    for (body, expected) in cases {
        let got = embeddings(&server, &body).await;
        assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{body}");
    }
}

#[tokio::test]
async fn vectors_come_as_numbers_as_base64_and_quantized() {
    let server = server().await;
    let numbers: Vec<f32> = serde_json::from_value(
        embeddings(&server, &json!({ "input": "a" }))
            .await
            .remove(0),
    )
    .unwrap();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    for field in ["encoding_format", "embedding_type", "encoding_type"] {
        let body = json!({ "input": "a", field: "base64" });
        assert_eq!(
            embeddings(&server, &body).await,
            [json!(STANDARD.encode(&bytes))]
        );
    }
    let body = json!({ "input": "a", "encoding_format": "float" });
    let again = embeddings(&server, &body).await.remove(0);
    assert_eq!(serde_json::from_value::<Vec<f32>>(again).unwrap(), numbers);
    let bits = numbers.iter().enumerate();
    let bits: u8 = bits.map(|(at, &x)| u8::from(x > 0.0) << (7 - at)).sum();
    let body = json!({ "input": "a", "embedding_type": "ubinary" });
    assert_eq!(embeddings(&server, &body).await, [json!([bits])]);
}

#[tokio::test]
async fn vectors_are_normalized_unless_something_else_is_said() {
    let server = server().await;
    let raw = json!({ "texts": ["a"], "normalize": false }).to_string();
    let raw = ask(server.address, post_json("/embed/text", &raw))
        .await
        .json();
    for field in ["normalized", "normalize"] {
        let body = json!({ "input": "a", field: false });
        assert_eq!(embeddings(&server, &body).await[0], raw["embeddings"][0]);
    }
}

#[tokio::test]
async fn usage_counts_the_tokens_of_the_texts() {
    let server = server().await;
    let texts = json!({ "texts": ["a cat", "two dogs"], "tokens": true }).to_string();
    let told = ask(server.address, post_json("/embed/text", &texts))
        .await
        .json();
    let tokens: u64 = told["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .sum();
    let body = json!({ "input": ["a cat", uri(1), "two dogs"] }).to_string();
    let usage = ask(server.address, post_json(PATH, &body)).await.json()["usage"].clone();
    assert_eq!(
        usage,
        json!({ "prompt_tokens": tokens, "total_tokens": tokens })
    );
}

#[tokio::test]
async fn what_is_not_taken_is_refused_with_a_sentence() {
    let server = server().await;
    let both = json!([{ "role": "user", "content": [
        { "type": "text", "text": "a cat" },
        { "type": "image_url", "image_url": { "url": uri(1) } },
    ] }]);
    for (body, status, said) in [
        (
            json!({ "input": [1, 2] }),
            400,
            "check_embedding_ctx_length=False",
        ),
        (
            json!({ "input": [[1, 2], [3]] }),
            400,
            "check_embedding_ctx_length=False",
        ),
        (json!({ "input": "a", "dimensions": 2 }), 400, "Matryoshka"),
        (
            json!({ "input": "a", "dimensions": "2" }),
            400,
            "dimensions",
        ),
        (
            json!({ "input": "a", "encoding_format": "bytes" }),
            400,
            "encoding_format",
        ),
        (
            json!({ "input": "a", "modality": "audio" }),
            400,
            "does not take audio",
        ),
        (
            json!({ "input": "a", "modality": 1 }),
            400,
            "modality must be one of",
        ),
        (
            json!({ "input": "a", "normalized": "x" }),
            400,
            "normalized",
        ),
        (
            json!({ "input": "a", "truncate": "START" }),
            400,
            "at the start",
        ),
        (json!({ "input": ["a", 5] }), 400, "input[1]"),
        (json!({ "input": ["a", null] }), 400, "input[1]"),
        (json!({ "input": [{}] }), 400, "input[0]"),
        (
            json!({ "input": [{ "text": "a", "image": encoded(1) }] }),
            400,
            "more than one part",
        ),
        (
            json!({ "input": [{ "text": 7 }] }),
            400,
            "input[0] must be a string",
        ),
        (
            json!({ "input": [{ "image": "https://example.com/a.jpg" }] }),
            400,
            "fetches none",
        ),
        (
            json!({ "input": ["http://x"], "modality": "image" }),
            400,
            "fetches none",
        ),
        (
            json!({ "input": ["a", "data:image/png;base64,AAAA"] }),
            400,
            "input[1]",
        ),
        (json!({ "input": "data:image/png;base64,A" }), 400, "base64"),
        (json!({ "messages": both }), 400, "more than one part"),
        (json!({ "input": [] }), 400, "must not be an empty list"),
        (json!({ "messages": [] }), 400, "no content"),
        (json!({ "messages": "a" }), 400, "messages must be a list"),
        (json!({ "input": "a", "messages": [] }), 400, "both"),
        (json!({}), 400, "must have input"),
        (json!([]), 400, "must be an object"),
        (json!({ "input": true }), 400, "a boolean"),
        (
            json!({ "input": "word ".repeat(200), "truncate": false }),
            413,
            "tokens",
        ),
    ] {
        let (got, sentence) = refusal(&server, post_json(PATH, &body.to_string())).await;
        assert_eq!(got, status, "{body}: {sentence}");
        assert!(sentence.contains(said), "{body}: {sentence}");
    }
    for (body, said) in [
        ("", "empty"),
        ("{", "not valid JSON"),
        ("\u{feff} ", "empty"),
    ] {
        let (status, sentence) = refusal(&server, post_json(PATH, body)).await;
        assert_eq!(status, 400, "{body:?}");
        assert!(sentence.contains(said), "{sentence}");
    }
    // A text that looks like an address, or begins like a data URI, is a text.
    for text in ["https://example.com", "data: the new oil"] {
        assert_eq!(
            embeddings(&server, &json!({ "input": text })).await.len(),
            1
        );
    }
}

#[tokio::test]
async fn limits_hold_and_their_refusals_are_in_openais_shape() {
    let settings = HttpSettings {
        max_texts_per_request: 3,
        max_images_per_request: 2,
        max_text_bytes: 40,
        max_text_body_bytes: 100,
        payload_limit: 4096,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    for (body, good) in [
        (json!({ "input": ["a", "b", "c", uri(1), uri(2)] }), true),
        (json!({ "input": ["a", "b", "c", "d"] }), false),
        (json!({ "input": ["a", "b", "c", "d", "e", "f"] }), false),
        (json!({ "input": [uri(1), uri(2), uri(3)] }), false),
        (json!({ "input": "x".repeat(40) }), true),
        (json!({ "input": "x".repeat(41) }), false),
        (
            json!({ "input": ["x".repeat(40), "x".repeat(40), "x".repeat(21)] }),
            false,
        ),
        (json!({ "input": "a", "x": "x".repeat(4096) }), false),
    ] {
        let sent = post_json(PATH, &body.to_string());
        if good {
            assert_eq!(ask(server.address, sent).await.status, 200, "{body}");
        } else {
            assert_eq!(refusal(&server, sent).await.0, 413, "{body}");
        }
    }
    let wrong = request("POST", PATH, &[("Content-Type", "text/plain")], b"{}");
    assert_eq!(refusal(&server, wrong).await.0, 415);
    assert_eq!(refusal(&server, get("/v1/embeddings")).await.0, 405);
    assert_eq!(refusal(&server, get("/v1/nothing")).await.0, 404);
}

#[tokio::test]
async fn keys_full_queues_and_states_are_told_in_openais_shape() {
    let settings = HttpSettings {
        api_key: siglip2_embeddings::http::ApiKey::parse("sk-1").ok(),
        ..quick()
    };
    let server = Server::start(settings).await;
    let body = json!({ "input": "a" }).to_string();
    let sent = |key: &str| {
        let key = format!("Bearer {key}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", key.as_str()),
        ];
        request("POST", PATH, &headers, body.as_bytes())
    };
    assert_eq!(refusal(&server, sent("sk-2")).await.0, 401);
    assert_eq!(refusal(&server, get("/v1/models")).await.0, 401);
    assert_eq!(ask(server.address, sent("sk-1")).await.status, 200);

    let small = Server::with_rows(2, HttpSettings::default()).await;
    let three = post_json(PATH, &json!({ "input": ["a", "b", "c"] }).to_string());
    assert_eq!(refusal(&small, three).await.0, 413);

    let starting = Server::starting().await;
    let answer = ask(starting.address, post_json(PATH, &body)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["error"]["type"], "server_error");

    let busy = HttpSettings {
        max_concurrent_requests: 1,
        ..HttpSettings::default()
    };
    let busy = Server::start(busy).await;
    // A request whose body has not come yet is the one that there may be.
    let mut first = crate::common::Client::connect(busy.address).await;
    first
        .send("POST /v1/embeddings HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{")
        .await;
    loop {
        let answer = ask(busy.address, post_json(PATH, &body)).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
            break;
        }
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn memory_is_counted_and_given_back() {
    let server = server().await;
    let memory = server.service.memory().clone();
    let body = json!({ "input": [uri(1), "a", uri(2)] }).to_string();
    assert_eq!(
        ask(server.address, post_json(PATH, &body)).await.status,
        200
    );
    for kind in siglip2_embeddings::service::MemoryUse::ALL {
        while memory.held(kind) > 0 {
            tokio::task::yield_now().await;
        }
    }
    // UTF-16, as Windows writes it, is decoded first; that is counted as well.
    let wide: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let sent = request("POST", PATH, &[("Content-Type", "application/json")], &wide);
    assert_eq!(ask(server.address, sent).await.status, 200);
}

#[tokio::test]
async fn escapes_are_undone_within_the_memory_of_bodies() {
    // Three eighths are for bodies.
    let limits = ["--max-request-memory", "8MiB", "--payload-limit", "1MiB"];
    let service = crate::common::model::service("demo", &limits);
    let server = Server::of(service).await;
    let body = |filling: &str| {
        let filling = filling.repeat((1 << 20) / filling.len());
        post_json(PATH, &format!(r#"{{"input": "a", "x": "{filling}"}}"#))
    };
    assert_eq!(ask(server.address, body("x")).await.status, 200);
    let (status, sentence) = refusal(&server, body("\\n")).await;
    assert_eq!(status, 413);
    assert!(sentence.contains("memory"), "{sentence}");
}

#[tokio::test]
async fn azures_path_is_another_one_to_the_same() {
    let server = server().await;
    let body = json!({ "input": "a cat", "model": "x" }).to_string();
    let own = ask(server.address, post_json(PATH, &body)).await;
    let path = "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-02-01";
    let answer = ask(server.address, post_json(path, &body)).await;
    assert_eq!((answer.status, answer.json()), (200, own.json()));
    let (status, _) = refusal(&server, get("/openai/deployments/x/chat/completions")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn there_is_one_model_and_it_has_its_name() {
    let server = server().await;
    let name = server.service.info().name.clone();
    let list = ask(server.address, get("/v1/models")).await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], name);
    assert_eq!(list["data"][0]["object"], "model");
    let model = ask(
        server.address,
        get(&format!("/v1/models/{}", name.replace('"', "%22"))),
    )
    .await;
    assert_eq!(model.json(), list["data"][0]);
    let (status, sentence) = refusal(&server, get("/v1/models/gpt%2D4%0A")).await;
    assert_eq!(status, 404);
    assert!(
        sentence.contains("gpt-4") && sentence.contains(&name),
        "{sentence}"
    );
}
