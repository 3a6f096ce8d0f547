//! One request from its head to its answer.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Version};

use super::accepted::AcceptedCount;
use super::answer::Answer;
use super::body::{Body, Room, caught};
use super::call::Call;
use super::endpoints::Endpoint;
use super::problem::Problem;
use super::record::Record;
use super::request_id;
use super::settings::HttpSettings;
use super::spans::Spans;
use super::wire::Progress;
use siglip2_service::metrics::Timings;
use siglip2_service::{Service, State};

/// What all requests share.
#[derive(Clone)]
pub(super) struct App(pub(super) Arc<Shared>);

/// See [`App`].
pub(super) struct Shared {
    pub(super) service: Service,
    pub(super) settings: HttpSettings,
    /// Where spans of requests go, if anywhere.
    pub(super) spans: Option<Spans>,
    pub(super) room: Room,
    pub(super) accepted: AcceptedCount,
}

impl App {
    /// Answers a request, whatever happens.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        progress: &Progress,
    ) -> Response<Answer> {
        let (head, incoming) = request.into_parts();
        let id = request_id::of(&head.headers);
        let timings = Arc::new(Timings::default());
        let mut record = Record::begin(
            &head,
            id.clone(),
            Arc::clone(&timings),
            Arc::clone(self.0.service.metrics()),
            self.0.spans.clone(),
        );
        let mut body = Body::new(incoming, &self.0.settings, &self.0.room);
        let awaits_continue = head.headers.contains_key(header::EXPECT);

        let answered = caught(Box::pin(self.route(
            head.version,
            &head.method,
            head.uri.path(),
            &head.headers,
            &mut body,
            (Arc::clone(&timings), record.began()),
        )))
        .await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => problem.into_answer(&id),
            Err(panic) => Problem::Internal(format!("a panic: {panic}")).into_answer(&id),
        };
        response
            .headers_mut()
            .insert(request_id::HEADER, request_id::header(&id));
        timings.written();
        if let Ok(value) = HeaderValue::from_str(&timings.header(record.began().elapsed())) {
            response.headers_mut().insert("server-timing", value);
        }
        let cached = timings.cache_header();
        if let Some(Ok(value)) = cached.map(|cached| HeaderValue::from_str(&cached)) {
            response.headers_mut().insert("x-cache", value);
        }
        // A connection that stays open would only bring the client's next request here.
        if self.0.service.state() == State::Draining {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // A body that hyper has asked for by then is on its way, whatever was expected.
        if !body.settle(awaits_continue && body.read() == 0).await {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            progress.linger();
        }
        record.answered(response.status().as_u16(), body.read());
        if head.method == Method::HEAD {
            record.written(0);
        } else {
            response
                .body_mut()
                .when_written(move |bytes| record.written(bytes));
        }
        response
    }

    async fn route(
        &self,
        version: Version,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &mut Body,
        (timings, began): (Arc<Timings>, Instant),
    ) -> Result<Response<Answer>, Problem> {
        well_framed(version, headers)?;
        let endpoint = Endpoint::at(path);
        if !matches!(endpoint, Some(Endpoint::Health | Endpoint::Ready)) {
            self.authorize(headers)?;
        }
        let endpoint = endpoint.ok_or(Problem::NotFound)?;
        endpoint.takes(method)?;
        let Shared {
            service, settings, ..
        } = &*self.0;
        let most = settings.body_timeout + settings.request_timeout;
        let mut call = Call::new(headers, body, service, timings, began, most)?;
        self.endpoint(endpoint, &mut call).await
    }

    /// Lets a request pass that carries the key, if there is one.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(key) = &self.0.settings.api_key else {
            return Ok(());
        };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let value = value.as_bytes();
            let (scheme, token) = value.split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| token.trim_ascii())
        });
        let own = headers.get("x-api-key").map(HeaderValue::as_bytes);
        if bearer
            .into_iter()
            .chain(own)
            .any(|presented| key.matches(presented))
        {
            Ok(())
        } else {
            Err(Problem::Unauthorized)
        }
    }
}

/// Refuses what hyper lets pass and what proxies before us may read in another way: a
/// request of HTTP/1.1 without a Host or with two (RFC 9112, 3.2), and a body that is
/// said to be chunked twice (RFC 9112, 7.1).
fn well_framed(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (version == Version::HTTP_11 && hosts == 0) {
        return Err(Problem::BadRequest(
            format!("A request has one Host header; this one has {hosts}.").into(),
        ));
    }
    let codings = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .count();
    if codings > 1 {
        return Err(Problem::BadRequest(
            "The Transfer-Encoding may only be chunked, and only once.".into(),
        ));
    }
    Ok(())
}
