//! One request from its head to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::OwnedSemaphorePermit;

use super::compressed::compressed;
use super::record::{Held, Record};
use crate::answer::error_shape::ErrorShape;
use crate::answer::problem::Problem;
use crate::answer::progress::Progress;
use crate::answer::{self, Answer};
use crate::call::accepted::Accepted;
use crate::call::shared::Shared;
use crate::call::{Call, Told};
use crate::connection::clients::{self, told_by_proxy};
use crate::connection::state::ConnectionState;
use crate::header::date;
use crate::header::request_id;
use crate::request::body::{Body, caught};
use crate::request::coded::Coding;
use crate::request::fingerprint::FINGERPRINT;
use crate::request::head;
use crate::request::ignored;
use crate::request::model::{Choice, ModelPath};
use crate::routes::route::SEARCH;
use crate::routes::{ANY_METHOD, Found};
use siglip2_service::State;
use siglip2_service::metrics::Timings;

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(pub(crate) Arc<Shared>);

impl App {
    /// Answers a request, whatever happens.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Arc<ConnectionState>,
    ) -> Response<Answer> {
        let (head, incoming) = request.into_parts();
        let held = Held {
            connection: Some(connection.begin(head.version)),
            ..Held::default()
        };
        let models = &self.0.models;
        let is_route = |path: &str| Found::at(path, &head.method).is_some();
        let is_served = |name: &str| models.get(name).is_some();
        let path = ModelPath::of(head.uri.path(), is_served, is_route);
        let found = Found::of(&head, path.rest);
        let unsaid = match found {
            Some(found) if found.route.path == SEARCH => models.first_with_index(),
            _ => models.first(),
        };
        let choice = Choice::new(models, unsaid);
        let id = request_id::of(&head.headers);
        let timings = Arc::new(Timings::default());
        let mut record = Record::begin(
            &head,
            found.map(|found| found.route),
            id.clone(),
            Arc::clone(&timings),
            choice.clone(),
            self.0.spans.clone(),
            held,
        );
        let mut body = Body::new(incoming, &self.0.settings, self.0.models.memory());
        let awaits_continue = head.headers.contains_key(header::EXPECT);

        let mut told = Told::default();
        let answered = caught(Box::pin(self.routed(
            (found, path.model.as_deref(), choice),
            &head,
            &mut body,
            (&timings, &mut told),
            (&mut record, connection),
        )))
        .await;
        let answered = answered.unwrap_or_else(|panic| Err(Problem::Internal(panic.to_string())));
        let mut response = answered.unwrap_or_else(|problem| {
            record.refused(problem.kind(), problem.sentence());
            let shape = found.map_or_else(
                || ErrorShape::of_unknown(head.uri.path()),
                |found| found.route.errors,
            );
            problem.into_answer(&id, shape)
        });
        response = compressed(&head.headers, response, self.0.models.memory()).await;
        if let Some(origins) = &self.0.settings.cors_origins {
            origins.tell(&head.headers, response.headers_mut());
        }
        response
            .headers_mut()
            .insert(request_id::HEADER, request_id::header(&id));
        timings.written();
        if let Ok(value) = HeaderValue::from_str(&timings.header(record.began().elapsed())) {
            response.headers_mut().insert("server-timing", value);
        }
        response.headers_mut().insert(header::DATE, date::now());
        if timings.cut_texts() > 0 && response.status() == StatusCode::OK {
            let count = HeaderValue::from(timings.cut_texts());
            response.headers_mut().insert("x-truncated-texts", count);
        }
        if response.status() == StatusCode::OK
            && let Some(space) = told.space
            && let Ok(value) = HeaderValue::from_str(&space.to_string())
        {
            response.headers_mut().insert(FINGERPRINT, value);
        }
        if let Some(value) = told.ignored.header() {
            response.headers_mut().insert(ignored::HEADER, value);
        }
        let cached = timings.cache_header();
        if self.tells_of_the_cache()
            && response.status() == StatusCode::OK
            && let Some(Ok(value)) = cached.map(|cached| HeaderValue::from_str(&cached))
        {
            response.headers_mut().insert("x-cache", value);
        }
        // A connection that stays open would only bring the client's next request here. HTTP/2
        // has a frame for that, and the client resets no more than the stream.
        let is_http2 = head.version == Version::HTTP_2;
        if self.0.models.best_state() == State::Draining && !is_http2 {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // A body that hyper has asked for by then is on its way, whatever was expected. What follows CONNECT
        // is no request, and `framing` does not look at it, though hyper would read it as one.
        let settles = body.settle(awaits_continue && body.read() == 0).await;
        if (!settles || head.method == Method::CONNECT) && !is_http2 {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            connection.linger();
        }
        connection.answered();
        record.answered(response.status().as_u16(), body.read());
        let is_head = head.method == Method::HEAD;
        if is_http2 && is_head {
            // hyper leaves it away in HTTP/1 alone.
            let length = response.body_mut().take_body();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(progress) = Progress::of_this_stream() {
            response.body_mut().watch(progress);
        }
        response.body_mut().tell(Box::new(record), is_head);
        response
    }

    /// Whether clients may know what is remembered: it tells what others have asked for.
    fn tells_of_the_cache(&self) -> bool {
        let settings = &self.0.settings;
        settings.cache_header || settings.asks_for_keys()
    }

    /// Lets a request in, or refuses it, as the table of routes says.
    async fn routed(
        &self,
        (found, named, mut choice): (Option<Found<'_>>, Option<&str>, Choice),
        head: &Parts,
        body: &mut Body,
        (timings, told): (&Arc<Timings>, &mut Told),
        (record, connection): (&mut Record, &Arc<ConnectionState>),
    ) -> Result<Response<Answer>, Problem> {
        if head.version == Version::HTTP_2 {
            record.held().stream = Some(self.stream(connection)?);
        }
        head::check(head)?;
        let coding = Coding::of(&head.headers)?;
        let allow = found.map_or(ANY_METHOD, |found| found.allow());
        let origins = self.0.settings.cors_origins.as_ref();
        if let Some(answer) =
            origins.and_then(|origins| origins.preflight(&head.method, &head.headers, allow))
        {
            return Ok(answer);
        }
        if found.is_none_or(|found| found.route.class.needs_key()) {
            self.authorize(&head.headers)?;
        }
        if head.method == Method::OPTIONS && (found.is_some() || head.uri.path() == "*") {
            return Ok(options(allow));
        }
        let found = found.ok_or(Problem::NotFound)?;
        let handler = found.handler(&head.method)?;
        choice.outside_of_the_body(named, &head.headers)?;
        record.is_for(choice.clone());
        let told_client = self.told_client(&head.headers);
        let client = told_client.unwrap_or(connection.peer());
        if found.route.class.takes_permit() {
            record.held().client = self.client(told_client)?;
            record.held().accepted = Some(self.accept(&choice, client)?);
            body.awaited(self.0.awaited.enter(client));
        }
        if let Some(coding) = coding {
            body.decode(coding)?;
        }
        let shared = &*self.0;
        let began = record.began();
        told.ignored.query(head.uri.query());
        let timings = Arc::clone(timings);
        let mut call =
            Call::new(shared, choice, (head, client), body, timings, began, told)?.on(found.value);
        handler(&mut call).await
    }

    /// Counts a request over HTTP/2 as if it were a connection: one connection may have many.
    fn stream(
        &self,
        connection: &ConnectionState,
    ) -> Result<(OwnedSemaphorePermit, Option<clients::Held>), Problem> {
        let Shared {
            settings,
            streams,
            clients_streams,
            ..
        } = &*self.0;
        let permit = Arc::clone(streams)
            .try_acquire_owned()
            .map_err(|_| Problem::too_many_requests(settings.max_connections))?;
        // Behind a proxy the address is the proxy's.
        if settings.client_address_header.is_some() {
            return Ok((permit, None));
        }
        match clients_streams.enter(connection.peer()) {
            Some(held) => Ok((permit, Some(held))),
            None => Err(Problem::too_many_of_client(clients_streams.most())),
        }
    }

    /// Takes a request that embeds, before its body is read, or refuses it. Who is
    /// accepted is answered even if the service drains from the next moment on:
    /// hence the order, first counted and then asked. Where there are as many as may be, one whose
    /// body does not come makes room, if its client has more of them than this one.
    fn accept(&self, choice: &Choice, client: IpAddr) -> Result<Accepted, Problem> {
        let most = self.0.settings.max_concurrent_requests;
        let accepted = self.0.accepted.enter(most).or_else(|| {
            let makes_room = choice.state() == State::Ready && self.0.awaited.make_room(client);
            // It has not gone yet, so that there is one too many for a moment.
            makes_room
                .then(|| self.0.accepted.enter(usize::MAX))
                .flatten()
        });
        match (choice.state(), accepted) {
            (State::Ready, Some(accepted)) => Ok(accepted),
            (State::Ready, None) => Err(Problem::too_many_requests(most)),
            (state, _) => Err(Problem::Unavailable(state)),
        }
    }

    /// Whose a request is, where a proxy says so.
    fn told_client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let header = self.0.settings.client_address_header.as_ref()?;
        told_by_proxy(headers, header)
    }

    /// Counts a request among those of its client, where a proxy says whose it is.
    fn client(&self, told: Option<IpAddr>) -> Result<Option<clients::Held>, Problem> {
        let Some(address) = told else {
            return Ok(None);
        };
        let clients = &self.0.clients;
        match clients.enter(address) {
            Some(held) => Ok(Some(held)),
            None => Err(Problem::too_many_of_client(clients.most())),
        }
    }

    /// Lets a request pass that carries a key, if keys are asked for.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let value = value.as_bytes();
            let (scheme, token) = value.split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| token.trim_ascii())
        });
        // The second is Azure's.
        let named = ["x-api-key", "api-key"].map(|name| headers.get(name));
        let named = named.into_iter().flatten().map(HeaderValue::as_bytes);
        let presented = bearer.into_iter().chain(named);
        match self.0.settings.admits(presented) {
            true => Ok(()),
            false => Err(Problem::Unauthorized),
        }
    }
}

/// The answer to OPTIONS: which methods a path has, or all paths together.
fn options(allow: &'static str) -> Response<Answer> {
    let mut response = answer::empty();
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
