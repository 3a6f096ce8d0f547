//! Engines of two models compute in turns, and small requests to one go between the pieces of a
//! batch of the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use siglip2_embeddings::service::batcher::{Batcher, Item, Ticket, Turns, Worker};
use siglip2_embeddings::service::metrics::Metrics;

use crate::batcher::engines::{Cores, Resting};

/// A batcher with an engine on these cores, what it says when it begins a batch, and what lets it
/// go on.
fn engine(cores: &Arc<Cores>, turns: &Turns, waits: bool) -> (Batcher, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (go, leave) = channel();
    let engine = Resting {
        cores: Arc::clone(cores),
        begun,
        leave: waits.then_some(leave),
        bad: None,
    };
    let workers = vec![Worker {
        engine: Box::new(engine),
        rebuild: None,
    }];
    let turns = Some(turns.clone());
    let batcher = Batcher::start_in_turns(workers, 1000, Metrics::new(), turns).unwrap();
    (batcher, has_begun, go)
}

fn texts(batcher: &Batcher, numbers: &[i32]) -> Vec<Ticket> {
    let mut permits = batcher.reserve(numbers.len()).unwrap();
    let submit = |&number: &i32| {
        let permit = permits.one().expect("a permit");
        permit.submit(Item::Text(vec![number])).expect("it runs")
    };
    numbers.iter().map(submit).collect()
}

async fn wait(tickets: Vec<Ticket>) {
    for ticket in tickets {
        ticket.row().await.expect("a row");
    }
}

#[tokio::test]
async fn no_two_engines_compute_at_the_same_time() {
    let (cores, turns) = (Arc::new(Cores::default()), Turns::default());
    let engines: Vec<_> = (0..3).map(|_| engine(&cores, &turns, false)).collect();
    let mut tickets = Vec::new();
    for round in 0..200 {
        for (batcher, ..) in &engines {
            let rows: Vec<i32> = (0..1 + round % 7).collect();
            tickets.extend(texts(batcher, &rows));
        }
        if round % 20 == 0 {
            wait(std::mem::take(&mut tickets)).await;
        }
    }
    wait(tickets).await;
    assert_eq!(cores.most(), 1);
}

#[tokio::test]
async fn a_text_for_one_model_does_not_wait_for_a_bulk_of_another() {
    let (cores, turns) = (Arc::new(Cores::default()), Turns::default());
    let (bulk, begun, go) = engine(&cores, &turns, true);
    let (other, ..) = engine(&cores, &turns, false);
    // A batch of one row, and the rest of the bulk behind it.
    let rows = texts(&bulk, &[1, 2, 3, 4, 5]);
    begun.recv().unwrap();
    let text = texts(&other, &[100]);
    let many = texts(&other, &[200, 201, 202, 203, 204]);
    while turns.waiting() == 0 {
        std::thread::yield_now();
    }
    go.send(()).unwrap();
    wait(text).await;
    // The batch that was interrupted waits to go on, or has gone on; what came after it waits.
    for _ in 0..8 {
        let _ = go.send(());
    }
    wait(rows).await;
    wait(many).await;
    let order = cores.order();
    let at = |number: f32| order.iter().position(|&it| it == number).expect("it ran");
    assert!(at(100.0) < at(2.0), "{order:?}");
    assert_eq!(cores.most(), 1);
}
