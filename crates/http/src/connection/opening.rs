//! The first bytes of a connection: TLS or not, HTTP/1 or HTTP/2.
//!
//! All of it must be over within the time that the first head may take: a handshake that
//! dawdles is no better than a head that does.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::socket::{Socket, Stream};
use super::wire;

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of TLS: a record with a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What a client speaks.
pub(crate) enum Opened {
    /// HTTP/1.1, or something that its parser refuses.
    Http1(Stream),
    /// HTTP/2: agreed on in the handshake, or by its preface.
    Http2(Stream),
}

/// Finds out what a client speaks; none if it has left, dawdled or made no handshake.
pub(crate) async fn open(
    mut socket: Socket,
    tls: Option<&TlsAcceptor>,
    deadline: Instant,
) -> io::Result<Option<Opened>> {
    let Some(tls) = tls else {
        let (start, is_late) = first_bytes(&mut socket, PREFACE, deadline).await?;
        // Half a preface, or as little of another head.
        if is_late && !start.is_empty() {
            refuse(socket, 408, wire::LATE).await;
            return Ok(None);
        }
        let is_http2 = start == PREFACE;
        socket.unread(start);
        let stream = Stream::Plain(socket);
        return Ok(Some(match is_http2 {
            true => Opened::Http2(stream),
            // Who has said nothing in time is closed there.
            false => Opened::Http1(stream),
        }));
    };
    let (start, _) = first_bytes(&mut socket, &[HANDSHAKE], deadline).await?;
    match start.first() {
        None => return Ok(None),
        Some(&HANDSHAKE) => socket.unread(start),
        Some(_) => {
            const PLAIN: &str = "This port speaks HTTPS; the request came without TLS. Use a URL that begins with https://.";
            refuse(socket, 400, PLAIN).await;
            return Ok(None);
        }
    }
    let stream = match timeout_at(deadline, tls.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return Ok(None);
        }
        Err(_) => {
            tracing::debug!("a TLS handshake did not end in time");
            return Ok(None);
        }
    };
    // What HTTP/2 forbids of TLS 1.2 (RFC 9113, 9.2.2) rustls does not have.
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Stream::Tls(Box::new(stream));
    Ok(Some(match is_http2 {
        true => Opened::Http2(stream),
        false => Opened::Http1(stream),
    }))
}

/// Reads as long as what comes is `expected`, and no more than that; and says whether more was too late.
async fn first_bytes(
    socket: &mut Socket,
    expected: &[u8],
    deadline: Instant,
) -> io::Result<(Vec<u8>, bool)> {
    let mut start = Vec::with_capacity(expected.len());
    while start.len() < expected.len() && expected.starts_with(&start) {
        let left = expected.len() - start.len();
        match timeout_at(deadline, socket.read_start(&mut start, left)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(Err(error)) => return Err(error),
            // The end.
            Ok(Ok(_)) => break,
            Err(_) => return Ok((start, true)),
        }
    }
    Ok((start, false))
}

/// Tells a client why its connection is closed before its first request.
async fn refuse(mut socket: Socket, status: u16, sentence: &str) {
    tracing::info!(
        status,
        detail = sentence,
        "refused what a connection began with"
    );
    let answer = wire::closing_answer(status, sentence);
    if socket.write_all(&answer).await.is_ok() && socket.shutdown().await.is_ok() {
        socket.linger().await;
    }
}
