//! What one stranger may not do to others, and what a newcomer is told: heads by the letter,
//! clients that half-close or never read, bounds for each client, and the commonest mistakes.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use siglip2_embeddings::http::{ApiKey, HttpSettings};

use tokio::io::AsyncReadExt;

use crate::common::{Answer, Client, Form, Server, ask, get, png, post_json, request};

const TEXT: &str = r#"{"texts": ["a"]}"#;

async fn server() -> Server {
    Server::start(HttpSettings::default()).await
}

/// Waits until a series is in the metrics. The test's own patience is its only end.
async fn until(server: &Server, series: &str) {
    while !server.service.metrics().text().contains(series) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The next answer that is not an interim one.
async fn last_answer(client: &mut Client) -> Answer {
    loop {
        let answer = client.answer().await;
        if answer.status != 100 {
            return answer;
        }
    }
}

#[tokio::test]
async fn heads_that_two_readers_read_in_two_ways_are_refused() {
    let server = server().await;
    let with = |line: &str| format!("GET /health HTTP/1.1\r\nHost: t\r\n{line}\r\n\r\n");
    let host = |host: &str| format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let chunked = "0\r\n\r\n";
    for (sent, status, said) in [
        ("GET /health HTTP/1.1\nHost: t\n\n".into(), 400, "CR LF"),
        ("GET /health HTTP/1.1\r\nHost: t\n\r\n".into(), 400, "CR LF"),
        (with("X: a\nY: b"), 400, "CR LF"),
        (
            format!(
                "POST /embed/text HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
            ),
            400,
            "must not have both",
        ),
        (
            format!(
                "POST /embed/text HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunked}"
            ),
            400,
            "must not have both",
        ),
        (
            "GET health HTTP/1.1\r\nHost: t\r\n\r\n".into(),
            400,
            "begins with /",
        ),
        (
            "GET * HTTP/1.1\r\nHost: t\r\n\r\n".into(),
            400,
            "begins with /",
        ),
        (host("a b"), 400, "Host"),
        (host("a/b"), 400, "Host"),
        (host("user@a"), 400, "Host"),
        (host("a:port"), 400, "Host"),
        (host("[::1"), 400, "Host"),
        (host("a\r\nHost: a"), 400, "one Host"),
        (with("Expect: 200-ok"), 417, "100-continue"),
        (with("Content-Encoding: br"), 415, "br"),
    ] {
        let answer = ask(server.address, &sent).await;
        let (got, detail) = answer.error();
        assert_eq!(got, status, "{sent:?}: {detail}");
        assert!(detail.contains(said), "{sent:?}: {detail}");
        assert!(answer.header("date").is_some(), "{sent:?}");
    }
    let answer = ask(server.address, with("Content-Encoding: br")).await;
    assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"));
    for good in ["t", "t:80", "127.0.0.1:8091", "[::1]:8091", ""] {
        assert_eq!(
            ask(server.address, host(good)).await.status,
            200,
            "{good:?}"
        );
    }
    for good in ["Expect: 100-Continue", "Content-Encoding: identity"] {
        assert_eq!(ask(server.address, with(good)).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn what_stands_before_a_bad_head_is_answered_first() {
    let server = server().await;
    let mut client = Client::connect(server.address).await;
    let bad = b"GET /health HTTP/1.1\nHost: t\n\n";
    let sent = [&post_json("/embed/text", TEXT)[..], &get("/health"), bad].concat();
    client.send(sent).await;
    assert_eq!(last_answer(&mut client).await.status, 200);
    assert_eq!(last_answer(&mut client).await.status, 200);
    assert_eq!(last_answer(&mut client).await.error().0, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn who_sends_no_more_is_answered_and_who_has_gone_is_not_worked_for() {
    let server = server().await;
    for sent in [get("/health"), post_json("/embed/text", TEXT)] {
        let mut client = Client::connect(server.address).await;
        client.send(sent).await;
        client.finish().await;
        assert_eq!(last_answer(&mut client).await.status, 200);
        assert!(client.is_closed().await);
    }
    // What it sends and its end come at once, before anything of it is read.
    for sent in [get("/health"), post_json("/embed/text", TEXT)] {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        std::io::Write::write_all(&mut stream, &sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    // While the engine is held up as well, however long that is.
    let held = server.orders.gate.lock().unwrap();
    let before = server.orders.rows.load(Ordering::SeqCst);
    let mut first = Client::connect(server.address).await;
    first.send(post_json("/embed/text", TEXT)).await;
    // It is in the engine, so that what comes now is not in its batch.
    until(&server, "siglip2_batch_rows_count{tower=\"text\"} 3\n").await;
    let mut half = Client::connect(server.address).await;
    half.send(post_json("/embed/text", r#"{"texts": ["b"]}"#))
        .await;
    half.finish().await;
    let mut gone = Client::connect(server.address).await;
    gone.send(post_json("/embed/text", r#"{"texts": ["c"]}"#))
        .await;
    until(&server, "siglip2_requests_in_flight 3\n").await;
    drop(gone);
    until(&server, "siglip2_requests_in_flight 2\n").await;
    until(
        &server,
        "siglip2_requests_total{endpoint=\"embed_text\",status=\"499\"} 1\n",
    )
    .await;
    drop(held);
    assert_eq!(last_answer(&mut half).await.status, 200);
    assert_eq!(last_answer(&mut first).await.status, 200);
    assert_eq!(server.orders.rows.load(Ordering::SeqCst), before + 2);
}

/// An answer of megabytes: /rank tells the query back.
fn long_answer() -> (HttpSettings, Vec<u8>) {
    let query = "q".repeat(8 << 20);
    let settings = HttpSettings {
        max_text_bytes: query.len(),
        max_text_body_bytes: query.len() + 1000,
        max_concurrent_requests: 1,
        ..HttpSettings::default()
    };
    let form = Form::new()
        .file("files", "a.png", png(1, 2, 3))
        .text("query", query);
    (settings, form.post("/rank"))
}

#[tokio::test]
async fn an_answer_that_is_not_read_counts_until_it_is() {
    let (settings, request) = long_answer();
    let server = Server::start(settings).await;
    let mut client = Client::connect(server.address).await;
    client.send(&request).await;
    while server.orders.rows.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let other = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(other.status, 429, "{other:?}");
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    until(&server, "siglip2_requests_in_flight 0\n").await;
    let other = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(other.status, 200);
    until(&server, "siglip2_memory_bytes{use=\"answers\"} 0\n").await;
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_not_counted_as_one() {
    let (settings, request) = long_answer();
    let server = Server::start(settings).await;
    let mut client = Client::connect(server.address).await;
    client.send(&request).await;
    while server.orders.rows.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    drop(client);
    until(
        &server,
        "siglip2_requests_total{endpoint=\"rank\",status=\"499\"} 1\n",
    )
    .await;
    let metrics = server.service.metrics().text();
    let whole = "siglip2_requests_total{endpoint=\"rank\",status=\"200\"} 0\n";
    assert!(metrics.contains(whole), "{metrics}");
    until(&server, "siglip2_requests_in_flight 0\n").await;
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_no_more() {
    let settings = HttpSettings {
        max_connections_per_client: 2,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(server.address).await;
        client.send(get("/health")).await;
        assert_eq!(client.answer().await.status, 200);
        held.push(client);
    }
    let mut third = Client::connect(server.address).await;
    let answer = third.answer().await;
    assert_eq!(answer.error().0, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(third.is_closed().await);
    drop(held.pop());
    // Its place is free once the server has seen that it has gone.
    loop {
        let mut client = Client::connect(server.address).await;
        client.send_lossy(get("/health")).await;
        if client.answer().await.status == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn behind_a_proxy_a_client_has_so_many_requests() {
    let settings = HttpSettings {
        max_connections_per_client: 1,
        client_address_header: Some("x-forwarded-for".parse().unwrap()),
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let from = |address: &str, text: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", address),
        ];
        let body = format!(r#"{{"texts": ["{text}"]}}"#);
        request("POST", "/embed/text", &headers, body.as_bytes())
    };
    let held = server.orders.gate.lock().unwrap();
    let mut first = Client::connect(server.address).await;
    first.send(from("192.0.2.1", "a")).await;
    until(&server, "siglip2_requests_in_flight 1\n").await;
    // The client's own words before the proxy's make no difference.
    for address in ["192.0.2.1", "198.51.100.7, 192.0.2.1"] {
        let answer = ask(server.address, from(address, "b")).await;
        assert_eq!(answer.error().0, 429, "{address}");
    }
    let mut other = Client::connect(server.address).await;
    other.send(from("192.0.2.1, 192.0.2.2", "c")).await;
    until(&server, "siglip2_requests_in_flight 2\n").await;
    drop(held);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(other.answer().await.status, 200);
}

/// Connects and asks without the server's having a part in it: the test's thread is the
/// server's as well.
fn ask_and_wait(address: SocketAddr, request: &[u8]) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    stream
}

#[tokio::test]
async fn who_waits_in_the_backlog_at_the_end_of_a_drain_is_told_so() {
    let server = server().await;
    assert_eq!(ask(server.address, get("/health")).await.status, 200);
    let waiting: Vec<_> = (0..12)
        .map(|_| ask_and_wait(server.address, &post_json("/embed/text", TEXT)))
        .collect();
    let ended = server.stop();
    for stream in waiting {
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::over(tokio::net::TcpStream::from_std(stream).unwrap());
        let answer = client.answer().await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        assert!(client.is_closed().await);
    }
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_others_asked_is_told_only_where_clients_may_know() {
    for (settings, told) in [
        (HttpSettings::default(), false),
        (
            HttpSettings {
                cache_header: true,
                ..HttpSettings::default()
            },
            true,
        ),
        (
            HttpSettings {
                api_key: ApiKey::parse("secret").ok(),
                ..HttpSettings::default()
            },
            true,
        ),
    ] {
        let (service, _) = crate::common::engine::with_cache(100, 1 << 20);
        let server = Server::serving(service, settings).await;
        let headers = [
            ("Content-Type", "application/json"),
            ("X-API-Key", "secret"),
        ];
        let sent = request("POST", "/embed/text", &headers, TEXT.as_bytes());
        for _ in 0..2 {
            ask(server.address, &sent).await;
        }
        let answer = ask(server.address, &sent).await;
        assert_eq!(answer.header("x-cache").is_some(), told, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_read_is_named() {
    let server = server().await;
    let image = png(1, 2, 3);
    for (sent, said) in [
        (
            Form::new()
                .file("file", "a.png", &image)
                .text("normalise", "1")
                .post("/embed/image"),
            Some("field normalise"),
        ),
        (
            Form::new()
                .file("file", "a.png", &image)
                .file("file", "b.png", &image)
                .post("/embed/image"),
            Some("field file but the last"),
        ),
        (
            Form::new()
                .file("files", "a.png", &image)
                .text("query", "a")
                .text("query", "b")
                .post("/rank"),
            Some("field query but the last"),
        ),
        (
            post_json("/embed/text?normalize=false", TEXT),
            Some("query parameter normalize"),
        ),
        (
            Form::new()
                .file("image", "a.png", &image)
                .post("/embed/images"),
            Some("field image"),
        ),
        (post_json("/embed/text", TEXT), None),
        (
            Form::new()
                .file("file", "a.png", &image)
                .post("/embed/image"),
            None,
        ),
    ] {
        let answer = ask(server.address, sent).await;
        assert_eq!(answer.header("x-ignored"), said, "{answer:?}");
    }
}

#[tokio::test]
async fn the_commonest_mistakes_get_a_sentence() {
    let server = server().await;
    let image = png(1, 2, 3);
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &image);
    let text = |value: &str| Form::new().text("image_base64", value).post("/embed/image");
    let url_encoded = |body: &str| {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        request("POST", "/embed/image", &[kind], body.as_bytes())
    };
    for (sent, begins, said) in [
        (
            Form::new()
                .file("image", "a.png", &image)
                .post("/embed/image"),
            "No image provided",
            "\"image\"",
        ),
        (
            url_encoded("url=http://a/b.png"),
            "No image provided",
            "\"url\"",
        ),
        (text("https://example.com/a.jpg"), "image_base64", "URL"),
        (text(&format!("b'{encoded}'")), "image_base64", "Python"),
        (text("iVBORw0KGgo_-AAA"), "image_base64", "URL-safe"),
        (text("iVBORw0KGgo AAAA"), "image_base64", "percent-encode"),
    ] {
        let (status, detail) = ask(server.address, &sent).await.error();
        assert_eq!(status, 400, "{detail}");
        assert!(
            detail.starts_with(begins) && detail.contains(said),
            "{detail}"
        );
    }
    // The bytes of a file where a text was meant are not told back.
    let sent = Form::new().text("files", &image).post("/embed/images");
    let answer = ask(server.address, sent).await;
    assert_eq!(answer.status, 422);
    let input = &answer.json()["detail"][0]["input"];
    assert!(
        input.as_str().unwrap().contains("that are not text"),
        "{input}"
    );
}

#[tokio::test]
async fn json_may_be_in_any_encoding_that_python_takes() {
    let server = server().await;
    let body = r#"{"texts": ["ä"]}"#;
    let kind = [("Content-Type", "application/json")];
    let expected = ask(server.address, post_json("/embed/text", body)).await;
    for encoded in [
        body.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>(),
        body.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        body.chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect(),
    ] {
        let sent = request("POST", "/embed/text", &kind, &encoded);
        let answer = ask(server.address, sent).await;
        assert_eq!((answer.status, answer.text()), (200, expected.text()));
    }
}

/// The demo model reads 64 tokens.
#[tokio::test]
async fn what_is_cut_of_a_text_is_told_and_may_be_refused() {
    let server = Server::of(crate::common::model::service("demo", &[])).await;
    let long = "word ".repeat(200);
    let json = |more: &str| {
        let body = format!(r#"{{"texts": ["a", "{long}"]{more}}}"#);
        post_json("/embed/text", &body)
    };
    let answer = ask(server.address, json("")).await;
    assert_eq!(answer.header("x-truncated-texts"), Some("1"));
    assert_eq!(answer.json()["truncated"], 1);
    assert!(answer.json().get("tokens").is_none());
    let answer = ask(server.address, json(r#", "tokens": true"#)).await;
    let tokens = answer.json()["tokens"].clone();
    let tokens: Vec<usize> = serde_json::from_value(tokens).unwrap();
    assert_eq!((tokens.len(), tokens[1]), (2, 64));
    assert!(tokens[0] < 64);
    let answer = ask(server.address, json(r#", "truncate": false"#)).await;
    let (status, detail) = answer.error();
    assert!(status == 413 && detail.contains("texts[1]"), "{detail}");
    let answer = ask(server.address, json(r#", "truncate": "perhaps""#)).await;
    assert_eq!(answer.json()["detail"][0]["loc"][1], "truncate");

    let image = png(1, 2, 3);
    let form = Form::new().file("files", "a.png", &image);
    for (path, field, value) in [
        ("/similarity", "texts", format!("[\"{long}\"]")),
        ("/rank", "query", long.clone()),
    ] {
        let form = form.clone().text(field, &value);
        let answer = ask(server.address, form.post(path)).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("x-truncated-texts"), Some("1"), "{path}");
        assert_eq!(answer.json()["truncated"], 1, "{path}");
        let answer = ask(server.address, form.text("truncate", "no").post(path)).await;
        assert_eq!(answer.error().0, 413, "{path}");
    }
    let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(answer.header("x-truncated-texts"), None);
    assert_eq!(answer.json()["truncated"], 0);
}
