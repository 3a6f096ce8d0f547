//! What is told of a request when it is over: a line in the log, counts, spans.
//!
//! ```text
//! head --begin--> Record --answered--> (body handed to hyper) --written--> log, metrics, spans
//!                    +---- dropped before: the client has gone ----------->
//! ```

use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use hyper::http::request::Parts;

use super::endpoints::Endpoint;
use super::problem::printable;
use crate::spans::{Finished, Parent, Spans};
use siglip2_service::metrics::{Metrics, Timings};

/// The longest path that is logged, in characters.
const MAX_LOGGED_PATH: usize = 200;

/// What proxies call a client that did not wait for its answer.
const CLIENT_GONE: u16 = 499;

/// See the module. What it tells, it tells when it is dropped, so that a request whose
/// client goes away while it waits is told of as well.
pub(super) struct Record {
    id: String,
    method: Method,
    path: String,
    began: Instant,
    timings: Arc<Timings>,
    metrics: Arc<Metrics>,
    spans: Option<(Spans, Parent)>,
    status: u16,
    read: u64,
    written: u64,
}

impl Record {
    /// A head was read.
    pub(super) fn begin(
        head: &Parts,
        id: String,
        timings: Arc<Timings>,
        metrics: Arc<Metrics>,
        spans: Option<Spans>,
    ) -> Self {
        Self {
            id,
            method: head.method.clone(),
            path: printable(head.uri.path(), MAX_LOGGED_PATH),
            began: Instant::now(),
            timings,
            metrics,
            spans: spans.map(|spans| {
                let parent = spans.parent(&head.headers);
                (spans, parent)
            }),
            status: CLIENT_GONE,
            read: 0,
            written: 0,
        }
    }

    /// When the head was read.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The answer is known, and so many bytes of the body were read.
    pub(super) fn answered(&mut self, status: u16, read: u64) {
        self.status = status;
        self.read = read;
    }

    /// The answer is on its way.
    pub(super) fn written(mut self, bytes: u64) {
        self.written = bytes;
        if let Some(write) = self.timings.written() {
            self.metrics.stage(write.stage, write.took);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self {
            id,
            method,
            path,
            status,
            read,
            written,
            ..
        } = self;
        let status = *status;
        let took = self.began.elapsed();
        let endpoint = Endpoint::at(path).map_or("unknown", Endpoint::name);
        self.metrics.answered(endpoint, status, took);
        let millis = took.as_micros() as f64 / 1e3;
        let stages = self.timings.header(took);
        // Probes come every few seconds for ever.
        if matches!(path.as_str(), "/health" | "/ready" | "/metrics") && status == 200 {
            tracing::debug!(%method, path, status, millis, read, written, id, "request");
        } else {
            tracing::info!(%method, path, status, millis, read, written, stages, id, "request");
        }
        if let Some((spans, parent)) = &self.spans {
            spans.record(Finished {
                parent,
                endpoint,
                method: method.as_str(),
                path,
                status,
                id,
                began: self.began,
                stages: self.timings.spans(),
            });
        }
    }
}
