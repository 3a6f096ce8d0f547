//! One run: sends requests by number, from a closed or an open loop, and records the
//! results.
//!
//! ```text
//! closed: N clients --next number--> send --> check --> record --> again
//! open:   a thread with a clock --number, arrival--> task: send --> check --> record
//! ```
//!
//! The warm-up is the beginning of the same loop. When the measuring window closes (see
//! `window`) the loop starts no more requests and waits for those in flight, so that the
//! next run finds the service at rest.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::check::Checker;
use crate::client::{Client, Ending, Exchange, Turn};
use crate::inputs::{Inputs, Request};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::record::{Recorder, Recording, Sample};
use crate::schedule::{Arrivals, Schedule};
use crate::watch::{Look, Watch};
use crate::window::{End, Place};

/// How long a client of the closed loop pauses when it cannot connect.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// How long an interrupted run waits for outstanding answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The kind of loop, which decides when the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loop {
    /// A number of clients, each sending when its last request has ended.
    Closed(u32),
    /// A clock, with this many requests per second.
    Open(f64),
}

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The loop.
    pub mode: Loop,
    /// The spacing of an open loop.
    pub arrivals: Arrivals,
    /// Whether clients of the closed loop wait as long as `Retry-After` says.
    pub back_off: bool,
    /// The length of the warm-up, in which nothing is counted.
    pub warm_up: Duration,
    /// When it ends.
    pub end: End,
    /// The number of its first request.
    pub first: u64,
    /// The process to watch.
    pub watch: Option<u32>,
}

/// The outcome of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The record.
    pub recorder: Recorder,
    /// Connections that were opened.
    pub opened: u64,
    /// Requests that were retried because the server had closed a kept connection.
    pub reconnects: u64,
    /// How often a client of the closed loop waited as `Retry-After` asked.
    pub back_offs: u64,
    /// Requests started, whether they counted or not.
    pub begun: u64,
    /// The watched process before the first request.
    pub at_rest: Option<Look>,
    /// Samples of it from the end of the warm-up.
    pub looks: Vec<Look>,
    /// Whether the user ended it early.
    pub interrupted: bool,
}

impl Outcome {
    /// Adds a later run of the same plan.
    pub fn merge(&mut self, other: &Self) {
        let offset = self.recorder.length.as_secs_f64();
        self.recorder.merge(&other.recorder);
        self.opened += other.opened;
        self.reconnects += other.reconnects;
        self.back_offs += other.back_offs;
        self.begun += other.begun;
        self.interrupted |= other.interrupted;
        self.at_rest = self.at_rest.or(other.at_rest);
        self.looks.extend(other.looks.iter().map(|look| Look {
            at_s: look.at_s + offset,
            ..*look
        }));
    }
}

/// State shared by all requests of a run.
struct Shared {
    client: Arc<Client>,
    inputs: Arc<Inputs>,
    checker: Checker,
    recording: Mutex<Recording>,
    progress: Progress,
    begun: Instant,
    /// When the window closes, if it closes by time.
    stop: Option<Instant>,
    /// Whether it was closed by its number of requests, or early.
    full: watch::Sender<bool>,
    back_offs: AtomicU64,
    /// Requests started.
    numbers: AtomicU64,
}

impl Shared {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no more requests are to be started.
    fn is_over(&self) -> bool {
        *self.full.borrow() || self.stop.is_some_and(|stop| Instant::now() >= stop)
    }

    /// Waits until no more requests are to be started.
    async fn over(&self) {
        let closed = async {
            // It fails only when the sender is gone, and `self` owns the sender.
            let _ = self.full.subscribe().wait_for(|full| *full).await;
        };
        match self.stop {
            Some(stop) => {
                let _ = tokio::time::timeout_at(stop.into(), closed).await;
            }
            None => closed.await,
        }
    }

    /// Sends a request and records its outcome.
    async fn one(
        &self,
        number: u64,
        request: &Request,
        turn: Option<Turn<'_>>,
        from: Instant,
        lag: Option<Duration>,
    ) -> Exchange {
        let exchange = self.client.send(turn, request).await;
        let at = Instant::now();
        let wrong = match exchange.ending {
            Ending::Status(status) => {
                self.checker
                    .wrong(number, &request.expected, status, &exchange.body)
            }
            _ => None,
        };
        let sample = Sample {
            endpoint: request.endpoint,
            ending: exchange.ending,
            from,
            at,
            lag,
            images: request.images,
            texts: request.texts,
            sent: exchange.sent,
            received: exchange.received,
            wrong,
        };
        let (place, full) = {
            let mut recording = self.recording();
            (recording.record(&sample), recording.is_full())
        };
        if let Place::Inside(_) = place {
            self.progress.count(sample.ending, sample.wrong.is_some());
        }
        if full {
            self.full.send_replace(true);
        }
        exchange
    }
}

/// Runs a plan against a service.
pub async fn run(
    client: Arc<Client>,
    inputs: Arc<Inputs>,
    checker: Checker,
    plan: Plan,
    label: &str,
    interrupt: &Interrupt,
) -> Outcome {
    let before = client.connections();
    let at_rest = plan.watch.and_then(|pid| Look::at(pid, 0.0).ok());
    let begun = Instant::now();
    let start = begun + plan.warm_up;
    let shared = Arc::new(Shared {
        client,
        inputs,
        checker,
        recording: Mutex::new(Recording::new(start, plan.end)),
        progress: Progress::begin(label, plan, start),
        begun,
        stop: match plan.end {
            End::After(duration) => Some(start + duration),
            End::Requests(_) => None,
        },
        full: watch::Sender::new(false),
        back_offs: AtomicU64::new(0),
        numbers: AtomicU64::new(0),
    });
    let watch = plan.watch.map(|pid| Watch::begin(pid, start));
    let over = async {
        shared.over().await;
        // The last sample is taken at the window's end, not later.
        watch.map(Watch::end).unwrap_or_default()
    };
    let load = async {
        match plan.mode {
            Loop::Closed(clients) => closed(&shared, clients, plan).await,
            Loop::Open(rate) => open(&shared, rate, plan).await,
        }
    };
    let load = async {
        load.await;
        // If the loop could not continue, do not wait for its window.
        shared.full.send_replace(true);
    };
    let load = async {
        let mut load = std::pin::pin!(load);
        tokio::select! {
            () = &mut load => {}
            () = interrupt.wait() => {
                shared.recording().close(Instant::now());
                shared.full.send_replace(true);
                // What has not been answered by then is abandoned.
                let _ = tokio::time::timeout(LAST_ANSWERS, load).await;
            }
        }
    };
    let (looks, ()) = tokio::join!(over, load);
    shared.progress.end();
    let after = shared.client.connections();
    Outcome {
        recorder: shared.recording().end(),
        opened: after.0 - before.0,
        reconnects: after.1 - before.1,
        back_offs: shared.back_offs.load(Ordering::Relaxed),
        begun: shared.numbers.load(Ordering::Relaxed),
        at_rest,
        looks,
        interrupted: interrupt.has_come(),
    }
}

async fn closed(shared: &Arc<Shared>, clients: u32, plan: Plan) {
    let mut tasks = Vec::with_capacity(clients as usize);
    for _ in 0..clients {
        let shared = Arc::clone(shared);
        tasks.push(tokio::spawn(async move {
            while !shared.is_over() {
                let number = plan.first + shared.numbers.fetch_add(1, Ordering::Relaxed);
                let request = shared.inputs.request(number);
                // There is a connection for every client.
                let turn = shared.client.turn().await;
                // Building the request is the client's work, not the service's.
                let from = Instant::now();
                let exchange = shared.one(number, &request, turn, from, None).await;
                let pause = match exchange.ending {
                    Ending::Connect => Some(REFUSED_PAUSE),
                    Ending::Status(429 | 503) if plan.back_off => {
                        let asked = exchange.retry_after;
                        let number = u64::from(asked.is_some());
                        shared.back_offs.fetch_add(number, Ordering::Relaxed);
                        asked
                    }
                    _ => None,
                };
                if let Some(pause) = pause {
                    // Either the run ends or the pause does: both continue above.
                    let _ = tokio::time::timeout(pause, shared.over()).await;
                }
            }
        }));
    }
    for task in tasks {
        // A task that panicked has printed why; the results of the others are valid.
        let _ = task.await;
    }
}

async fn open(shared: &Arc<Shared>, rate: f64, plan: Plan) {
    let schedule = Schedule::new(rate, plan.arrivals, shared.inputs.seed(), plan.first);
    let (under_way, mut all_done) = mpsc::channel::<Infallible>(1);
    let runtime = tokio::runtime::Handle::current();
    // Dropped when the window closes or the run is abandoned, which ends the clock's thread.
    let (stop, stopped) = std::sync::mpsc::channel::<Infallible>();
    let for_clock = Arc::clone(shared);
    // A separate thread, because the runtime's timers are only accurate to a millisecond,
    // and are delayed while its threads are busy.
    let clock = thread::Builder::new()
        .name("clock".to_owned())
        .spawn(move || {
            for at in schedule {
                let from = for_clock.begun + at;
                let now = Instant::now();
                let wait = from.saturating_duration_since(now);
                // A clock that cannot keep up ends with the window, too.
                if for_clock.stop.is_some_and(|stop| from.max(now) >= stop)
                    || stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
                {
                    return;
                }
                let number = plan.first + for_clock.numbers.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&for_clock);
                let under_way = under_way.clone();
                runtime.spawn(async move {
                    let lag = Instant::now().saturating_duration_since(from);
                    // Where the service cannot keep up, many wait for a connection: they are
                    // built when they have one, and given up when the window closes.
                    let turn = tokio::select! {
                        biased;
                        () = shared.over() => None,
                        turn = shared.client.turn() => Some(turn),
                    };
                    match turn {
                        Some(turn) => {
                            let request = shared.inputs.request(number);
                            shared.one(number, &request, turn, from, Some(lag)).await;
                        }
                        None => shared.recording().left_over(from, lag),
                    }
                    drop(under_way);
                });
            }
        });
    if let Err(error) = clock {
        eprintln!("error: the clock's thread cannot be started: {error}");
        return;
    }
    shared.over().await;
    drop(stop);
    // Nothing is ever sent: this ends when the clock and every request have ended.
    let _ = all_done.recv().await;
}
