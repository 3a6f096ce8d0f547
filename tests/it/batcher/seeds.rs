//! Random requests to engines that fail at random, and what must hold of all of them.

use std::time::{Duration, Instant};

use siglip2_embeddings::engine::{Engine, EngineError, Rows};
use siglip2_embeddings::service::batcher::{BatchError, Batcher, Item, Worker};
use siglip2_embeddings::service::metrics::Metrics;
use tokio::time::timeout;

use super::engines::{Numbers, image};

/// An engine that fails and panics as its seed has it.
pub(super) struct Moody {
    random: fastrand::Rng,
    failures_left: usize,
}

impl Moody {
    pub(super) fn engine(seed: u64, failures_left: usize) -> Box<dyn Engine> {
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
