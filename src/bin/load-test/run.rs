//! One run: requests by their numbers, from a closed or an open loop, to what was
//! recorded.
//!
//! ```text
//! closed: N clients --next number--> send --> check --> record --> again
//! open:   a thread with a clock --number, arrival--> task: send --> check --> record
//! ```
//!
//! The warm-up is the beginning of the same loop, so that what is counted begins under
//! load; a request counts by when it began.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::check::Checker;
use crate::client::{Client, Ending, Exchange};
use crate::inputs::{Inputs, Request};
use crate::progress::Progress;
use crate::record::{Recorder, Sample};
use crate::schedule::{End, Schedule};
use crate::watch::{Look, Watch};

/// How long a client of the closed loop pauses when it could not connect.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Who sends the next request, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loop {
    /// So many clients, each when its last request has ended.
    Closed(u32),
    /// A clock, with so many requests a second.
    Open(f64),
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The loop.
    pub mode: Loop,
    /// How long nothing is counted.
    pub warm_up: Duration,
    /// When it ends.
    pub end: End,
    /// The number of its first request.
    pub first: u64,
    /// The process to watch.
    pub watch: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was recorded.
    pub recorder: Recorder,
    /// From the end of the warm-up to the end of the last request.
    pub elapsed: Duration,
    /// Connections that were opened.
    pub opened: u64,
    /// Requests that were sent again because the server had closed a kept connection.
    pub reconnects: u64,
    /// Requests of the warm-up.
    pub warm_up_requests: u64,
    /// Requests begun, whether they counted or not.
    pub begun: u64,
    /// Looks at the watched process.
    pub looks: Vec<Look>,
}

impl Outcome {
    /// Adds a later run of the same plan.
    pub fn merge(&mut self, other: &Self) {
        let offset = self.recorder.seconds.len() as f64;
        self.recorder.merge(&other.recorder);
        self.elapsed += other.elapsed;
        self.opened += other.opened;
        self.reconnects += other.reconnects;
        self.warm_up_requests += other.warm_up_requests;
        self.begun += other.begun;
        self.looks.extend(other.looks.iter().map(|look| Look {
            at_s: look.at_s + offset,
            ..*look
        }));
    }
}

/// What all requests of a run share.
struct Shared {
    client: Arc<Client>,
    inputs: Arc<Inputs>,
    checker: Checker,
    recorder: Mutex<Recorder>,
    progress: Progress,
    begun: Instant,
    /// When counting begins.
    start: Instant,
    warm_up_requests: AtomicU64,
    /// Requests begun.
    numbers: AtomicU64,
}

impl Shared {
    async fn one(&self, number: u64, request: &Request, from: Instant, counted: bool) -> Ending {
        let exchange = self.client.send(request).await;
        let now = Instant::now();
        let ending = exchange.ending;
        if counted {
            self.record(number, request, &exchange, now, now - from);
        } else {
            self.warm_up_requests.fetch_add(1, Ordering::Relaxed);
        }
        ending
    }

    fn record(
        &self,
        number: u64,
        request: &Request,
        exchange: &Exchange,
        now: Instant,
        latency: Duration,
    ) {
        let wrong = match exchange.ending {
            Ending::Status(status) => {
                self.checker
                    .wrong(number, &request.expected, status, &exchange.body)
            }
            _ => None,
        };
        self.progress.count(exchange.ending, wrong.is_some());
        let sample = Sample {
            endpoint: request.endpoint,
            ending: exchange.ending,
            latency,
            at: now.saturating_duration_since(self.start),
            images: request.images,
            texts: request.texts,
            sent: exchange.sent,
            received: exchange.received,
            wrong,
        };
        self.recorder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(sample);
    }
}

/// Runs a plan against a service.
pub async fn run(
    client: Arc<Client>,
    inputs: Arc<Inputs>,
    checker: Checker,
    plan: Plan,
    label: &str,
) -> Outcome {
    let before = client.connections();
    let begun = Instant::now();
    let start = begun + plan.warm_up;
    let shared = Arc::new(Shared {
        client,
        inputs,
        checker,
        recorder: Mutex::default(),
        progress: Progress::begin(label, plan, start),
        begun,
        start,
        warm_up_requests: AtomicU64::new(0),
        numbers: AtomicU64::new(0),
    });
    let watch = plan.watch.map(|pid| Watch::begin(pid, start));
    match plan.mode {
        Loop::Closed(clients) => closed(&shared, clients, plan).await,
        Loop::Open(rate) => {
            open(
                &shared,
                Schedule::new(rate, plan.warm_up, plan.end),
                plan.first,
            )
            .await;
        }
    }
    shared.progress.end();
    let recorder = shared
        .recorder
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let after = shared.client.connections();
    Outcome {
        elapsed: recorder.last,
        recorder,
        opened: after.0 - before.0,
        reconnects: after.1 - before.1,
        warm_up_requests: shared.warm_up_requests.load(Ordering::Relaxed),
        begun: shared.numbers.load(Ordering::Relaxed),
        looks: watch.map(Watch::end).unwrap_or_default(),
    }
}

async fn closed(shared: &Arc<Shared>, clients: u32, plan: Plan) {
    let counted_requests = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(clients as usize);
    for _ in 0..clients {
        let shared = Arc::clone(shared);
        let counted_requests = Arc::clone(&counted_requests);
        tasks.push(tokio::spawn(async move {
            loop {
                let now = Instant::now();
                let counted = now >= shared.start;
                let over = match plan.end {
                    End::After(duration) => now >= shared.start + duration,
                    End::Requests(requests) => {
                        counted && counted_requests.fetch_add(1, Ordering::Relaxed) >= requests
                    }
                };
                if over {
                    return;
                }
                let number = plan.first + shared.numbers.fetch_add(1, Ordering::Relaxed);
                let request = shared.inputs.request(number);
                // Building the request is the client's work, not the service's.
                let from = Instant::now();
                if shared.one(number, &request, from, counted).await == Ending::Connect {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }));
    }
    for task in tasks {
        // A task that panicked has printed why; the others' numbers stand.
        let _ = task.await;
    }
}

/// Sets the flag when the run is given up, so that the clock's thread ends.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn open(shared: &Arc<Shared>, schedule: Schedule, first: u64) {
    let (under_way, mut all_done) = mpsc::channel::<Infallible>(1);
    let runtime = tokio::runtime::Handle::current();
    let stopped = Arc::new(AtomicBool::new(false));
    let _stop = Stop(Arc::clone(&stopped));
    let for_clock = Arc::clone(shared);
    // A thread of its own: the runtime's timers are exact to a millisecond only, and
    // wait while its threads are busy.
    let clock = thread::Builder::new()
        .name("clock".to_owned())
        .spawn(move || {
            for n in 0.. {
                let Some(arrival) = schedule.arrival(n) else {
                    return;
                };
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let from = for_clock.begun + arrival.at;
                let number = first + n;
                for_clock.numbers.fetch_add(1, Ordering::Relaxed);
                thread::sleep(from.saturating_duration_since(Instant::now()));
                let shared = Arc::clone(&for_clock);
                let under_way = under_way.clone();
                runtime.spawn(async move {
                    let request = shared.inputs.request(number);
                    if arrival.counted {
                        let lag = Instant::now().saturating_duration_since(from);
                        shared
                            .recorder
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .lag
                            .record(lag);
                    }
                    shared.one(number, &request, from, arrival.counted).await;
                    drop(under_way);
                });
            }
        });
    if clock.is_ok() {
        // Nothing is ever sent: it ends when the clock and every request have.
        let _ = all_done.recv().await;
    }
}
