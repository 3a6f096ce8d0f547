//! Answers: JSON, written straight into one buffer.
//!
//! A matrix of 1024 x 768 floats is 10 MB of JSON. It is written float by float in
//! the shortest form that reads back as the same f32, without a tree of values
//! between, and in portions, so that the thread serves others meanwhile.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::problem::Problem;
use siglip2_service::{Embeddings, Ranked, Similarity};

/// So much of a body is handed to hyper at a time. hyper asks for more when it has written
/// what it holds, up to its buffer; so the last piece is asked for when all but so much
/// has gone into the socket.
const PIECE: usize = 64 << 10;

/// The body of an answer, and who is told when the last of it has been handed over. If the
/// client goes before that, they are dropped untold.
pub(super) struct Answer {
    left: Bytes,
    handed: u64,
    told: Option<Box<dyn FnOnce(u64) + Send>>,
}

impl Answer {
    fn new(body: Vec<u8>) -> Self {
        Self {
            left: body.into(),
            handed: 0,
            told: None,
        }
    }

    /// Calls `told` with the bytes of the body once they are on their way. An answer to
    /// HEAD has none, and nobody asks for them.
    pub(super) fn when_written(&mut self, told: impl FnOnce(u64) + Send + 'static) {
        self.told = Some(Box::new(told));
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.len().min(PIECE);
        let piece = self.left.split_to(length);
        self.handed += piece.len() as u64;
        let handed = self.handed;
        if self.left.is_empty()
            && let Some(told) = self.told.take()
        {
            told(handed);
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// So many floats are written before others get their turn: about a millisecond.
const PORTION: usize = 32 << 10;

/// The bytes that a float takes, for sizing the buffer: sign, 9 digits, point, and
/// the comma.
const FLOAT_BYTES: usize = 12;

/// A response with a JSON body.
pub(super) fn respond(status: StatusCode, body: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Answer::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The text of `/metrics`, in the format that Prometheus and OpenMetrics share.
pub(super) fn metrics(text: String) -> Response<Answer> {
    let mut response = respond(StatusCode::OK, text.into_bytes());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}

/// A small value as JSON.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no strings fails here, and there is none.
    serde_json::to_vec(value).unwrap_or_else(|_| b"{\"detail\":\"Internal error\"}".to_vec())
}

/// `{"embeddings": [[..], ..], "dimensions": D, "model": ".."}`
pub(super) async fn embeddings(rows: &Embeddings, model: &str) -> Result<Vec<u8>, Problem> {
    let mut writer = Writer::for_floats(rows.len() * rows.dimensions());
    writer.text("{\"embeddings\":");
    writer.matrix(rows.rows()).await?;
    writer.text(",\"dimensions\":");
    writer.value(&rows.dimensions())?;
    writer.text(",\"model\":");
    writer.value(model)?;
    writer.text("}");
    Ok(writer.out)
}

/// The answer of `/similarity`.
pub(super) async fn similarity(similarity: &Similarity) -> Result<Vec<u8>, Problem> {
    let Similarity {
        similarities,
        texts,
        images,
    } = similarity;
    let mut writer = Writer::for_floats(
        texts.len() * images.len()
            + texts.len() * texts.dimensions()
            + images.len() * images.dimensions(),
    );
    writer.text("{\"similarities\":");
    writer
        .matrix(similarities.iter().map(Vec::as_slice))
        .await?;
    writer.text(",\"text_embeddings\":");
    writer.matrix(texts.rows()).await?;
    writer.text(",\"image_embeddings\":");
    writer.matrix(images.rows()).await?;
    writer.text(",\"note\":\"Similarities are sigmoid-normalized (0-1 range)\"}");
    Ok(writer.out)
}

/// The answer of `/rank`. `filename` gives the name of an image by its index.
pub(super) fn rankings<'a>(
    query: &str,
    ranked: &[Ranked],
    filename: impl Fn(usize) -> &'a str,
) -> Result<Vec<u8>, Problem> {
    #[derive(Serialize)]
    struct Row<'a> {
        filename: &'a str,
        score: f64,
        rank: usize,
    }
    #[derive(Serialize)]
    struct Rankings<'a> {
        query: &'a str,
        rankings: Vec<Row<'a>>,
    }
    let rankings = ranked
        .iter()
        .enumerate()
        .map(|(at, ranked)| {
            Ok(Row {
                filename: filename(ranked.index),
                score: rounded(ranked.score)?,
                rank: at + 1,
            })
        })
        .collect::<Result<_, Problem>>()?;
    Ok(json(&Rankings { query, rankings }))
}

/// A score as it is shown, with 4 decimals, as Python's `round(score, 4)`.
fn rounded(score: f32) -> Result<f64, Problem> {
    finite(score)?;
    // The decimal digits decide, as in Python: `(x * 1e4).round() / 1e4` does not
    // always give the same.
    format!("{:.4}", f64::from(score))
        .parse()
        .map_err(|_| Problem::Internal(format!("the score {score} could not be rounded")))
}

fn finite(value: f32) -> Result<(), Problem> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(Problem::Internal(format!(
            "the engine answered {value}, which is no embedding"
        )))
    }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn for_floats(floats: usize) -> Self {
        Self {
            out: Vec::with_capacity(floats * FLOAT_BYTES + 256),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(|error| Problem::Internal(format!("the answer could not be written: {error}")))
    }

    async fn matrix<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) -> Result<(), Problem> {
        let mut written = 0;
        let mut open = b'[';
        for row in rows {
            self.out.push(open);
            open = b',';
            // serde_json would write `null` for these.
            row.iter().try_for_each(|&value| finite(value))?;
            self.value(row)?;
            written += row.len();
            if written >= PORTION {
                written = 0;
                tokio::task::yield_now().await;
            }
        }
        self.out
            .write_all(if open == b'[' { b"[]" } else { b"]" })
            .map_err(|error| Problem::Internal(format!("the answer could not be written: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn matrix(rows: &[&[f32]]) -> Result<String, Problem> {
        let mut writer = Writer::for_floats(8);
        writer.matrix(rows.iter().copied()).await?;
        Ok(String::from_utf8(writer.out).unwrap())
    }

    #[tokio::test]
    async fn floats_are_written_in_the_shortest_form_that_reads_back() {
        assert_eq!(matrix(&[]).await.unwrap(), "[]");
        assert_eq!(
            matrix(&[&[0.1, -0.25, 1.0], &[1e-7, 16_777_216.0, -0.0]])
                .await
                .unwrap(),
            "[[0.1,-0.25,1.0],[1e-7,16777216.0,-0.0]]"
        );
        let mut bits = 0x9e37_79b9_u32;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if !value.is_finite() {
                continue;
            }
            let written = matrix(&[&[value]]).await.unwrap();
            let digits = written.trim_matches(['[', ']']);
            assert_eq!(
                digits.parse::<f32>().unwrap().to_bits(),
                value.to_bits(),
                "{written}"
            );
            // As many significant digits as Rust's own shortest form has.
            let significant = |text: &str| {
                let mantissa = text.split('e').next().unwrap().replace(['.', '-'], "");
                mantissa.trim_matches('0').len()
            };
            assert_eq!(
                significant(digits),
                significant(&format!("{value:e}")),
                "{written}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_number_is_never_written() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(
                matrix(&[&[0.0, bad]]).await,
                Err(Problem::Internal(_))
            ));
            assert!(rounded(bad).is_err());
        }
    }

    #[test]
    fn scores_are_rounded_as_in_python() {
        // round(struct.unpack("f", ..), 4) of CPython.
        for (score, expected) in [
            (0.873_412_3_f32, "0.8734"),
            (0.00005, "0.0"),
            (0.00015, "0.0002"),
            (0.031_25, "0.0312"),
            (0.999_99, "1.0"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1e-30, "0.0"),
        ] {
            assert_eq!(
                serde_json::to_string(&rounded(score).unwrap()).unwrap(),
                expected
            );
        }
    }
}
