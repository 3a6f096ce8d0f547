//! Which rows go to the engine together, in which order, and which are left out.

use std::time::Instant;

use siglip2_embeddings::service::batcher::{BatchError, Item, Ticket};

use super::engines::{Leave, Test, submit};

#[tokio::test]
async fn what_waits_while_the_engine_is_busy_goes_together_up_to_the_maximum() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    let others: Vec<Ticket> = (1..=6).map(|number| test.text(number)).collect();
    test.run(2);
    test.leave.send(Leave::Run).unwrap();
    assert_eq!(first.row().await, Ok(vec![0.0]));
    for (number, ticket) in (1..=6).zip(others) {
        assert_eq!(ticket.row().await, Ok(vec![number as f32]));
    }
    let batches = test.batches.lock().unwrap().clone();
    assert_eq!(
        batches,
        [vec![0.0], vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0]]
    );
}

#[tokio::test]
async fn images_and_texts_take_turns() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    let mut images: Vec<Ticket> = (1..=8).map(|number| test.image(number)).collect();
    images.push(first);
    images.push(test.text(100));
    test.run(3);
    test.leave.send(Leave::Run).unwrap();
    for ticket in images {
        ticket.row().await.unwrap();
    }
    let batches = test.batches.lock().unwrap().clone();
    let heads: Vec<f32> = batches.iter().map(|batch| batch[0]).collect();
    assert_eq!(
        heads,
        [0.0, 1.0, 100.0, 5.0],
        "the text waited for one batch of images"
    );
}

#[tokio::test]
async fn small_requests_go_before_a_bulk_which_keeps_a_quarter() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    let mut bulk = test.batcher.reserve(8).unwrap();
    assert!(!bulk.are_interactive());
    let mut tickets: Vec<Ticket> = (10..18)
        .map(|number| submit(&mut bulk, Item::Text(vec![number])))
        .collect();
    tickets.extend((1..=5).map(|number| test.text(number)));
    tickets.push(first);
    test.run(4);
    test.leave.send(Leave::Run).unwrap();
    for ticket in tickets {
        ticket.row().await.unwrap();
    }
    let batches = test.batches.lock().unwrap().clone();
    assert_eq!(
        batches,
        [
            vec![0.0],
            vec![1.0, 2.0, 3.0, 10.0],
            vec![4.0, 5.0, 11.0, 12.0],
            vec![13.0, 14.0, 15.0, 16.0],
            vec![17.0]
        ]
    );
}

#[tokio::test]
async fn rows_whose_client_has_gone_are_left_out() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    drop(test.text(1));
    let kept = test.text(2);
    drop(test.text(3));
    test.run(1);
    test.leave.send(Leave::Run).unwrap();
    first.row().await.unwrap();
    kept.row().await.unwrap();
    assert_eq!(*test.batches.lock().unwrap(), [vec![0.0], vec![2.0]]);
    let metrics = test.batcher.metrics().text();
    let dropped = "siglip2_dropped_rows_total{tower=\"text\"} 2\n";
    assert!(metrics.contains(dropped), "{metrics}");
}

#[tokio::test]
async fn a_row_whose_deadline_passed_is_not_computed() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    let mut late = test.batcher.reserve(1).unwrap().until(Some(Instant::now()));
    let late = submit(&mut late, Item::Text(vec![1]));
    let kept = test.text(2);
    test.run(1);
    test.leave.send(Leave::Run).unwrap();
    first.row().await.unwrap();
    assert_eq!(late.row().await, Err(BatchError::Expired));
    assert_eq!(kept.row().await, Ok(vec![2.0]));
    assert_eq!(*test.batches.lock().unwrap(), [vec![0.0], vec![2.0]]);
    let metrics = test.batcher.metrics().text();
    let expired = "siglip2_expired_rows_total{tower=\"text\"} 1\n";
    assert!(metrics.contains(expired), "{metrics}");
}
