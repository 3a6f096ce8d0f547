//! A client's socket, below TLS and HTTP: what was read of it to find out which protocol the
//! client speaks, and how long the client may take nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

/// What a client may have in its socket's buffer here, beyond what is on its way to it. The
/// system's own choice is megabytes, and then seconds pass, for a client on a slow line
/// minutes, until a write says whether anything was taken of the ones before.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;

/// How long bytes that nobody wants are read, so that the answer can arrive.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// The longest pause in that.
pub(crate) const LINGER_IDLE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Bytes that were read and are to be read again.
    unread: Vec<u8>,
    write_timeout: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Wraps a socket that was just accepted, of a client that may take nothing for so long.
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        // Small answers must not wait for the client's acknowledgement of earlier ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "TCP_NOTSENT_LOWAT could not be set");
        }
        Self {
            stream,
            unread: Vec::new(),
            write_timeout,
            write_timer: None,
        }
    }

    /// The socket of the system.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads up to `most` bytes onto the end of `start`; 0 at the end.
    pub(crate) async fn read_start(
        &mut self,
        start: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<usize> {
        (&mut self.stream).take(most as u64).read_buf(start).await
    }

    /// Lets these bytes be read again.
    pub(crate) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread = bytes;
    }

    /// Reads what the client still sends for a while, so that it is not reset before it has
    /// read what it was told.
    pub(crate) async fn linger(&mut self) {
        let mut scratch = [0; 4 << 10];
        let _ = timeout(LINGER, async {
            loop {
                let read = timeout(LINGER_IDLE, self.stream.read(&mut scratch));
                if !matches!(read.await, Ok(Ok(read)) if read > 0) {
                    break;
                }
            }
        })
        .await;
    }

    /// Passes a result of writing on, unless the client has taken nothing for too long.
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
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..length]);
        this.unread.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watched(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watched(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// A socket, as it is or under TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it is.
    Plain(Socket),
    /// After its handshake.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The socket of the system.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket.tcp(),
            Self::Tls(stream) => stream.get_ref().0.tcp(),
        }
    }

    /// The same, to read what nobody decrypts.
    pub(crate) fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => &mut socket.stream,
            Self::Tls(stream) => &mut stream.get_mut().0.stream,
        }
    }

    /// Writes a few bytes if there is room for them; where there is none, later writes tell.
    pub(crate) fn write_if_room(&mut self, context: &mut Context<'_>, bytes: &[u8]) {
        match self {
            Self::Plain(socket) => {
                let _ = socket.tcp().try_write(bytes);
            }
            Self::Tls(stream) => {
                let mut stream = Pin::new(stream);
                if let Poll::Ready(Ok(_)) = stream.as_mut().poll_write(context, bytes) {
                    let _ = stream.poll_flush(context);
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes a little lets a little more go: however slow it reads, the bytes
    /// that it takes are progress, and not only those of a buffer of megabytes.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_client_takes_lets_the_next_bytes_go() {
        use tokio::io::AsyncWriteExt as _;
        const PATIENCE: Duration = Duration::from_secs(60);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, server) = (client.unwrap(), server.unwrap().0);
        let mut socket = Socket::new(server, PATIENCE);
        let bytes = vec![7; 64 << 10];
        // As much as goes without a reader.
        while let Ok(written) = timeout(PAUSE, socket.write(&bytes)).await {
            written.unwrap();
        }
        let mut buffer = vec![0; 4 << 10];
        let (mut taken, mut written) = (0, 0);
        for _ in 0..4 {
            // The window of the client opens in steps of its own; no more than that is read.
            let more = loop {
                taken += client.read(&mut buffer).await.unwrap();
                if let Ok(more) = timeout(PAUSE, socket.write(&bytes)).await {
                    break more.unwrap();
                }
            };
            written += more;
            // All that the system would hold by itself would be more than ten times this.
            assert!(
                taken < 1 << 20,
                "{taken} bytes were taken, and {written} went"
            );
        }
        const PAUSE: Duration = Duration::from_millis(20);
    }
}
