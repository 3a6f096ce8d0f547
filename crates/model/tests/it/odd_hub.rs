//! A hub on this machine that behaves as badly as real ones and their mirrors do.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const TOKEN: &str = "hf_secret";

/// One way in which it differs from a plain server of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything wants a token.
    Auth,
    /// Everything wants a token of an account that has been granted access.
    Gated,
    /// 401 for a model that does not exist or may not be seen, whoever asks.
    Hidden,
    /// 403 with a long message.
    Forbidden,
    /// The server that has the large files refuses to give them.
    OtherForbidden,
    /// Ranges are ignored: the answer is 200 with the whole file.
    NoRanges,
    /// Small files are compressed, whatever was asked for.
    Gzip,
    /// Bodies have no length.
    Chunked,
    /// Weights are on another server (302), as LFS and Xet's fallback have it.
    Lfs,
    /// Weights are behind a relative redirect (302).
    LfsRelative,
    /// Small files are behind a relative redirect (307).
    ResolveCache,
    /// Everything is behind a redirect that is a query alone.
    RelativeQuery,
    /// Small files are behind a redirect that goes up from folder to folder.
    RelativeDots,
    /// ETags are weak.
    WeakEtag,
    /// There are no ETags.
    NoEtag,
    /// ETags are paths.
    PathEtag,
    /// Answers do not say the commit; the interface does.
    NoCommit,
    /// Neither do.
    NoCommitAtAll,
    /// The commit is a path.
    PathCommit,
    /// Every URL is answered 429 with `Retry-After` once.
    RateLimit,
    /// The same, with a date.
    RateLimitDate,
    /// 429 that asks to wait for an hour.
    RateLimitLong,
    /// The same, with a date.
    RateLimitLongDate,
    /// Every URL is answered 503 twice.
    Flaky,
    /// Weights are answered 500.
    Down,
    /// `processor_config.json` is answered 500.
    ProcessorDown,
    /// A connection that gets weights is cut after half of what is left.
    Break,
    /// A connection that gets weights is cut at once.
    BreakAlways,
    /// Weights arrive with a byte changed, the first time.
    DamagedOnce,
    /// Weights arrive with a byte changed.
    Damaged,
    /// Weights are longer than announced.
    TooLong,
    /// A redirect to a file.
    FileRedirect,
    /// A redirect to itself.
    Loop,
    /// Weights are of a length that nobody has.
    Huge,
}

/// A hub that has the files of one directory, as `some/model`.
pub struct OddHub {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

struct State {
    directory: PathBuf,
    modes: Vec<Mode>,
    /// Where the other server is, which has the large files.
    other: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl OddHub {
    pub fn of(directory: &Path, modes: &[Mode]) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [endpoint, other] = [0, 1].map(|index: usize| {
            format!(
                "http://{}",
                listeners[index].local_addr().expect("an address")
            )
        });
        let requests = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(State {
            directory: directory.to_owned(),
            modes: modes.to_vec(),
            other,
            requests: Arc::clone(&requests),
        });
        for listener in listeners {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    thread::spawn(move || while state.answer(&stream).is_some() {});
                }
            });
        }
        Self { endpoint, requests }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests so far for a path that ends so.
    pub fn asked_for(&self, end: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|it| it.path.ends_with(end)).count()
    }
}

impl State {
    fn is(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Answers one request; `None` when the connection has ended.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let path = lines.first()?.split(' ').nth(1)?.to_owned();
        let headers: HashMap<String, String> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let request = Request { path, headers };
        let before = {
            let mut requests = self.requests.lock().unwrap();
            let before = requests.iter().filter(|it| it.path == request.path).count();
            requests.push(request.clone());
            before
        };
        self.respond(stream, &request, before)
    }

    fn respond(&self, mut stream: &TcpStream, request: &Request, before: usize) -> Option<()> {
        let mut head = |status: &str, headers: &str| {
            let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()
        };
        let path = request.path.split('?').next().unwrap_or_default();
        // Dots that a client has to carry out itself.
        if path.split('/').any(|part| part == "." || part == "..") {
            return head("400 Bad Request", "");
        }
        let on_cdn = path.starts_with("/cdn/");
        let authorization = request.headers.get("authorization");
        let may = authorization.is_some_and(|it| *it == format!("Bearer {TOKEN}"));
        if self.is(Mode::Gated) {
            return head("403 Forbidden", "x-error-code: GatedRepo\r\n");
        }
        if self.is(Mode::Auth) && !may && !on_cdn {
            let message = match authorization {
                Some(_) => "x-error-message: Invalid credentials in Authorization header\r\n",
                None => "",
            };
            return head("401 Unauthorized", message);
        }
        if self.is(Mode::Hidden) {
            let message = "x-error-message: Invalid username or password.\r\n";
            let code = "x-error-code: RepoNotFound\r\n";
            return head("401 Unauthorized", &format!("{code}{message}"));
        }
        if self.is(Mode::Forbidden) {
            let long = "é".repeat(2000);
            let message = format!("x-error-message: Access to \"it\"\tis disabled. {long}\r\n");
            return head("403 Forbidden", &message);
        }
        if self.is(Mode::OtherForbidden) && on_cdn {
            return head("403 Forbidden", "");
        }
        if self.is(Mode::RateLimitLong) {
            return head("429 Too Many Requests", "retry-after: 3600\r\n");
        }
        let day = "Sat, 28 Nov 2026";
        if self.is(Mode::RateLimitLongDate) {
            let date = format!("date: {day} 11:00:00 GMT\r\n");
            let after = format!("retry-after: {day} 12:00:00 GMT\r\n");
            return head("429 Too Many Requests", &format!("{date}{after}"));
        }
        if self.is(Mode::RateLimitDate) && before == 0 {
            let date = format!("date: {day} 11:00:00 GMT\r\n");
            let after = format!("retry-after: {day} 11:00:00 GMT\r\n");
            return head("429 Too Many Requests", &format!("{date}{after}"));
        }
        if self.is(Mode::RateLimit) && before == 0 {
            return head("429 Too Many Requests", "retry-after: 0\r\n");
        }
        if self.is(Mode::Flaky) && before < 2 {
            return head("503 Service Unavailable", "");
        }
        if path.starts_with("/api/models/some/model/revision/") && !self.is(Mode::NoCommitAtAll) {
            let body = format!(r#"{{"sha": "{COMMIT}"}}"#);
            return send(stream, "200 OK", "", body.as_bytes(), false);
        }
        let Some(file) = path
            .strip_prefix("/some/model/resolve/")
            .and_then(|rest| rest.split_once('/'))
            .map(|(_, file)| file)
            .or_else(|| path.strip_prefix("/cdn/"))
            .or_else(|| path.strip_prefix("/api/resolve-cache/"))
        else {
            return head("404 Not Found", "x-error-code: RepoNotFound\r\n");
        };
        if file == "processor_config.json" && self.is(Mode::ProcessorDown) {
            return head("500 Internal Server Error", "");
        }
        let redirected = on_cdn || path.starts_with("/api/");
        let commit = match () {
            () if self.is(Mode::PathCommit) => "x-repo-commit: ../../../../escaped\r\n".to_owned(),
            () if self.is(Mode::NoCommit) || self.is(Mode::NoCommitAtAll) => String::new(),
            () => format!("x-repo-commit: {COMMIT}\r\n"),
        };
        let Ok(mut bytes) = fs::read(self.directory.join(file)) else {
            let code = "x-error-code: EntryNotFound\r\n";
            return head("404 Not Found", &format!("{commit}{code}"));
        };
        let large = file.ends_with(".safetensors");
        let hash = if large {
            hex(&Sha256::digest(&bytes))
        } else {
            let object = [format!("blob {}\0", bytes.len()).as_bytes(), &bytes].concat();
            hex(&Sha1::digest(object))
        };
        let etag = match () {
            () if self.is(Mode::NoEtag) => String::new(),
            () if self.is(Mode::PathEtag) => "etag: \"../../../../../escaped\"\r\n".to_owned(),
            () if self.is(Mode::WeakEtag) => format!("etag: W/\"{hash}\"\r\n"),
            () => format!("etag: \"{hash}\"\r\n"),
        };
        if self.is(Mode::FileRedirect) {
            return head("302 Found", "location: file:///etc/passwd\r\n");
        }
        if self.is(Mode::Loop) {
            return head("302 Found", &format!("location: {path}\r\n"));
        }
        if !redirected && large && (self.is(Mode::Lfs) || self.is(Mode::LfsRelative)) {
            let home = if self.is(Mode::Lfs) {
                self.other.as_str()
            } else {
                ""
            };
            let size = bytes.len();
            return head(
                "302 Found",
                &format!(
                    "{commit}x-linked-etag: \"{hash}\"\r\nx-linked-size: {size}\r\n\
                     etag: \"of-the-redirect\"\r\nlocation: {home}/cdn/{file}?Signature=a%2Fb\r\n"
                ),
            );
        }
        if !redirected && !large && self.is(Mode::ResolveCache) {
            let location = format!("location: /api/resolve-cache/{file}\r\n");
            return head("307 Temporary Redirect", &format!("{commit}{location}"));
        }
        if !redirected && !large && self.is(Mode::RelativeDots) {
            let location = format!("location: ../../../../api/./resolve-cache/{file}\r\n");
            return head("307 Temporary Redirect", &format!("{commit}{location}"));
        }
        if self.is(Mode::RelativeQuery) && !request.path.contains('?') {
            return head("302 Found", &format!("{commit}location: ?signed=1\r\n"));
        }
        let file_headers = if on_cdn {
            "etag: \"of-the-other-server\"\r\n".to_owned()
        } else {
            format!("{commit}{etag}")
        };
        if large && self.is(Mode::Down) {
            return head("500 Internal Server Error", "");
        }
        if large && self.is(Mode::Huge) {
            let huge = format!(
                "HTTP/1.1 200 OK\r\n{file_headers}content-length: {}\r\n\r\n",
                1_u64 << 60
            );
            stream.write_all(huge.as_bytes()).ok()?;
            return None;
        }
        if large && (self.is(Mode::Damaged) || (self.is(Mode::DamagedOnce) && before == 0)) {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        if !large && self.is(Mode::Gzip) {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&bytes).ok()?;
            let packed = packed.finish().ok()?;
            let headers = format!("{file_headers}content-encoding: gzip\r\n");
            return send(stream, "200 OK", &headers, &packed, self.is(Mode::Chunked));
        }
        let whole = bytes.len();
        let range = request
            .headers
            .get("range")
            .filter(|_| !self.is(Mode::NoRanges));
        let (status, headers, body) = match range {
            Some(range) => {
                let first: usize = range
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()?;
                if first >= whole {
                    return head("416 Range Not Satisfiable", "");
                }
                let range = format!("content-range: bytes {first}-{}/{whole}\r\n", whole - 1);
                (
                    "206 Partial Content",
                    format!("{file_headers}{range}"),
                    &bytes[first..],
                )
            }
            None => ("200 OK", file_headers, &bytes[..]),
        };
        if large && (self.is(Mode::Break) || self.is(Mode::BreakAlways)) && body.len() > 1000 {
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()?;
            if self.is(Mode::Break) {
                stream.write_all(&body[..length / 2]).ok()?;
            }
            stream.shutdown(std::net::Shutdown::Both).ok()?;
            return None;
        }
        if large && self.is(Mode::TooLong) {
            let linked = format!("{headers}x-linked-size: {}\r\n", whole - 10);
            return send(stream, status, &linked, body, false);
        }
        send(stream, status, &headers, body, self.is(Mode::Chunked))
    }
}

fn send(
    mut stream: &TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
    chunked: bool,
) -> Option<()> {
    let length = match chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", body.len()),
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if !chunked {
        return stream.write_all(body).ok();
    }
    for chunk in body.chunks(7000) {
        let size = format!("{:x}\r\n", chunk.len());
        let chunk = [size.as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&chunk).ok()?;
    }
    stream.write_all(b"0\r\n\r\n").ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
