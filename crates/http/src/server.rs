//! Accepts connections, serves them, and lets them finish at shutdown.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::accepted::AcceptedCount;
use super::answer;
use super::app::App;
use super::clients::{self, Clients};
use super::connection_state::ConnectionState;
use super::descriptors;
use super::openapi;
use super::routes;
use super::settings::HttpSettings;
use super::shared::Shared;
use super::spans::Spans;
use super::wire::{self, Wire};
use siglip2_service::Models;

/// What the head of a request may have, and what hyper reads of a body at once.
const BUFFER: usize = 64 << 10;

/// How long to wait after an accept that failed, at first and at most. The usual
/// cause is that the process has no file descriptor left; trying again at once would
/// only burn a core until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// While all slots are taken, connections that have been idle for a moment are asked
/// to close, so that nobody can keep others out by opening many and saying nothing.
const CROWDED_PAUSE: Duration = Duration::from_millis(250);
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(1);

/// How long a client that connected while the service drained has to ask.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Why serving ended other than as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ServeError {
    /// Connections were cut at shutdown.
    #[error("{connections} connections had not finished within {within:?} and were cut")]
    Cut {
        /// How many.
        connections: usize,
        /// What they had.
        within: Duration,
    },
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Ended,
}

/// Serves until `shutdown` is over, and sends what requests took to `spans`. Then the
/// service drains: requests that were accepted are answered, new ones, on old and new
/// connections, get 503; when none is left the port is closed, and the connections are. All
/// of it takes at most [`HttpSettings::drain_timeout`].
///
/// # Errors
///
/// When connections had to be cut because they did not finish in time.
pub async fn serve(
    listener: TcpListener,
    models: impl Into<Models>,
    settings: HttpSettings,
    spans: Option<Spans>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let most = settings.max_connections.clamp(1, u32::MAX as usize >> 4);
    let most = descriptors::connections(most);
    let drain_timeout = settings.drain_timeout;
    let slots = Arc::new(Semaphore::new(most));
    let crowded = Arc::new(Notify::new());
    let (phase, told) = watch::channel(Phase::Serving);
    let models = models.into();
    let app = App(Arc::new(Shared {
        accepted: AcceptedCount::new(Arc::clone(models.metrics())),
        clients: Clients::new(settings.max_connections_per_client),
        document: answer::json(&openapi::document()).into(),
        models,
        settings,
        spans,
    }));
    let models = &app.0.models;
    for (endpoint, is_work, statuses) in routes::series() {
        models.metrics().declare_endpoint(endpoint, &statuses);
        // What embeds is counted for its model.
        for model in models.iter().filter(|_| is_work) {
            model.metrics().declare_endpoint(endpoint, &statuses);
        }
    }
    let builder = builder(&app.0.settings);

    let accepting = |(stream, address): (TcpStream, SocketAddr), slot| {
        let Some(client) = client(&app.0, address.ip()) else {
            tracing::debug!(%address, "a client has too many connections");
            // It fits the buffer of a new socket, or the client gets it in vain.
            let _ = stream.try_write(&wire::turned_away(app.0.clients.most()));
            return;
        };
        tokio::spawn(connection(
            stream,
            app.clone(),
            builder.clone(),
            told.clone(),
            Arc::clone(&crowded),
            (slot, client),
        ));
    };
    let accept_until = async |end: &mut (dyn Future<Output = ()> + Send + Unpin)| {
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                () = &mut *end => break,
                accepted = accept(&listener, &slots, &crowded) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    pause = ACCEPT_PAUSE;
                    accepting(stream, slot);
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    if descriptors::ran_out(&error) {
                        crowded.notify_waiters();
                    }
                    tokio::select! {
                        () = &mut *end => break,
                        () = sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                    }
                }
            }
        }
    };
    accept_until(&mut Box::pin(shutdown)).await;
    app.0.models.drain();
    let deadline = Instant::now() + drain_timeout;
    accept_until(&mut Box::pin(async {
        // Cut short or not, the connections that are left have the rest of the time.
        let _ = timeout_at(deadline, app.0.accepted.none()).await;
    }))
    .await;

    phase.send_replace(Phase::Draining);
    // Who is in the system's backlog would be reset, and is told 503 instead.
    // It is asked itself, and not through the runtime, which may not have heard of them yet.
    // From here on the system refuses connections, so that a balancer goes elsewhere.
    let backlog = listener.into_std().into_iter();
    for accepted in backlog.flat_map(|listener| std::iter::from_fn(move || listener.accept().ok()))
    {
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            break;
        };
        let (stream, address) = accepted;
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        match stream {
            Ok(stream) => accepting((stream, address), slot),
            Err(error) => tracing::debug!(%error, "a connection could not be taken"),
        }
    }
    let left = most - slots.available_permits();
    tracing::info!(connections = left, "closing the connections");
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    if timeout_at(deadline, slots.acquire_many(all)).await.is_ok() {
        return Ok(());
    }
    let connections = most - slots.available_permits();
    phase.send_replace(Phase::Ended);
    // The tasks see it when they are polled next, which is at once.
    let _ = timeout(ACCEPT_PAUSE_MAX, slots.acquire_many(all)).await;
    if connections == 0 {
        return Ok(());
    }
    Err(ServeError::Cut {
        connections,
        within: drain_timeout,
    })
}

fn builder(settings: &HttpSettings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // It would not follow a clock that jumps back.
        .auto_date_header(false)
        // hyper starts this one when it begins to wait for a head, so it bounds how
        // long a connection may be idle; the head itself has its timer in `Wire`.
        .header_read_timeout(settings.idle_timeout.max(settings.header_timeout))
        .max_buf_size(BUFFER)
        .max_header_size(BUFFER);
    builder
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    crowded: &Notify,
) -> io::Result<((TcpStream, SocketAddr), OwnedSemaphorePermit)> {
    let slot = loop {
        match timeout(CROWDED_PAUSE, Arc::clone(slots).acquire_owned()).await {
            Ok(slot) => break slot.map_err(io::Error::other)?,
            Err(_) => crowded.notify_waiters(),
        }
    };
    Ok((listener.accept().await?, slot))
}

/// Counts a connection among those of its client; none if it has too many. Behind a proxy,
/// whose client each belongs to is known from its requests alone.
fn client(shared: &Shared, address: IpAddr) -> Option<Option<clients::Held>> {
    match shared.settings.client_address_header {
        Some(_) => Some(None),
        None => shared.clients.enter(address).map(Some),
    }
}

/// The client went away between the handshake and the accept; nothing is wrong here.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn connection(
    stream: TcpStream,
    app: App,
    builder: http1::Builder,
    mut told: watch::Receiver<Phase>,
    crowded: Arc<Notify>,
    held: (OwnedSemaphorePermit, Option<clients::Held>),
) {
    // Small answers must not wait for the client's acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let state = Arc::new(ConnectionState::new());
    let settings = &app.0.settings;
    let wire = Wire::new(
        stream,
        Arc::clone(&state),
        settings.header_timeout,
        settings.write_timeout,
    );
    let service = service_fn(|request| {
        let app = app.clone();
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(app.answer(request, &state).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    // A client that was let in as the last gets its answer.
    let mut last_call = pin!(pending().left_future());
    let mut crowded_out = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            phase = next_phase(&mut told) => match phase {
                Phase::Serving => {}
                Phase::Draining if state.heads() == 0 => {
                    last_call.set(sleep(LAST_CALL).right_future());
                }
                Phase::Draining => connection.as_mut().graceful_shutdown(),
                Phase::Ended => break,
            },
            () = last_call.as_mut() => {
                last_call.set(pending().left_future());
                connection.as_mut().graceful_shutdown();
            }
            () = crowded.notified() => if state.is_idle_for(IDLE_WHEN_CROWDED) {
                // hyper waits for a head that has begun, as long as it may take.
                if crowded_out {
                    break;
                }
                crowded_out = true;
                connection.as_mut().graceful_shutdown();
            },
        }
    }
    drop(held);
}

/// The next thing that connections are told; the end, if nobody is left to tell.
async fn next_phase(told: &mut watch::Receiver<Phase>) -> Phase {
    match told.changed().await {
        Ok(()) => *told.borrow_and_update(),
        Err(_) => Phase::Ended,
    }
}
