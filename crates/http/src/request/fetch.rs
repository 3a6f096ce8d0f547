//! Fetches pictures that a request names by their URLs.
//!
//! ```text
//! URL --host in the list?--> names --> addresses --public?--> connect to that address
//!      ^                                                        --> GET --> bytes, as they come
//!      +---------------------- redirect, at most 3 ------------------+      out of the budget
//! ```
//!
//! A name is looked up once for each connection, and the address that was checked is the one that is
//! connected to, so that a name cannot mean another one a moment later (DNS rebinding). A redirect goes
//! the whole way again, also one to the same name. Everything ends when the
//! request does: it is all on its task, but for the looking up of a name (`lookups.rs`).
//!
//! Each takes a turn (`turns.rs`), from before its first connection to the last of its bytes.

mod error;
mod lookups;
mod resolver;
mod turns;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, percent_encode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::body::joined;
use crate::answer::problem::{Problem, printable};
use crate::settings::error::FileError;
use crate::settings::networks::Networks;
use crate::settings::picture_url::{PictureHosts, Target, Wanted};
use crate::settings::pictures::PictureUrlSettings;
use crate::settings::tls;
use error::FetchError;
use lookups::Lookups;
use resolver::{Resolve, System};
use siglip2_service::{MemoryBudget, MemoryUse};
use turns::{Turn, Turns};

/// Redirects that are followed.
const REDIRECTS: usize = 3;

/// Pictures of one request that are fetched at the same time.
const AT_A_TIME: usize = 4;

/// Addresses of one host that are tried, and how long each.
const ADDRESSES: usize = 3;
const CONNECT: Duration = Duration::from_secs(3);

/// What the head of an answer may have, and what is read of a body at once.
const BUFFER: usize = 32 << 10;

const USER_AGENT: &str = concat!("siglip2-embeddings/", env!("CARGO_PKG_VERSION"));

/// See the module.
pub(crate) struct Fetcher {
    hosts: PictureHosts,
    networks: Networks,
    most_bytes: u64,
    timeout: Duration,
    turns: Turns,
    lookups: Lookups,
    tls: TlsConnector,
    resolver: Arc<dyn Resolve>,
}

impl Fetcher {
    /// One for these settings; none if nothing is to be fetched.
    ///
    /// # Errors
    ///
    /// When the file of authorities cannot be used.
    pub(crate) fn new(settings: &PictureUrlSettings) -> Result<Option<Self>, FileError> {
        let Some(hosts) = settings.picture_url_hosts.clone() else {
            return Ok(None);
        };
        Ok(Some(Self {
            hosts,
            networks: settings.picture_url_networks.clone().unwrap_or_default(),
            most_bytes: settings.max_picture_url_bytes,
            timeout: settings.picture_url_timeout,
            turns: Turns::new(settings.max_picture_fetches),
            lookups: Lookups::beside(settings.max_picture_fetches),
            tls: tls::connector(settings.picture_url_ca.as_deref())?,
            resolver: Arc::new(System),
        }))
    }

    /// Fetches pictures for a client, a few at a time: each with the index of its item. They may have `most`
    /// bytes together. The first that cannot be had ends them all, unless `is_for_itself` says of it
    /// that it is no matter to the others.
    pub(crate) async fn fetch(
        &self,
        client: IpAddr,
        wanted: Vec<Wanted>,
        most: u64,
        memory: &MemoryBudget,
        deadline: Instant,
        is_for_itself: impl Fn(usize, &Problem) -> bool,
    ) -> Result<Vec<(usize, Result<Bytes, Problem>)>, Problem> {
        let taken = AtomicU64::new(0);
        let mut files = Vec::with_capacity(wanted.len());
        let fetches = wanted.into_iter().map(|wanted| {
            let room = Room {
                memory,
                taken: &taken,
                most,
                most_of_one: self.most_bytes,
            };
            async move {
                let end = deadline.min(Instant::now() + self.timeout);
                let fetched = timeout_at(end, self.in_turn(client, &wanted, &room)).await;
                let file = fetched.unwrap_or_else(|_| {
                    if end == deadline {
                        return Err(Problem::Deadline);
                    }
                    let seconds = self.timeout.as_secs_f64();
                    let why = format!("could not be fetched within {seconds} s");
                    Err(refused(&wanted.name, &why))
                });
                (wanted.index, file)
            }
        });
        let mut fetches = pin!(stream::iter(fetches).buffered(AT_A_TIME));
        while let Some((index, file)) = fetches.next().await {
            match file {
                Err(problem) if !is_for_itself(index, &problem) => return Err(problem),
                file => files.push((index, file)),
            }
        }
        Ok(files)
    }

    /// Fetches one when it is its turn, and gives it up where another client is to have it.
    async fn in_turn(
        &self,
        client: IpAddr,
        wanted: &Wanted,
        room: &Room<'_>,
    ) -> Result<Bytes, Problem> {
        let turn = self.turns.take(client).await;
        tokio::select! {
            biased;
            file = self.one(client, wanted, room, &turn) => file,
            () = turn.told() => {
                let what = format!("The picture of {}", wanted.name);
                Err(Problem::makes_room(&what))
            }
        }
    }

    async fn one(
        &self,
        client: IpAddr,
        wanted: &Wanted,
        room: &Room<'_>,
        turn: &Turn<'_>,
    ) -> Result<Bytes, Problem> {
        let name = &wanted.name;
        let mut target = wanted.target.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.get(client, &target).await;
            let answer = answer.map_err(|why| refused(name, &why.to_string()))?;
            let (answer, _moving) = answer;
            if !is_redirect(answer.status()) {
                return room.read(name, answer, turn).await;
            }
            let Some(location) = answer.headers().get(header::LOCATION) else {
                return Err(refused(name, "is redirected to nowhere"));
            };
            // In whatever encoding it is: the host gets the bytes that it sent.
            let location = percent_encode(location.as_bytes(), &AsciiSet::EMPTY).to_string();
            let next = Target::parse(&target.join(&location), &self.hosts)
                .map_err(|why| refused(name, &format!("is redirected to a URL that {why}")))?;
            if target.is_https && !next.is_https {
                return Err(refused(name, "is redirected from https to http"));
            }
            target = next;
        }
        Err(refused(
            name,
            &format!("is redirected more than {REDIRECTS} times"),
        ))
    }

    /// Asks for a target; what comes with the answer is to be kept while it is read.
    async fn get(
        &self,
        client: IpAddr,
        target: &Target,
    ) -> Result<(Response<Incoming>, Moving), FetchError> {
        let addresses = self.addresses(client, target).await?;
        let stream = connect(&addresses).await?;
        if !target.is_https {
            return ask(target, stream).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(FetchError::Unnameable)?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(FetchError::Tls)?;
        ask(target, stream).await
    }

    /// The addresses of a host that may be connected to.
    async fn addresses(
        &self,
        client: IpAddr,
        target: &Target,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let mut addresses = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_) => self.looked_up(client, target).await?,
        };
        let all = addresses.len();
        addresses.retain(|address| self.networks.allow(address.ip()));
        if addresses.is_empty() && all > 0 {
            return Err(FetchError::NotPublic);
        }
        addresses.truncate(ADDRESSES);
        Ok(addresses)
    }

    async fn looked_up(
        &self,
        client: IpAddr,
        target: &Target,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let lookup = self.lookups.begin(client).await;
        let (host, port) = (target.host.clone(), target.port);
        let resolver = Arc::clone(&self.resolver);
        let looked = tokio::task::spawn_blocking(move || {
            let found = resolver.addresses(&host, port);
            drop(lookup);
            found
        });
        let found = looked.await.map_err(FetchError::NotLookedUp)?;
        found.map_err(FetchError::NotFound)
    }
}

/// The task that moves the bytes of a fetch, which ends with it.
struct Moving(tokio::task::JoinHandle<()>);

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
    let mut last = FetchError::NoAddress;
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = FetchError::Unreachable(error),
            Err(_) => last = FetchError::Silent,
        }
    }
    Err(last)
}

async fn ask(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(Response<Incoming>, Moving), FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::Broken)?;
    let moving = Moving(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection for a picture ended early");
        }
    }));
    let request = Request::get(&target.path)
        .header(header::HOST, target.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "image/*")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(FetchError::Unrequested)?;
    let answer = sender.send_request(request).await;
    Ok((answer.map_err(FetchError::Broken)?, moving))
}

/// The room that a request's pictures have.
struct Room<'a> {
    memory: &'a MemoryBudget,
    taken: &'a AtomicU64,
    most: u64,
    most_of_one: u64,
}

impl Room<'_> {
    /// Reads a picture, whose memory is taken as it comes.
    async fn read(
        &self,
        name: &str,
        answer: Response<Incoming>,
        turn: &Turn<'_>,
    ) -> Result<Bytes, Problem> {
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(refused(name, &format!("was answered {status}")));
        }
        let coding = answer.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| coding != HeaderValue::from_static("identity")) {
            return Err(refused(
                name,
                "was sent compressed, though that was not asked for",
            ));
        }
        let mut body = answer.into_body();
        let mut lease = self.memory.empty(MemoryUse::Bodies);
        let announced = body.size_hint().exact().unwrap_or(0);
        // Only counted: what never comes must not keep others from their memory.
        self.count(name, 0, announced)?;
        // Copied, since each piece takes memory besides its bytes, and a server may send them one by one.
        let (mut pieces, mut block) = (Vec::new(), Vec::new());
        let (mut read, mut counted) = (0, announced);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error: hyper::Error| {
                refused(name, &format!("ended after {read} bytes: {error}"))
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            turn.came(piece.len() as u64);
            read += piece.len() as u64;
            if read > counted {
                self.count(name, counted, read - counted)?;
                counted = read;
            }
            lease.grow(piece.len() as u64)?;
            block.extend_from_slice(&piece);
            if block.len() >= BUFFER {
                pieces.push(whole(&mut block));
            }
        }
        if !block.is_empty() {
            pieces.push(whole(&mut block));
        }
        let file = joined(pieces, self.memory).await?;
        Ok(lease.keep_with(file))
    }

    /// Counts so many bytes more for a picture of which `counted` are already.
    fn count(&self, name: &str, counted: u64, more: u64) -> Result<(), Problem> {
        let too_large = |most| {
            Problem::TooLarge(format!(
                "{name} is a picture of more than {most} bytes, the limit for fetched pictures."
            ))
        };
        if counted.saturating_add(more) > self.most_of_one {
            return Err(too_large(self.most_of_one));
        }
        if self
            .taken
            .fetch_add(more, Ordering::Relaxed)
            .saturating_add(more)
            > self.most
        {
            return Err(too_large(self.most));
        }
        Ok(())
    }
}

/// What was gathered, without the room that is left in it.
fn whole(block: &mut Vec<u8>) -> Bytes {
    block.shrink_to_fit();
    std::mem::take(block).into()
}

fn is_redirect(status: StatusCode) -> bool {
    [301, 302, 303, 307, 308].contains(&status.as_u16())
}

fn refused(name: &str, why: &str) -> Problem {
    let why = printable(why, 300);
    Problem::BadRequest(format!("{name} {why}.").into())
}

#[cfg(test)]
mod tests;
