//! One request on its way through an endpoint: what it brought, until when it is
//! wanted, and what its stages took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;

use super::body::Body;
use super::problem::{Problem, printable};
use siglip2_service::metrics::{Span, Stage, Timings};
use siglip2_service::{Context, Service};

/// The header in which a client says how long it will wait, in milliseconds from the
/// arrival of the request's head.
const TIMEOUT: &str = "x-request-timeout-ms";

/// See the module.
pub(super) struct Call<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a mut Body,
    /// The service, working for this request.
    pub(super) service: Service,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    timings: Arc<Timings>,
}

impl<'a> Call<'a> {
    /// A call that began when its head was read. `most` bounds it where the client
    /// does not.
    pub(super) fn new(
        headers: &'a HeaderMap,
        body: &'a mut Body,
        service: &Service,
        timings: Arc<Timings>,
        began: Instant,
        most: Duration,
    ) -> Result<Self, Problem> {
        let own = headers.get(TIMEOUT).map(|value| {
            let millis = value
                .to_str()
                .ok()
                .and_then(|value| value.trim().parse().ok());
            millis.filter(|&millis: &u64| millis > 0).ok_or_else(|| {
                let shown = printable(&String::from_utf8_lossy(value.as_bytes()), 40);
                Problem::BadRequest(
                    format!(
                        "X-Request-Timeout-Ms must be a whole number above 0, and is {shown:?}."
                    )
                    .into(),
                )
            })
        });
        let deadline = match own.transpose()? {
            Some(millis) => began + most.min(Duration::from_millis(millis)),
            None => began + most,
        };
        let context = Context {
            deadline: Some(deadline),
            timings: Arc::clone(&timings),
        };
        Ok(Self {
            headers,
            body,
            service: service.within(context),
            began,
            deadline,
            timings,
        })
    }

    /// The body is here.
    pub(super) fn received(&self) {
        let receive = Span::since(Stage::Receive, self.began);
        self.timings.note(receive);
        self.service.metrics().stage(receive.stage, receive.took);
    }

    /// The rows are here; what follows is writing.
    pub(super) fn computed(&self) {
        self.timings.computed();
    }
}
