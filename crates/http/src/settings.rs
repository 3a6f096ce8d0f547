//! What the HTTP side allows, and for how long.
//!
//! Every bound here exists because something on the other end of a socket can do
//! without it what it likes: send slowly, send for ever, or read nothing.

pub(crate) mod api_key;
pub(crate) mod cors;
pub(crate) mod error;
pub(crate) mod networks;
pub(crate) mod picture_url;
pub(crate) mod pictures;
pub(crate) mod tls;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::header::HeaderName;
use serde::Serialize;
use siglip2_flags::{as_seconds, bytes, cores, count, number, path, seconds, some_bytes, switch};
use tokio::runtime::Runtime;

use api_key::{ApiKey, ApiKeysFile};
use cors::Origins;
use error::FileError;
use pictures::PictureUrlSettings;
use tls::TlsFiles;

/// How many tasks a thread that answers runs before it looks for what has come on sockets: a probe waits for
/// no more than so many of some tens of microseconds, one of which may accept some connections. tokio's own
/// number is 61.
const EVENT_INTERVAL: u32 = 16;

/// The bounds of the HTTP side. [`HttpSettings::default`] suits a service that sits
/// in a data centre behind an image search. Durations are serialized as seconds.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "HTTP")]
pub struct HttpSettings {
    /// Bytes that the body of a request may have, such as 100MB or 256MiB.
    // 256 MiB: the 256 images of one request at 1 MiB each, which is a generous photo for
    // a model that looks at 224 pixels, or 64 phone photos of 4 MiB as they come off the
    // camera.
    #[arg(long, env = "PAYLOAD_LIMIT", default_value = "256MiB", value_parser = some_bytes::<u64>)]
    pub payload_limit: u64,

    /// Bytes of text that one request may have: the body of /embed/text, the text fields of a
    /// form together, image_base64 aside, and the texts in JSON that may have images in it.
    // 16 MiB: the 2048 texts of one request at 8 KiB each. A model that reads 64 tokens
    // looks at a few hundred bytes of each.
    #[arg(long, env = "MAX_TEXT_BODY_BYTES", default_value = "16MiB", value_parser = some_bytes::<usize>)]
    pub max_text_body_bytes: usize,

    /// Bytes that one text may have.
    #[arg(long, env = "MAX_TEXT_BYTES", default_value = "256KiB", value_parser = some_bytes::<usize>)]
    pub max_text_bytes: usize,

    /// Texts that one request may hold.
    // As many as OpenAI takes; the AI SDK sends batches of this size to any server.
    #[arg(long, env = "MAX_TEXTS_PER_REQUEST", default_value = "2048", value_parser = count)]
    pub max_texts_per_request: usize,

    /// Images that one request may hold.
    #[arg(long, env = "MAX_IMAGES_PER_REQUEST", default_value = "256", value_parser = count)]
    pub max_images_per_request: usize,

    /// Parts that a form may have besides as many images as it may hold. Fields that are
    /// not known are skipped, and cost little but the reading.
    #[arg(long, env = "MAX_OTHER_PARTS", default_value = "64", value_parser = count)]
    pub max_other_parts: usize,

    /// Requests that are answered at the same time; one more is answered 429 before its
    /// body is read, or takes the place of one whose body does not come, of a client with
    /// more of those. /health, /ready, /metrics, /info and /openapi.json do not count.
    #[arg(long, env = "MAX_CONCURRENT_REQUESTS", default_value = "512", value_parser = count)]
    pub max_concurrent_requests: usize,

    /// Connections that are served at the same time. Further ones wait in the system's
    /// backlog, and idle ones, and those on which an answer is not read, are closed to make
    /// room for them.
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "1024", value_parser = count)]
    pub max_connections: usize,

    /// Connections that one client may have at the same time, by its address; 0 for any
    /// number. With `--client-address-header`, requests that it may have under way.
    // Half of all, so that no single client can keep the others out.
    #[arg(long, env = "MAX_CONNECTIONS_PER_CLIENT", default_value = "512", value_parser = number::<usize>)]
    pub max_connections_per_client: usize,

    /// The header in which a proxy before the service writes the address of its client, such
    /// as X-Forwarded-For; the last address in it counts. Without a proxy that sets it,
    /// anybody could write anything there.
    #[arg(long, env = "CLIENT_ADDRESS_HEADER", value_parser = header_name)]
    #[serde(skip)]
    pub client_address_header: Option<HeaderName>,

    /// Origins whose pages may ask the service from a browser, with commas between, such as
    /// https://a.example,http://localhost:3000; * for all. By default none may.
    #[arg(long, env = "CORS_ORIGINS", value_parser = Origins::parse)]
    #[serde(skip)]
    pub cors_origins: Option<Origins>,

    /// Tell clients how many rows of an answer were remembered, in the header X-Cache, though
    /// it tells them what others have asked for. Where a key is asked for they are told anyhow.
    #[arg(long, env = "CACHE_HEADER", value_parser = switch, num_args = 0..=1, default_value = "0", default_missing_value = "1")]
    pub cache_header: bool,

    /// A file with the service's certificate and those that it was signed with, in PEM: with it
    /// and `--tls-key` the port speaks HTTPS. Both files are read again when they change, and on
    /// SIGHUP.
    #[arg(long, env = "TLS_CERT", value_parser = path)]
    #[serde(skip)]
    pub tls_cert: Option<PathBuf>,

    /// A file with the private key of the certificate, in PEM.
    #[arg(long, env = "TLS_KEY", value_parser = path)]
    #[serde(skip)]
    pub tls_key: Option<PathBuf>,

    /// What was read of the two; see [`HttpSettings::open_files`].
    #[arg(skip)]
    #[serde(skip)]
    pub tls: Option<TlsFiles>,

    /// Pictures that are fetched.
    #[command(flatten)]
    #[serde(flatten)]
    pub picture_urls: PictureUrlSettings,

    /// Threads that accept connections, read requests and write answers; by default half as many as
    /// there are cores, as others decode, tokenize and compute, but two where there are two.
    // With one for each core most of them sleep, and each answer of the engine wakes one, which takes
    // longer than sending it. One alone waits for a core now and then, for as long as the system lets
    // a thread that computes go on, and all probes with it (docs/performance.md has both). Whatever takes
    // long is done by others: see `off_thread`.
    #[arg(long, env = "HTTP_THREADS", default_value_t = http_threads(cores()), value_parser = count)]
    pub http_threads: usize,

    /// By how much the threads that decode, tokenize and compute give way to those that answer,
    /// 0 to 19, as `nice` has it: so that probes and small requests do not wait for a core. Other
    /// programs on the same cores go before them as well. Linux only.
    #[arg(long, env = "COMPUTE_NICE", default_value_t = 5, value_parser = nice)]
    pub compute_nice: u8,

    /// Seconds that the head of a request may take to arrive, from its first byte or from
    /// the opening of the connection; the handshake of TLS is part of it.
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "15", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub header_timeout: Duration,

    /// Seconds that a connection may wait for its next request.
    // Longer than the 60 s for which proxies keep theirs, so that it is they who close.
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "75", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub idle_timeout: Duration,

    /// Seconds that the body of a request may take to arrive.
    #[arg(long, env = "BODY_TIMEOUT", default_value = "300", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub body_timeout: Duration,

    /// Seconds that may pass between two pieces of a body.
    #[arg(long, env = "BODY_IDLE_TIMEOUT", default_value = "15", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub body_idle_timeout: Duration,

    /// Bytes per second that a body must arrive at on average, once `--body-idle-timeout`
    /// has passed; 0 for any.
    #[arg(long, env = "MIN_BODY_RATE", default_value = "4KiB", value_parser = bytes::<u64>)]
    pub min_body_rate: u64,

    /// Seconds for which a client may read nothing of its answer.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "30", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub write_timeout: Duration,

    /// Seconds that a request may take, from its last byte to its answer (504); a client may
    /// ask for less with the header X-Request-Timeout-Ms.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "300", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub request_timeout: Duration,

    /// Seconds that accepted requests get to finish when the service is told to end.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "30", value_parser = seconds)]
    #[serde(serialize_with = "as_seconds")]
    pub drain_timeout: Duration,

    /// Requests must carry this key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`;
    /// paths that only say whether it lives or is ready, and the page with its files, need none.
    #[arg(long, env = "API_KEY", hide_env_values = true, value_parser = ApiKey::parse)]
    #[serde(skip)]
    pub api_key: Option<ApiKey>,

    /// A file with keys, one on each line, any of which a request may carry; lines that begin
    /// with # are skipped. SIGHUP reads it again.
    #[arg(long, env = "API_KEYS_FILE", value_parser = ApiKeysFile::open)]
    #[serde(skip)]
    pub api_keys_file: Option<ApiKeysFile>,
}

impl HttpSettings {
    /// Reads the certificate and the key, if TLS is asked for, and looks whether the other files
    /// can be used.
    ///
    /// # Errors
    ///
    /// When only one of the two is given, or a file cannot be used.
    pub fn open_files(&mut self) -> Result<(), FileError> {
        self.tls = match (&self.tls_cert, &self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles::open(cert, key)?),
            _ => return Err(FileError::OneOfTwo),
        };
        tls::connector(self.picture_urls.picture_url_ca.as_deref())?;
        Ok(())
    }

    /// What [`serve`](crate::serve) is to run in.
    ///
    /// # Errors
    ///
    /// When the system gives it nothing to wait for sockets with.
    ///
    /// # Panics
    ///
    /// When the system cannot start a thread.
    pub fn runtime(&self) -> io::Result<Runtime> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.http_threads)
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()
    }

    /// Whether requests must carry a key.
    pub fn asks_for_keys(&self) -> bool {
        self.api_key.is_some() || self.api_keys_file.is_some()
    }

    /// Whether a request that carries one of these may pass.
    pub(crate) fn admits<'a>(&self, mut presented: impl Iterator<Item = &'a [u8]>) -> bool {
        let file = self.api_keys_file.as_ref();
        !self.asks_for_keys()
            || presented.any(|presented| {
                let key = self.api_key.as_ref();
                key.is_some_and(|key| key.matches(presented))
                    || file.is_some_and(|file| file.matches(presented))
            })
    }
}

fn nice(value: &str) -> Result<u8, String> {
    let nice = value.trim().parse().ok().filter(|nice| *nice <= 19);
    nice.ok_or_else(|| "it must be a whole number, 0 to 19".to_owned())
}

fn header_name(value: &str) -> Result<HeaderName, String> {
    value
        .trim()
        .parse()
        .map_err(|_| "it must be the name of a header, such as X-Forwarded-For".to_owned())
}

/// Threads that answer on a machine with so many cores.
fn http_threads(cores: usize) -> usize {
    cores.div_ceil(2).max(cores.min(2))
}

impl Default for HttpSettings {
    fn default() -> Self {
        siglip2_flags::defaults()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_defaults_and_a_key_is_never_told() {
        let settings = HttpSettings {
            api_key: ApiKey::parse("secret").ok(),
            ..HttpSettings::default()
        };
        assert_eq!(settings.body_timeout, Duration::from_secs(300));
        let told = serde_json::to_string(&settings).unwrap();
        assert!(!told.contains("secret") && !format!("{settings:?}").contains("secret"));
        assert!(told.contains("\"header_timeout\":15.0"), "{told}");
    }

    #[test]
    fn as_many_threads_answer_as_were_asked_for() {
        for http_threads in [1, 3] {
            let settings = HttpSettings {
                http_threads,
                ..HttpSettings::default()
            };
            let runtime = settings.runtime().unwrap();
            assert_eq!(runtime.metrics().num_workers(), http_threads);
        }
        assert_eq!([1, 2, 3, 4, 5, 64].map(http_threads), [1, 2, 2, 2, 3, 32]);
        assert_eq!(HttpSettings::default().http_threads, http_threads(cores()));
    }
}
