//! How rows are written on the service's own paths: as JSON, or, where `Accept` asks for it, as
//! bytes, which cost neither side the digits of decimal numbers.

use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderValue};

use super::arrow_rows;
use super::messages::EmbeddingsAnswer;
use super::problem::{Problem, printable};
use super::row_bytes::{self, Dtype};
use crate::answer::{self, Answer};
use crate::content::Content;
use crate::header::parameters::Parameters;
use siglip2_service::{Embeddings, Lease};

/// The content type of a file of numpy.
const NPY: &str = "application/x-npy";

/// The content type of Arrow's streaming format.
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Rows and numbers in a row.
const SHAPE: &str = "x-embedding-shape";

/// What a number is.
const DTYPE: &str = "x-embedding-dtype";

/// Rows that there are not, and how many.
const MISSING: &str = "x-embedding-errors";
const MISSING_COUNT: &str = "x-embedding-error-count";

/// The longest list of them. Clients take headers of 8 KiB at most, all together.
const MAX_MISSING: usize = 4 << 10;

/// The headers of an answer that is bytes.
const HEADERS: &[(&str, &str)] = &[
    (
        SHAPE,
        "Of bytes: rows, and numbers in a row, with a comma between; of binary, bytes in a row",
    ),
    (
        DTYPE,
        "Of bytes: float32 or float16, in little-endian order, int8 or binary",
    ),
    (
        MISSING,
        "Of bytes, with `partial`: the indices of the bad images, whose rows are NaN, zeros or null; as many as fit in 4 KiB",
    ),
    (
        MISSING_COUNT,
        "Of bytes, with `partial`: how many images are bad",
    ),
];

/// What rows are answered as.
pub(crate) static ROWS: [Content; 4] = [
    Content::json::<EmbeddingsAnswer>(),
    Content::bytes(answer::BYTES, HEADERS),
    Content::bytes(NPY, HEADERS),
    Content::bytes(ARROW, HEADERS),
];

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Decimal numbers.
    #[default]
    Json,
    /// Row after row.
    Bytes(Dtype),
    /// The same behind numpy's header.
    Npy(Dtype),
    /// A stream of Arrow's messages: a schema, and one batch.
    Arrow(Dtype),
}

impl Encoding {
    /// What the client would rather have: of what it names with the highest quality, the first;
    /// JSON where it names nothing of ours.
    ///
    /// # Errors
    ///
    /// When it names nothing but a format of ours in a `dtype` that it does not have: floats as JSON would be
    /// no answer to that, and its client would notice late.
    pub(crate) fn wanted(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(header::ACCEPT).iter();
        let ranges = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        let mut best = (0.0_f32, Self::Json);
        let mut missing = None;
        for range in ranges {
            let range = Parameters::parse(range);
            let quality = range.get("q").map_or(Some(1.0), |quality| {
                std::str::from_utf8(quality).ok()?.parse().ok()
            });
            // From 0 to 1 (RFC 9110, 12.4.2); what is no quality is no wish.
            let Some(quality) = quality.filter(|it| *it > 0.0 && *it <= 1.0) else {
                continue;
            };
            let said = range.get("dtype");
            let dtype = said.map_or(Some(Dtype::Float32), Dtype::of);
            let encoding = match (range.value.as_str(), dtype) {
                (answer::BYTES | NPY | ARROW, None) => {
                    missing = said.map(no_such_dtype);
                    continue;
                }
                ("application/json", dtype) if dtype != Some(Dtype::Float32) => {
                    missing = said.map(no_dtype_of_json);
                    continue;
                }
                (answer::BYTES, Some(dtype)) => Self::Bytes(dtype),
                (NPY, Some(dtype)) => Self::Npy(dtype),
                (ARROW, Some(dtype)) => Self::Arrow(dtype),
                ("application/json" | "application/*" | "*/*", _) => Self::Json,
                _ => continue,
            };
            if quality > best.0 {
                best = (quality, encoding);
            }
        }
        match missing {
            Some(problem) if best.0 == 0.0 => Err(problem),
            _ => Ok(best.1),
        }
    }

    /// The answer of rows as bytes; none where they are to be JSON. `model` is told where the
    /// format has a place for it.
    pub(crate) fn bytes(self, rows: &Embeddings, model: &str) -> Result<Option<Encoded>, Problem> {
        let (body, media_type, dtype) = match self {
            Self::Json => return Ok(None),
            Self::Bytes(dtype) => (row_bytes::rows(rows, dtype), answer::BYTES, dtype),
            Self::Npy(dtype) => (row_bytes::npy(rows, dtype), NPY, dtype),
            Self::Arrow(dtype) => (arrow_rows::stream(rows, dtype, model)?, ARROW, dtype),
        };
        let missing = rows.rows().enumerate().filter(|(_, row)| row.is_empty());
        let missing: Vec<usize> = missing.map(|(index, _)| index).collect();
        Ok(Some(Encoded {
            body,
            media_type,
            dtype,
            shape: format!("{},{}", rows.len(), dtype.width(rows.dimensions())),
            missing: listed(&missing),
            missing_count: missing.len(),
        }))
    }
}

fn no_such_dtype(name: &[u8]) -> Problem {
    let known = Dtype::ALL.map(Dtype::name).join(", ");
    let shown = printable(&String::from_utf8_lossy(name), 40);
    Problem::BadRequest(
        format!("Accept asks for the dtype {shown:?}; it must be one of: {known}.").into(),
    )
}

fn no_dtype_of_json(name: &[u8]) -> Problem {
    let shown = printable(&String::from_utf8_lossy(name), 40);
    Problem::BadRequest(
        format!(
            "Accept asks for JSON in the dtype {shown:?}, and JSON has float32 alone; the others come as \
             {}, {NPY} or {ARROW}.",
            answer::BYTES
        )
        .into(),
    )
}

/// As many of the indexes as fit.
fn listed(indexes: &[usize]) -> String {
    let mut list = String::new();
    for index in indexes {
        let begin = list.len();
        if begin > 0 {
            list.push(',');
        }
        list.push_str(&index.to_string());
        if list.len() > MAX_MISSING {
            list.truncate(begin);
            break;
        }
    }
    list
}

/// Rows as bytes.
pub(crate) struct Encoded {
    body: Vec<u8>,
    media_type: &'static str,
    dtype: Dtype,
    shape: String,
    /// Rows that there are not.
    missing: String,
    missing_count: usize,
}

impl Encoded {
    /// The answer, which takes this memory until the last of it is in the socket.
    pub(crate) fn answer(self, mut memory: Lease) -> Response<Answer> {
        memory.shrink_to(self.body.capacity() as u64);
        let mut response = answer::held(self.body, memory);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        headers.insert(DTYPE, HeaderValue::from_static(self.dtype.name()));
        if let Ok(shape) = HeaderValue::from_str(&self.shape) {
            headers.insert(SHAPE, shape);
        }
        if self.missing_count > 0
            && let Ok(missing) = HeaderValue::from_str(&self.missing)
        {
            headers.insert(MISSING, missing);
            headers.insert(MISSING_COUNT, HeaderValue::from(self.missing_count));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &'static str) -> Result<Encoding, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Encoding::wanted(&headers)
    }

    fn wanted(accept: &'static str) -> Encoding {
        asked(accept).unwrap_or_else(|problem| panic!("{accept}: {problem}"))
    }

    #[test]
    fn a_dtype_that_does_not_exist_is_refused() {
        for accept in [
            "application/octet-stream;dtype=int4",
            "application/x-npy;dtype=float64, application/json;q=0",
            "application/vnd.apache.arrow.stream;dtype=",
        ] {
            refused(accept, "float32, float16, int8, binary");
        }
        for accept in [
            "application/json;dtype=int8",
            "application/json; dtype=int4, application/x-npy;q=0",
        ] {
            refused(accept, "JSON has float32 alone");
        }
    }

    fn refused(accept: &'static str, said: &str) {
        let problem = asked(accept).expect_err(accept);
        assert_eq!(problem.status(), 400, "{accept}");
        let sentence = problem.to_string();
        assert!(sentence.contains(said), "{sentence}");
    }

    #[test]
    fn what_is_named_with_the_highest_quality_is_given() {
        let (json, bytes) = (Encoding::Json, Encoding::Bytes(Dtype::Float32));
        assert!(matches!(Encoding::wanted(&HeaderMap::new()), Ok(it) if it == json));
        for (accept, expected) in [
            ("", json),
            ("*/*", json),
            ("text/html", json),
            ("application/json", json),
            ("application/octet-stream", bytes),
            ("Application/Octet-Stream;q=0.5, */*;q=0.1", bytes),
            ("application/json, application/octet-stream", json),
            ("application/octet-stream;q=0", json),
            ("application/octet-stream;q=x", json),
            ("application/octet-stream;q=5, application/json;q=0.1", json),
            ("application/octet-stream;q=inf", json),
            ("application/octet-stream;q=NaN", json),
            (
                "application/json;q=0.2, application/x-npy;q=0.3",
                Encoding::Npy(Dtype::Float32),
            ),
            (
                "application/octet-stream; dtype=float16",
                Encoding::Bytes(Dtype::Float16),
            ),
            (
                "application/x-npy;dtype=float16;q=1",
                Encoding::Npy(Dtype::Float16),
            ),
            (
                "application/vnd.apache.arrow.stream",
                Encoding::Arrow(Dtype::Float32),
            ),
            (
                "application/vnd.apache.arrow.stream;dtype=int8, application/json;q=0.9",
                Encoding::Arrow(Dtype::Int8),
            ),
            (
                "application/octet-stream;dtype=\"binary\"",
                Encoding::Bytes(Dtype::Binary),
            ),
            // What does not exist is passed over where something else is taken too.
            ("application/octet-stream;dtype=int4;q=0", json),
            ("application/octet-stream;dtype=int4, */*;q=0.1", json),
            ("application/json;dtype=int8, */*", json),
            ("application/json;dtype=float32;charset=utf-8", json),
            (
                "application/json;dtype=int8, application/octet-stream",
                bytes,
            ),
            (
                "application/octet-stream;dtype=int4, application/x-npy;q=0.1",
                Encoding::Npy(Dtype::Float32),
            ),
        ] {
            assert_eq!(wanted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_list_of_missing_rows_is_bounded() {
        assert_eq!(listed(&[]), "");
        assert_eq!(listed(&[3, 17]), "3,17");
        let many: Vec<usize> = (0..100_000).collect();
        let list = listed(&many);
        assert!((MAX_MISSING - 8..=MAX_MISSING).contains(&list.len()));
        for (at, index) in list.split(',').enumerate() {
            assert_eq!(index.parse(), Ok(at));
        }
    }
}
