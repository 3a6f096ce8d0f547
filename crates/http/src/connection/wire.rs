//! The connection under hyper's HTTP/1: timers and answers that hyper does not have.
//!
//! Where hyper falls short, and this module helps:
//!
//! * It has one timer for a connection, so a client may take as long for its head as it may be
//!   idle.
//! * It answers a malformed head without a body, and accepts some malformed heads.
//! * It closes a connection at once, so a client that is still sending sees a reset and never the
//!   answer that says why.
//! * It treats a client that has closed its own side as one that has gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::framing::{Framing, Violation};
use super::socket::{LINGER, LINGER_IDLE, Stream};
use super::state::ConnectionState;
use crate::header::date;

/// How often to check whether a client that has closed its side has gone altogether.
const HALF_CLOSED_PAUSE: Duration = Duration::from_millis(50);

/// When to check for the first time.
const HALF_CLOSED_ANSWER: Duration = Duration::from_millis(10);

type Timer = Pin<Box<Sleep>>;

/// A client's socket.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    state: Arc<ConnectionState>,
    framing: Framing,
    violation: Option<Violation>,
    header_timeout: Duration,
    /// Runs while a head is awaited, from its first byte on; with the number of heads
    /// that were complete when it began.
    head_timer: Option<(Timer, u64)>,
    got_bytes: bool,
    /// Whether hyper holds bytes that it could not write.
    unflushed: bool,
    /// Runs while a client that has closed its side waits for its answer; and whether it
    /// was asked whether it does.
    half_closed: Option<(Timer, bool)>,
    /// Our own answer, in place of hyper's.
    refusal: Vec<u8>,
    /// Whether our answer is the last: then nothing more is read for hyper.
    refused: Option<&'static str>,
    closing: Closing,
}

#[derive(Debug)]
enum Closing {
    No,
    /// Our side is closed. The client's bytes are read until the first timer, for a pause, or the
    /// second, for the whole, has run out.
    Lingering(Timer, Timer),
    Done,
}

/// What a client is told whose head does not come to its end in time.
pub(super) const LATE: &str = "The head of the request did not arrive in time.";

impl Wire {
    /// Wraps a connection that was just opened, whose first head must be here by `deadline`.
    pub(crate) fn new(
        stream: Stream,
        state: Arc<ConnectionState>,
        header_timeout: Duration,
        deadline: Instant,
    ) -> Self {
        Self {
            stream,
            state,
            framing: Framing::new(),
            violation: None,
            header_timeout,
            head_timer: Some((Box::pin(sleep_until(deadline)), 0)),
            got_bytes: false,
            unflushed: false,
            half_closed: None,
            refusal: Vec::new(),
            refused: None,
            closing: Closing::No,
        }
    }

    /// Whether the head has taken too long to arrive. One that has just become whole has not, however late
    /// this process came to it.
    fn head_is_late(&mut self, context: &mut Context<'_>, got: usize, is_whole: bool) -> bool {
        let heads = self.state.heads();
        if self.state.is_busy() || self.unflushed {
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
            if self.head_timer.is_none() {
                self.head_timer = Some((Box::pin(sleep(self.header_timeout)), heads));
            }
        }
        if is_whole {
            return false;
        }
        match &mut self.head_timer {
            Some((timer, _)) => timer.as_mut().poll(context).is_ready(),
            None => false,
        }
    }

    /// Whether a client that sends no more may be waiting for an answer: it has sent whole requests, and
    /// the last of them is under way, or was read and has not begun yet.
    fn waits_for_answer(&self) -> bool {
        let is_to_begin = self.framing.heads() > self.state.heads();
        self.framing.is_between_requests() && (is_to_begin || self.state.is_busy())
    }

    /// Whether no answer is being written, so that we may write one.
    fn is_silent(&self) -> bool {
        !self.state.is_busy() && !self.unflushed && self.refusal.is_empty()
    }

    /// Sends the reason, and ends the connection.
    fn refuse(&mut self, status: u16, detail: &'static str) {
        tracing::info!(status, detail, "refused a request's head");
        self.refusal = closing_answer(status, detail);
        self.refused = Some(detail);
        self.state.linger();
    }

    /// Sends the last answer, and waits until it can have arrived.
    fn poll_refused(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        detail: &'static str,
    ) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_shutdown(context))?;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, detail)))
    }

    /// Waits with a client that has closed its side until its answer is known, or it turns
    /// out that it has gone altogether.
    ///
    /// The two look alike until something is sent: a client that is there takes it, a
    /// client that has gone answers with a reset. What is sent is `100 Continue`, which a
    /// client of HTTP/1.1 reads over wherever it comes (RFC 9110, 15.2).
    fn poll_half_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let may_ask = self.state.awaits_interim() && !self.unflushed;
        let (timer, asked) = self
            .half_closed
            .get_or_insert_with(|| (Box::pin(sleep(HALF_CLOSED_PAUSE)), false));
        loop {
            ready!(timer.as_mut().poll(context));
            if let Some(error) = self.stream.tcp().take_error()? {
                return Poll::Ready(Err(error));
            }
            let pause = if may_ask && !*asked {
                *asked = true;
                // As little as this has room; where it has none, the writing will tell.
                self.stream
                    .write_if_room(context, b"HTTP/1.1 100 Continue\r\n\r\n");
                HALF_CLOSED_ANSWER
            } else {
                HALF_CLOSED_PAUSE
            };
            timer.as_mut().reset(Instant::now() + pause);
        }
    }

    /// Sends the rest of our own answer.
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

    /// Replaces the answer that hyper is about to give to a malformed head.
    fn takes_over(&mut self, written: &[u8]) -> bool {
        let Some((status, detail)) = own_refusal(written) else {
            return false;
        };
        tracing::info!(status, detail, "refused a request's head");
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
        if let Some(detail) = this.refused {
            return Pin::new(this).poll_refused(context, detail);
        }
        if let Some(violation) = this.violation {
            // Whoever reads the body tells its client.
            if this.framing.is_in_body() && this.framing.heads() == this.state.heads() {
                tracing::info!(detail = violation.sentence(), "refused a request's trailer");
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    violation.sentence(),
                )));
            }
            // Requests before the bad one are answered first.
            if !this.is_silent() {
                return this.poll_half_closed(context);
            }
            this.refuse(400, violation.sentence());
            return Pin::new(this).poll_refused(context, violation.sentence());
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(_)) = poll {
            return poll;
        }
        let got = buffer.filled().len() - before;
        let whole = this.framing.heads();
        if let Err((good, violation)) = this.framing.observe(&buffer.filled()[before..]) {
            this.violation = Some(violation);
            buffer.set_filled(before + good);
            if good == 0 {
                return Pin::new(this).poll_read(context, buffer);
            }
        }
        if poll.is_ready() && got == 0 && buffer.remaining() > 0 && this.waits_for_answer() {
            return this.poll_half_closed(context);
        }
        if this.head_is_late(context, got, this.framing.heads() > whole) {
            if this.got_bytes && this.is_silent() {
                this.refuse(408, LATE);
                return Pin::new(this).poll_refused(context, LATE);
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, LATE)));
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
        this.unflushed = true;
        poll
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
        this.unflushed = true;
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(context))?;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        // hyper flushes when it has written all that it holds.
        this.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::No => {
                    ready!(this.poll_refusal(context))?;
                    ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                    this.closing = if this.state.lingers() {
                        Closing::Lingering(Box::pin(sleep(LINGER_IDLE)), Box::pin(sleep(LINGER)))
                    } else {
                        Closing::Done
                    };
                }
                Closing::Lingering(pause, whole) => {
                    let mut scratch = [0; 16 << 10];
                    let mut buffer = ReadBuf::new(&mut scratch);
                    let read = Pin::new(this.stream.tcp_mut()).poll_read(context, &mut buffer);
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
        400 => "The request is not valid HTTP/1.1.",
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

/// The answer to a client that has too many connections.
pub(crate) fn turned_away(most: usize) -> Vec<u8> {
    closing_answer_with(
        429,
        &format!("This client has {most} connections already."),
        "retry-after: 1\r\n",
    )
}

/// A whole answer, after which the connection is closed.
pub(crate) fn closing_answer(status: u16, detail: &str) -> Vec<u8> {
    closing_answer_with(status, detail, "")
}

/// The same, with further headers.
fn closing_answer_with(status: u16, detail: &str, headers: &str) -> Vec<u8> {
    let reason = hyper::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let body = format!("{{\"detail\":\"{detail}\"}}");
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}date: {}\r\ncontent-length: {}\r\n\r\n{body}",
        date::now().to_str().unwrap_or_default(),
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connection::socket::Socket;

    #[tokio::test]
    async fn a_head_that_is_here_is_not_late() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let head = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";
        client.write_all(head).await.unwrap();
        stream.readable().await.unwrap();
        let hour = Duration::from_secs(3600);
        let state = Arc::new(ConnectionState::new(peer.ip()));
        let socket = Socket::new(stream, hour);
        // As where the process gets to it late.
        let deadline = Instant::now();
        let mut wire = Wire::new(Stream::Plain(socket), state, hour, deadline);
        let mut got = [0; 64];
        assert_eq!(wire.read(&mut got).await.unwrap(), head.len());
    }

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
        assert!(text.contains("\r\ndate: "), "{text}");
        assert!(
            text.ends_with("content-length: 18\r\n\r\n{\"detail\":\"Late.\"}"),
            "{text}"
        );
    }
}
