//! Engines that do as a test says, and what their items hold.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use siglip2_embeddings::engine::{
    Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare, Rows, Tower,
};
use siglip2_embeddings::image::{ImageError, RgbImage};
use siglip2_embeddings::service::batcher::{Batcher, Item, Permits, Ticket, Worker};
use siglip2_embeddings::service::metrics::Metrics;

pub(crate) struct NoPrepare;

impl Prepare for NoPrepare {
    fn prepare(&self, _: RgbImage) -> Result<Pixels, ImageError> {
        Err(ImageError::Empty)
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
pub(crate) fn image(number: u32) -> Item {
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

pub(crate) fn one(engine: Box<dyn Engine>) -> Vec<Worker> {
    let rebuild = None;
    vec![Worker { engine, rebuild }]
}

pub(crate) fn submit(permits: &mut Permits, item: Item) -> Ticket {
    permits.one().unwrap().submit(item).unwrap()
}

/// An engine whose rows are the numbers that its items hold, and which may do with a
/// batch what it likes.
pub(crate) struct Numbers<R>(pub(crate) R);

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

/// What the engine is to do with its next batch.
pub(crate) enum Leave {
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

/// A batcher with one engine that waits for leave before every batch.
pub(crate) struct Test {
    pub(crate) batcher: Batcher,
    pub(crate) leave: Sender<Leave>,
    pub(crate) begun: Receiver<()>,
    pub(crate) batches: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Test {
    pub(crate) fn new(capacity: usize) -> Self {
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

    pub(crate) fn text(&self, number: i32) -> Ticket {
        submit(
            &mut self.batcher.reserve(1).unwrap(),
            Item::Text(vec![number]),
        )
    }

    pub(crate) fn image(&self, number: u8) -> Ticket {
        submit(
            &mut self.batcher.reserve(1).unwrap(),
            image(u32::from(number)),
        )
    }

    /// Lets the batch that has begun run, and waits until so many more have begun.
    pub(crate) fn run(&self, batches: usize) {
        for _ in 0..batches {
            self.leave.send(Leave::Run).unwrap();
            self.begun.recv().unwrap();
        }
    }
}

/// A batch that is in an engine: its tower, its numbers, and how it is answered.
pub(crate) type Held = (Tower, Vec<f32>, Completion);

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

/// An engine with so many slots, and the batches that are in them.
pub(crate) fn slots(slots: usize) -> (Box<dyn Engine>, Receiver<Held>) {
    patient(slots, None)
}

/// The same, that is taken to hang after so long.
pub(crate) fn patient(
    slots: usize,
    device_timeout: Option<Duration>,
) -> (Box<dyn Engine>, Receiver<Held>) {
    let (held, batches) = channel();
    let engine = Slots {
        slots,
        device_timeout,
        held,
    };
    (Box::new(engine), batches)
}

/// What engines that compute on the same cores have done.
#[derive(Default)]
pub(crate) struct Cores {
    /// Engines that compute now, and the most that did at once.
    computing: AtomicUsize,
    most: AtomicUsize,
    /// The rows of finished batches, in order.
    order: Mutex<Vec<f32>>,
}

impl Cores {
    /// The most engines that computed at the same time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The rows of the batches that have finished, in order.
    pub(crate) fn order(&self) -> Vec<f32> {
        self.order.lock().unwrap().clone()
    }

    fn enter(&self) {
        let now = self.computing.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::yield_now();
    }

    fn leave(&self) {
        self.computing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An engine that computes a batch in two pieces and rests between them, when it gets leave to.
pub(crate) struct Resting {
    pub(crate) cores: Arc<Cores>,
    /// Told when a batch has begun.
    pub(crate) begun: Sender<()>,
    /// What it waits for before it rests; `None` if it does not wait.
    pub(crate) leave: Option<Receiver<()>>,
    /// It panics when it is to finish a row with this number.
    pub(crate) bad: Option<f32>,
}

impl Resting {
    fn finish(&self, batch: &Batch, done: Completion) {
        let numbers = numbers(batch);
        let is_bad = self.bad.is_some_and(|bad| numbers.contains(&bad));
        assert!(!is_bad, "told to");
        self.cores.order.lock().unwrap().extend(&numbers);
        done.finish(Rows::new(1, numbers));
    }
}

impl Engine for Resting {
    fn info(&self) -> EngineInfo {
        info(1)
    }

    fn preparer(&self) -> Arc<dyn Prepare> {
        Arc::new(NoPrepare)
    }

    fn submit(&mut self, _: Batch, _: Completion) {
        unreachable!("it may always rest");
    }

    fn submit_and_rest(
        &mut self,
        batch: Batch,
        done: Completion,
        next: &mut dyn FnMut() -> Option<(Batch, Completion)>,
    ) {
        self.cores.enter();
        // Either may fail because the test has ended.
        let _ = self.begun.send(());
        if let Some(leave) = &self.leave {
            let _ = leave.recv();
        }
        self.cores.leave();
        while let Some((batch, done)) = next() {
            self.finish(&batch, done);
        }
        self.cores.enter();
        self.finish(&batch, done);
        self.cores.leave();
    }
}
