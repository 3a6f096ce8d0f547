//! What happens to rows, and to the batcher, when an engine fails.

use std::sync::mpsc::channel;
use std::time::Duration;

use siglip2_embeddings::engine::{Completion, EngineError, Rows};
use siglip2_embeddings::service::batcher::{
    BatchError, Batcher, EngineState, FAILURES_IN_A_ROW, Item, Worker,
};
use siglip2_embeddings::service::metrics::Metrics;
use tokio::time::timeout;

use super::engines::{Leave, Test, image, one, slots, submit};
use super::seeds::Moody;

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
