//! Bodies that come compressed, images in JSON, answers that go compressed, and pages of other
//! origins.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::common::{Answer, Form, Server, ask, encoded, get, png, post_json, request, uri};
use siglip2_embeddings::http::{ApiKey, HttpSettings, Origins};
use siglip2_embeddings::service::MemoryUse;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

fn coded(path: &str, kind: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let headers = [("Content-Type", kind), ("Content-Encoding", coding)];
    request("POST", path, &headers, body)
}

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// Waits until nothing is held; a request may hold something for a moment after its answer. The
/// test's own patience is its only end.
async fn given_back(server: &Server, of: MemoryUse) {
    while server.service.memory().held(of) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// What makes an answer the same as another one.
fn told(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_compressed_body_is_read_as_what_it_stands_for() {
    let server = server().await;
    let form =
        Form::new()
            .file("files", "a.png", png(1, 20, 30))
            .file("files", "b.png", png(2, 20, 30));
    let file = png(3, 20, 30);
    let packed = [&(file.len() as u32).to_le_bytes()[..], &file].concat();
    let texts = json!({ "texts": ["a cat", "x".repeat(100_000)] }).to_string();
    let bodies: [(&str, &str, Vec<u8>); 5] = [
        ("/embed/text", JSON, texts.into_bytes()),
        ("/v1/embeddings", JSON, br#"{"input": "a cat"}"#.to_vec()),
        (
            "/embed/images",
            "multipart/form-data; boundary=X",
            Vec::new(),
        ),
        ("/embed/images", OCTETS, packed),
        ("/embed/image", "image/png", file),
    ];
    for (path, kind, body) in bodies {
        let plain = match body.is_empty() {
            true => form.post(path),
            false => request("POST", path, &[("Content-Type", kind)], &body),
        };
        let expected = told(&ask(server.address, plain).await);
        assert_eq!(expected.0, 200, "{path}: {}", expected.1);
        let body = match body.is_empty() {
            true => form.body(),
            false => body,
        };
        for (coding, body) in [
            ("gzip", gzip(&body)),
            ("x-gzip", gzip(&body)),
            ("zstd", zstd(&body)),
            ("identity", body.clone()),
        ] {
            let answer = ask(server.address, coded(path, kind, coding, &body)).await;
            assert_eq!(told(&answer), expected, "{path} {coding}");
        }
    }
    given_back(&server, MemoryUse::Bodies).await;
}

#[tokio::test]
async fn a_body_that_stands_for_too_much_is_refused() {
    let limit = 8 << 20;
    let settings = HttpSettings {
        payload_limit: limit as u64,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let zeros = vec![b' '; limit + 1];
    for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        assert!(bomb.len() < limit / 100);
        for (path, kind) in [
            ("/embed/text", JSON),
            ("/v1/embeddings", JSON),
            ("/embed/images", OCTETS),
            ("/embed/image", "image/png"),
        ] {
            let answer = ask(server.address, coded(path, kind, coding, &bomb)).await;
            let (status, sentence) = refusal(&answer);
            assert_eq!(status, 413, "{path} {coding}: {sentence}");
            assert!(sentence.contains("larger than the limit of"), "{sentence}");
        }
    }
    given_back(&server, MemoryUse::Bodies).await;
}

#[tokio::test]
async fn what_is_decoded_is_bounded_by_the_memory_for_bodies() {
    let (service, _orders) = crate::common::engine::with_memory(8, 16 << 20);
    let server = Server::of(service).await;
    let zeros = vec![b' '; 12 << 20];
    for (coding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let sent = coded("/embed/images", OCTETS, coding, &bomb);
        let answer = ask(server.address, sent).await;
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    let metrics = server.service.metrics().text();
    assert!(metrics.contains("siglip2_memory_refusals_total{use=\"bodies\"} 2"));
    given_back(&server, MemoryUse::Bodies).await;
}

fn refusal(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    let sentence = json["detail"]
        .as_str()
        .or(json["error"]["message"].as_str());
    (answer.status, sentence.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_broken_body_or_another_coding_is_refused_with_a_sentence() {
    let server = server().await;
    let body = br#"{"texts": ["a"]}"#;
    let good = gzip(body);
    for (coding, body, status, said) in [
        ("gzip", body.as_slice(), 400, "not valid gzip"),
        ("zstd", body.as_slice(), 400, "not valid zstd"),
        ("gzip", &good[..good.len() - 3], 400, "ends early"),
        ("gzip", b"", 400, "ends early"),
        ("br", body, 415, "br"),
        ("gzip, zstd", &good, 415, "more than one"),
    ] {
        let answer = ask(server.address, coded("/embed/text", JSON, coding, body)).await;
        let (got, sentence) = answer.error();
        assert_eq!(got, status, "{coding}: {sentence}");
        assert!(sentence.contains(said), "{sentence}");
        if status == 415 {
            assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"));
        }
    }
}

#[tokio::test]
async fn images_come_in_json_as_well() {
    let server = server().await;
    // Images that `encoded` makes.
    let files = [0_u8, 1, 2].map(|at| {
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded(at)).unwrap()
    });
    let one = Form::new().file("file", "a", &files[0]);
    let one = ask(server.address, one.post("/embed/image")).await.json();
    let form = files
        .iter()
        .fold(Form::new(), |form, file| form.file("files", "", file));
    let many = ask(server.address, form.post("/embed/images")).await.json();
    for image in [encoded(0), uri(0)] {
        let body = json!({ "image_base64": image }).to_string();
        let answer = ask(server.address, post_json("/embed/image", &body)).await;
        assert_eq!(told(&answer), (200, one.clone()));
    }
    let images = json!([encoded(0), uri(1), encoded(2)]);
    let ask_json = async |path: &str, body: Value| {
        ask(server.address, post_json(path, &body.to_string())).await
    };
    let answer = ask_json("/embed/images", json!({ "image_base64": images })).await;
    assert_eq!(told(&answer), (200, many.clone()));
    let none = ask_json("/embed/images", json!({ "image_base64": [] })).await;
    assert_eq!(none.json()["embeddings"], json!([]));

    let with = form.clone().text("texts", r#"["a cat", "two"]"#);
    let expected = ask(server.address, with.post("/similarity")).await.json();
    let body = json!({ "image_base64": images, "texts": ["a cat", "two"] });
    assert_eq!(told(&ask_json("/similarity", body).await), (200, expected));

    let with = form.text("query", "a cat").text("details", "true");
    let mut expected = ask(server.address, with.post("/rank")).await.json();
    let body = json!({ "image_base64": images, "query": "a cat", "details": true });
    let mut ranked = ask_json("/rank", body).await.json();
    for (own, other) in std::iter::zip(
        ranked["rankings"].as_array_mut().unwrap(),
        expected["rankings"].as_array_mut().unwrap(),
    ) {
        let name = own["filename"].take();
        assert!(
            name.as_str().unwrap().starts_with("image_base64["),
            "{name}"
        );
        other["filename"].take();
    }
    assert_eq!(ranked, expected);

    // One that is bad costs its own row where each is for itself.
    let body = json!({ "image_base64": [encoded(0), "bm90aGluZw=="], "partial": true });
    let answer = ask_json("/embed/images", body).await.json();
    assert_eq!(answer["embeddings"][0], many["embeddings"][0]);
    assert_eq!(answer["errors"][0]["index"], 1);

    for (path, body, status, said) in [
        ("/embed/image", json!({}), 400, "must have image_base64"),
        ("/embed/image", json!([]), 400, "must be an object"),
        (
            "/embed/image",
            json!({ "image_base64": "?" }),
            400,
            "base64",
        ),
        (
            "/embed/image",
            json!({ "image_base64": "bm90aGluZw==" }),
            400,
            "image_base64",
        ),
        (
            "/embed/image",
            json!({ "image_base64": "https://a.example/a.png" }),
            400,
            "fetches none",
        ),
        (
            "/embed/images",
            json!({ "image_base64": [encoded(0), "bm90aGluZw=="] }),
            400,
            "image_base64[1]",
        ),
        (
            "/embed/images",
            json!({ "image_base64": encoded(0) }),
            400,
            "must be a list",
        ),
        (
            "/similarity",
            json!({ "image_base64": [encoded(0)] }),
            400,
            "texts",
        ),
        (
            "/similarity",
            json!({ "image_base64": [], "texts": ["a"] }),
            400,
            "must not be empty",
        ),
        (
            "/rank",
            json!({ "image_base64": [encoded(0)], "query": "" }),
            400,
            "query",
        ),
    ] {
        let (got, sentence) = ask_json(path, body.clone()).await.error();
        assert_eq!(got, status, "{path} {body}: {sentence}");
        assert!(sentence.contains(said), "{path} {body}: {sentence}");
    }
}

fn with_accept(path: &str, accept: &str) -> Vec<u8> {
    request("GET", path, &[("Accept-Encoding", accept)], b"")
}

#[tokio::test]
async fn text_goes_compressed_to_those_who_take_it_and_rows_of_floats_never() {
    let server = server().await;
    let plain = ask(server.address, get("/openapi.json")).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
    for (accept, coding) in [
        ("gzip, deflate, br", "gzip"),
        ("gzip, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
    ] {
        let answer = ask(server.address, with_accept("/openapi.json", accept)).await;
        assert_eq!(answer.header("content-encoding"), Some(coding), "{accept}");
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let mut body = Vec::new();
        match coding {
            "gzip" => {
                let mut decoder = flate2::read::GzDecoder::new(&answer.body[..]);
                decoder.read_to_end(&mut body).unwrap();
            }
            _ => body = zstd::stream::decode_all(&answer.body[..]).unwrap(),
        }
        assert!(body == plain.body && answer.body.len() < plain.body.len() / 2);
        // HEAD says what GET would.
        let headers = [("Accept-Encoding", accept)];
        let head = request("HEAD", "/openapi.json", &headers, b"");
        let mut client = crate::common::Client::connect(server.address).await;
        client.send(&head).await;
        let head = client.answer_to("HEAD").await;
        assert_eq!(head.header("content-encoding"), Some(coding));
        let length = answer.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
    let text = request(
        "POST",
        "/embed/text",
        &[("Content-Type", JSON), ("Accept-Encoding", "gzip, zstd")],
        json!({ "texts": vec!["a"; 200] }).to_string().as_bytes(),
    );
    for sent in [
        text,
        with_accept("/health", "gzip, zstd"),
        with_accept("/openapi.json", "identity"),
        with_accept("/openapi.json", "gzip;q=0"),
    ] {
        let answer = ask(server.address, sent).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), None);
    }
    given_back(&server, MemoryUse::Answers).await;
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_where_the_settings_say_so() {
    let preflight = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ];
        request("OPTIONS", "/embed/text", &headers, b"")
    };
    let post = |origin: &str| {
        let headers = [
            ("Content-Type", JSON),
            ("Origin", origin),
            ("X-API-Key", "k"),
        ];
        request("POST", "/embed/text", &headers, br#"{"texts": ["a"]}"#)
    };
    let allowed = |answer: &Answer| {
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    let closed = server().await;
    for sent in [preflight("https://a.example"), post("https://a.example")] {
        let answer = ask(closed.address, sent).await;
        assert!(answer.status < 300 && allowed(&answer).is_none());
        assert_eq!(answer.header("vary"), None);
    }
    let settings = HttpSettings {
        cors_origins: Some(Origins::parse("https://a.example, http://localhost:3000").unwrap()),
        api_key: ApiKey::parse("k").ok(),
        ..HttpSettings::default()
    };
    let open = Server::start(settings).await;
    // The browser asks first, and without the key.
    let answer = ask(open.address, preflight("https://a.example")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(allowed(&answer).as_deref(), Some("https://a.example"));
    for (name, value) in [
        ("access-control-allow-methods", "OPTIONS, POST"),
        ("access-control-allow-headers", "authorization,content-type"),
        ("allow", "OPTIONS, POST"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let answer = ask(open.address, post("http://localhost:3000")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(allowed(&answer).as_deref(), Some("http://localhost:3000"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    // A refusal can be read as well.
    let wrong = request(
        "POST",
        "/embed/text",
        &[("Origin", "https://a.example")],
        b"{}",
    );
    let answer = ask(open.address, wrong).await;
    assert_eq!(answer.status, 401);
    assert!(allowed(&answer).is_some());
    // Others learn nothing.
    let answer = ask(open.address, preflight("https://b.example")).await;
    assert_eq!((answer.status, allowed(&answer)), (401, None));
    let answer = ask(open.address, post("https://b.example")).await;
    assert_eq!((answer.status, allowed(&answer)), (200, None));
}
