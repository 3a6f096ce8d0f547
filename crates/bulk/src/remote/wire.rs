//! Requests to a service and its answers, as bytes: files behind their lengths, and floats.

use std::time::Duration;

use serde_json::Value;
use siglip2_model::fingerprint::Fingerprint;
use ureq::Agent;

use super::queue::{Content, Row};
use crate::error::BulkError;

/// Bytes that an answer may have besides its floats.
const LARGEST_SENTENCE: u64 = 1 << 20;

/// The content type of both files and floats.
const BYTES: &str = "application/octet-stream";

/// Which rows of an answer there are not.
const EMPTY: &str = "x-embedding-errors";

/// How a service names a picture that is a body of its own.
const PART: &str = "The body: ";

/// What came of one request.
pub(super) enum Answer {
    /// A vector for each row, or none where the row is bad.
    Rows(Vec<Option<Vec<f32>>>),
    /// A row's fault.
    Refused(String),
    /// The service failed on it.
    Failed(String),
    /// It is full or starting: another is asked.
    Later(Duration, String),
    /// Nothing came back, or what a proxy says that got nothing.
    Broken(String),
    /// Nothing will be answered to any row.
    Never(String),
}

/// How services are asked.
pub(super) struct Wire {
    pub(super) agent: Agent,
    pub(super) key: Option<String>,
    pub(super) fingerprint: Fingerprint,
    pub(super) dimensions: usize,
    pub(super) normalize: bool,
    /// How long to wait where a service says nothing else.
    pub(super) wait: Duration,
}

impl Wire {
    /// Asks for some rows of one kind.
    pub(super) fn ask(&self, server: &str, rows: &[Row]) -> Answer {
        let normalize = self.normalize;
        let mut texts = Vec::new();
        let mut files = Vec::new();
        for row in rows {
            match &row.content {
                Content::Text(text) => texts.push(text.as_str()),
                Content::Picture(file) => files.push(file.clone()),
            }
        }
        match files.as_slice() {
            [] => {
                let body = serde_json::json!({ "texts": texts, "normalize": normalize });
                let url = format!("{server}/embed/text");
                self.post(
                    &url,
                    "application/json",
                    body.to_string().as_bytes(),
                    rows.len(),
                )
            }
            // Alone, what is wrong with it is said in a sentence.
            [file] => {
                let url = format!("{server}/embed/image?normalize={normalize}");
                self.post(&url, BYTES, file, 1)
            }
            files => {
                let bytes = files.iter().map(|file| file.len() + 4).sum();
                let mut body = Vec::with_capacity(bytes);
                for file in files {
                    // No file has more than 256 MiB.
                    let length = u32::try_from(file.len()).unwrap_or(u32::MAX);
                    body.extend_from_slice(&length.to_le_bytes());
                    body.extend_from_slice(file);
                }
                let url = format!("{server}/embed/images?partial=true&normalize={normalize}");
                self.post(&url, BYTES, &body, rows.len())
            }
        }
    }

    fn post(&self, url: &str, kind: &str, body: &[u8], rows: usize) -> Answer {
        let mut request = self
            .agent
            .post(url)
            .header("content-type", kind)
            .header("accept", BYTES)
            .header("x-expect-fingerprint", self.fingerprint.to_string());
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let broken = |error: ureq::Error| Answer::Broken(format!("{url}: {error}"));
        let mut answer = match request.send(body) {
            Ok(answer) => answer,
            Err(error) => return broken(error),
        };
        let status = answer.status().as_u16();
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let (seconds, empty) = (header("retry-after"), header(EMPTY).unwrap_or_default());
        let is_bytes = header("content-type").is_some_and(|kind| kind == BYTES);
        let floats = rows * self.dimensions * size_of::<f32>();
        let reader = answer.body_mut().with_config();
        let body = match reader.limit(LARGEST_SENTENCE + floats as u64).read_to_vec() {
            Ok(body) => body,
            Err(error) => return broken(error),
        };
        if status == 200 {
            if !is_bytes || body.len() != floats {
                return Answer::Never(format!(
                    "{url} answered no vectors: is it a service of this version?"
                ));
            }
            let rows = self.rows(&body, &empty);
            let mut values = rows.iter().flatten().flatten();
            return match values.all(|value| value.is_finite()) {
                true => Answer::Rows(rows),
                // As in this process.
                false => Answer::Failed(format!("{url} answered a value that is not finite")),
            };
        }
        let said = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let detail = match said.get("detail") {
            Some(Value::String(detail)) => detail.clone(),
            _ => format!("{url} answered {status}"),
        };
        match status {
            400 | 413 | 415 | 422 => Answer::Refused(match detail.strip_prefix(PART) {
                // What is wrong with a picture is said as in this process.
                Some(rest) => rest.to_owned(),
                None => detail,
            }),
            429 | 503 => {
                let seconds = seconds.and_then(|seconds| seconds.parse().ok());
                let wait = seconds.map_or(self.wait, Duration::from_secs);
                Answer::Later(wait, format!("{url}: {detail}"))
            }
            408 | 502 | 504 => Answer::Broken(format!("{url} answered {status}: {detail}")),
            500 => Answer::Failed(detail),
            _ => Answer::Never(format!("{url} answered {status}: {detail}")),
        }
    }

    /// The rows of an answer; `empty` are the numbers of those that there are not.
    fn rows(&self, body: &[u8], empty: &str) -> Vec<Option<Vec<f32>>> {
        let floats = body.as_chunks::<4>().0.chunks_exact(self.dimensions.max(1));
        let mut rows: Vec<Option<Vec<f32>>> = floats
            .map(|row| Some(row.iter().copied().map(f32::from_le_bytes).collect()))
            .collect();
        for index in empty
            .split(',')
            .filter_map(|index| index.trim().parse().ok())
        {
            let index: usize = index;
            if let Some(row) = rows.get_mut(index) {
                *row = None;
            }
        }
        rows
    }

    /// What a service says that it is.
    pub(super) fn info(agent: &Agent, url: &str, key: Option<&str>) -> Result<Value, BulkError> {
        let mut request = agent.get(format!("{}/info", url.trim_end_matches('/')));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let failed = |error: String| {
            BulkError::Unusable(format!("{url} does not answer what it is: {error}"))
        };
        let mut answer = request.call().map_err(|error| failed(error.to_string()))?;
        if answer.status() != 200 {
            return Err(failed(format!("status {}", answer.status())));
        }
        let reader = answer.body_mut().with_config().limit(LARGEST_SENTENCE);
        let body = reader
            .read_to_vec()
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }
}
