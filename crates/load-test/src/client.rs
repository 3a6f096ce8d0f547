//! Connections to one service: kept, counted and bounded.
//!
//! ```text
//! request --permit--> kept connection, or a new one --> answer --> connection kept again
//!                          |
//!            closed by the server before a byte of the answer: retried once, on a new one
//! ```
//!
//! Bytes are counted below HTTP, on the socket, so that heads count too.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::Error;
use crate::inputs::Request;
use crate::options::Answers;

/// The client's timeout if none was given.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much longer than the service's timeout the client waits, so that the service's 504
/// can arrive.
const GRACE: Duration = Duration::from_millis(500);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It was answered.
    Status(u16),
    /// A request was cut off on purpose, and its connection was closed as expected.
    CutOff,
    /// No connection could be opened.
    Connect,
    /// The connection ended, or broke, before the answer was complete.
    Broken,
    /// The client timed out.
    Timeout,
}

impl Ending {
    /// Its name in reports.
    pub fn name(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::CutOff => "cut off".to_owned(),
            Self::Connect => "connect".to_owned(),
            Self::Broken => "broken".to_owned(),
            Self::Timeout => "timeout".to_owned(),
        }
    }

    /// Whether the request was answered successfully.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Status(200..300))
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub struct Exchange {
    /// How it ended.
    pub ending: Ending,
    /// The body of the answer.
    pub body: Bytes,
    /// The answer's `Retry-After`, if it is in seconds.
    pub retry_after: Option<Duration>,
    /// Bytes sent for it.
    pub sent: u64,
    /// Bytes received for it.
    pub received: u64,
}

impl Exchange {
    fn without_answer(ending: Ending) -> Self {
        Self {
            ending,
            body: Bytes::new(),
            retry_after: None,
            sent: 0,
            received: 0,
        }
    }
}

/// The address of a service.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the user wrote it.
    pub url: String,
    /// Host and port, for the connection and the Host header.
    address: String,
}

impl Target {
    /// Parses a URL: scheme http, a host, optionally a port, and nothing after it.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let wrong = || Error::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() == Some("https") {
            return Err(Error::Tls(url.to_owned()));
        }
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            address: format!("{host}:{port}"),
        })
    }
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counts {
    /// Counts the bytes of a write, and passes on its result.
    fn note_sent(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = polled {
            self.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }
}

/// A socket that counts bytes.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let new = (buffer.filled().len() - before) as u64;
        self.counts.received.fetch_add(new, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.counts.note_sent(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.counts.note_sent(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    counts: Arc<Counts>,
}

impl Connection {
    fn counts(&self) -> (u64, u64) {
        (
            self.counts.sent.load(Ordering::Relaxed),
            self.counts.received.load(Ordering::Relaxed),
        )
    }
}

/// A connection that may be used.
#[derive(Debug)]
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    waited: Duration,
}

/// Sends requests to one service.
#[derive(Debug)]
pub struct Client {
    target: Target,
    headers: HeaderMap,
    bound: Duration,
    permits: Semaphore,
    kept: Mutex<Vec<Connection>>,
    opened: AtomicU64,
    reconnects: AtomicU64,
}

impl Client {
    /// A client with at most this many connections.
    pub fn new(
        target: Target,
        connections: u32,
        api_key: Option<&str>,
        timeout_ms: Option<u64>,
        answers: Answers,
    ) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&target.address);
        let host = host.map_err(|_| Error::Header("the host"))?;
        headers.insert(HOST, host);
        if let Some(key) = api_key {
            let key = HeaderValue::from_str(key).map_err(|_| Error::Header("the API key"))?;
            headers.insert("x-api-key", key);
        }
        if answers == Answers::Bytes {
            let bytes = HeaderValue::from_static("application/octet-stream");
            headers.insert(ACCEPT, bytes);
        }
        if let Some(limit) = timeout_ms {
            headers.insert("x-request-timeout-ms", HeaderValue::from(limit));
        }
        Ok(Self {
            target,
            headers,
            bound: timeout_ms.map_or(PATIENCE, |limit| Duration::from_millis(limit) + GRACE),
            permits: Semaphore::new(connections as usize),
            kept: Mutex::new(Vec::new()),
            opened: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
        })
    }

    /// Connections opened, and requests retried because the server had closed a kept
    /// connection.
    pub fn connections(&self) -> (u64, u64) {
        (
            self.opened.load(Ordering::Relaxed),
            self.reconnects.load(Ordering::Relaxed),
        )
    }

    /// Waits for a free connection; none if the client's timeout passes first.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let since = Instant::now();
        let permit = timeout(self.bound, self.permits.acquire()).await;
        let _permit = permit.ok()?.ok()?;
        Some(Turn {
            _permit,
            waited: since.elapsed(),
        })
    }

    /// Sends a request and receives its answer. The client's timeout includes the wait for the
    /// turn, so an open loop that outruns the service cannot pile up waiting requests without
    /// bound; without a turn it has passed.
    pub async fn send(&self, turn: Option<Turn<'_>>, request: &Request) -> Exchange {
        let waited = turn.as_ref().map_or(self.bound, |turn| turn.waited);
        let left = self.bound.saturating_sub(waited);
        timeout(left, self.in_turn(request))
            .await
            .unwrap_or_else(|_| Exchange::without_answer(Ending::Timeout))
    }

    async fn in_turn(&self, request: &Request) -> Exchange {
        if request.cut {
            return self.cut_off(request).await;
        }
        let body = || Full::new(request.body.clone());
        self.exchange(
            Method::POST,
            request.path,
            Some(&request.content_type),
            body,
        )
        .await
    }

    /// Sends a request without a body.
    pub async fn get(&self, path: &str) -> Exchange {
        timeout(
            self.bound,
            self.exchange(Method::GET, path, None, Full::default),
        )
        .await
        .unwrap_or_else(|_| Exchange::without_answer(Ending::Timeout))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Fn() -> Full<Bytes>,
    ) -> Exchange {
        let (mut sent, mut received) = (0, 0);
        let mut connection = self.kept().await;
        loop {
            let was_kept = connection.is_some();
            let mut open = match connection.take() {
                Some(kept) => kept,
                None => match self.connect().await {
                    Some(new) => new,
                    None => return Exchange::without_answer(Ending::Connect),
                },
            };
            let before = open.counts();
            let mut request = hyper::Request::new(body());
            *request.method_mut() = method.clone();
            *request.headers_mut() = self.headers.clone();
            if let Ok(uri) = path.parse() {
                *request.uri_mut() = uri;
            }
            if let Some(Ok(value)) = content_type.map(HeaderValue::from_str) {
                request.headers_mut().insert(CONTENT_TYPE, value);
            }
            let answered = answer(&mut open, request).await;
            let after = open.counts();
            sent += after.0 - before.0;
            received += after.1 - before.1;
            match answered {
                Ok(answer) => {
                    if answer.keep && !open.sender.is_closed() {
                        self.keep(open);
                    }
                    return Exchange {
                        ending: Ending::Status(answer.status),
                        body: answer.body,
                        retry_after: answer.retry_after,
                        sent,
                        received,
                    };
                }
                // The second time round the connection is new, so this happens only once.
                Err(_) if was_kept && after.1 == before.1 => {
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    return Exchange {
                        sent,
                        received,
                        ..Exchange::without_answer(Ending::Broken)
                    };
                }
            }
        }
    }

    /// A kept connection that is still open.
    async fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()?;
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    /// A new connection; none if the server refuses it.
    async fn connect(&self) -> Option<Connection> {
        let stream = TcpStream::connect(&self.target.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let counts = Arc::new(Counts::default());
        let counted = Counted {
            stream,
            counts: Arc::clone(&counts),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(counted)).await.ok()?;
        // It ends when its sender is dropped or the server closes; the sender reports the
        // reason to the task waiting for an answer.
        tokio::spawn(connection);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Some(Connection { sender, counts })
    }

    /// Sends the head and half of the body, then closes.
    async fn cut_off(&self, request: &Request) -> Exchange {
        let Ok(mut stream) = TcpStream::connect(&self.target.address).await else {
            return Exchange::without_answer(Ending::Connect);
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut bytes = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
            request.path,
            self.target.address,
            request.content_type,
            request.body.len()
        )
        .into_bytes();
        if let Some(key) = self.headers.get("x-api-key") {
            bytes.extend_from_slice(b"x-api-key: ");
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(request.body.iter().take(request.body.len() / 2));
        let mut exchange = Exchange::without_answer(Ending::CutOff);
        // Closing first is as correct as answering.
        if stream.write_all(&bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            exchange.sent = bytes.len() as u64;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            exchange.received = answer.len() as u64;
            let status = answer
                .get(9..12)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| digits.parse().ok());
            if let Some(status) = status {
                exchange.ending = Ending::Status(status);
            }
        }
        exchange
    }
}

struct Answer {
    status: u16,
    body: Bytes,
    keep: bool,
    retry_after: Option<Duration>,
}

async fn answer(
    connection: &mut Connection,
    request: hyper::Request<Full<Bytes>>,
) -> hyper::Result<Answer> {
    let response = connection.sender.send_request(request).await?;
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    let keep = header(CONNECTION).is_none_or(|value| !value.eq_ignore_ascii_case(b"close"));
    let retry_after = header(RETRY_AFTER)
        .and_then(|seconds| std::str::from_utf8(seconds).ok())
        .and_then(|seconds| seconds.trim().parse::<u32>().ok())
        .map(|seconds| Duration::from_secs(seconds.into()));
    Ok(Answer {
        status: response.status().as_u16(),
        keep,
        retry_after,
        body: response.into_body().collect().await?.to_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http_and_nothing_more() {
        let target = Target::parse("http://localhost:8091/").expect("a URL");
        assert_eq!(target.address, "localhost:8091");
        assert_eq!(
            Target::parse("http://[::1]").expect("a URL").address,
            "[::1]:80"
        );
        let error = Target::parse("https://x").expect_err("TLS");
        assert!(matches!(error, Error::Tls(_)), "{error}");
        for wrong in ["", "localhost:8091", "http://", "http://x/embed", "ftp://x"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
