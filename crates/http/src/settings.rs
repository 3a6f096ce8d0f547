//! What the HTTP side allows, and for how long.
//!
//! Every bound here exists because something on the other end of a socket can do
//! without it what it likes: send slowly, send for ever, or read nothing.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::spans::Spans;

/// The bounds of the HTTP side. [`HttpSettings::default`] suits a service that sits
/// in a data centre behind an image search.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Bytes that the body of one request may have.
    ///
    /// 256 MiB: the 256 images of one request at 1 MiB each, which is a generous
    /// photo for a model that looks at 224 pixels, or 64 phone photos of 4 MiB as
    /// they come off the camera.
    pub max_body_bytes: u64,
    /// Bytes that a request may have as text: the body of `/embed/text`, and all the
    /// text fields of a form together except `image_base64`.
    ///
    /// 16 MiB: the 1024 texts of one request at 16 KiB each. A model that reads 64
    /// tokens looks at a few hundred bytes of each.
    pub max_text_body_bytes: usize,
    /// Bytes that one text may have.
    pub max_text_bytes: usize,
    /// Texts that one request may hold.
    pub max_texts_per_request: usize,
    /// Images that one request may hold.
    pub max_images_per_request: usize,
    /// Parts that a form may have besides as many images as it may hold. Fields that are
    /// not known are skipped, and cost little but the reading.
    pub max_other_parts: usize,
    /// Requests that may be answered at one time; one more is answered 429 before its
    /// body is read. `/health`, `/ready`, `/metrics` and what else asks nothing of the
    /// engine do not count.
    pub max_concurrent_requests: usize,
    /// Bytes of bodies that all requests together may hold at one time. Who would
    /// go beyond is answered 429; without it `max_connections` bodies of
    /// `max_body_bytes` would be the bound, which no machine has.
    ///
    /// At least `max_body_bytes`, or the largest body would never fit.
    pub max_buffered_bytes: u64,
    /// Connections that are served at one time. Further ones wait in the system's
    /// backlog, and idle ones are closed to make room for them.
    pub max_connections: usize,
    /// From the first byte of a request (or from the opening of the connection) to
    /// the end of its head.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Longer than the 60 s
    /// for which proxies keep theirs, so that it is they who close.
    pub idle_timeout: Duration,
    /// The longest pause between two pieces of a body.
    pub body_idle_timeout: Duration,
    /// The longest that a whole body may take.
    pub body_timeout: Duration,
    /// Bytes per second that a body must arrive at on average, once
    /// `body_idle_timeout` has passed; 0 for no such bound.
    pub min_body_rate: u64,
    /// How long a request may wait for its answer once its body is here (504).
    pub request_timeout: Duration,
    /// The longest pause of a client that does not read its answer.
    pub write_timeout: Duration,
    /// How long requests that are under way may take to finish at shutdown.
    pub drain_timeout: Duration,
    /// What clients must present to use anything but `/health` and `/ready`.
    pub api_key: Option<ApiKey>,
    /// Where spans of requests go, if anywhere.
    pub spans: Option<Spans>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 256 << 20,
            max_text_body_bytes: 16 << 20,
            max_text_bytes: 256 << 10,
            max_texts_per_request: 1024,
            max_images_per_request: 256,
            max_other_parts: 64,
            max_concurrent_requests: 512,
            max_buffered_bytes: 1 << 30,
            max_connections: 1024,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(300),
            min_body_rate: 4 << 10,
            request_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            api_key: None,
            spans: None,
        }
    }
}

/// A secret. It is compared in constant time and never printed.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// The key as clients send it.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into().into_bytes().into_boxed_slice())
    }

    /// Whether this is what a client presented.
    pub(super) fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_whole_and_never_printed() {
        let key = ApiKey::new("secret");
        assert!(key.matches(b"secret"));
        assert!(!key.matches(b"secre"));
        assert!(!key.matches(b"secret "));
        assert!(!key.matches(b""));
        assert!(
            !format!(
                "{:?}",
                HttpSettings {
                    api_key: Some(key),
                    ..HttpSettings::default()
                }
            )
            .contains("secret")
        );
    }
}
