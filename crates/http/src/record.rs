//! What is told of a request when it is over: a line in the log, counts, spans.
//!
//! ```text
//! head --begin--> Record --answered--> (body handed to hyper) --finished--> log, metrics, spans
//!                    +---- dropped before: the client has gone -------------->
//! ```

use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use hyper::http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use super::accepted::Accepted;
use super::answer::Written;
use super::clients;
use super::connection_state::UnderWay;
use super::problem::printable;
use super::route::Route;
use super::routes::UNKNOWN;
use super::spans::{Finished, Parent, Spans};
use siglip2_service::metrics::{Metrics, Timings};

/// The longest path that is logged, in characters.
const MAX_LOGGED_PATH: usize = 200;

/// What proxies call a client that did not wait for its answer.
const CLIENT_GONE: u16 = 499;

/// See the module. What it tells, it tells when it is dropped, so that a request whose
/// client goes away while it waits, or while its answer is written, is told of as well.
pub(super) struct Record {
    id: String,
    method: Method,
    path: String,
    route: Option<&'static Route>,
    began: Instant,
    timings: Arc<Timings>,
    metrics: Arc<Metrics>,
    spans: Option<(Spans, Parent)>,
    /// What was answered, if anything was.
    answered: Option<u16>,
    /// Of a refusal: its kind, and its sentence.
    refusal: Option<(&'static str, String)>,
    finished: bool,
    read: u64,
    written: u64,
    to_write: u64,
    /// What the request holds until it is over.
    held: Held,
}

/// What a request holds until the last of its answer was handed over.
#[derive(Default)]
pub(super) struct Held {
    /// Its connection, which is busy so long.
    #[allow(dead_code, reason = "holding it is all")]
    pub(super) connection: Option<UnderWay>,
    /// Its place among the requests over HTTP/2, and among those of its client.
    #[allow(dead_code, reason = "holding it is all")]
    pub(super) stream: Option<(OwnedSemaphorePermit, Option<clients::Held>)>,
    /// The permit, of a request that embeds.
    pub(super) accepted: Option<Accepted>,
    /// Its place among those of its client.
    pub(super) client: Option<clients::Held>,
}

impl Record {
    /// A head was read.
    pub(super) fn begin(
        head: &Parts,
        route: Option<&'static Route>,
        id: String,
        timings: Arc<Timings>,
        metrics: Arc<Metrics>,
        spans: Option<Spans>,
        held: Held,
    ) -> Self {
        Self {
            id,
            method: head.method.clone(),
            path: printable(head.uri.path(), MAX_LOGGED_PATH),
            route,
            began: Instant::now(),
            timings,
            metrics,
            spans: spans.map(|spans| {
                let parent = spans.parent(&head.headers);
                (spans, parent)
            }),
            answered: None,
            refusal: None,
            finished: false,
            read: 0,
            written: 0,
            to_write: 0,
            held,
        }
    }

    /// When the head was read.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// What the request holds.
    pub(super) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// It is refused, with an error of this kind that says this.
    pub(super) fn refused(&mut self, kind: &'static str, sentence: String) {
        self.refusal = Some((kind, sentence));
    }

    /// The answer is known, and so many bytes of the body were read.
    pub(super) fn answered(&mut self, status: u16, read: u64) {
        self.answered = Some(status);
        self.read = read;
    }
}

impl Written for Record {
    fn handed(&mut self, bytes: u64, of: u64) {
        self.written = bytes;
        self.to_write = of;
    }

    fn finished(mut self: Box<Self>) {
        self.finished = true;
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
            read,
            written,
            ..
        } = self;
        let answered = self.answered.unwrap_or(CLIENT_GONE);
        // Who did not get all of an answer has none.
        let status = if self.finished { answered } else { CLIENT_GONE };
        let took = self.began.elapsed();
        let endpoint = self.route.map_or(UNKNOWN, |route| route.name);
        let quiet = self.route.is_some_and(|route| route.class.is_quiet());
        self.metrics.answered(endpoint, status, took);
        let millis = took.as_micros() as f64 / 1e3;
        let stages = self.timings.header(took);
        if quiet && status < 400 {
            tracing::debug!(%method, path, status, millis, read, written, id, "request");
        } else if let Some((kind, detail)) = &self.refusal {
            tracing::info!(%method, path, status, kind, detail, millis, read, written, stages, id, "request");
        } else if !self.finished && self.answered.is_some() {
            let of = self.to_write;
            tracing::info!(%method, path, status, answered, millis, read, written, of, stages, id, "request");
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
                stages: self.timings.stages(),
            });
        }
    }
}
