//! Answers that go out compressed, where the client takes that.
//!
//! Rows of floats never do. Their digits are random: gzip makes 9 KiB of JSON 4 KiB, for nine times
//! the time that it takes to write them, and numbers as bytes become a fourteenth smaller. Who
//! wants few bytes asks for float16 or int8, which cost no time at all (docs/vectors.md).

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::answer::Answer;
use crate::header::accept::coding_quality;
use crate::request::body::off_thread;
use siglip2_service::{MemoryBudget, MemoryUse};

/// Shorter answers fit in one packet as they are.
const MIN_BYTES: usize = 1400;

/// The fastest of the levels of zstd that compress well.
const ZSTD_LEVEL: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// What the client would rather have, if it takes either.
    fn wanted(headers: &HeaderMap) -> Option<Self> {
        let (gzip, zstd) = (
            coding_quality(headers, "gzip"),
            coding_quality(headers, "zstd"),
        );
        match zstd >= gzip {
            true if zstd > 0.0 => Some(Self::Zstd),
            false => Some(Self::Gzip),
            true => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Bytes that compressing takes beside what it reads and writes, at most: a window and tables, at
    /// the levels here.
    fn scratch(self) -> u64 {
        match self {
            Self::Gzip => 512 << 10,
            Self::Zstd => 2 << 20,
        }
    }

    fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let room = Vec::with_capacity(bytes.len() / 2);
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        }
    }
}

/// Compresses the body of an answer, if that is worth it and the client takes it.
pub(crate) async fn compressed(
    headers: &HeaderMap,
    mut response: Response<Answer>,
    memory: &MemoryBudget,
) -> Response<Answer> {
    let body = response.body().text();
    let Some(body) = body.filter(|body| body.len() >= MIN_BYTES).cloned() else {
        return response;
    };
    // The files of the page are stored in both forms, where that is worth it.
    let is_file = response.headers().contains_key(header::ETAG);
    if is_file || response.status() != StatusCode::OK {
        return response;
    }
    // A cache must not give one client what only another takes.
    let vary = HeaderValue::from_static("Accept-Encoding");
    response.headers_mut().append(header::VARY, vary);
    let Some(coding) = Coding::wanted(headers) else {
        return response;
    };
    // Both are there for a moment. Where memory is short, the answer goes as it is.
    let bytes = body.len() as u64 + coding.scratch();
    let Ok(mut lease) = memory.take(MemoryUse::Answers, bytes) else {
        return response;
    };
    let plain = body.clone();
    let coded = off_thread(plain.len(), move || Ok(coding.compress(&plain))).await;
    if let Ok(Ok(coded)) = coded
        && coded.len() < body.len()
    {
        lease.shrink_to(coded.len() as u64);
        replace(&mut response, lease.keep_with(coded), coding);
    }
    response
}

fn replace(response: &mut Response<Answer>, coded: Bytes, coding: Coding) {
    response.body_mut().replace(coded);
    let name = HeaderValue::from_static(coding.name());
    response
        .headers_mut()
        .insert(header::CONTENT_ENCODING, name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_is_preferred_to_gzip_where_both_are_wanted_alike() {
        for (accept, expected) in [
            ("gzip, zstd", Some(Coding::Zstd)),
            ("gzip, deflate", Some(Coding::Gzip)),
            ("gzip, zstd;q=0.9", Some(Coding::Gzip)),
            ("zstd;q=0", None),
            ("br", None),
        ] {
            let value = HeaderValue::from_static(accept);
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]);
            assert_eq!(Coding::wanted(&headers), expected, "{accept}");
        }
    }
}
