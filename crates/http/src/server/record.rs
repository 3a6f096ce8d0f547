//! Records a request once it is over: a line in the log, metrics, spans.
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

use crate::answer::Written;
use crate::answer::problem::printable;
use crate::call::accepted::Accepted;
use crate::call::spans::{Finished, Parent, Spans};
use crate::connection::clients;
use crate::connection::state::UnderWay;
use crate::request::model::Choice;
use crate::routes::UNKNOWN;
use crate::routes::route::{Class, Route};
use siglip2_service::metrics::{Metrics, Stage, Timings};

/// The longest path that is logged, in characters.
const MAX_LOGGED_PATH: usize = 200;

/// What proxies call a client that did not wait for its answer.
const CLIENT_GONE: u16 = 499;

/// See the module documentation. It records when it is dropped, so that a request whose client
/// leaves while it waits, or while its answer is written, is recorded too.
pub(crate) struct Record {
    id: String,
    method: Method,
    path: String,
    route: Option<&'static Route>,
    began: Instant,
    timings: Arc<Timings>,
    /// The model that it is for, and those that there are.
    choice: Choice,
    spans: Option<(Spans, Parent)>,
    /// The status of the answer, if there is one.
    answered: Option<u16>,
    /// The kind and the sentence of a refusal.
    refusal: Option<(&'static str, String)>,
    finished: bool,
    read: u64,
    written: u64,
    to_write: u64,
    /// Released when the request is over.
    held: Held,
}

/// What a request holds until the last part of its answer has been passed to hyper.
#[derive(Default)]
pub(crate) struct Held {
    /// Its connection, which is busy until then.
    pub(crate) connection: Option<UnderWay>,
    /// Its place among the requests over HTTP/2, and among those of its client.
    #[allow(dead_code, reason = "holding it is all")]
    pub(crate) stream: Option<(OwnedSemaphorePermit, Option<clients::Held>)>,
    /// The permit of a request that embeds.
    pub(crate) accepted: Option<Accepted>,
    /// Its place among the requests of its client.
    pub(crate) client: Option<clients::Held>,
}

impl Record {
    /// Begins when the head of a request has been read.
    pub(crate) fn begin(
        head: &Parts,
        route: Option<&'static Route>,
        id: String,
        timings: Arc<Timings>,
        choice: Choice,
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
            choice,
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

    /// When the head had been read.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Sets the model, as far as the path and the headers name it.
    pub(crate) fn is_for(&mut self, choice: Choice) {
        self.choice = choice;
    }

    /// The counters of its model. Only requests that embed are counted for a model.
    fn metrics(&self) -> &Metrics {
        let works = self.route.is_some_and(|route| route.class == Class::Work);
        match self.choice.told().filter(|_| works) {
            Some((_, metrics)) => metrics,
            None => self.choice.models().metrics(),
        }
    }

    /// What the request holds until it is over.
    pub(crate) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Records the kind and the sentence of a refusal.
    pub(crate) fn refused(&mut self, kind: &'static str, sentence: String) {
        self.refusal = Some((kind, sentence));
    }

    /// Records the status of the answer, and how many bytes of the body were read.
    pub(crate) fn answered(&mut self, status: u16, read: u64) {
        self.answered = Some(status);
        self.read = read;
        self.writes();
    }

    /// Its answer begins, or goes on.
    fn writes(&mut self) {
        if let Some(connection) = &mut self.held.connection {
            connection.writes();
        }
    }
}

impl Written for Record {
    fn handed(&mut self, bytes: u64, of: u64) {
        self.written = bytes;
        self.to_write = of;
        self.writes();
    }

    fn finished(mut self: Box<Self>) {
        self.finished = true;
        if let Some(write) = self.timings.written() {
            self.metrics().stage(write.stage, write.took);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let stages = self.timings.stages();
        let receive = stages.iter().find(|it| it.stage == Stage::Receive);
        if let Some(receive) = receive {
            self.metrics().stage(receive.stage, receive.took);
        }
        let model = self.choice.told().map(|(name, _)| name);
        let Self {
            id,
            method,
            path,
            read,
            written,
            ..
        } = &*self;
        let answered = self.answered.unwrap_or(CLIENT_GONE);
        // A client that did not get the whole answer counts as one that has gone.
        let status = if self.finished { answered } else { CLIENT_GONE };
        let took = self.began.elapsed();
        let endpoint = self.route.map_or(UNKNOWN, |route| route.name);
        let quiet = self.route.is_some_and(|route| route.class.is_quiet());
        self.metrics().answered(endpoint, status, took);
        let millis = took.as_micros() as f64 / 1e3;
        let timings = self.timings.header(took);
        if quiet && status < 400 {
            tracing::debug!(%method, path, model, status, millis, read, written, id, "request");
        } else if let Some((kind, detail)) = &self.refusal {
            tracing::info!(%method, path, model, status, kind, detail, millis, read, written, stages = timings, id, "request");
        } else if !self.finished && self.answered.is_some() {
            let of = self.to_write;
            tracing::info!(%method, path, model, status, answered, millis, read, written, of, stages = timings, id, "request");
        } else {
            tracing::info!(%method, path, model, status, millis, read, written, stages = timings, id, "request");
        }
        if let Some((spans, parent)) = &self.spans {
            spans.record(Finished {
                parent,
                endpoint,
                method: method.as_str(),
                path,
                model,
                status,
                id,
                began: self.began,
                stages,
            });
        }
    }
}
