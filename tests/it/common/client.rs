//! A client that sends bytes as they are, right or wrong, and reads HTTP/1.1 answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything in a test should take; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    pub fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The status, which must be an error's, and its sentence.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        let detail = json["detail"].as_str().unwrap_or_else(|| panic!("{json}"));
        (self.status, detail.to_owned())
    }
}

/// Where the head of an answer ends, once it is whole.
pub fn head_end(received: &[u8]) -> Option<usize> {
    let end = b"\r\n\r\n";
    let at = received
        .windows(end.len())
        .position(|window| window == end)?;
    Some(at + end.len())
}

/// Takes the head out of what was received: an answer without its body yet.
pub fn take_head(received: &mut Vec<u8>, head_end: usize) -> Result<Answer, String> {
    let head =
        String::from_utf8(received.drain(..head_end).collect()).map_err(|e| e.to_string())?;
    let mut lines = head.trim_end().split("\r\n");
    let status = lines
        .next()
        .and_then(|line| {
            line.strip_prefix("HTTP/1.1 ")
                .or(line.strip_prefix("HTTP/1.0 "))
        })
        .and_then(|line| line.get(..3)?.parse().ok())
        .ok_or_else(|| format!("no status line: {head}"))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Answer {
        status,
        headers,
        body: Vec::new(),
    })
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self::over(stream)
    }

    /// A client on a connection that is open.
    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// The connection itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the server reads");
    }

    /// Sends as much as the server will take.
    pub async fn send_lossy(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// The next answer, which has no body if the method is HEAD.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let end = loop {
            if let Some(end) = head_end(&self.received) {
                break end;
            }
            assert!(
                self.more().await,
                "the connection ended without an answer: {:?}",
                self.received
            );
        };
        let mut answer = take_head(&mut self.received, end).expect("a head");
        if method != "HEAD" && ![100, 204, 304].contains(&answer.status) {
            let length = answer
                .header("content-length")
                .and_then(|l| l.parse().ok())
                .expect("a length");
            while self.received.len() < length {
                assert!(
                    self.more().await,
                    "the body of the answer broke off: {answer:?}"
                );
            }
            answer.body = self.received.drain(..length).collect();
        }
        answer
    }

    /// Whether the server closes the connection, and says nothing more before.
    pub async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && !self.more().await && self.received.is_empty()
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received));
        matches!(read.await.expect("the server does something"), Ok(read) if read > 0)
    }
}

/// Sends one request on a connection of its own. The answer must be as the OpenAPI document
/// describes it.
pub async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(address).await;
    client.send(&request).await;
    let head = request.as_ref().starts_with(b"HEAD ");
    let answer = client.answer_to(if head { "HEAD" } else { "GET" }).await;
    super::document::check(request.as_ref(), &answer);
    answer
}

/// A request with a body of known length.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

pub fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

pub fn post_json(path: &str, body: &str) -> Vec<u8> {
    request(
        "POST",
        path,
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
}

/// A form in the making; its boundary is always `X`.
#[derive(Clone, Default)]
pub struct Form(Vec<u8>);

impl Form {
    pub fn new() -> Self {
        Self::default()
    }

    /// A part with headers as they are.
    pub fn raw(mut self, headers: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        for piece in [
            b"--X\r\n",
            headers.as_ref(),
            b"\r\n\r\n",
            body.as_ref(),
            b"\r\n",
        ] {
            self.0.extend_from_slice(piece);
        }
        self
    }

    pub fn text(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.raw(
            format!("Content-Disposition: form-data; name=\"{name}\""),
            value,
        )
    }

    pub fn file(self, name: &str, filename: &str, bytes: impl AsRef<[u8]>) -> Self {
        let disposition = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: application/octet-stream"
        );
        self.raw(disposition, bytes)
    }

    pub fn body(&self) -> Vec<u8> {
        [self.0.as_slice(), b"--X--\r\n"].concat()
    }

    pub fn post(&self, path: &str) -> Vec<u8> {
        self.post_with(path, &[])
    }

    /// As [`Form::post`], with further headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let form = ("Content-Type", "multipart/form-data; boundary=X");
        request("POST", path, &[&[form], headers].concat(), &self.body())
    }
}

/// A body in chunks of the given size.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut written = Vec::new();
    for chunk in body.chunks(size) {
        written.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"0\r\n\r\n");
    written
}
