//! What runs between the pieces of a batch, and what does not.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use siglip2_embeddings::service::batcher::{Batcher, Item, Permits, Ticket};
use siglip2_embeddings::service::metrics::Metrics;

use super::engines::{Cores, Resting, image, one, submit};

struct Test {
    batcher: Batcher,
    leave: Sender<()>,
    begun: Receiver<()>,
    cores: Arc<Cores>,
}

/// The engine panics when it is to finish this row.
const BAD: u32 = 99;

impl Test {
    fn new() -> Self {
        let (leave, allowed) = channel();
        let (beginning, begun) = channel();
        let cores = Arc::default();
        let engine = Resting {
            cores: Arc::clone(&cores),
            begun: beginning,
            leave: Some(allowed),
            bad: Some(BAD as f32),
        };
        Self {
            batcher: Batcher::start(one(Box::new(engine)), 100, Metrics::new()).unwrap(),
            leave,
            begun,
            cores,
        }
    }

    /// Rows of one request, as many as there are numbers; with more than four it is a bulk.
    fn rows(&self, numbers: &[u32], item: fn(u32) -> Item) -> Vec<Ticket> {
        let mut permits: Permits = self.batcher.reserve(numbers.len()).unwrap();
        let rows = numbers
            .iter()
            .map(|&number| submit(&mut permits, item(number)));
        rows.collect()
    }

    /// What is finished, in order, when `later` comes while a batch of `first` runs that was
    /// begun alone.
    async fn order(
        self,
        (first, first_item): (&[u32], fn(u32) -> Item),
        (later, later_item): (&[u32], fn(u32) -> Item),
    ) -> Vec<f32> {
        let mut tickets = self.rows(&[0], text);
        self.begun.recv().unwrap();
        tickets.extend(self.rows(first, first_item));
        self.leave.send(()).unwrap();
        // The first of them may have gone in the middle of the batch before; it is not asked
        // about.
        self.begun.recv().unwrap();
        tickets.extend(self.rows(later, later_item));
        for _ in 0..20 {
            self.leave.send(()).unwrap();
        }
        for ticket in tickets {
            ticket.row().await.unwrap();
        }
        let order = self.cores.order();
        assert_eq!(order[0], 0.0, "a text of its own waits for no other");
        order[1..].to_vec()
    }
}

fn text(number: u32) -> Item {
    Item::Text(vec![number as i32])
}

const BULK: [u32; 5] = [1, 2, 3, 4, 5];

#[tokio::test]
async fn what_is_small_goes_between_the_pieces_of_a_bulk() {
    for (first, later) in [(image as fn(_) -> _, text as fn(_) -> _), (text, image)] {
        let order = Test::new().order((&BULK, first), (&[9], later)).await;
        assert_eq!(order, [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let order = Test::new().order((&BULK, first), (&[9], first)).await;
        assert_eq!(order, [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

#[tokio::test]
async fn a_text_goes_between_the_pieces_of_any_images() {
    let order = Test::new().order((&[1, 2], image), (&[9], text)).await;
    assert_eq!(order, [9.0, 1.0, 2.0]);
}

#[tokio::test]
async fn who_came_first_is_not_overtaken_by_its_like() {
    let order = Test::new().order((&[1, 2], image), (&[9], image)).await;
    assert_eq!(order, [1.0, 2.0, 9.0]);
    let order = Test::new().order((&[1, 2], text), (&[9], image)).await;
    assert_eq!(order, [1.0, 2.0, 9.0]);
    let order = Test::new().order((&[1, 2], text), (&[9], text)).await;
    assert_eq!(order, [1.0, 2.0, 9.0]);
}

#[tokio::test]
async fn a_bulk_does_not_go_between_the_pieces_of_another() {
    let order = Test::new()
        .order((&BULK, image), (&[11, 12, 13, 14, 15], text))
        .await;
    assert_eq!(order[..4], [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(order.len(), 10);
}

#[tokio::test]
async fn a_panic_between_pieces_fails_what_was_in_the_engine_and_no_more() {
    let test = Test::new();
    let bulk = test.rows(&BULK, image);
    test.begun.recv().unwrap();
    let bad = test.rows(&[BAD], text);
    for _ in 0..20 {
        test.leave.send(()).unwrap();
    }
    for ticket in bad {
        assert!(ticket.row().await.is_err());
    }
    let mut answered = Vec::new();
    for ticket in bulk {
        answered.push(ticket.row().await.is_ok());
    }
    // As many as were in the batch that was begun before the others had come.
    let failed = answered.iter().filter(|it| !**it).count();
    assert!((1..=4).contains(&failed), "{answered:?}");
    for ticket in test.rows(&[7], text) {
        assert_eq!(ticket.row().await.unwrap(), [7.0]);
    }
}
