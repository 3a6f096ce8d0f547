//! The socket under hyper: what must be watched or said below HTTP.
//!
//! hyper has one timer for a connection, so that a client may take as long for its
//! head as it may be idle; none for a client that does not read; it answers a
//! malformed head without a body; and it closes at once, so that a client which is
//! still sending sees its connection reset and never the answer that says why. Each
//! of these is put right here, where the bytes pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long bytes that nobody wants are read, so that the answer can arrive.
const LINGER: Duration = Duration::from_secs(5);

/// The longest pause in that.
const LINGER_IDLE: Duration = Duration::from_secs(1);

/// What a connection is doing: told by its requests to the socket under them, and by
/// both to the server.
#[derive(Debug)]
pub(super) struct ConnectionState {
    opened: Instant,
    heads: AtomicU64,
    busy: AtomicBool,
    linger: AtomicBool,
    /// When something last happened, in milliseconds from the opening.
    last: AtomicU64,
}

impl ConnectionState {
    /// A connection that was just opened.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            heads: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            linger: AtomicBool::new(false),
            last: AtomicU64::new(0),
        }
    }

    /// Whether no request is under way, and nothing has come for so long.
    pub(super) fn is_idle_for(&self, pause: Duration) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        !self.busy.load(Ordering::Relaxed) && self.opened.elapsed() >= last + pause
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// A head is complete.
    pub(super) fn begin(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Its answer is known.
    pub(super) fn end(&self) {
        self.touch();
        self.busy.store(false, Ordering::Relaxed);
    }

    /// The connection will be closed while its client may still be sending.
    pub(super) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }
}

type Timer = Pin<Box<Sleep>>;

/// A client's socket.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Runs while a head is awaited, from its first byte on; with the number of heads
    /// that were complete when it began.
    head_timer: Option<(Timer, u64)>,
    got_bytes: bool,
    write_timer: Option<Timer>,
    /// Our own words, in place of hyper's.
    refusal: Vec<u8>,
    closing: Closing,
}

#[derive(Debug)]
enum Closing {
    No,
    /// Our side is closed; the client's bytes are read until the first timer (of the
    /// pause) or the second (of the whole) is over.
    Lingering(Timer, Timer),
    Done,
}

impl Wire {
    /// Wraps a socket that was just accepted.
    pub(super) fn new(
        stream: TcpStream,
        state: Arc<ConnectionState>,
        header_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            state,
            header_timeout,
            write_timeout,
            head_timer: Some((Box::pin(sleep(header_timeout)), 0)),
            got_bytes: false,
            write_timer: None,
            refusal: Vec::new(),
            closing: Closing::No,
        }
    }

    /// Whether the head that is awaited took too long.
    fn head_is_late(&mut self, context: &mut Context<'_>, got: usize) -> bool {
        let heads = self.state.heads.load(Ordering::Relaxed);
        if self.state.busy.load(Ordering::Relaxed) {
            self.head_timer = None;
            self.got_bytes = false;
            return false;
        }
        if self
            .head_timer
            .as_ref()
            .is_some_and(|(_, begun)| *begun != heads)
        {
            self.head_timer = None;
            self.got_bytes = false;
        }
        if got > 0 {
            self.got_bytes = true;
            self.state.touch();
            if self.head_timer.is_none() {
                self.head_timer = Some((Box::pin(sleep(self.header_timeout)), heads));
            }
        }
        match &mut self.head_timer {
            Some((timer, _)) => timer.as_mut().poll(context).is_ready(),
            None => false,
        }
    }

    /// Sends what is left of our own words.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes a result of writing on, unless nothing could be written for too long.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_timer = None;
            return poll;
        }
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read its answer",
            )));
        }
        Poll::Pending
    }

    /// If hyper is about to answer a malformed head by itself: our words instead.
    fn takes_over(&mut self, written: &[u8]) -> bool {
        let Some((status, detail)) = own_refusal(written) else {
            return false;
        };
        tracing::info!(status, "refused a malformed request head");
        self.refusal = closing_answer(status, detail);
        self.state.linger();
        true
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(_)) = poll {
            return poll;
        }
        let got = buffer.filled().len() - before;
        if this.head_is_late(context, got) {
            if this.got_bytes {
                // Nothing else is being written on a connection that awaits a head.
                let words = closing_answer(408, "The head of the request did not arrive in time.");
                let _ = this.stream.try_write(&words);
            }
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the head of the request did not arrive in time",
            )));
        }
        poll
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.takes_over(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watched(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(first) = slices.iter().find(|slice| !slice.is_empty())
            && this.takes_over(first)
        {
            return Poll::Ready(Ok(first.len()));
        }
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watched(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = this.poll_refusal(context);
        ready!(this.watched(context, poll))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::No => {
                    let poll = this.poll_refusal(context);
                    ready!(this.watched(context, poll))?;
                    ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                    this.closing = if this.state.linger.load(Ordering::Relaxed) {
                        Closing::Lingering(Box::pin(sleep(LINGER_IDLE)), Box::pin(sleep(LINGER)))
                    } else {
                        Closing::Done
                    };
                }
                Closing::Lingering(pause, whole) => {
                    let mut scratch = [0; 16 << 10];
                    let mut buffer = ReadBuf::new(&mut scratch);
                    let read = Pin::new(&mut this.stream).poll_read(context, &mut buffer);
                    let over = match read {
                        Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                            pause.as_mut().reset(Instant::now() + LINGER_IDLE);
                            whole.as_mut().poll(context).is_ready()
                        }
                        Poll::Ready(_) => true,
                        Poll::Pending => {
                            let pause_over = pause.as_mut().poll(context).is_ready();
                            let whole_over = whole.as_mut().poll(context).is_ready();
                            if !(pause_over || whole_over) {
                                return Poll::Pending;
                            }
                            true
                        }
                    };
                    if over {
                        this.closing = Closing::Done;
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// What hyper writes when it refuses a head by itself: a status from a short list and
/// no body. None of our own answers to a request has an empty body.
fn own_refusal(written: &[u8]) -> Option<(u16, &'static str)> {
    let head = written
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| written.strip_prefix(b"HTTP/1.0 "))?;
    let status = std::str::from_utf8(head.get(..3)?).ok()?.parse().ok()?;
    let detail = match status {
        400 => "The request is no valid HTTP/1.1.",
        414 => "The path of the request is too long.",
        431 => "The headers of the request are too large.",
        _ => return None,
    };
    let empty = b"content-length: 0\r\n";
    written
        .windows(empty.len())
        .any(|window| window == empty)
        .then_some((status, detail))
}

/// A whole answer, after which the connection is closed.
fn closing_answer(status: u16, detail: &str) -> Vec<u8> {
    let reason = hyper::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let body = format!("{{\"detail\":\"{detail}\"}}");
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_replaced() {
        let hyper = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(own_refusal(hyper).map(|(status, _)| status), Some(431));
        let ours = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n";
        assert_eq!(own_refusal(ours), None);
        assert_eq!(
            own_refusal(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            None
        );
        assert_eq!(own_refusal(b"{\"detail\":"), None);
        assert_eq!(own_refusal(b"HTTP/1.1"), None);
    }

    #[test]
    fn a_closing_answer_is_whole() {
        let text = String::from_utf8(closing_answer(408, "Late.")).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(
            text.ends_with("content-length: 18\r\n\r\n{\"detail\":\"Late.\"}"),
            "{text}"
        );
    }
}
