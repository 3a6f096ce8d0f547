//! Engines that never answer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use siglip2_embeddings::engine::{
    Batch, Completion, Engine, EngineError, EngineInfo, Prepare, Rows,
};
use siglip2_embeddings::service::batcher::{
    BatchError, Batcher, EngineState, FAILURES_IN_A_ROW, Item, Worker,
};
use siglip2_embeddings::service::metrics::Metrics;
use tokio::time::timeout;

use super::engines::{image, one, patient, submit};

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
    let (slots, batches) = patient(1, Some(Duration::from_secs(3)));
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
    let hangs = |state: &EngineState| matches!(state, EngineState::Failed(reason) if reason.contains("has been dropped for 3 s"));
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

/// The lookout is for drops: a rebuild may take as long as it needs.
#[tokio::test]
async fn a_rebuild_is_not_taken_for_a_drop_that_hangs() {
    let patience = Duration::from_secs(60);
    // A busy machine takes less for a batch.
    let limit = Duration::from_secs(3);
    let (engine, batches) = patient(1, Some(limit));
    let (permit, permission) = channel::<()>();
    let (again, later) = patient(1, Some(patience));
    let worker = Worker {
        engine,
        rebuild: Some(Box::new(move || {
            let _ = permission.recv();
            Ok(again)
        })),
    };
    let batcher = Batcher::start(vec![worker], 100, Metrics::new()).unwrap();
    for _ in 0..FAILURES_IN_A_ROW {
        let failing = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![1]));
        let (.., done) = batches.recv_timeout(patience).unwrap();
        done.finish(Err(EngineError::Failed("told to".into())));
        assert!(failing.row().await.is_err());
    }
    let mut state = batcher.state();
    let rebuilding = state.wait_for(|state| *state == EngineState::Rebuilding);
    timeout(patience, rebuilding).await.unwrap().unwrap();
    // Many looks of the lookout.
    std::thread::sleep(2 * limit);
    assert_eq!(*batcher.state().borrow(), EngineState::Rebuilding);
    permit.send(()).unwrap();
    let runs = state.wait_for(|state| *state == EngineState::Running);
    timeout(patience, runs).await.unwrap().unwrap();
    let row = submit(&mut batcher.reserve(1).unwrap(), Item::Text(vec![3]));
    let (_, rows, done) = later.recv_timeout(patience).unwrap();
    done.finish(Rows::new(1, rows));
    assert_eq!(row.row().await, Ok(vec![3.0]));
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
