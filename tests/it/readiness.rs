//! When the service says that it is not ready, and what it forgets then.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use siglip2_embeddings::http::HttpSettings;
use siglip2_embeddings::service::{Context, Service, State};

use crate::common::engine::{Orders, with_readiness};
use crate::common::{Server, ask, get, post_json};

const TEXT: &str = r#"{"texts": ["a text"]}"#;

async fn start() -> (Server, Arc<Orders>) {
    let (service, orders) = with_readiness(1 << 20);
    let settings = HttpSettings {
        cache_header: true,
        ..HttpSettings::default()
    };
    let server = Server::serving(service, settings).await;
    (server, orders)
}

async fn status(server: &Server, path: &str) -> u16 {
    ask(server.address, get(path)).await.status
}

#[tokio::test]
async fn a_row_that_is_no_vector_is_not_remembered_and_ends_readiness_at_once() {
    let (server, orders) = start().await;
    assert_eq!(status(&server, "/ready").await, 200);
    orders.not_a_number.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.header("x-cache"), None, "it was remembered");
    }
    // The verdict of a moment ago would have stood for half a minute.
    assert_eq!(status(&server, "/ready").await, 503);
    orders.not_a_number.store(false, Ordering::SeqCst);
    let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!((answer.status, answer.header("x-cache")), (200, None));
}

#[tokio::test]
async fn a_doubt_is_cleared_by_the_next_check_that_passes() {
    let (server, orders) = start().await;
    orders.not_a_number.store(true, Ordering::SeqCst);
    let answer = ask(server.address, post_json("/embed/text", TEXT)).await;
    assert_eq!(answer.status, 500);
    // It was that input, and nothing is wrong with the engine.
    orders.not_a_number.store(false, Ordering::SeqCst);
    assert_eq!(status(&server, "/ready").await, 200);
}

async fn embed(service: &Service) -> bool {
    let request = service.request(Context::default());
    request
        .embed_texts(vec!["a text".into()], false)
        .await
        .is_ok()
}

#[tokio::test]
async fn what_is_remembered_is_forgotten_when_a_check_fails() {
    let (service, orders) = with_readiness(1 << 20);
    for _ in 0..2 {
        assert!(embed(&service).await);
    }
    assert_eq!(orders.rows.load(Ordering::SeqCst), 1, "it is remembered");
    orders.not_a_number.store(true, Ordering::SeqCst);
    assert!(service.check_readiness().await.is_err());
    orders.not_a_number.store(false, Ordering::SeqCst);
    let before = orders.rows.load(Ordering::SeqCst);
    assert!(embed(&service).await);
    assert_eq!(orders.rows.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn what_is_remembered_is_forgotten_when_the_engine_is_built_anew() {
    let (service, orders) = with_readiness(1 << 20);
    for _ in 0..2 {
        assert!(embed(&service).await);
    }
    assert_eq!(orders.rows.load(Ordering::SeqCst), 1, "it is remembered");
    orders.fail.store(true, Ordering::SeqCst);
    let mut number = 0;
    while orders.rebuilt.load(Ordering::SeqCst) == 0 {
        number += 1;
        let request = service.request(Context::default());
        let _ = request
            .embed_texts(vec![format!("text {number}")], false)
            .await;
    }
    orders.fail.store(false, Ordering::SeqCst);
    while service.state() != State::Ready {
        tokio::task::yield_now().await;
    }
    assert!(embed(&service).await);
    assert_eq!(orders.rows.load(Ordering::SeqCst), 2);
}
