//! The batcher: what goes to the engine together, what is left out, and what happens
//! when the engine fails. The engine here waits for leave before every batch, so that
//! a test decides what has arrived by then.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use siglip2_embeddings::engine::{
    Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows, Tower,
};
use siglip2_embeddings::image::{ImageError, RgbImage};
use siglip2_embeddings::service::batcher::{
    BatchError, Batcher, EngineState, FAILURES_IN_A_ROW, Item, Permits, Ticket, Worker,
    largest_request,
};
use siglip2_embeddings::service::metrics::Metrics;
use tokio::time::timeout;

mod rest;

pub(crate) struct NoPrepare;

impl Prepare for NoPrepare {
    fn prepare(&self, _: RgbImage) -> Result<Pixels, ImageError> {
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

/// What every engine here says of itself.
pub(crate) fn info(slots: usize) -> EngineInfo {
    EngineInfo {
        name: "numbers",
        device: "cpu",
        precision: "fp32",
        agreement: None,
        dimensions: 1,
        max_batch: 4,
        slots,
        device_timeout: None,
    }
}

/// An image that holds a number below 250 * 250, as digits to the base 250.
fn image(number: u32) -> Item {
    let digits = vec![0, (number / 250) as u8, (number % 250) as u8];
    Item::Image(Pixels::Decoded(RgbImage::new(1, 1, digits).unwrap()))
}

/// The numbers that the items of a batch hold.
pub(crate) fn numbers(batch: &Batch) -> Vec<f32> {
    let digits = |image: &Pixels| {
        let digits = image.decoded().unwrap().pixels().iter();
        digits.fold(0.0, |n, d| n * 250.0 + f32::from(*d))
    };
    match batch {
        Batch::Images(images) => images.iter().map(digits).collect(),
        Batch::Texts(texts) => texts.iter().map(|ids| ids[0] as f32).collect(),
    }
}

/// An engine whose rows are the numbers that its items hold, and which may do with a
/// batch what it likes.
struct Numbers<R>(R);

impl<R: FnMut(Vec<f32>) -> Result<Rows, EngineError> + Send> Engine for Numbers<R> {
    fn info(&self) -> EngineInfo {
        info(1)
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrepare)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        done.finish(self.0(numbers(&batch)));
    }
}

fn one(engine: Box<dyn Engine>) -> Vec<Worker> {
    let rebuild = None;
    vec![Worker { engine, rebuild }]
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
                one(Box::new(Numbers(move |numbers| gate.run(numbers)))),
                capacity,
                Metrics::new(),
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
            image(u32::from(number)),
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
    let metrics = test.batcher.metrics().text();
    let dropped = "siglip2_dropped_rows_total{tower=\"text\"} 2\n";
    assert!(metrics.contains(dropped), "{metrics}");
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
    random: fastrand::Rng,
    failures_left: usize,
}

impl Moody {
    fn engine(seed: u64, failures_left: usize) -> Box<dyn Engine> {
        let mut moody = Moody {
            random: fastrand::Rng::with_seed(seed),
            failures_left,
        };
        Box::new(Numbers(move |numbers| moody.run(numbers)))
    }

    fn run(&mut self, numbers: Vec<f32>) -> Result<Rows, EngineError> {
        assert!(numbers.len() <= 4, "a batch is never above the maximum");
        if self.random.u64(..3) == 0 {
            std::thread::yield_now();
        }
        if self.failures_left > 0 && self.random.u64(..4) == 0 {
            self.failures_left -= 1;
            if self.random.u64(..2) == 0 {
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
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let workers = (0..1 + seed % 2).map(|_| Worker {
            engine: Moody::engine(seed, 6),
            rebuild: Some(Box::new(move || Ok(Moody::engine(seed, 0)))),
        });
        let batcher = Batcher::start(workers.collect(), CAPACITY, Metrics::new()).unwrap();
        let mut waiting = Vec::new();
        for request in 0..40_u32 {
            let most = if random.u64(..4) == 0 { 20 } else { 3 };
            let rows = 1 + random.u64(..most) as usize;
            let Ok(permits) = batcher.reserve(rows) else {
                refused += 1;
                tokio::task::yield_now().await;
                continue;
            };
            let deadline = match random.u64(..10) {
                0 => Some(Instant::now()),
                1 => Some(Instant::now() + Duration::from_secs(60)),
                _ => None,
            };
            let mut permits = permits.until(deadline);
            let queued: usize = queue_depth(&batcher);
            assert!(queued <= CAPACITY, "seed {seed}: {queued} rows wait");
            let images = random.u64(..2) == 0;
            let mut tickets = Vec::new();
            for row in 0..rows as u32 {
                let number = request * 20 + row;
                let item = match images {
                    true => image(number),
                    false => Item::Text(vec![number as i32]),
                };
                match permits.one().unwrap().submit(item) {
                    Ok(ticket) => tickets.push((ticket, number as f32)),
                    Err(error) => assert_eq!(error, BatchError::Stopped, "seed {seed}"),
                }
            }
            assert!(permits.one().is_none(), "as many permits as rows");
            if random.u64(..5) == 0 {
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
            if random.u64(..3) == 0 {
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
                    Err(BatchError::Expired) => late += 1,
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

#[tokio::test]
async fn an_engine_that_failed_is_built_anew_once() {
    let dead = || Moody::engine(1, usize::MAX);
    let worker = Worker {
        engine: dead(),
        rebuild: Some(Box::new(move || Ok(dead()))),
    };
    let batcher = Batcher::start(vec![worker], 8, Metrics::new()).unwrap();
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

/// A batch that is in an engine.
type Held = (Tower, Vec<f32>, Completion);

/// An engine with slots: what is in it comes out when and how the test says.
struct Slots {
    slots: usize,
    device_timeout: Option<Duration>,
    held: Sender<Held>,
}

impl Engine for Slots {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            device_timeout: self.device_timeout,
            ..info(self.slots)
        }
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrepare)
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        let held = (batch.tower(), numbers(&batch), done);
        // The test may have ended.
        let _ = self.held.send(held);
    }
}

fn slots(slots: usize) -> (Box<dyn Engine>, Receiver<Held>) {
    patient(slots, None)
}

/// The same, that is taken to hang after so long.
fn patient(slots: usize, device_timeout: Option<Duration>) -> (Box<dyn Engine>, Receiver<Held>) {
    let (held, batches) = channel();
    let engine = Slots {
        slots,
        device_timeout,
        held,
    };
    (Box::new(engine), batches)
}

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

#[tokio::test]
async fn a_batch_that_an_engine_drops_has_failed_and_too_few_rows_are_a_failure() {
    let (engine, batches) = slots(1);
    let batcher = Batcher::start(one(engine), 100, Metrics::new()).unwrap();
    for wrong in [None, Some(Rows::new(1, vec![1.0, 2.0]))] {
        let ticket = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![1]));
        let (_, _, done) = batches.recv_timeout(Duration::from_secs(60)).unwrap();
        match wrong {
            None => drop(done),
            Some(rows) => done.finish(rows),
        }
        assert!(matches!(
            ticket.row().await,
            Err(BatchError::Engine(EngineError::Failed(_)))
        ));
    }
}

#[tokio::test]
async fn a_lost_device_ends_the_batcher_at_once_and_is_not_built_anew() {
    let (engine, batches) = slots(2);
    let worker = Worker {
        engine,
        rebuild: Some(Box::new(|| panic!("it must not be built anew"))),
    };
    let batcher = Batcher::start(vec![worker], 100, Metrics::new()).unwrap();
    let lost = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![1]));
    let (_, _, done) = batches.recv_timeout(Duration::from_secs(60)).unwrap();
    done.finish(Err(EngineError::Lost("an illegal address".into())));
    assert_eq!(lost.row().await, Err(BatchError::Stopped));
    let mut state = batcher.state();
    let failed = |state: &EngineState| matches!(state, EngineState::Failed(reason) if reason.contains("an illegal address"));
    let waited = timeout(Duration::from_secs(60), state.wait_for(failed)).await;
    waited.unwrap().unwrap();
    // Whether or not it gets into the lane, it is answered.
    let refused = batcher.reserve(1).unwrap().one().unwrap();
    let refused = match refused.submit(Item::Text(vec![2])) {
        Ok(ticket) => ticket.row().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused, BatchError::Stopped);
}

#[tokio::test]
async fn an_engine_that_hangs_is_given_up_and_whoever_waited_for_it_is_answered() {
    let (engine, batches) = patient(1, Some(Duration::from_millis(50)));
    let worker = Worker {
        engine,
        rebuild: Some(Box::new(|| panic!("it must not be built anew"))),
    };
    let batcher = Batcher::start(vec![worker], 100, Metrics::new()).unwrap();
    let patience = Duration::from_secs(60);
    let put = |item| submit(&mut batcher.reserve(1).unwrap(), item);
    let held = put(Item::Text(vec![1]));
    let (_, _, never) = batches.recv_timeout(patience).unwrap();
    let waiting = put(Item::Text(vec![2]));
    for ticket in [held, waiting] {
        let answer = timeout(patience, ticket.row()).await.unwrap();
        assert_eq!(answer, Err(BatchError::Stopped));
    }
    let mut state = batcher.state();
    let hangs = |state: &EngineState| matches!(state, EngineState::Failed(reason) if reason.contains("hangs"));
    let waited = timeout(patience, state.wait_for(hangs)).await;
    waited.unwrap().unwrap();
    // Should it come after all, nobody is there for it, and nothing goes wrong.
    never.finish(Rows::new(1, vec![1.0]));
    drop(batcher);
}

/// An engine that waits for its device when it is put away, as one on a GPU does, and that
/// device never answers: it hangs until the test lets go.
struct Clinging {
    slots: Box<dyn Engine>,
    let_go: Receiver<()>,
}

impl Engine for Clinging {
    fn info(&self) -> EngineInfo {
        self.slots.info()
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        self.slots.preparer()
    }

    fn submit(&mut self, batch: Batch, done: Completion) {
        self.slots.submit(batch, done);
    }
}

impl Drop for Clinging {
    fn drop(&mut self) {
        // An error means that the test has let go.
        let _ = self.let_go.recv();
    }
}

#[tokio::test]
async fn a_batcher_that_ends_does_not_wait_for_an_engine_that_hangs() {
    let patience = Duration::from_secs(60);
    for fails_first in [false, true] {
        let (slots, batches) = patient(1, Some(Duration::from_millis(100)));
        let (_hold, let_go) = channel();
        let worker = Worker {
            engine: Box::new(Clinging { slots, let_go }),
            rebuild: Some(Box::new(|| panic!("its device hangs"))),
        };
        let batcher = Batcher::start(vec![worker], 100, Metrics::new()).unwrap();
        let put = |item| submit(&mut batcher.reserve(1).unwrap(), item);
        let hanging = put(image(1));
        let (_, _, _held) = batches.recv_timeout(patience).unwrap();
        // Held for dead for another reason, it is put away while the image is in it.
        for _ in 0..if fails_first { FAILURES_IN_A_ROW } else { 0 } {
            let failing = put(Item::Text(vec![1]));
            let (.., done) = batches.recv_timeout(patience).unwrap();
            done.finish(Err(EngineError::Failed("told to".into())));
            assert!(failing.row().await.is_err());
        }
        let mut state = batcher.state();
        let ended = std::thread::spawn(move || drop(batcher));
        let answer = timeout(patience, hanging.row()).await.unwrap();
        assert_eq!(answer, Err(BatchError::Stopped));
        let hangs = |state: &EngineState| matches!(state, EngineState::Failed(_));
        let waited = timeout(patience, state.wait_for(hangs)).await;
        waited.unwrap().unwrap();
        let begun = Instant::now();
        while !ended.is_finished() {
            assert!(begun.elapsed() < patience, "it waits for the device");
            std::thread::yield_now();
        }
    }
}

/// What it has been given came back, so that nothing but its drop waits for the device.
#[tokio::test]
async fn a_drop_that_hangs_is_given_up_as_a_batch_is() {
    let patience = Duration::from_secs(60);
    let (slots, batches) = patient(1, Some(Duration::from_millis(100)));
    let (_hold, let_go) = channel();
    let worker = Worker {
        engine: Box::new(Clinging { slots, let_go }),
        rebuild: Some(Box::new(|| panic!("its device hangs"))),
    };
    let batcher = Batcher::start(vec![worker], 100, Metrics::new()).unwrap();
    for _ in 0..FAILURES_IN_A_ROW {
        let failing = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![1]));
        let (.., done) = batches.recv_timeout(patience).unwrap();
        done.finish(Err(EngineError::Failed("told to".into())));
        assert!(failing.row().await.is_err());
    }
    let waiting = batcher.reserve(1).unwrap().one().unwrap();
    let waiting = waiting.submit(Item::Text(vec![2]));
    let hangs = |state: &EngineState| matches!(state, EngineState::Failed(reason) if reason.contains("has been dropped for 0.1 s"));
    let mut state = batcher.state();
    let waited = timeout(patience, state.wait_for(hangs)).await;
    waited.unwrap().unwrap();
    let answer = match waiting {
        Ok(ticket) => timeout(patience, ticket.row()).await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(answer, BatchError::Stopped);
    drop(batcher);
}

#[tokio::test]
async fn an_engine_without_work_does_not_hang() {
    let (engine, batches) = patient(1, Some(Duration::from_millis(1)));
    let batcher = Batcher::start(one(engine), 100, Metrics::new()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!batcher.has_failed());
    let row = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![1]));
    // Now it has some, and nothing comes out of it.
    let patience = Duration::from_secs(60);
    let (_, _, _held) = batches.recv_timeout(patience).unwrap();
    let answer = timeout(patience, row.row()).await.unwrap();
    assert_eq!(answer, Err(BatchError::Stopped));
}

#[tokio::test]
async fn engines_share_the_lanes_and_one_that_is_built_anew_leaves_them_to_the_other() {
    let (first, first_batches) = slots(1);
    let (second, second_batches) = slots(1);
    let (build, permission) = channel::<()>();
    let workers = vec![
        Worker {
            engine: first,
            rebuild: Some(Box::new(move || {
                let _ = permission.recv();
                Err("told to".into())
            })),
        },
        Worker {
            engine: second,
            rebuild: None,
        },
    ];
    let batcher = Batcher::start(workers, 100, Metrics::new()).unwrap();
    let text = |number| submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![number]));
    let patience = Duration::from_secs(60);
    let fail = |done: Completion| done.finish(Err(EngineError::Failed("told to".into())));
    // Either may take a text; the second keeps one, so that all others are the first's.
    let (mut kept, mut failures) = (None, 0);
    while kept.is_none() || failures < FAILURES_IN_A_ROW {
        let ticket = text(1);
        let done = loop {
            if let Ok((.., done)) = first_batches.try_recv() {
                break Some(done);
            }
            if let Ok((.., done)) = second_batches.try_recv() {
                kept = Some((done, ticket));
                break None;
            }
            std::thread::yield_now();
        };
        if let Some(done) = done {
            fail(done);
            failures += 1;
            if failures == FAILURES_IN_A_ROW {
                break;
            }
        }
    }
    let mut state = batcher.state();
    let rebuilding = state.wait_for(|state| *state == EngineState::Rebuilding);
    timeout(patience, rebuilding).await.unwrap().unwrap();
    // While the first is built anew the second goes on.
    let other = text(4);
    if let Some((done, ticket)) = kept {
        done.finish(Rows::new(1, vec![1.0]));
        assert_eq!(ticket.row().await, Ok(vec![1.0]));
    }
    let (_, rows, done) = second_batches.recv_timeout(patience).unwrap();
    assert_eq!(rows, [4.0]);
    done.finish(Rows::new(1, rows));
    assert_eq!(other.row().await, Ok(vec![4.0]));
    build.send(()).unwrap();
    let failed = state.wait_for(|state| matches!(state, EngineState::Failed(_)));
    timeout(patience, failed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tower_that_is_dead_is_noticed_while_the_other_works() {
    let (engine, batches) = slots(1);
    let batcher = Batcher::start(one(engine), 100, Metrics::new()).unwrap();
    let patience = Duration::from_secs(60);
    for _ in 0..FAILURES_IN_A_ROW {
        let failing = submit(&mut batcher.reserve(1).unwrap(), image(1));
        let (.., done) = batches.recv_timeout(patience).unwrap();
        done.finish(Err(EngineError::Failed("no memory for images".into())));
        assert!(failing.row().await.is_err());
        // After the last failure nothing is taken any more.
        let permit = batcher.reserve(1).unwrap().one().unwrap();
        if let Ok(working) = permit.submit(Item::Text(vec![2]))
            && let Ok((.., done)) = batches.recv_timeout(patience)
        {
            done.finish(Rows::new(1, vec![2.0]));
            assert_eq!(working.row().await, Ok(vec![2.0]));
        }
    }
    let mut state = batcher.state();
    let failed = state.wait_for(|state| matches!(state, EngineState::Failed(_)));
    timeout(patience, failed).await.unwrap().unwrap();
}
