//! Accepts connections, serves them, and lets them finish at shutdown.

mod app;
mod compressed;
mod connection;
mod record;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::answer;
use crate::call::accepted::AcceptedCount;
use crate::call::shared::Shared;
use crate::call::spans::Spans;
use crate::connection::bell::Bell;
use crate::connection::clients::{self, Clients};
use crate::connection::descriptors;
use crate::connection::wire;
use crate::openapi;
use crate::request::awaited::AwaitedBytes;
use crate::request::fetch::Fetcher;
use crate::routes;
use crate::settings::HttpSettings;
use crate::settings::error::FileError;
use crate::settings::tls::TlsFiles;
use app::App;
use connection::{Connections, Phase};
use siglip2_service::Models;

/// How long to wait after an accept that failed, at first and at most. The usual
/// cause is that the process has no file descriptor left; trying again at once would
/// only burn a core until a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// After how many connections others have a turn.
const ACCEPTS_A_TURN: u64 = 16;

/// While all slots are taken, connections that have been idle for a moment are asked
/// to close, so that nobody can keep others out by opening many and saying nothing.
const CROWDED_PAUSE: Duration = Duration::from_millis(250);

/// Why serving ended other than as asked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Connections were cut at shutdown.
    #[error("{connections} connections had not finished within {within:?} and were cut")]
    Cut {
        /// How many.
        connections: usize,
        /// What they had.
        within: Duration,
    },
    /// A file that a setting names cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Serves until `shutdown` is over, and sends what requests took to `spans`. Then the
/// service drains: requests that were accepted are answered, new ones, on old and new
/// connections, get 503; when none is left the port is closed, and the connections are. All
/// of it takes at most [`HttpSettings::drain_timeout`].
///
/// # Errors
///
/// When connections had to be cut because they did not finish in time, or a file cannot be used.
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
    let crowded = Arc::<Bell>::default();
    let (phase, told) = watch::channel(Phase::Serving);
    let models = models.into();
    let fetcher = Fetcher::new(&settings.picture_urls)?;
    let app = App(Arc::new(Shared {
        fetcher,
        accepted: AcceptedCount::new(Arc::clone(models.metrics())),
        awaited: AwaitedBytes::default(),
        unread: Arc::default(),
        clients: Clients::new(settings.max_connections_per_client),
        streams: Arc::new(Semaphore::new(most)),
        clients_streams: Clients::new(settings.max_connections_per_client),
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
    let files = app.0.settings.tls.clone();
    let acceptor = files.as_ref().map(TlsFiles::acceptor).transpose()?;
    // It ends with this function.
    let _watching = files.map(|files| AbortOnDrop(tokio::spawn(files.watch())));
    let connections = Connections::new(app.clone(), acceptor, told, Arc::clone(&crowded));

    let accepting = |(stream, address): (TcpStream, SocketAddr), slot| {
        let Some(client) = client(&app.0, address.ip()) else {
            tracing::debug!(%address, "a client has too many connections");
            // It fits the buffer of a new socket, or the client gets it in vain. A handshake to
            // say it under TLS would cost what the bound is there to save.
            if !connections.are_secure() {
                let _ = stream.try_write(&wire::turned_away(app.0.clients.most()));
            }
            return;
        };
        let connection = connections.clone();
        tokio::spawn(connection.serve(stream, address.ip(), (slot, client)));
    };
    let accept_until = async |end: &mut (dyn Future<Output = ()> + Send + Unpin)| {
        let mut pause = ACCEPT_PAUSE;
        for taken in 1_u64.. {
            // Many may be waiting, and this thread answers as well.
            if taken.is_multiple_of(ACCEPTS_A_TURN) {
                yield_now().await;
            }
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
                        crowded.ring();
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
    phase.send_replace(Phase::Refusing);
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

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    crowded: &Bell,
) -> io::Result<((TcpStream, SocketAddr), OwnedSemaphorePermit)> {
    let slot = match Arc::clone(slots).try_acquire_owned() {
        Ok(slot) => slot,
        // Rung even if one is given back soon: who gives back a few of many would keep the others.
        Err(_) => loop {
            crowded.ring();
            let slot = timeout(CROWDED_PAUSE, Arc::clone(slots).acquire_owned()).await;
            if let Ok(slot) = slot {
                break slot.map_err(io::Error::other)?;
            }
        },
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

/// A task that ends with this.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
