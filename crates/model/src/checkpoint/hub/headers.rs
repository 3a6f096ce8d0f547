//! What the headers of answers say about a file.

use std::io::Read;
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use ureq::http::{HeaderMap, StatusCode};

use super::names::is_commit;

/// An answer whose body is still to be read, and what its headers and those of redirects said
/// about the file.
pub(super) struct Answer {
    pub body: Box<dyn Read>,
    /// `X-Repo-Commit`.
    pub commit: Option<String>,
    /// `X-Linked-Etag`, else `ETag`.
    pub etag: Option<String>,
    /// Length of the whole file in bytes, if known.
    pub size: Option<u64>,
    /// Offset in the file at which the body starts.
    pub start: u64,
    /// The body was compressed for transfer, so it cannot be resumed.
    pub compressed: bool,
}

/// What the answers on the way said about a file. The first to say something wins: that is the
/// hub, whose word counts more than that of a server it redirects to.
#[derive(Default)]
pub(super) struct Told {
    pub commit: Option<String>,
    linked_etag: Option<String>,
    etag: Option<String>,
    linked_size: Option<u64>,
}

impl Told {
    pub fn hear(&mut self, headers: &HeaderMap) {
        let hear = |known: &mut Option<String>, name| {
            if known.is_none() {
                *known = text(headers, name);
            }
        };
        hear(&mut self.commit, "x-repo-commit");
        hear(&mut self.linked_etag, "x-linked-etag");
        hear(&mut self.etag, "etag");
        if self.linked_size.is_none() {
            self.linked_size = text(headers, "x-linked-size").and_then(|size| size.parse().ok());
        }
    }

    pub fn answer(self, status: StatusCode, headers: &HeaderMap, body: Box<dyn Read>) -> Answer {
        let compressed = text(headers, "content-encoding")
            .is_some_and(|encoding| encoding.to_ascii_lowercase().contains("gzip"));
        let length = text(headers, "content-length").and_then(|length| length.parse().ok());
        let (start, range) = match status {
            StatusCode::PARTIAL_CONTENT => text(headers, "content-range")
                .as_deref()
                .and_then(content_range)
                .unwrap_or((0, None)),
            _ => (0, length.filter(|_| !compressed)),
        };
        Answer {
            commit: self.commit.filter(|commit| is_commit(commit)),
            etag: self.linked_etag.or(self.etag),
            size: self.linked_size.or(range),
            start,
            compressed,
            body: if compressed {
                Box::new(MultiGzDecoder::new(body))
            } else {
                body
            },
        }
    }
}

/// The first byte and the total length in `bytes FIRST-LAST/LENGTH`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = value.strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, length.trim().parse().ok()))
}

/// The seconds that `Retry-After` asks to wait, as a number or until a date, which is compared with
/// the server's own clock if it says what that is.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let after = text(headers, "retry-after")?;
    if let Ok(seconds) = after.parse() {
        return Some(seconds);
    }
    let until = httpdate::parse_http_date(&after).ok()?;
    let date = text(headers, "date").and_then(|date| httpdate::parse_http_date(&date).ok());
    let wait = until.duration_since(date.unwrap_or(now));
    Some(wait.map_or(0, |wait| wait.as_secs()))
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/20"), Some((5, Some(20))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("items 1"), None);
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = httpdate::parse_http_date("Sat, 28 Nov 2026 11:00:00 GMT").unwrap();
        let late = ("date", "Sat, 28 Nov 2026 11:00:40 GMT");
        for (headers, expected) in [
            (&[("retry-after", "7")][..], Some(7)),
            (
                &[("retry-after", "Sat, 28 Nov 2026 11:01:00 GMT")],
                Some(60),
            ),
            (
                &[("retry-after", "Sat, 28 Nov 2026 11:01:00 GMT"), late],
                Some(20),
            ),
            (&[("retry-after", "Sat, 28 Nov 2026 10:00:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[late], None),
        ] {
            let mut map = HeaderMap::new();
            for &(name, value) in headers {
                map.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(retry_after(&map, now), expected, "{headers:?}");
        }
    }
}
