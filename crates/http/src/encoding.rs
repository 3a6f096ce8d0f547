//! How rows are written on the service's own paths: as JSON, or, where `Accept` asks for it, as
//! bytes, which cost neither side the digits of decimal numbers.

use half::f16;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::answer::{self, Answer};
use super::content::Content;
use super::messages::EmbeddingsAnswer;
use super::parameters::Parameters;
use siglip2_service::{Embeddings, Lease};

/// The content type of a file of numpy.
pub(super) const NPY: &str = "application/x-npy";

/// Rows and floats in a row.
const SHAPE: &str = "x-embedding-shape";

/// What a number is.
const DTYPE: &str = "x-embedding-dtype";

/// Rows that there are not.
const EMPTY: &str = "x-embedding-errors";

/// The headers of an answer that is bytes.
const HEADERS: &[(&str, &str)] = &[
    (
        SHAPE,
        "Of bytes: rows, and numbers in a row, with a comma between",
    ),
    (
        DTYPE,
        "Of bytes: float32 or float16, in little-endian order",
    ),
    (
        EMPTY,
        "Of bytes, where images were each for itself: the bad ones, whose rows are NaN",
    ),
];

/// What rows are answered as.
pub(super) static ROWS: [Content; 3] = [
    Content::json::<EmbeddingsAnswer>(),
    Content::bytes(answer::BYTES, HEADERS),
    Content::bytes(NPY, HEADERS),
];

/// What a number takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dtype {
    /// 4 bytes.
    #[default]
    Float32,
    /// 2 bytes, rounded to the nearest.
    Float16,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Decimal numbers.
    #[default]
    Json,
    /// Row after row.
    Bytes(Dtype),
    /// The same behind numpy's header.
    Npy(Dtype),
}

impl Encoding {
    /// What the client would rather have: of what it names with the highest quality, the first;
    /// JSON where it names nothing of ours.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter();
        let ranges = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        let mut best = (0.0_f32, Self::Json);
        for range in ranges {
            let range = Parameters::parse(range);
            let dtype = match range.get("dtype") {
                Some(b"float16") => Dtype::Float16,
                _ => Dtype::Float32,
            };
            let encoding = match range.value.as_str() {
                answer::BYTES => Self::Bytes(dtype),
                NPY => Self::Npy(dtype),
                "application/json" | "application/*" | "*/*" => Self::Json,
                _ => continue,
            };
            let quality = range.get("q").map_or(Some(1.0), |quality| {
                std::str::from_utf8(quality).ok()?.parse().ok()
            });
            if let Some(quality) = quality
                && quality > best.0
            {
                best = (quality, encoding);
            }
        }
        best.1
    }

    /// The answer of rows as bytes; none where they are to be JSON.
    pub(super) fn bytes(self, rows: &Embeddings) -> Option<Encoded> {
        let (dtype, media_type) = match self {
            Self::Json => return None,
            Self::Bytes(dtype) => (dtype, answer::BYTES),
            Self::Npy(dtype) => (dtype, NPY),
        };
        let (count, dimensions) = (rows.len(), rows.dimensions());
        let mut body = Vec::with_capacity(128 + dtype.size() * count * dimensions);
        if media_type == NPY {
            npy_head(&mut body, dtype, count, dimensions);
        }
        let mut empty = Vec::new();
        for (index, row) in rows.rows().enumerate() {
            // A row that there is not is no vector, and nobody takes it for one.
            let nothing = vec![f32::NAN; if row.is_empty() { dimensions } else { 0 }];
            let row = match row.is_empty() {
                true => {
                    empty.push(index.to_string());
                    nothing.as_slice()
                }
                false => row,
            };
            match dtype {
                Dtype::Float32 => body.extend(row.iter().flat_map(|x| x.to_le_bytes())),
                Dtype::Float16 => {
                    body.extend(row.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
                }
            }
        }
        Some(Encoded {
            body,
            media_type,
            dtype,
            shape: format!("{count},{dimensions}"),
            empty: empty.join(","),
        })
    }
}

impl Dtype {
    fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
        }
    }
}

/// Version 1.0 of numpy's format: a magic word, the length of what follows, and a literal of
/// Python, filled up so that the numbers begin at a multiple of 64.
fn npy_head(body: &mut Vec<u8>, dtype: Dtype, count: usize, dimensions: usize) {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let head = format!(
        "{{'descr': '<f{}', 'fortran_order': False, 'shape': ({count}, {dimensions}), }}",
        dtype.size()
    );
    let whole = (MAGIC.len() + 2 + head.len() + 1).next_multiple_of(64);
    let length = whole - MAGIC.len() - 2;
    body.extend_from_slice(MAGIC);
    body.extend((length as u16).to_le_bytes());
    body.extend_from_slice(head.as_bytes());
    body.resize(whole - 1, b' ');
    body.push(b'\n');
}

/// Rows as bytes.
pub(super) struct Encoded {
    body: Vec<u8>,
    media_type: &'static str,
    dtype: Dtype,
    shape: String,
    /// Rows that there are not.
    empty: String,
}

impl Encoded {
    /// The answer, which takes this memory until the last of it is in the socket.
    pub(super) fn answer(self, mut memory: Lease) -> Response<Answer> {
        memory.shrink_to(self.body.capacity() as u64);
        let mut response = answer::respond(StatusCode::OK, memory.keep_with(self.body));
        let dtype = match self.dtype {
            Dtype::Float32 => "float32",
            Dtype::Float16 => "float16",
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        headers.insert(DTYPE, HeaderValue::from_static(dtype));
        if let Ok(shape) = HeaderValue::from_str(&self.shape) {
            headers.insert(SHAPE, shape);
        }
        if !self.empty.is_empty()
            && let Ok(empty) = HeaderValue::from_str(&self.empty)
        {
            headers.insert(EMPTY, empty);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Encoding {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Encoding::wanted(&headers)
    }

    #[test]
    fn what_is_named_with_the_highest_quality_is_given() {
        let (json, bytes) = (Encoding::Json, Encoding::Bytes(Dtype::Float32));
        assert_eq!(Encoding::wanted(&HeaderMap::new()), json);
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
        ] {
            assert_eq!(wanted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn rows_are_written_as_numpy_writes_them() {
        let rows = Embeddings::given(2, vec![vec![3.0, 4.0], vec![0.0, -1.0]]);
        let encoded = Encoding::Npy(Dtype::Float16).bytes(&rows).unwrap();
        let (head, numbers) = encoded.body.split_at(128);
        // np.save of np.array([[0.6, 0.8], [0, -1]], "<f2").
        let text = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }";
        assert_eq!(&head[..10], b"\x93NUMPY\x01\x00v\x00");
        assert_eq!(&head[10..10 + text.len()], text.as_bytes());
        assert!(head.ends_with(b" \n"));
        assert_eq!(numbers, b"\xcd\x38\x66\x3a\0\0\0\xbc");
        let encoded = Encoding::Bytes(Dtype::Float32).bytes(&rows).unwrap();
        assert_eq!(encoded.body.len(), 16);
        assert_eq!(encoded.shape, "2,2");
        assert!(Encoding::Json.bytes(&rows).is_none());
    }
}
