//! The threads that compute, and the two ways to share a batch among them.
//!
//! * *Apart*: every thread runs rows of its own from end to end. Nobody waits for
//!   anybody, so this is how all rows run that can be dealt out evenly.
//! * *Together*: all threads share each product of one run. This is for what is left
//!   over, down to a single row; then it is latency that counts.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use rten::{ThreadPool, Value};

use crate::EngineError;

/// A pool of all threads, and one of one thread for each.
pub(super) struct Crew {
    all: Arc<ThreadPool>,
    each: Vec<Arc<ThreadPool>>,
}

impl Crew {
    pub fn new(threads: usize) -> Self {
        let pool = |threads| Arc::new(ThreadPool::with_num_threads(threads));
        let threads = threads.max(1);
        Self {
            all: pool(threads),
            each: (0..threads).map(|_| pool(1)).collect(),
        }
    }

    /// How many of `rows` rows are run apart; the rest is run together.
    pub fn split(&self, rows: usize) -> (usize, usize) {
        let rest = rows % self.each.len();
        (rows - rest, rest)
    }

    /// `rows` rows dealt out evenly.
    pub fn shares(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let share = rows / self.each.len();
        (0..self.each.len())
            .map(move |thread| thread * share..(thread + 1) * share)
            .filter(|range| !range.is_empty())
    }

    /// Runs each share on a thread of its own, one input after the other; the results
    /// are in the order of the shares.
    pub fn apart<F>(
        &self,
        shares: Vec<Vec<Value>>,
        infer: F,
    ) -> Vec<Result<Vec<Vec<f32>>, EngineError>>
    where
        F: Fn(Value, &Arc<ThreadPool>) -> Result<Vec<f32>, EngineError> + Clone + Send + 'static,
    {
        let lost = || Err(EngineError::Failed("a compute thread panicked".into()));
        let mut results: Vec<_> = shares.iter().map(|_| lost()).collect();
        let (done, finished) = mpsc::channel();
        for (index, (inputs, pool)) in shares.into_iter().zip(&self.each).enumerate() {
            let (done, infer, own) = (done.clone(), infer.clone(), Arc::clone(pool));
            pool.run(move || {
                // Queued, not awaited: this thread of the crew runs it when the
                // closure around it has returned.
                rayon::spawn(move || {
                    // A panic that left this closure would end the process.
                    let outputs = catch_unwind(AssertUnwindSafe(|| {
                        inputs.into_iter().map(|input| infer(input, &own)).collect()
                    }));
                    // The receiver outlives all senders.
                    let _ = done.send((index, outputs));
                });
            });
        }
        drop(done);
        for (index, outputs) in finished {
            results[index] = outputs.unwrap_or_else(|_| lost());
        }
        results
    }

    /// Runs one thing on all threads at once.
    pub fn together<T>(&self, work: impl FnOnce(&Arc<ThreadPool>) -> T) -> T {
        work(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_thread_fails_its_share_and_not_the_process() {
        let crew = Crew::new(2);
        let input = |value: f32| vec![Value::from_shape(&[1], vec![value]).unwrap()];
        let results = crew.apart(vec![input(0.0), input(1.0)], |input, _| {
            let values = input.into_tensor::<f32>().unwrap().into_data();
            assert!(values[0] > 0.0, "told to");
            Ok(values)
        });
        assert!(matches!(results[0], Err(EngineError::Failed(_))));
        assert_eq!(results[1], Ok(vec![vec![1.0]]));
    }
}
