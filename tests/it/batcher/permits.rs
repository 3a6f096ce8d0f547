//! How many rows may be under way.

use siglip2_embeddings::service::batcher::{Item, Permits, largest_request};

use super::engines::{Leave, Test, submit};

#[tokio::test]
async fn permits_bound_what_is_under_way_and_come_back() {
    let test = Test::new(3);
    assert!(test.batcher.reserve(4).is_err(), "more than there are");
    let mut permits = test.batcher.reserve(3).unwrap();
    let ticket = submit(&mut permits, Item::Text(vec![7]));
    assert!(
        test.batcher.reserve(1).is_err(),
        "one row waits and two are reserved"
    );
    drop(permits);
    assert!(test.batcher.reserve(3).is_err(), "the row still waits");
    drop(test.batcher.reserve(2).unwrap());
    test.leave.send(Leave::Run).unwrap();
    ticket.row().await.unwrap();
    // The permit comes back just after the answer.
    while test.batcher.reserve(3).is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bulk_leaves_permits_to_small_requests() {
    let test = Test::new(80);
    assert!(test.batcher.reserve(71).is_err(), "an eighth is kept");
    let bulk = test.batcher.reserve(largest_request(80)).unwrap();
    assert!(test.batcher.reserve(5).is_err());
    let small: Vec<Permits> = (0..10).map(|_| test.batcher.reserve(1).unwrap()).collect();
    assert!(test.batcher.reserve(1).is_err());
    drop((bulk, small));
    assert!(test.batcher.reserve(70).is_ok());
}
