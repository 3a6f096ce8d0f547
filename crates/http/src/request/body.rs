//! The body of a request: read piece by piece, within bounds of size and of time.
//!
//! hyper gives no bound to either. Here each piece has one, the whole has one, the
//! rate has one, and all bodies of the process together have one.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::awaited::Awaited;
use super::coded::{Coding, Decoder};
use crate::answer::problem::Problem;
use crate::settings::HttpSettings;
use siglip2_service::{Lease, MemoryBudget, MemoryUse};

/// So much of an unwanted body is read for the sake of the connection, and so long.
const SETTLE_BYTES: u64 = 64 << 10;
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Pieces of a body have at least this size, the last one aside: each takes memory besides its bytes.
/// Not when it is fuzzed: bodies are small then, and would all come in one piece.
pub(crate) const MIN_PIECE: usize = if cfg!(fuzzing) { 1 } else { 8 << 10 };

/// Why a body breaks off.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of one request, and the lease of the memory for it and for what is decoded out
/// of it: held until this is dropped, which is when the request has been answered.
pub(crate) struct Body {
    incoming: BoxBody<Bytes, BoxError>,
    limit: u64,
    read: u64,
    /// Undoes the coding of a body that comes in one, until it has ended.
    decoder: Option<Decoder>,
    decoded: u64,
    ended: bool,
    failed: bool,
    memory: MemoryBudget,
    lease: Lease,
    /// Bytes whose lease went with the whole body.
    given: u64,
    started: Instant,
    idle_timeout: Duration,
    whole_timeout: Duration,
    min_rate: u64,
    /// Where it may have to make room for others.
    awaited: Option<Awaited>,
}

impl Body {
    /// Wraps what hyper gives of a request, or any other stream of pieces; nothing is read yet.
    pub(crate) fn new<B>(incoming: B, settings: &HttpSettings, memory: &MemoryBudget) -> Self
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
    {
        Self {
            ended: incoming.is_end_stream(),
            incoming: incoming.map_err(Into::into).boxed(),
            limit: settings.payload_limit,
            read: 0,
            decoder: None,
            decoded: 0,
            failed: false,
            memory: memory.clone(),
            lease: memory.empty(MemoryUse::Bodies),
            given: 0,
            started: Instant::now(),
            idle_timeout: settings.body_idle_timeout,
            whole_timeout: settings.body_timeout,
            min_rate: settings.min_body_rate,
            awaited: None,
        }
    }

    /// Its request is one of those that are under way, and must make room for others where it does not
    /// come.
    pub(crate) fn awaited(&mut self, awaited: Awaited) {
        self.awaited = (!self.ended).then_some(awaited);
    }

    /// Undoes this coding as the body is read.
    pub(crate) fn decode(&mut self, coding: Coding) -> Result<(), Problem> {
        self.decoder = Some(Decoder::new(coding, &mut self.lease)?);
        Ok(())
    }

    /// Lowers the limit of the size, and refuses a body whose length is known to be
    /// beyond it: before the client is asked for the first byte of it.
    pub(crate) fn limit(&mut self, bytes: u64) -> Result<(), Problem> {
        self.limit = self.limit.min(bytes);
        match self.announced() {
            Some(length) if length > self.limit => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    /// What Content-Length said; of a chunked body nothing is known beforehand.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming
            .size_hint()
            .exact()
            .map(|left| left + self.read)
    }

    /// Bytes that have been read, as they were sent.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Whether the body has been read to its end, so that another request may follow
    /// on the same connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next piece, or none at the end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        let piece = self.next_piece().await;
        if piece.is_err() {
            self.failed = true;
            self.awaited = None;
        }
        piece
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if let Some(decoder) = &mut self.decoder
                && let Some(piece) = decoder.piece(&mut self.lease)?
            {
                // A small body may stand for a large one, and others want to be served.
                tokio::task::yield_now().await;
                return self.counted(piece).map(Some);
            }
            let piece = self.piece_as_sent(Kept::Counted).await?;
            match (piece, self.decoder.take()) {
                (Some(piece), Some(mut decoder)) => {
                    decoder.feed(piece);
                    self.decoder = Some(decoder);
                }
                (None, Some(decoder)) => {
                    let last = decoder.end(&mut self.lease)?;
                    return last.map(|piece| self.counted(piece)).transpose();
                }
                (piece, None) => return Ok(piece),
            }
        }
    }

    /// Counts what was decoded.
    fn counted(&mut self, piece: Bytes) -> Result<Bytes, Problem> {
        self.decoded += piece.len() as u64;
        match self.decoded > self.limit {
            true => Err(self.too_large()),
            false => Ok(piece),
        }
    }

    /// The next piece as it was sent, but copied out of the buffer that it was read into, of which it may be
    /// no more than half, and small ones into one. What is kept is counted as it arrives.
    async fn piece_as_sent(&mut self, kept: Kept) -> Result<Option<Bytes>, Problem> {
        let mut gathered = Vec::new();
        while gathered.len() < MIN_PIECE {
            let Some(piece) = self.frame().await? else {
                break;
            };
            if kept == Kept::Counted {
                self.lease.grow(piece.len() as u64)?;
            }
            // All of a small body.
            if gathered.is_empty() && self.ended && piece.len() < MIN_PIECE {
                return Ok(Some(piece));
            }
            gathered.extend_from_slice(&piece);
        }
        gathered.shrink_to_fit();
        Ok((!gathered.is_empty()).then(|| gathered.into()))
    }

    /// The next piece as hyper has it.
    async fn frame(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let (deadline, late) = self.deadline();
            let told = self.awaited.as_ref().map(Awaited::told);
            let frame = tokio::select! {
                frame = timeout_at(deadline, self.incoming.frame()) => frame,
                () = told_to_go(told) => return Err(Problem::makes_room("The body of this request")),
            };
            let Ok(frame) = frame else {
                return Err(Problem::Timeout(late.into()));
            };
            let Some(frame) = frame else {
                self.has_come();
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                tracing::debug!(%error, "a body broke off");
                Problem::BadRequest(
                    format!(
                        "The body ended early or is badly framed after {} bytes.",
                        self.read
                    )
                    .into(),
                )
            })?;
            // Trailers say nothing that is used.
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            self.read += piece.len() as u64;
            if self.read > self.limit {
                return Err(self.too_large());
            }
            if let Some(awaited) = &self.awaited {
                awaited.came(piece.len() as u64);
            }
            if self.incoming.is_end_stream() {
                self.has_come();
            }
            return Ok(Some(piece));
        }
    }

    /// All of it is here.
    fn has_come(&mut self) {
        self.ended = true;
        self.awaited = None;
    }

    /// The whole body in one piece.
    pub(crate) async fn whole(&mut self) -> Result<Bytes, Problem> {
        let mut pieces = Vec::new();
        while let Some(piece) = self.piece().await? {
            pieces.push(piece);
        }
        let whole = joined(pieces, &self.memory).await?;
        // What is cut out of it may outlive the request.
        let empty = self.memory.empty(MemoryUse::Bodies);
        let lease = std::mem::replace(&mut self.lease, empty);
        self.given += lease.bytes();
        Ok(lease.keep_with(whole))
    }

    /// Where memory for the body comes from.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    /// Takes so many bytes more, for what is decoded out of the body.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let grown = self.lease.grow(bytes as u64);
        Ok(grown.map_err(|error| error.beside(self.given))?)
    }

    /// Holds what was taken for the body elsewhere.
    pub(crate) fn absorb(&mut self, lease: Lease) {
        self.lease.absorb(lease);
    }

    /// Reads what is left and drops it, so that the connection can go on.
    pub(crate) async fn skip_rest(&mut self) -> Result<(), Problem> {
        while self.piece().await?.is_some() {}
        Ok(())
    }

    /// Whether another request can follow on the connection. What little is left of a
    /// body that was not wanted is read and dropped for that; for more of it, closing
    /// the connection is cheaper.
    pub(crate) async fn settle(&mut self, awaits_continue: bool) -> bool {
        if self.ended || self.failed || awaits_continue {
            return self.ended && !self.failed;
        }
        match self.announced() {
            Some(length) if length - self.read <= SETTLE_BYTES => {
                self.limit = length;
                let rest = async {
                    while self.piece_as_sent(Kept::Dropped).await?.is_some() {}
                    Ok::<_, Problem>(())
                };
                matches!(timeout(SETTLE_TIME, rest).await, Ok(Ok(())))
            }
            _ => false,
        }
    }

    /// Until when the next piece must be here, and what to say if it is not.
    fn deadline(&self) -> (Instant, &'static str) {
        let idle = (
            Instant::now() + self.idle_timeout,
            "The body stopped arriving before its end.",
        );
        let whole = (
            self.started + self.whole_timeout,
            "The body did not arrive within the time allowed.",
        );
        let earliest = if whole.0 < idle.0 { whole } else { idle };
        if self.min_rate == 0 {
            return earliest;
        }
        let earned = Duration::from_secs_f64(self.read as f64 / self.min_rate as f64);
        let rate = (
            self.started + self.idle_timeout + earned.min(self.whole_timeout),
            "The body arrives too slowly.",
        );
        if rate.0 < earliest.0 { rate } else { earliest }
    }

    fn too_large(&self) -> Problem {
        Problem::TooLarge(format!(
            "The body is larger than the limit of {} bytes.",
            self.limit
        ))
    }
}

/// Waits until a request must make room for others; for ever where it need not.
async fn told_to_go(told: Option<impl Future<Output = ()>>) {
    match told {
        Some(told) => told.await,
        None => std::future::pending().await,
    }
}

/// What becomes of a piece that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Its memory is taken.
    Counted,
    /// It is dropped at once.
    Dropped,
}

/// Pieces of a body as one. Joined at the end, when the length is known: a buffer that grows
/// would take up to twice the memory, for as long as the request lasts. While they are joined
/// there are two of each.
pub(crate) async fn joined(
    mut pieces: Vec<Bytes>,
    memory: &MemoryBudget,
) -> Result<Bytes, Problem> {
    /// Bytes are copied so many times as fast as they are parsed.
    const COPIED: usize = 8;
    if pieces.len() < 2 {
        return Ok(pieces.pop().unwrap_or_default());
    }
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let copy = memory
        .take(MemoryUse::Bodies, length as u64)
        .map_err(|error| error.beside(length as u64))?;
    off_thread(length / COPIED, move || {
        let mut whole = Vec::with_capacity(length);
        for piece in pieces {
            whole.extend_from_slice(&piece);
        }
        drop(copy);
        Ok(whole.into())
    })
    .await
}

/// Runs work that takes long for a large body where it holds up nobody.
pub(crate) async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    /// Parsed or decoded in about a tenth of a millisecond.
    const INLINE: usize = 128 << 10;
    if bytes <= INLINE {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Problem::Internal(format!("a parsing task failed: {error}"))))
}

/// Work panicked, with this message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a panic: {0}")]
pub(crate) struct Panicked(String);

/// Polls a future and catches its panic, which hyper would answer by hanging up.
pub(crate) async fn caught<F: Future + Unpin>(mut future: F) -> Result<F::Output, Panicked> {
    std::future::poll_fn(|context| {
        let poll = std::panic::AssertUnwindSafe(|| std::pin::Pin::new(&mut future).poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(Panicked(message(&*panic)))),
        }
    })
    .await
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use siglip2_service::metrics::Metrics;

    #[tokio::test]
    async fn small_pieces_are_gathered_and_none_is_lost() {
        let sent: Vec<u8> = (0..5 * MIN_PIECE).map(|at| (at % 251) as u8).collect();
        for size in [1, 7, MIN_PIECE - 1, MIN_PIECE, 2 * MIN_PIECE + 1] {
            // As chunks come: slices of a buffer in which other things stand too.
            let buffer = Bytes::from(sent.clone());
            let pieces: Vec<Bytes> = (0..sent.len())
                .step_by(size)
                .map(|at| buffer.slice(at..sent.len().min(at + size)))
                .collect();
            let within = |piece: &Bytes| buffer.as_ptr_range().contains(&piece.as_ptr());
            let frames = pieces
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let memory = MemoryBudget::new(8 << 30, Metrics::new());
            let incoming = StreamBody::new(stream::iter(frames));
            let settings = HttpSettings::default();
            let mut body = Body::new(incoming, &settings, &memory);
            let mut got = Vec::new();
            while let Some(piece) = body.piece().await.unwrap() {
                let is_last = got.len() + piece.len() == sent.len();
                assert!(piece.len() >= MIN_PIECE || is_last, "{size}");
                assert!(!within(&piece), "a piece of {size} keeps the buffer");
                got.extend_from_slice(&piece);
            }
            assert_eq!(got, sent, "{size}");
        }
    }

    /// As a body with a length does: it has ended as soon as its last piece is there.
    #[tokio::test]
    async fn the_last_piece_keeps_no_buffer_either() {
        let buffer = Bytes::from(vec![7; 4 * MIN_PIECE]);
        let sent = buffer.slice(1..2 * MIN_PIECE);
        let memory = MemoryBudget::new(8 << 30, Metrics::new());
        let settings = HttpSettings::default();
        let mut body = Body::new(Full::new(sent.clone()), &settings, &memory);
        let piece = body.piece().await.unwrap().unwrap();
        assert!(body.has_ended());
        assert_eq!(piece, sent);
        assert!(!buffer.as_ptr_range().contains(&piece.as_ptr()));
    }

    #[tokio::test]
    async fn a_panic_is_caught() {
        let caught = caught(Box::pin(async {
            tokio::task::yield_now().await;
            if true {
                panic!("as {}", "asked");
            }
        }))
        .await;
        assert_eq!(caught, Err(Panicked("as asked".to_owned())));
    }
}
