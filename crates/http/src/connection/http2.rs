//! HTTP/2: its bounds, and what watches the client beside h2.
//!
//! The bounds are those of HTTP/1: a head, a body, an answer that nobody reads have the same
//! limits and the same time, each stream its own. What one connection may hold beyond one request
//! is bounded here; how many requests a client may have on all of its connections together is
//! counted by `server::app`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Instant, Sleep, sleep};

use super::frames::Frames;
use super::socket::Stream;
use crate::answer::progress::{PROGRESS, Progress};
use crate::settings::HttpSettings;

/// Requests that one connection may have under way. A client is told so, and opens another.
const STREAMS: u32 = 100;

/// What the headers of a request may have, as in HTTP/1.
const HEADERS: u32 = 64 << 10;

/// Bytes of a body that a client may send before they are read, and of all bodies of its
/// connection: what is held for it is not counted elsewhere. A line of 5 ms is filled by it at
/// 50 MB/s.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;

/// The smallest that there is: a body that comes slowly is seen to come.
const FRAME: u32 = 16 << 10;

/// Bytes of an answer that h2 holds beyond what its client has made room for.
const SEND_BUFFER: usize = 64 << 10;

/// How often a client is asked whether it is there, and how long it has to say so. Clients that
/// keep connections and do not read them while they are idle have longer than the idle timeout.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(60);

/// Streams that were reset before they were looked at, and those that h2 resets because they
/// break its rules: what a connection may have of them before it is closed.
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 128;

/// The last frame to a client that is turned away: the highest stream, and ENHANCE_YOUR_CALM.
const GOAWAY: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11,
];

/// What serves connections of HTTP/2.
pub(crate) fn builder(settings: &HttpSettings) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams {
        write_timeout: settings.write_timeout,
    });
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Runs the streams of connections, each as a task of its own.
#[derive(Clone)]
pub(crate) struct Streams {
    write_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = Arc::<Progress>::default();
        tokio::spawn(Watched {
            stream: Box::pin(PROGRESS.scope(Arc::clone(&progress), stream)),
            progress,
            write_timeout: self.write_timeout,
            timer: None,
        });
    }
}

/// A stream, which is given up if its client takes nothing of the answer for too long: h2 would
/// wait for its window for ever.
struct Watched<F: Future> {
    stream: Pin<Box<TaskLocalFuture<Arc<Progress>, F>>>,
    progress: Arc<Progress>,
    write_timeout: Duration,
    /// Runs while a piece is awaited to be taken; with the number of those that were.
    timer: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !this.progress.writes() {
            this.timer = None;
            return Poll::Pending;
        }
        let pieces = this.progress.pieces();
        let (timer, since) = this
            .timer
            .get_or_insert_with(|| (Box::pin(sleep(this.write_timeout)), pieces));
        if *since != pieces {
            *since = pieces;
            timer.as_mut().reset(Instant::now() + this.write_timeout);
        }
        if timer.as_mut().poll(context).is_ready() {
            // What is dropped with this resets the stream.
            tracing::debug!("a client does not read the answer of a stream");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// The bytes of a connection of HTTP/2 on their way to h2 and back.
#[derive(Debug)]
pub(crate) struct Wire2 {
    stream: Stream,
    frames: Frames,
    header_timeout: Duration,
    /// Runs while the rest of a head is awaited; with the number of frames that had begun.
    head_timer: Option<(Pin<Box<Sleep>>, u64)>,
    written: u64,
    /// Whether h2 holds bytes that it could not write.
    unflushed: bool,
}

impl Wire2 {
    /// Wraps a connection that was just opened.
    pub(crate) fn new(stream: Stream, header_timeout: Duration) -> Self {
        Self {
            stream,
            frames: Frames::new(),
            header_timeout,
            head_timer: None,
            written: 0,
            unflushed: false,
        }
    }

    /// Says that the client goes too far, where that can be said between two frames.
    fn turn_away(&mut self, context: &mut Context<'_>, why: &'static str) -> io::Error {
        tracing::info!(why, "closed an HTTP/2 connection");
        if !self.unflushed {
            self.stream.write_if_room(context, &GOAWAY);
        }
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

impl AsyncRead for Wire2 {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        let got = &buffer.filled()[before..];
        if let Err(abuse) = this.frames.observe(got, this.written) {
            return Poll::Ready(Err(this.turn_away(context, abuse.sentence())));
        }
        if !this.frames.awaits_more() {
            this.head_timer = None;
            return poll;
        }
        let begun = this.frames.begun();
        let (timer, _) = match &mut this.head_timer {
            Some(running) if running.1 == begun => running,
            // Another one is awaited.
            timer => timer.insert((Box::pin(sleep(this.header_timeout)), begun)),
        };
        if timer.as_mut().poll(context).is_ready() {
            let why = "the head of a request did not arrive in time";
            return Poll::Ready(Err(this.turn_away(context, why)));
        }
        poll
    }
}

impl AsyncWrite for Wire2 {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = poll {
            this.written += written as u64;
        }
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(written)) = poll {
            this.written += written as u64;
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        if poll.is_ready() {
            this.unflushed = false;
        }
        poll
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
