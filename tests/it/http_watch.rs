//! Watching the service and ending it: metrics, timings, readiness, deadlines, drain.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use crate::common::{Client, Server, ask, get, model, request};
use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::service::State;

async fn metrics(address: SocketAddr) -> String {
    ask(address, get("/metrics")).await.text().to_owned()
}

fn text(headers: &[(&str, &str)]) -> Vec<u8> {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    request("POST", "/embed/text", &headers, br#"{"texts":["a"]}"#)
}

#[tokio::test]
async fn requests_and_stages_are_counted() {
    let server = Server::start(HttpSettings::default()).await;
    let before = metrics(server.address).await;
    assert!(before.contains("siglip2_requests_total{endpoint=\"embed_text\",status=\"200\"} 0"));
    let answer = ask(server.address, text(&[])).await;
    let timing = answer.header("server-timing").expect("a Server-Timing");
    for stage in ["receive", "queue", "compute", "write", "total"] {
        assert!(timing.contains(&format!("{stage};dur=")), "{timing}");
    }
    let after = metrics(server.address).await;
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
    let first = tokio::spawn(async move { ask(address, text(&[])).await });
    while !metrics(address)
        .await
        .contains("siglip2_batch_rows_count{tower=\"text\"} 1")
    {
        tokio::task::yield_now().await;
    }
    let answer = ask(address, text(&[("X-Request-Timeout-Ms", "50")])).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    drop(held);
    assert_eq!(first.await.unwrap().status, 200);
    let answer = ask(address, text(&[("X-Request-Timeout-Ms", "60000")])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(server.orders.rows.load(Ordering::SeqCst), 2);
    for wrong in ["0", "-1", "soon", "1.5"] {
        let answer = ask(address, text(&[("X-Request-Timeout-Ms", wrong)])).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn readiness_is_an_embedding_and_goes_before_the_connections() {
    let service = model::service("demo", &[]);
    let server = Server::of(service).await;
    let answer = ask(server.address, get("/ready")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let counted = metrics(server.address).await;
    assert!(
        counted.contains("siglip2_batch_rows_count{tower=\"image\"} 1"),
        "{counted}"
    );
    let starting = Server::starting().await;
    let answer = ask(starting.address, get("/ready")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn a_drain_answers_what_was_accepted_and_refuses_what_comes() {
    let server = Server::start(HttpSettings::default()).await;
    let orders = std::sync::Arc::clone(&server.orders);
    let held = orders.gate.lock().unwrap();
    let address = server.address;
    let service = server.service.clone();
    let accepted = tokio::spawn(async move { ask(address, text(&[])).await });
    let mut kept = Client::connect(address).await;
    kept.send(get("/health")).await;
    assert_eq!(kept.answer().await.status, 200);
    while !metrics(address)
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
        let answer = ask(address, get(path)).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
    }
    // On a new connection, and on one that was open before.
    let answer = ask(address, text(&[])).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    kept.send(text(&[])).await;
    assert_eq!(kept.answer().await.status, 503);
    assert!(kept.is_closed().await);
    drop(held);
    assert_eq!(accepted.await.unwrap().status, 200);
    ended.await.unwrap().unwrap();
}
