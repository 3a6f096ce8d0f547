//! Every limit at its edge: what is exactly at it passes, one more is refused. All of them
//! are settings, and `/info` shows them.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

use crate::common::{Client, Form, Server, ask, engine, get, png, post_json, request};
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::settings::Settings;

/// The status of an answer, and its Retry-After where it must have one.
async fn status(server: &Server, request: Vec<u8>) -> u16 {
    let answer = ask(server.address, request).await;
    assert_eq!(
        answer.status == 429,
        answer.header("retry-after").is_some(),
        "{answer:?}"
    );
    answer.status
}

fn texts(count: usize, length: usize) -> Vec<u8> {
    let texts = vec!["x".repeat(length); count];
    post_json(
        "/embed/text",
        &serde_json::json!({ "texts": texts }).to_string(),
    )
}

fn images(count: usize) -> Form {
    (0..count).fold(Form::new(), |form, at| {
        form.file("files", "a.png", png(at as u8, 2, 3))
    })
}

/// A body of exactly so many bytes, with blanks at its end.
fn padded(length: usize) -> Vec<u8> {
    let mut body = br#"{"texts":["a"]}"#.to_vec();
    body.resize(length, b' ');
    request(
        "POST",
        "/embed/text",
        &[("Content-Type", "application/json")],
        &body,
    )
}

#[tokio::test]
async fn what_one_request_may_hold() {
    let settings = HttpSettings {
        max_images_per_request: 3,
        max_texts_per_request: 5,
        max_text_bytes: 100,
        max_text_body_bytes: 2_000,
        max_other_parts: 4,
        payload_limit: 10_000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let parts = |count: usize| (0..count).fold(images(1), |form, _| form.text("other", "x"));
    let body = |length: usize| {
        let mut body = images(1).body();
        // The epilogue belongs to the body and means nothing.
        body.resize(length, b' ');
        let kind = ("Content-Type", "multipart/form-data; boundary=X");
        request("POST", "/embed/images", &[kind], &body)
    };
    for (what, at_the_limit, beyond) in [
        (
            "images",
            images(3).post("/embed/images"),
            images(4).post("/embed/images"),
        ),
        ("texts", texts(5, 1), texts(6, 1)),
        ("bytes of a text", texts(1, 100), texts(1, 101)),
        ("bytes of text", padded(2_000), padded(2_001)),
        // Three images and four others.
        (
            "parts",
            parts(6).post("/embed/images"),
            parts(7).post("/embed/images"),
        ),
        ("bytes", body(10_000), body(10_001)),
    ] {
        assert_eq!(status(&server, at_the_limit).await, 200, "{what}");
        assert_eq!(status(&server, beyond).await, 413, "{what}");
    }
}

#[tokio::test]
async fn pixels_of_an_image() {
    for (pixels, expected) in [("64", 200), ("63", 413)] {
        // The picture is 8 x 8.
        let service = crate::common::model::service("demo", &["--max-image-pixels", pixels]);
        let server = Server::of(service).await;
        let form = images(1).post("/embed/images");
        assert_eq!(status(&server, form).await, expected, "{pixels}");
    }
}

#[tokio::test]
async fn rows_in_the_queue() {
    let server = Server::with_rows(6, HttpSettings::default()).await;
    let held = server.orders.gate.lock().unwrap();
    let address = server.address;
    // All different, or they would be computed once.
    let six = post_json("/embed/text", r#"{"texts":["a","b","c","d","e","f"]}"#);
    let six = tokio::spawn(async move { ask(address, six).await.status });
    let taken = "siglip2_text_cache_total{result=\"miss\"} 6\n";
    while !server.service.metrics().text().contains(taken) {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&server, texts(1, 1)).await, 429);
    drop(held);
    assert_eq!(six.await.unwrap(), 200);
}

#[tokio::test]
async fn requests_at_the_same_time() {
    let settings = HttpSettings {
        max_concurrent_requests: 2,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let mut under_way = Vec::new();
    // Their heads are here and their bodies are not.
    for count in 1..=2 {
        let mut client = Client::connect(server.address).await;
        let sent = texts(1, 1);
        let (early, late) = sent.split_at(sent.len() - 1);
        client.send(early).await;
        under_way.push((client, late.to_vec()));
        let series = format!("siglip2_requests_in_flight {count}\n");
        while !server.service.metrics().text().contains(&series) {
            tokio::task::yield_now().await;
        }
    }
    // One more is refused, and its body is not asked for.
    let head = "POST /embed/images HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n";
    let answer = ask(server.address, head).await;
    assert_eq!(answer.error().0, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    // What asks nothing of the engine is no request in this sense.
    for path in ["/health", "/ready", "/metrics", "/info", "/openapi.json"] {
        assert_eq!(status(&server, get(path)).await, 200, "{path}");
    }
    for (mut client, late) in under_way {
        client.send(late).await;
        assert_eq!(client.answer().await.status, 200);
        assert_eq!(status(&server, texts(1, 1)).await, 200);
    }
}

#[tokio::test]
async fn bytes_of_bodies_that_are_held() {
    let length = 1_500;
    let settings = HttpSettings {
        payload_limit: 3_000,
        ..HttpSettings::default()
    };
    // 6,000 of them for bodies, of which JSON takes twice its length while it is read, and three
    // for each list and object.
    let (service, _) = engine::with_memory(64, 16_000);
    let server = Server::serving(service, settings).await;
    let kind = ("Content-Type", "application/json");
    let mut holder = Client::connect(server.address).await;
    let body = vec![b' '; length];
    let sent = request("POST", "/embed/text", &[kind], &body);
    holder.send(&sent[..sent.len() - 1]).await;
    let held = format!("siglip2_memory_bytes{{use=\"bodies\"}} {}\n", length - 1);
    while !server.service.metrics().text().contains(&held) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // It holds all but the rest of the memory: what takes exactly the rest passes.
    let rest = (6_000 - (length - 1) - 2 * 3) / 2;
    assert_eq!(status(&server, padded(rest + 1)).await, 429);
    while !server.service.metrics().text().contains(&held) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(status(&server, padded(rest)).await, 200);
}

/// Every setting of the HTTP side and of the service can be said by its flag, and is told
/// under the flag's name.
#[tokio::test]
async fn what_reading_texts_takes_is_held() {
    const MIB: usize = 1 << 20;
    // 48 MiB for bodies.
    let service = crate::common::model::service(
        "demo",
        &["--max-request-memory", "128MiB", "--payload-limit", "16MiB"],
    );
    let server = Server::of(service).await;
    let sent = |texts: &str, length: usize, wide: bool| {
        let mut body = format!(r#"{{"texts":[{texts}]}}"#).into_bytes();
        body.resize(length, b' ');
        if wide {
            body = body.iter().flat_map(|&byte| [byte, 0]).collect();
        }
        let json = ("Content-Type", "application/json");
        request("POST", "/embed/text", &[json], &body)
    };
    for (what, sent, expected) in [
        ("plain", sent("\"a\"", 14 * MIB, false), 200),
        // Undoing an escape may take three times as much again.
        ("escaped", sent("\"\\u0061\"", 14 * MIB, false), 413),
        (
            "escaped, and smaller",
            sent("\"\\u0061\"", 7 * MIB, false),
            200,
        ),
        // And so may a buffer for another encoding that grows, besides the texts.
        ("UTF-16", sent("\"a\"", 5 * MIB, true), 413),
        ("UTF-16, and smaller", sent("\"a\"", 2 * MIB, true), 200),
    ] {
        assert_eq!(status(&server, sent).await, expected, "{what}");
    }
}

#[tokio::test]
async fn every_limit_is_a_setting_and_info_shows_it() {
    let flags = [
        ("--payload-limit", "101001"),
        ("--max-text-body-bytes", "1002"),
        ("--max-text-bytes", "1003"),
        ("--max-texts-per-request", "1004"),
        ("--max-images-per-request", "105"),
        ("--max-other-parts", "106"),
        ("--max-concurrent-requests", "108"),
        ("--max-connections", "109"),
        ("--max-connections-per-client", "110"),
        ("--cache-header", "1"),
        ("--http-threads", "4"),
        ("--compute-nice", "9"),
        ("--max-picture-urls-per-request", "5"),
        ("--max-picture-url-bytes", "6789"),
        ("--max-picture-fetches", "7"),
        ("--picture-url-timeout", "8"),
        ("--header-timeout", "11"),
        ("--idle-timeout", "12s"),
        ("--body-timeout", "13"),
        ("--body-idle-timeout", "14"),
        ("--min-body-rate", "15"),
        ("--request-timeout", "16"),
        ("--write-timeout", "17"),
        ("--drain-timeout", "18"),
        ("--max-image-pixels", "1234"),
        ("--max-jpeg-scans", "20"),
        ("--apply-orientation", "1"),
        ("--decode-reduced", "1"),
        ("--max-queued-rows", "4321"),
        ("--max-request-memory", "1MiB"),
        ("--decode-threads", "3"),
        ("--tokenize-threads", "2"),
        ("--text-cache-bytes", "66"),
        ("--image-cache-bytes", "77"),
    ];
    let arguments = flags.iter().flat_map(|(flag, value)| [*flag, *value]);
    let arguments: Vec<&str> = std::iter::once("siglip2-embeddings")
        .chain(arguments)
        .collect();
    let settings: Settings = siglip2_flags::try_parse_flags(&arguments).unwrap();
    let server = Server::serving(
        crate::common::model::service("demo", &arguments[1..]),
        settings.http,
    )
    .await;
    let info = ask(server.address, get("/info")).await.json();
    let limits = info["limits"].as_object().unwrap();
    for (flag, value) in flags {
        let name = flag.trim_start_matches("--").replace('-', "_");
        let value: f64 = match value {
            "1MiB" => 1_048_576.0,
            value => value.trim_end_matches('s').parse().unwrap(),
        };
        let told = limits
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not in {limits:?}"));
        let told = told.as_bool().map(f64::from).or(told.as_f64());
        assert_eq!(told, Some(value), "{name}");
    }
    assert_eq!(
        limits.len(),
        flags.len(),
        "a setting is told that this test does not know: {limits:?}"
    );
}
