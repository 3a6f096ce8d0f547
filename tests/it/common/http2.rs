//! Clients of HTTP/2: hyper's, which does what is right, and one that sends frames as they are.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything in a test should take; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of hyper's client.
#[derive(Clone)]
pub struct Http2(SendRequest<Full<Bytes>>);

/// An answer, read whole.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        let detail = json["detail"].as_str().unwrap_or_else(|| panic!("{json}"));
        (self.status, detail.to_owned())
    }
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self::over(stream).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Asks, and reads the answer.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Got, hyper::Error> {
        let asked = async {
            self.0.ready().await?;
            let answer: Response<_> = self.0.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Got {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        };
        timeout(PATIENCE, asked).await.expect("an answer in time")
    }

    /// The same, of a good answer.
    pub async fn good(&mut self, request: Request<Full<Bytes>>) -> Got {
        let got = self.ask(request).await.expect("an answer");
        assert_eq!(
            StatusCode::from_u16(got.status).unwrap(),
            StatusCode::OK,
            "{got:?}"
        );
        got
    }

    /// Whether the server has closed the connection, once it has.
    pub async fn is_closed(&mut self) -> bool {
        let closed = async {
            while !self.0.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.is_ok()
    }
}

/// A request.
pub fn of(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://test{path}"));
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request = request.header(name, HeaderValue::from_str(value).unwrap());
    }
    request.body(Full::new(body.to_vec().into())).unwrap()
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    of("GET", path, &[], b"")
}

pub fn post_json(path: &str, body: &str) -> Request<Full<Bytes>> {
    of(
        "POST",
        path,
        &[("content-type", "application/json")],
        body.as_bytes(),
    )
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let [_, length @ ..] = (self.payload.len() as u32).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [
            &length[..],
            &[self.kind, self.flags],
            &stream,
            &self.payload,
        ]
        .concat()
    }
}

/// A head in HPACK, without compression; the names are those of HTTP/2.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Seven bits, then seven at a time.
            match text.len() {
                short @ 0..127 => block.push(short as u8),
                long => {
                    block.push(127);
                    let mut left = long - 127;
                    while left >= 128 {
                        block.push(left as u8 | 128);
                        left >>= 7;
                    }
                    block.push(left as u8);
                }
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The head of a GET.
pub fn head(path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
    ])
}

/// A connection on which frames are sent as they are.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// A connection that has said its preface and these settings.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut raw = Self {
            stream,
            received: Vec::new(),
        };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        raw.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(Frame::new(SETTINGS, 0, 0, payload)).await;
        raw
    }

    pub async fn send(&mut self, frame: Frame) -> bool {
        self.bytes(&frame.bytes()).await
    }

    /// Sends as much as the server takes.
    pub async fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.received.first_chunk::<9>() {
                let [a, b, c, kind, flags, s, t, u, v] = *head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if self.received.len() >= 9 + length {
                    let payload = self.received[9..9 + length].to_vec();
                    self.received.drain(..9 + length);
                    let stream = u32::from_be_bytes([s, t, u, v]);
                    if kind == PING && flags & ACK == 0 {
                        self.send(Frame::new(PING, ACK, 0, payload.clone())).await;
                    }
                    return Some(Frame::new(kind, flags, stream, payload));
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            match read.expect("the server does something") {
                Ok(read) if read > 0 => {}
                _ => return None,
            }
        }
    }

    /// The next frame of this kind; none if the connection ends before.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Whether the connection ends, whatever comes before.
    pub async fn ends(&mut self) -> bool {
        while self.next().await.is_some() {}
        true
    }
}
