//! HTTP/2 on the same port: the same answers, and the bounds of HTTP/1 for each stream.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use siglip2_embeddings::http::{ApiKey, HttpSettings};
use tokio::time::sleep;

use crate::common::http2::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, Raw, block, get, head, of,
    post_json,
};
use crate::common::{self, Client, Form, Server, ask, png, quick};

const TEXT: &str = r#"{"texts": ["a"]}"#;

async fn until(server: &Server, series: &str) {
    while !server.service.metrics().text().contains(series) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_answers_are_those_of_http1() {
    let server = Server::start(HttpSettings::default()).await;
    let mut client = Http2::connect(server.address).await;
    let form = Form::new().file("files", "a.png", png(1, 2, 3));
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    for (request, same) in [
        (get("/health"), common::get("/health")),
        (get("/openapi.json"), common::get("/openapi.json")),
        (get("/nowhere"), common::get("/nowhere")),
        (
            post_json("/embed/text", TEXT),
            common::post_json("/embed/text", TEXT),
        ),
        (
            post_json("/embed/text", "{"),
            common::post_json("/embed/text", "{"),
        ),
        (
            of("POST", "/embed/images", &kind, &form.body()),
            form.post("/embed/images"),
        ),
        (
            of("DELETE", "/health", &[], b""),
            common::request("DELETE", "/health", &[], b""),
        ),
        (
            of("OPTIONS", "/embed/text", &[], b""),
            common::request("OPTIONS", "/embed/text", &[], b""),
        ),
    ] {
        let path = request.uri().path().to_owned();
        let got = client.ask(request).await.unwrap();
        let expected = ask(server.address, same).await;
        assert_eq!(got.status, expected.status, "{path}");
        assert_eq!(got.body, expected.body, "{path}");
        for (name, value) in &expected.headers {
            if [
                "connection",
                "date",
                "server-timing",
                "x-request-id",
                "x-cache",
            ]
            .contains(&name.as_str())
            {
                continue;
            }
            let got = got.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(got, Some(value.as_str()), "{path}: {name}");
        }
        assert!(got.headers.contains_key("date"), "{path}");
    }
    let got = client.good(of("HEAD", "/health", &[], b"")).await;
    assert!(got.body.is_empty());
    assert_ne!(got.headers["content-length"], "0");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let server = Server::start(HttpSettings::default()).await;
    let client = Http2::connect(server.address).await;
    let asked = (0..90).map(|at| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let body = format!(r#"{{"texts": ["{at}"]}}"#);
            client.good(post_json("/embed/text", &body)).await
        })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn what_is_refused_in_http1_is_refused_here() {
    let settings = HttpSettings {
        api_key: ApiKey::parse("secret").ok(),
        payload_limit: 10_000,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let mut client = Http2::connect(server.address).await;
    let kind = ("content-type", "multipart/form-data; boundary=X");
    let key = ("x-api-key", "secret");
    for (request, status, said) in [
        (post_json("/embed/text", TEXT), 401, "key"),
        (
            of("POST", "/embed/images", &[key, kind], &[b'x'; 10_001]),
            413,
            "10000",
        ),
        (
            of("GET", "/health", &[("host", "other")], b""),
            400,
            "differ",
        ),
        (
            of("GET", "/health", &[("expect", "more")], b""),
            417,
            "100-continue",
        ),
        (
            of("GET", "/health", &[("content-encoding", "br")], b""),
            415,
            "br",
        ),
        (
            of("GET", "/health", &[("x-request-timeout-ms", "0")], b""),
            400,
            "X-Request-Timeout-Ms",
        ),
    ] {
        let (got, detail) = client.ask(request).await.unwrap().error();
        assert_eq!(got, status, "{detail}");
        assert!(detail.contains(said), "{detail}");
    }
    // The connection has outlived them.
    assert_eq!(client.good(get("/health")).await.status, 200);
}

#[tokio::test]
async fn heads_that_are_not_http2_end_their_stream() {
    let server = Server::start(HttpSettings::default()).await;
    let fields = |more: &[(&'static str, &'static str)]| {
        let base = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/health"),
        ];
        [&base[..], more].concat()
    };
    for (more, answered) in [
        (fields(&[(":authority", "t")]), true),
        (fields(&[("host", "t")]), true),
        (fields(&[]), true),
        (
            fields(&[(":authority", "t"), ("connection", "close")]),
            false,
        ),
        (
            fields(&[(":authority", "t"), ("transfer-encoding", "chunked")]),
            false,
        ),
        (fields(&[(":authority", "t"), ("te", "gzip")]), false),
        (fields(&[(":authority", "t"), ("Upper", "case")]), false),
        (
            fields(&[(":authority", "t"), ("a", "b"), (":status", "200")]),
            false,
        ),
    ] {
        let mut raw = Raw::connect(server.address, &[]).await;
        let head = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, block(&more));
        raw.send(head).await;
        // An answer, or the end of the stream or of the connection.
        let got = loop {
            match raw.next().await {
                Some(frame) if frame.stream == 1 || frame.kind == GOAWAY => break Some(frame.kind),
                Some(_) => {}
                None => break None,
            }
        };
        assert_eq!(got == Some(HEADERS), answered, "{more:?}: {got:?}");
    }
    let mut raw = Raw::connect(server.address, &[]).await;
    let stream = 1;
    // A length that is not kept.
    let length = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/embed/text"),
        (":authority", "t"),
        ("content-length", "5"),
    ];
    raw.send(Frame::new(HEADERS, END_HEADERS, stream, block(&length)))
        .await;
    raw.send(Frame::new(DATA, END_STREAM, stream, *b"{}")).await;
    loop {
        let frame = raw.next().await.expect("the connection stays");
        if frame.stream == stream {
            assert_ne!(frame.kind, DATA, "{frame:?}");
            break;
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_ends_its_request_and_no_other() {
    let server = Server::start(quick()).await;
    let mut raw = Raw::connect(server.address, &[]).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/embed/text"),
        (":authority", "t"),
        ("content-length", "100"),
    ];
    raw.send(Frame::new(HEADERS, END_HEADERS, 1, block(&post)))
        .await;
    raw.send(Frame::new(DATA, 0, 1, *b"{")).await;
    raw.send(Frame::new(
        HEADERS,
        END_HEADERS | END_STREAM,
        3,
        head("/health"),
    ))
    .await;
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let frame = raw.next_of(HEADERS).await.expect("answers");
        answered.push(frame.stream);
    }
    answered.sort();
    assert_eq!(answered, [1, 3]);
    until(
        &server,
        "siglip2_requests_total{endpoint=\"embed_text\",status=\"408\"} 1\n",
    )
    .await;
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed() {
    let server = Server::start(quick()).await;
    let mut fresh = Raw::connect(server.address, &[]).await;
    let mut used = Http2::connect(server.address).await;
    used.good(get("/health")).await;
    assert!(fresh.next_of(GOAWAY).await.is_some());
    assert!(fresh.ends().await);
    assert!(used.is_closed().await);
    // Half a preface is the head of a request that does not end.
    let mut half = Client::connect(server.address).await;
    half.send("PRI * HTTP/2.0\r\n\r\n").await;
    assert_eq!(half.answer().await.error().0, 408);
    assert!(half.is_closed().await);
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_not_worked_for() {
    let server = Server::start(HttpSettings::default()).await;
    let held = server.orders.gate.lock().unwrap();
    let before = server.orders.rows.load(Ordering::SeqCst);
    let client = Http2::connect(server.address).await;
    let ask = |text: &'static str| {
        let mut client = client.clone();
        let body = format!(r#"{{"texts": ["{text}"]}}"#);
        tokio::spawn(async move { client.ask(post_json("/embed/text", &body)).await })
    };
    let first = ask("a");
    until(&server, "siglip2_batch_rows_count{tower=\"text\"} 1\n").await;
    let gone = ask("b");
    until(&server, "siglip2_requests_in_flight 2\n").await;
    gone.abort();
    until(&server, "siglip2_requests_in_flight 1\n").await;
    until(
        &server,
        "siglip2_requests_total{endpoint=\"embed_text\",status=\"499\"} 1\n",
    )
    .await;
    drop(held);
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!(server.orders.rows.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn requests_of_one_client_are_bounded_on_all_its_connections() {
    let settings = HttpSettings {
        max_connections_per_client: 4,
        ..HttpSettings::default()
    };
    let server = Server::start(settings).await;
    let held = server.orders.gate.lock().unwrap();
    let clients = [
        Http2::connect(server.address).await,
        Http2::connect(server.address).await,
    ];
    let asked: Vec<_> = (0..4)
        .map(|at| {
            let mut client = clients[at % 2].clone();
            let body = format!(r#"{{"texts": ["{at}"]}}"#);
            tokio::spawn(async move { client.ask(post_json("/embed/text", &body)).await })
        })
        .collect();
    until(&server, "siglip2_requests_in_flight 4\n").await;
    let refused = clients[0]
        .clone()
        .ask(post_json("/embed/text", TEXT))
        .await
        .unwrap();
    let (status, detail) = refused.error();
    assert_eq!(status, 429);
    assert!(detail.contains("this client"), "{detail}");
    assert!(refused.headers.contains_key("retry-after"));
    drop(held);
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().status, 200);
    }
    let mut client = clients[0].clone();
    assert_eq!(
        client.good(post_json("/embed/text", TEXT)).await.status,
        200
    );
}

#[tokio::test]
async fn a_drain_answers_what_it_accepted_and_says_goaway() {
    let server = Server::start(HttpSettings::default()).await;
    let orders = Arc::clone(&server.orders);
    let held = orders.gate.lock().unwrap();
    let client = Http2::connect(server.address).await;
    let mut asking = client.clone();
    let accepted = tokio::spawn(async move { asking.ask(post_json("/embed/text", TEXT)).await });
    until(&server, "siglip2_requests_in_flight 1\n").await;
    let mut idle = Raw::connect(server.address, &[]).await;
    let head = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, head("/health"));
    idle.send(head).await;
    idle.next_of(HEADERS).await.unwrap();
    let address = server.address;
    let served = server.stop();
    assert!(idle.next_of(GOAWAY).await.is_some());
    assert!(idle.ends().await);
    // Who comes now is told, as in HTTP/1.
    let mut late = Http2::connect(address).await;
    assert_eq!(
        late.ask(post_json("/embed/text", TEXT))
            .await
            .unwrap()
            .status,
        503
    );
    drop(held);
    assert_eq!(accepted.await.unwrap().unwrap().status, 200);
    served.await.unwrap().unwrap();
}
