//! Texts that were asked before, or are being asked by another: computed once, and
//! the same rows.

// The lock that holds the fake engine up is taken by its thread alone, not by a task.
#![allow(clippy::await_holding_lock)]
#![allow(dead_code)]

use std::sync::atomic::Ordering;

use crate::common::engine::{Orders, with_cache};
use siglip2_embeddings::service::{Context, Service};

async fn embed(service: &Service, texts: &[String]) -> Vec<Vec<f32>> {
    let request = service.request(Context::default());
    let rows = request.embed_texts(texts.to_vec(), false).await.unwrap();
    rows.embeddings.rows().map(<[f32]>::to_vec).collect()
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("text {number}")).collect()
}

fn computed(orders: &Orders) -> usize {
    orders.rows.load(Ordering::SeqCst)
}

/// Waits until the metrics say so.
async fn until(service: &Service, series: &str) {
    while !service.metrics().text().contains(&format!("{series}\n")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_text_is_computed_once_and_remembered() {
    let (service, orders) = with_cache(100, 1 << 20);
    let (plain, _) = with_cache(100, 0);
    let expected = embed(&plain, &texts(0..8)).await;
    assert_eq!(embed(&service, &texts(0..8)).await, expected);
    assert_eq!(embed(&service, &texts(0..8)).await, expected);
    assert_eq!(computed(&orders), 8);
    assert_eq!(embed(&service, &texts(4..9)).await[..4], expected[4..]);
    assert_eq!(computed(&orders), 9);
    let metrics = service.metrics().text();
    for series in ["result=\"hit\"} 12", "result=\"miss\"} 9"] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn texts_in_flight_are_shared_and_one_who_leaves_takes_nothing_away() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let ask = |texts: Vec<String>| {
        let service = service.clone();
        tokio::spawn(async move { embed(&service, &texts).await })
    };
    // The first is with the engine, the others wait behind it.
    let first = ask(texts(0..1));
    let leaver = ask(texts(1..2));
    let sharer = ask(vec!["text 1".into(), "text 1".into()]);
    until(&service, "result=\"shared\"} 2").await;
    leaver.abort();
    assert!(leaver.await.is_err());
    drop(held);
    first.await.unwrap();
    let rows = sharer.await.unwrap();
    assert_eq!(rows[0], rows[1]);
    assert_eq!(computed(&orders), 2);
}

#[tokio::test]
async fn the_cache_keeps_to_its_bytes_and_forgets_the_oldest() {
    // A row takes 4 * (4 + 64) + 168 = 440 bytes.
    let (service, orders) = with_cache(100, 4 * 440);
    embed(&service, &texts(0..4)).await;
    embed(&service, &texts(0..1)).await;
    assert_eq!(computed(&orders), 4);
    embed(&service, &texts(4..5)).await;
    embed(&service, &texts(0..1)).await;
    assert_eq!(computed(&orders), 5, "text 0 was used, and stayed");
    embed(&service, &texts(1..2)).await;
    assert_eq!(computed(&orders), 6, "text 1 was the oldest");
}

#[tokio::test]
async fn a_query_shares_the_text_of_a_bulk_and_does_not_wait_in_its_line() {
    let (service, orders) = with_cache(100, 0);
    let held = orders.gate.lock().unwrap();
    let ask = |texts: Vec<String>| {
        let service = service.clone();
        tokio::spawn(async move { embed(&service, &texts).await })
    };
    let bulk = ask(texts(0..20));
    until(&service, "result=\"miss\"} 20").await;
    let query = ask(texts(19..20));
    until(&service, "result=\"shared\"} 1").await;
    let other_bulk = ask(texts(10..20));
    until(&service, "result=\"shared\"} 11").await;
    drop(held);
    let row = query.await.unwrap()[0].clone();
    assert_eq!(row, bulk.await.unwrap()[19]);
    other_bulk.await.unwrap();
    assert_eq!(computed(&orders), 20, "the query and the bulks shared");
    // The batch that was held has at most 8 rows, and the query's comes right behind it.
    let order = orders.order.lock().unwrap();
    let place = order.iter().position(|&first| first == row[0]).unwrap();
    assert!(place <= 8, "place {place} in {order:?}");
}
