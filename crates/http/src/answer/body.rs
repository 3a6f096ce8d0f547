//! The body of an answer on its way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::json_writer;
use super::progress::Progress;
use siglip2_service::Lease;

/// So much of a body is handed to hyper at a time. hyper asks for more when it has written
/// what it holds, up to its buffer; so the last piece is asked for when all but so much
/// has gone into the socket.
const PIECE: usize = 64 << 10;

/// The same over HTTP/2, where a client that takes one in the time that it may take nothing is
/// one that reads.
const HTTP2_PIECE: usize = 16 << 10;

/// The content type of `/metrics`: the format that Prometheus and OpenMetrics share.
pub(crate) const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of plain text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// The content type of bytes.
pub(crate) const BYTES: &str = "application/octet-stream";

/// Who is told how far an answer has come.
pub(crate) trait Written: Send {
    /// So many bytes have been handed over, of this many.
    fn handed(&mut self, bytes: u64, of: u64);

    /// The last of them has.
    fn finished(self: Box<Self>);
}

/// The body of an answer, and who is told of its way. If the client goes before the last
/// of it has been handed over, they are dropped untold.
pub(crate) struct Answer {
    left: Bytes,
    whole: u64,
    told: Option<Box<dyn Written>>,
    /// Whether it is text, and no rows of floats: then it may be compressed.
    is_text: bool,
    /// Who watches whether the client takes it, over HTTP/2.
    progress: Option<Arc<Progress>>,
}

impl Answer {
    fn new(body: Bytes) -> Self {
        Self {
            whole: body.len() as u64,
            left: body,
            told: None,
            is_text: true,
            progress: None,
        }
    }

    /// The body, if it is text that nobody has read of yet.
    pub(crate) fn text(&self) -> Option<&Bytes> {
        self.is_text.then_some(&self.left)
    }

    /// Puts another body in the place of one that nobody has read of yet.
    pub(crate) fn replace(&mut self, body: Bytes) {
        self.whole = body.len() as u64;
        self.left = body;
    }

    /// Lets a stream of HTTP/2 watch how far it has come.
    pub(crate) fn watch(&mut self, progress: Arc<Progress>) {
        progress.begins();
        self.progress = Some(progress);
    }

    /// Takes the body away, for an answer to HEAD, and says how long it was.
    pub(crate) fn take_body(&mut self) -> u64 {
        self.left.clear();
        self.whole
    }

    /// Tells `told` of the bytes of the body as they go. An answer without any, and one to
    /// HEAD, is finished as it is: nobody asks for its body.
    pub(crate) fn tell(&mut self, told: Box<dyn Written>, method_is_head: bool) {
        if method_is_head || self.left.is_empty() {
            told.finished();
        } else {
            self.told = Some(told);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let most = match &self.progress {
            Some(progress) => {
                progress.takes();
                HTTP2_PIECE
            }
            None => PIECE,
        };
        let length = self.left.len().min(most);
        let piece = self.left.split_to(length);
        let left = self.left.len() as u64;
        let whole = self.whole;
        if let Some(told) = &mut self.told {
            told.handed(whole - left, whole);
        }
        if left == 0
            && let Some(told) = self.told.take()
        {
            told.finished();
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// A response with a JSON body.
pub(crate) fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A response with rows of floats that takes this memory until the last of it is in the socket.
pub(crate) fn held(body: Vec<u8>, memory: Lease) -> Response<Answer> {
    let mut response = held_text(body, memory);
    response.body_mut().is_text = false;
    response
}

/// The same with JSON that is no rows of floats.
pub(crate) fn held_text(body: Vec<u8>, memory: Lease) -> Response<Answer> {
    respond(StatusCode::OK, memory.keep_with(body))
}

/// A response without a body, to OPTIONS.
pub(crate) fn empty() -> Response<Answer> {
    let mut response = Response::new(Answer::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The text of `/metrics`.
pub(crate) fn metrics(text: String) -> Response<Answer> {
    typed(text, METRICS)
}

/// A response with a body of another kind than JSON.
pub(crate) fn typed(body: impl Into<Bytes>, media_type: &'static str) -> Response<Answer> {
    let mut response = respond(StatusCode::OK, body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A value as JSON. Bytes in it are rows of floats, as [`json_writer`] has them.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    sized(value, 128)
}

/// The same of a value that is likely to take so many bytes.
pub(crate) fn sized(value: &impl Serialize, bytes: usize) -> Vec<u8> {
    // Only a map with keys that are not strings fails here, and there is none.
    json_writer::to_vec(value, bytes)
        .unwrap_or_else(|_| b"{\"detail\":\"Internal error\"}".to_vec())
}

/// The bytes that a float takes in JSON at most, as in `-0.00000123456789,`: the sign, seven
/// characters, 9 digits, and the comma. Smaller ones have an exponent and are shorter.
pub(crate) const FLOAT_BYTES: usize = 18;

/// The bytes that JSON with so many floats takes at most, besides their names.
pub(crate) fn json_bytes(floats: usize) -> usize {
    floats * FLOAT_BYTES + 256
}
