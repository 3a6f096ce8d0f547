//! The id that a request has in the log, in its answer, and in an error of ours.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const MAX_LENGTH: usize = 128;

/// The client's own id, if it is one that can stand in a log as it is; else a new one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let own = headers.get(HEADER).and_then(|value| value.to_str().ok());
    match own {
        Some(own) if is_plain(own) => own.to_owned(),
        _ => new(),
    }
}

/// The id as a header.
pub(crate) fn header(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn is_plain(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:~+/=@|".contains(&b))
}

/// Different in every process and in every request of it.
fn new() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The count takes the low half, so that no two ids of a process are the same.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:08x}{:08x}",
        *PROCESS >> 32,
        (*PROCESS).wrapping_add(count) & 0xffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ids_are_kept_and_others_replaced() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            of(&headers)
        };
        assert_eq!(id(b"abc-123"), "abc-123");
        for bad in [b"".as_slice(), b"a b", b"a\xff", b"a\"b", &[b'a'; 200]] {
            assert_eq!(id(bad).len(), 16);
        }
        assert_ne!(new(), new());
    }
}
