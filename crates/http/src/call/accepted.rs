//! How many requests were accepted and have no answer yet: what a drain waits for, and
//! what is bounded.

use std::sync::Arc;

use tokio::sync::watch;

use siglip2_service::metrics::Metrics;

/// The count, shared by all connections.
#[derive(Clone)]
pub(crate) struct AcceptedCount {
    count: Arc<watch::Sender<usize>>,
    metrics: Arc<Metrics>,
}

impl AcceptedCount {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
            metrics,
        }
    }

    /// Counts one more, until what is given is dropped; none if there are `most`.
    pub(crate) fn enter(&self, most: usize) -> Option<Accepted> {
        let entered = self.count.send_if_modified(|count| {
            let free = *count < most;
            if free {
                *count += 1;
                self.metrics.in_flight(*count);
            }
            free
        });
        entered.then(|| Accepted(self.clone()))
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        // The sender lives as long as this does.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One request that was accepted.
pub(crate) struct Accepted(AcceptedCount);

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| {
            *count = count.saturating_sub(1);
            self.0.metrics.in_flight(*count);
        });
    }
}
