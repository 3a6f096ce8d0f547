//! Engines that have several batches at a time.

use std::time::Duration;

use siglip2_embeddings::engine::{Rows, Tower};
use siglip2_embeddings::service::batcher::{Batcher, Item};
use siglip2_embeddings::service::metrics::Metrics;

use super::engines::{image, one, slots, submit};

#[tokio::test]
async fn an_engine_gets_as_many_batches_of_a_tower_as_it_has_slots_and_they_may_overtake() {
    let (engine, batches) = slots(2);
    let batcher = Batcher::start(one(engine), 100, Metrics::new()).unwrap();
    let mut tickets = Vec::new();
    let mut put = |item| tickets.push(submit(&mut batcher.reserve(1).unwrap(), item));
    let patience = Duration::from_secs(60);
    put(Item::Text(vec![1]));
    let (_, first, first_done) = batches.recv_timeout(patience).unwrap();
    put(Item::Text(vec![2]));
    let (_, second, second_done) = batches.recv_timeout(patience).unwrap();
    put(Item::Text(vec![3]));
    put(image(4));
    let (tower, third, third_done) = batches.recv_timeout(patience).unwrap();
    assert_eq!(
        (tower, first, second, third),
        (Tower::Image, vec![1.0], vec![2.0], vec![4.0]),
        "the third text waits for a slot, the image has slots of its own"
    );
    second_done.finish(Rows::new(1, vec![2.0]));
    let (tower, fourth, fourth_done) = batches.recv_timeout(patience).unwrap();
    assert_eq!((tower, fourth), (Tower::Text, vec![3.0]));
    fourth_done.finish(Rows::new(1, vec![3.0]));
    third_done.finish(Rows::new(1, vec![4.0]));
    first_done.finish(Rows::new(1, vec![1.0]));
    for (expected, ticket) in [1.0, 2.0, 3.0, 4.0].into_iter().zip(tickets) {
        assert_eq!(ticket.row().await, Ok(vec![expected]));
    }
}

/// Seconds in which the engine had work, as the metrics have them.
fn busy(batcher: &Batcher) -> f64 {
    let text = batcher.metrics().text();
    let series = "siglip2_engine_busy_seconds_total{engine=\"0\"} ";
    let (_, rest) = text.split_once(series).unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_engine_is_busy_while_it_has_a_batch_and_idle_otherwise() {
    let (engine, batches) = slots(2);
    let batcher = Batcher::start(one(engine), 100, Metrics::new()).unwrap();
    let patience = Duration::from_secs(60);
    let pause = Duration::from_millis(50);
    std::thread::sleep(pause);
    assert_eq!(busy(&batcher), 0.0);
    let put = |number| submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![number]));
    let first = put(1);
    let (_, _, first_done) = batches.recv_timeout(patience).unwrap();
    std::thread::sleep(pause);
    let second = put(2);
    let (_, _, second_done) = batches.recv_timeout(patience).unwrap();
    // What has passed counts although nothing has come out.
    assert!(busy(&batcher) >= pause.as_secs_f64());
    first_done.finish(Rows::new(1, vec![1.0]));
    second_done.finish(Rows::new(1, vec![2.0]));
    first.row().await.unwrap();
    second.row().await.unwrap();
    let worked = busy(&batcher);
    std::thread::sleep(pause);
    // The next one adds nothing of the pause.
    let third = put(3);
    let (_, _, third_done) = batches.recv_timeout(patience).unwrap();
    assert_eq!(busy(&batcher), worked);
    third_done.finish(Rows::new(1, vec![3.0]));
    third.row().await.unwrap();
}
