//! One connection from its accept to its end: what it speaks, who serves it, and when it is told
//! to go.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::app::App;
use crate::connection::bell::Bell;
use crate::connection::clients;
use crate::connection::http2::{self as http2_bounds, Streams, Wire2};
use crate::connection::opening::{Opened, open};
use crate::connection::socket::Socket;
use crate::connection::state::ConnectionState;
use crate::connection::wire::Wire;
use crate::settings::HttpSettings;

/// What the head of a request may have, and what hyper reads of a body at once.
const BUFFER: usize = 64 << 10;

/// A connection that has been idle for so long is asked to close while all slots are taken.
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(1);

/// A connection whose client takes nothing of its answer for so long is cut then: the first is for clients
/// who hold many connections, the second for the others, who may be on a slow line. What they take is seen in
/// steps of some 128 KiB, for each of which somebody who reads 20 KB/s needs 6.6 s.
const UNREAD_BY_MANY: Duration = Duration::from_secs(1);
const UNREAD_BY_FEW: Duration = Duration::from_secs(10);

/// How long a client that connected while the service drained has to ask.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How long a client of HTTP/2 that was told to go has to say that it heard, and to read what is
/// left of its answers.
const GOODBYE: Duration = Duration::from_secs(5);

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// All is well.
    Serving,
    /// New requests are refused, and accepted ones answered.
    Refusing,
    /// All accepted requests have been answered.
    Draining,
    /// It is over.
    Ended,
}

/// What all connections of a server have in common.
#[derive(Clone)]
pub(crate) struct Connections {
    app: App,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    tls: Option<TlsAcceptor>,
    told: watch::Receiver<Phase>,
    /// Rung while all slots are taken.
    crowded: Arc<Bell>,
}

impl Connections {
    pub(crate) fn new(
        app: App,
        tls: Option<TlsAcceptor>,
        told: watch::Receiver<Phase>,
        crowded: Arc<Bell>,
    ) -> Self {
        let settings = &app.0.settings;
        Self {
            http1: http1(settings),
            http2: http2_bounds::builder(settings),
            app,
            tls,
            told,
            crowded,
        }
    }

    /// Whether they are under TLS.
    pub(crate) fn are_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves one, which takes this place until it has ended.
    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        peer: IpAddr,
        (slot, client): (OwnedSemaphorePermit, Option<clients::Held>),
    ) {
        let state = Arc::new(ConnectionState::new(peer));
        let Self {
            app,
            http1,
            http2,
            tls,
            told,
            crowded,
        } = self;
        let settings = &app.0.settings;
        let mut guide = Guide {
            told,
            crowded,
            state: Arc::clone(&state),
            unread: Arc::clone(&app.0.unread),
            client,
            last_call: None,
            times: None,
        };
        let socket = Socket::new(stream, settings.write_timeout);
        let deadline = state.opened() + settings.header_timeout;
        let opened = guide.opening(open(socket, tls.as_ref(), deadline)).await;
        let service = service_fn(|request| {
            let app = app.clone();
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(app.answer(request, &state).await) }
        });
        match opened {
            None => {}
            Some(Opened::Http1(stream)) => {
                let state = Arc::clone(&state);
                let wire = Wire::new(stream, state, settings.header_timeout, deadline);
                let served = http1.serve_connection(TokioIo::new(wire), service);
                guide
                    .drive(pin!(served), |served| served.graceful_shutdown())
                    .await;
            }
            Some(Opened::Http2(stream)) => {
                guide.times = Some((settings.header_timeout, settings.idle_timeout));
                let wire = Wire2::new(stream, settings.header_timeout);
                let served = http2.serve_connection(TokioIo::new(wire), service);
                guide
                    .drive(pin!(served), |served| served.graceful_shutdown())
                    .await;
            }
        }
        drop((guide, slot));
    }
}

fn http1(settings: &HttpSettings) -> http1::Builder {
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

/// Tells a connection when to go.
struct Guide {
    told: watch::Receiver<Phase>,
    crowded: Arc<Bell>,
    state: Arc<ConnectionState>,
    /// Rung when answers that are not read take the memory for others.
    unread: Arc<Bell>,
    /// Its place among those of its client; none where a proxy stands between them.
    client: Option<clients::Held>,
    /// Runs for a client that was let in as the last, and gets its answer.
    last_call: Option<Pin<Box<Sleep>>>,
    /// How long a connection of HTTP/2 may be without a first request, and without a further
    /// one: hyper has timers for neither.
    times: Option<(Duration, Duration)>,
}

impl Guide {
    fn is_http2(&self) -> bool {
        self.times.is_some()
    }

    /// Waits until it is known what a client speaks; none if it must go before.
    async fn opening(
        &mut self,
        opening: impl Future<Output = std::io::Result<Option<Opened>>>,
    ) -> Option<Opened> {
        let mut opening = pin!(opening);
        loop {
            tokio::select! {
                opened = opening.as_mut() => {
                    return opened.unwrap_or_else(|error| {
                        tracing::debug!(%error, "a connection ended before its first request");
                        None
                    });
                }
                phase = next_phase(&mut self.told) => match phase {
                    Phase::Serving | Phase::Refusing => {}
                    Phase::Draining => self.call_last(),
                    Phase::Ended => return None,
                },
                () = over(&mut self.last_call) => return None,
                () = self.crowded.heard() => if self.state.is_idle_for(IDLE_WHEN_CROWDED) {
                    return None;
                },
            }
        }
    }

    /// Serves a connection until it ends by itself or must.
    async fn drive<C>(&mut self, mut connection: Pin<&mut C>, go: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        // Who was asked to go and stays is cut.
        let mut was_asked = false;
        let mut idle = self.idle_end().map(|end| Box::pin(sleep_until(end)));
        // What was told while it was opened.
        let mut phase = Some(*self.told.borrow());
        loop {
            let mut must_go = false;
            match phase.take() {
                None | Some(Phase::Serving) => {}
                Some(Phase::Refusing) if !self.is_http2() => {}
                Some(Phase::Refusing | Phase::Draining) if self.state.heads() == 0 => {
                    self.call_last();
                }
                Some(Phase::Refusing | Phase::Draining) => must_go = true,
                Some(Phase::Ended) => break,
            }
            if !must_go {
                tokio::select! {
                    served = connection.as_mut() => {
                        if let Err(error) = served {
                            tracing::debug!(%error, "a connection ended early");
                        }
                        break;
                    }
                    told = next_phase(&mut self.told) => phase = Some(told),
                    () = over(&mut self.last_call) => {
                        self.last_call = None;
                        must_go = true;
                    }
                    () = self.crowded.heard() => if self.state.is_idle_for(IDLE_WHEN_CROWDED) {
                        // hyper waits for a head that has begun, as long as it may take.
                        if was_asked {
                            break;
                        }
                        must_go = true;
                    } else if self.is_in_the_way() {
                        tracing::info!("cut a connection whose client does not read its answer: others wait for one");
                        break;
                    },
                    () = self.unread.heard() => if self.is_in_the_way() {
                        tracing::info!("cut a connection whose client does not read its answer: others wait for its memory");
                        break;
                    },
                    () = over(&mut idle) => match self.idle_end() {
                        Some(_) if was_asked && !self.state.is_busy() => break,
                        Some(_) if was_asked => idle = later(GOODBYE),
                        Some(end) if end > Instant::now() => idle = Some(Box::pin(sleep_until(end))),
                        _ => must_go = true,
                    },
                }
            }
            if must_go {
                go(connection.as_mut());
                was_asked = true;
                if self.is_http2() {
                    idle = later(GOODBYE);
                }
            }
        }
    }

    /// Whether its client has taken nothing of its answer for so long that others go before it.
    fn is_in_the_way(&self) -> bool {
        let holds_many = || self.client.as_ref().is_some_and(clients::Held::is_of_many);
        self.state.is_unread_for(UNREAD_BY_FEW)
            || (self.state.is_unread_for(UNREAD_BY_MANY) && holds_many())
    }

    fn call_last(&mut self) {
        self.last_call
            .get_or_insert_with(|| Box::pin(sleep(LAST_CALL)));
    }

    /// When a connection of HTTP/2 will have been idle for too long, if nothing happens.
    fn idle_end(&self) -> Option<Instant> {
        let (first, further) = self.times?;
        Some(if self.state.is_busy() {
            Instant::now() + further
        } else if self.state.heads() == 0 {
            self.state.opened() + first
        } else {
            self.state.quiet_since() + further
        })
    }
}

fn later(pause: Duration) -> Option<Pin<Box<Sleep>>> {
    Some(Box::pin(sleep(pause)))
}

/// Waits for a timer; for ever if there is none.
async fn over(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().left_future(),
        None => pending().right_future(),
    }
    .await;
}

/// The next thing that connections are told; the end, if nobody is left to tell.
async fn next_phase(told: &mut watch::Receiver<Phase>) -> Phase {
    match told.changed().await {
        Ok(()) => *told.borrow_and_update(),
        Err(_) => Phase::Ended,
    }
}
