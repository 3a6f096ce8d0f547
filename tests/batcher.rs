//! The batcher: what goes to the engine together, what is left out, and what happens
//! when the engine fails. The engine here waits for leave before every batch, so that
//! a test decides what has arrived by then.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use siglip2_embeddings::batcher::{
    BatchError, Batcher, BatcherOptions, FAILURES_IN_A_ROW, Item, Permits, Ticket, largest_request,
};
use siglip2_embeddings::engine::{Engine, EngineError, EngineInfo, Pixels, Prepare, Rows};
use siglip2_embeddings::image::{ImageError, RgbImage};
use siglip2_embeddings::metrics::Metrics;
use tokio::time::timeout;

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

/// An engine whose rows are the numbers that its items hold, and which may do with a
/// batch what it likes.
struct Numbers<R>(R);

impl<R: FnMut(Vec<f32>) -> Result<Rows, EngineError> + Send> Engine for Numbers<R> {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: "numbers",
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
        // Digits to the base 250.
        let number = |image: &&Pixels| image.0.iter().fold(0.0, |n, d| n * 250.0 + f32::from(*d));
        self.0(batch.iter().map(number).collect())
    }

    fn embed_texts(&mut self, batch: &[&[i32]]) -> Result<Rows, EngineError> {
        self.0(batch.iter().map(|ids| ids[0] as f32).collect())
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
        let mut gate = Gate {
            leave: allowed,
            begun: beginning,
            batches: Arc::clone(&batches),
        };
        Self {
            batcher: Batcher::start(
                Box::new(Numbers(move |numbers| gate.run(numbers))),
                capacity,
            )
            .unwrap(),
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

/// An engine for the model, which fails and panics as its seed has it.
struct Moody {
    random: Random,
    failures_left: usize,
}

struct Random(u64);

impl Random {
    /// xorshift64* (Vigna 2016).
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

impl Moody {
    fn engine(seed: u64, failures_left: usize) -> Box<dyn Engine> {
        let mut moody = Moody {
            random: Random(seed | 1),
            failures_left,
        };
        Box::new(Numbers(move |numbers| moody.run(numbers)))
    }

    fn run(&mut self, numbers: Vec<f32>) -> Result<Rows, EngineError> {
        assert!(numbers.len() <= 4, "a batch is never above the maximum");
        if self.random.below(3) == 0 {
            std::thread::yield_now();
        }
        if self.failures_left > 0 && self.random.below(4) == 0 {
            self.failures_left -= 1;
            if self.random.below(2) == 0 {
                panic!("moody");
            }
            return Err(EngineError::Failed("moody".into()));
        }
        Rows::new(1, numbers)
    }
}

/// What `/metrics` says of the lanes.
fn queue_depth(batcher: &Batcher) -> usize {
    batcher
        .metrics()
        .text()
        .lines()
        .filter(|line| line.starts_with("siglip2_queue_rows{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// Random requests, cancellations, deadlines and engine failures, over many seeds:
/// every accepted row is answered once, with its own number or an error; there are
/// never more under way than permits; nothing waits for ever; all permits come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_holds_over_many_seeds() {
    const CAPACITY: usize = 48;
    let (mut answered, mut refused, mut failed, mut late) = (0, 0, 0, 0);
    for seed in 1..=200_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let batcher = Batcher::with(
            Moody::engine(seed, 6),
            BatcherOptions {
                capacity: CAPACITY,
                rebuild: Some(Box::new(move || Ok(Moody::engine(seed, 0)))),
                metrics: Metrics::new(),
            },
        )
        .unwrap();
        let mut waiting = Vec::new();
        for request in 0..40_u32 {
            let most = if random.below(4) == 0 { 20 } else { 3 };
            let rows = 1 + random.below(most) as usize;
            let Ok(permits) = batcher.reserve(rows) else {
                refused += 1;
                tokio::task::yield_now().await;
                continue;
            };
            let deadline = match random.below(10) {
                0 => Some(Instant::now()),
                1 => Some(Instant::now() + Duration::from_secs(60)),
                _ => None,
            };
            let mut permits = permits.until(deadline);
            let queued: usize = queue_depth(&batcher);
            assert!(queued <= CAPACITY, "seed {seed}: {queued} rows wait");
            let image = random.below(2) == 0;
            let mut tickets = Vec::new();
            for row in 0..rows as u32 {
                let number = request * 20 + row;
                let item = match image {
                    true => Item::Image(Pixels(vec![(number / 250) as u8, (number % 250) as u8])),
                    false => Item::Text(vec![number as i32]),
                };
                match permits.one().unwrap().submit(item) {
                    Ok(ticket) => tickets.push((ticket, number as f32)),
                    Err(error) => assert_eq!(error, BatchError::Stopped, "seed {seed}"),
                }
            }
            assert!(permits.one().is_none(), "as many permits as rows");
            if random.below(5) == 0 {
                // The client goes away.
                drop(tickets);
                continue;
            }
            waiting.push(tokio::spawn(async move {
                let mut results = Vec::new();
                for (ticket, expected) in tickets {
                    results.push((ticket.row().await, expected));
                }
                results
            }));
            if random.below(3) == 0 {
                tokio::task::yield_now().await;
            }
        }
        for task in waiting {
            let results = timeout(Duration::from_secs(60), task)
                .await
                .unwrap_or_else(|_| panic!("seed {seed}: a row was never answered"))
                .unwrap();
            for (result, expected) in results {
                match result {
                    Ok(row) => {
                        assert_eq!(row, [expected], "seed {seed}: a row of another");
                        answered += 1;
                    }
                    Err(BatchError::Late) => late += 1,
                    Err(_) => failed += 1,
                }
            }
        }
        while batcher.reserve(CAPACITY - CAPACITY / 8).is_err() {
            tokio::task::yield_now().await;
        }
    }
    for (count, what) in [
        (answered, "answered"),
        (refused, "refused"),
        (failed, "failed"),
        (late, "late"),
    ] {
        assert!(count > 50, "only {count} {what}: the model did not try it");
    }
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
    assert_eq!(late.row().await, Err(BatchError::Late));
    assert_eq!(kept.row().await, Ok(vec![2.0]));
    assert_eq!(*test.batches.lock().unwrap(), [vec![0.0], vec![2.0]]);
}

#[tokio::test]
async fn an_engine_that_failed_is_built_anew_once() {
    let dead = || Moody::engine(1, usize::MAX);
    let batcher = Batcher::with(
        dead(),
        BatcherOptions {
            capacity: 8,
            rebuild: Some(Box::new(move || Ok(dead()))),
            metrics: Metrics::new(),
        },
    )
    .unwrap();
    while !batcher.has_failed() {
        let mut permits = batcher.reserve(1).unwrap();
        if let Ok(ticket) = permits.one().unwrap().submit(Item::Text(vec![1])) {
            let _ = ticket.row().await;
        }
        tokio::task::yield_now().await;
    }
    let metrics = batcher.metrics().text();
    assert!(
        metrics.contains("siglip2_engine_rebuilds_total 1"),
        "{metrics}"
    );
    assert!(metrics.contains("siglip2_engine_up 0"), "{metrics}");
}
