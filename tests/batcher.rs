//! The batcher: what goes to the engine together, what is left out, and what happens
//! when the engine fails. The engine here waits for leave before every batch, so that
//! a test decides what has arrived by then.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use siglip2_embeddings::batcher::{BatchError, Batcher, FAILURES_IN_A_ROW, Item, Permits, Ticket};
use siglip2_embeddings::engine::{Engine, EngineError, EngineInfo, Pixels, Prepare, Rows};
use siglip2_embeddings::image::{ImageError, RgbImage};

struct NoPrepare;

impl Prepare for NoPrepare {
    fn prepare(&self, _: &RgbImage) -> Result<Pixels, ImageError> {
        Err(ImageError::Empty)
    }
}

/// What the engine is to do with its next batch.
enum Leave {
    Run,
    Fail,
    Panic,
}

/// A row is the number that its item holds. Every batch is noted.
struct Gate {
    leave: Receiver<Leave>,
    begun: Sender<()>,
    batches: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Gate {
    fn run(&mut self, numbers: Vec<f32>) -> Result<Rows, EngineError> {
        self.begun.send(()).unwrap();
        match self.leave.recv() {
            Ok(Leave::Run) => {}
            Ok(Leave::Fail) => return Err(EngineError::Failed("told to".into())),
            Ok(Leave::Panic) => panic!("told to"),
            Err(_) => return Err(EngineError::Failed("the test has ended".into())),
        }
        self.batches.lock().unwrap().push(numbers.clone());
        Rows::new(1, numbers)
    }
}

impl Engine for Gate {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "gate",
            device: "cpu",
            precision: "fp32",
            dimensions: 1,
            max_batch: 4,
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrepare)
    }

    fn embed_images(&mut self, batch: &[&Pixels]) -> Result<Rows, EngineError> {
        self.run(batch.iter().map(|image| f32::from(image.0[0])).collect())
    }

    fn embed_texts(&mut self, batch: &[&[i32]]) -> Result<Rows, EngineError> {
        self.run(batch.iter().map(|ids| ids[0] as f32).collect())
    }
}

struct Test {
    batcher: Batcher,
    leave: Sender<Leave>,
    begun: Receiver<()>,
    batches: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Test {
    fn new(capacity: usize) -> Self {
        let (leave, allowed) = channel();
        let (beginning, begun) = channel();
        let batches = Arc::default();
        let engine = Gate {
            leave: allowed,
            begun: beginning,
            batches: Arc::clone(&batches),
        };
        Self {
            batcher: Batcher::start(Box::new(engine), capacity).unwrap(),
            leave,
            begun,
            batches,
        }
    }

    fn text(&self, number: i32) -> Ticket {
        submit(
            &mut self.batcher.reserve(1).unwrap(),
            Item::Text(vec![number]),
        )
    }

    fn image(&self, number: u8) -> Ticket {
        submit(
            &mut self.batcher.reserve(1).unwrap(),
            Item::Image(Pixels(vec![number])),
        )
    }

    /// Lets the batch that has begun run, and waits until so many more have begun.
    fn run(&self, batches: usize) {
        for _ in 0..batches {
            self.leave.send(Leave::Run).unwrap();
            self.begun.recv().unwrap();
        }
    }
}

fn submit(permits: &mut Permits, item: Item) -> Ticket {
    permits.one().unwrap().submit(item).unwrap()
}

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
}

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
async fn a_failed_batch_fails_its_own_rows_and_no_other() {
    let test = Test::new(100);
    for leave in [Leave::Fail, Leave::Panic] {
        let ticket = test.text(1);
        test.leave.send(leave).unwrap();
        assert!(matches!(ticket.row().await, Err(BatchError::Engine(_))));
        let ticket = test.text(2);
        test.leave.send(Leave::Run).unwrap();
        assert_eq!(ticket.row().await, Ok(vec![2.0]));
    }
    assert!(!test.batcher.has_failed());
}

#[tokio::test]
async fn an_engine_that_goes_on_failing_is_given_up() {
    let test = Test::new(100);
    for _ in 0..FAILURES_IN_A_ROW {
        let ticket = test.text(1);
        test.leave.send(Leave::Fail).unwrap();
        assert!(ticket.row().await.is_err());
    }
    // What comes after is answered at once, whether or not it got into the lane.
    loop {
        let mut permits = test.batcher.reserve(1).unwrap();
        match permits.one().unwrap().submit(Item::Text(vec![1])) {
            Err(error) => break assert_eq!(error, BatchError::Stopped),
            Ok(ticket) => assert_eq!(ticket.row().await, Err(BatchError::Stopped)),
        }
    }
    assert!(test.batcher.has_failed());
}

#[tokio::test]
async fn what_still_waits_when_the_batcher_ends_is_answered() {
    let test = Test::new(100);
    let first = test.text(0);
    test.begun.recv().unwrap();
    let waiting = test.text(1);
    test.leave.send(Leave::Run).unwrap();
    test.leave.send(Leave::Run).unwrap();
    drop(test.batcher);
    assert_eq!(first.row().await, Ok(vec![0.0]));
    assert!(matches!(
        waiting.row().await,
        Ok(_) | Err(BatchError::Stopped)
    ));
}
