//! Watching the service and ending it: metrics, timings, readiness, deadlines, drain.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::model;
use common::server::Server;
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::service::State;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The whole answer to raw bytes, on a connection of its own.
async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn text(headers: &str, close: bool) -> String {
    let body = r#"{"texts":["a"]}"#;
    let close = if close { "connection: close\r\n" } else { "" };
    format!(
        "POST /embed/text HTTP/1.1\r\nhost: x\r\n{close}content-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn requests_and_stages_are_counted() {
    let server = Server::start(HttpSettings::default()).await;
    let before = ask(server.address, &get("/metrics")).await;
    assert!(before.contains("siglip2_requests_total{endpoint=\"embed_text\",status=\"200\"} 0"));
    let answer = ask(server.address, &text("", true)).await;
    let timing = answer
        .lines()
        .find_map(|line| line.strip_prefix("server-timing: "))
        .expect("a Server-Timing");
    for stage in ["receive", "queue", "compute", "write", "total"] {
        assert!(timing.contains(&format!("{stage};dur=")), "{timing}");
    }
    let after = ask(server.address, &get("/metrics")).await;
    for series in [
        "siglip2_requests_total{endpoint=\"embed_text\",status=\"200\"} 1",
        "siglip2_stage_seconds_count{stage=\"compute\"} 1",
        "siglip2_batch_rows_count{tower=\"text\"} 1",
        "siglip2_queue_rows{tower=\"text\"} 0",
        "siglip2_requests_in_flight 0",
        "siglip2_engine_up 1",
    ] {
        assert!(after.contains(series), "{series} is not in\n{after}");
    }
}

#[tokio::test]
async fn a_deadline_of_the_client_is_kept_and_its_row_not_computed() {
    let server = Server::start(HttpSettings::default()).await;
    let held = server.orders.gate.lock().unwrap();
    // One row is with the engine, the next one waits.
    let address = server.address;
    let first = tokio::spawn(async move { ask(address, &text("", true)).await });
    while !ask(address, &get("/metrics"))
        .await
        .contains("siglip2_batch_rows_count{tower=\"text\"} 1")
    {
        tokio::task::yield_now().await;
    }
    let answer = ask(address, &text("x-request-timeout-ms: 50\r\n", true)).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    drop(held);
    assert!(first.await.unwrap().starts_with("HTTP/1.1 200"));
    let answer = ask(address, &text("x-request-timeout-ms: 60000\r\n", true)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.orders.rows.load(Ordering::SeqCst), 2);
    for wrong in ["0", "-1", "soon", "1.5"] {
        let answer = ask(
            address,
            &text(&format!("x-request-timeout-ms: {wrong}\r\n"), true),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn readiness_is_an_embedding_and_goes_before_the_connections() {
    let service = model::service("demo", &[]);
    let server = Server::of(service).await;
    let answer = ask(server.address, &get("/ready")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = ask(server.address, &get("/metrics")).await;
    assert!(
        metrics.contains("siglip2_batch_rows_count{tower=\"image\"} 1"),
        "{metrics}"
    );
    let starting = Server::starting().await;
    let answer = ask(starting.address, &get("/ready")).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn a_drain_answers_what_was_accepted_and_refuses_what_comes() {
    let server = Server::start(HttpSettings::default()).await;
    let orders = std::sync::Arc::clone(&server.orders);
    let held = orders.gate.lock().unwrap();
    let address = server.address;
    let service = server.service.clone();
    let accepted = tokio::spawn(async move { ask(address, &text("", true)).await });
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    while !ask(address, &get("/metrics"))
        .await
        .contains("siglip2_requests_in_flight 1")
    {
        tokio::task::yield_now().await;
    }
    let ended = server.stop();
    while service.state() != State::Draining {
        tokio::task::yield_now().await;
    }
    for path in ["/ready", "/health"] {
        let answer = ask(address, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
    }
    // On a new connection, and on one that was open before.
    let answer = ask(address, &text("", false)).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    kept.write_all(text("", false).as_bytes()).await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(Duration::from_secs(20), kept.read_to_string(&mut rest))
        .await
        .expect("the connection is closed after its refusal")
        .unwrap();
    assert!(rest.contains("HTTP/1.1 503"), "{rest}");
    drop(held);
    assert!(accepted.await.unwrap().starts_with("HTTP/1.1 200"));
    ended.await.unwrap().unwrap();
}
