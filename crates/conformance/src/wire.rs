//! Requests to the server, with bounds on time and bytes.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use crate::target::{Failure, Rows};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

/// Bytes that an answer may have.
const LARGEST_ANSWER: u64 = 64 << 20;

/// How often a server that says it is busy is asked.
const TRIES: u32 = 6;

/// The longest wait that a busy server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Characters of a server's reason that are shown.
const LONGEST_REASON: usize = 200;

/// A server's address and key.
pub(crate) struct Wire {
    agent: Agent,
    /// Without a slash at its end.
    url: String,
    key: Option<String>,
}

impl Wire {
    pub(crate) fn new(url: &str, key: Option<&str>) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .build();
        Self {
            agent: agent.into(),
            url: url.trim_end_matches('/').to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// Whether the address ends with this.
    pub(crate) fn ends_with(&self, path: &str) -> bool {
        self.url.ends_with(path)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url);
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let (status, _, body) = read(&url, request.call())?;
        json(&url, status, &body)
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.post(path, "application/json", body.to_string().as_bytes())
    }

    /// Sends a body, again for as long as the server says that it is busy.
    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        for attempt in 1.. {
            let mut request = self.agent.post(&url).header("content-type", kind);
            for (name, value) in self.headers() {
                request = request.header(name, value);
            }
            let (status, retry_after, body) = read(&url, request.send(body))?;
            if matches!(status, 429 | 503) && attempt < TRIES {
                let wait = retry_after.unwrap_or(Duration::from_millis(500) * attempt);
                sleep(wait.min(LONGEST_WAIT));
                continue;
            }
            return json(&url, status, &body);
        }
        Err(Failure::Broken(format!("{url} is busy")))
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let key = self.key.as_ref();
        key.map(|key| ("authorization", format!("Bearer {key}")))
            .into_iter()
    }
}

type Read = (u16, Option<Duration>, Vec<u8>);

fn read(url: &str, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Read, Failure> {
    let broken = |error: ureq::Error| Failure::Broken(format!("{url}: {error}"));
    let mut answer = answer.map_err(broken)?;
    let status = answer.status().as_u16();
    let seconds = answer.headers().get("retry-after");
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    let reader = answer.body_mut().with_config().limit(LARGEST_ANSWER);
    let body = reader.read_to_vec().map_err(broken)?;
    Ok((status, seconds.map(Duration::from_secs), body))
}

fn json(url: &str, status: u16, body: &[u8]) -> Result<Value, Failure> {
    let parsed = serde_json::from_slice::<Value>(body);
    match (status, parsed) {
        (200, Ok(value)) => Ok(value),
        (200, Err(error)) => Err(Failure::Broken(format!(
            "{url} did not answer JSON: {error}"
        ))),
        (404 | 405, _) => Err(Failure::NotOffered),
        // Those are about the time and not about the input.
        (400..=499, parsed) if !matches!(status, 408 | 429) => Err(Failure::Refused {
            status,
            reason: reason(&parsed.unwrap_or_default(), body),
        }),
        (status, parsed) => {
            let reason = reason(&parsed.unwrap_or_default(), body);
            Err(Failure::Broken(format!(
                "{url} answered {status}: {reason}"
            )))
        }
    }
}

/// Why a server refused, wherever its dialect puts that.
fn reason(answer: &Value, body: &[u8]) -> String {
    let places = [
        answer.get("detail"),
        answer.pointer("/error/message"),
        answer.get("error"),
        answer.get("message"),
    ];
    let said = places.into_iter().flatten().next();
    let said = match said {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let plain = said
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    plain.take(LONGEST_REASON).collect()
}

/// The rows of a JSON array of arrays of numbers.
pub(crate) fn rows(value: Option<&Value>) -> Result<Rows, Failure> {
    let rows = value.and_then(Value::as_array);
    let rows = rows.map(|rows| rows.iter().map(row).collect::<Option<Rows>>());
    rows.flatten().ok_or_else(no_vectors)
}

/// One row of numbers.
pub(crate) fn row(value: &Value) -> Option<Vec<f32>> {
    let numbers = value.as_array()?.iter();
    numbers
        .map(|number| Some(number.as_f64()? as f32))
        .collect()
}

pub(crate) fn no_vectors() -> Failure {
    Failure::Broken("the answer has no vectors where this dialect puts them".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{json, rows};
    use crate::target::Failure;

    #[test]
    fn only_an_answer_about_the_input_is_a_refusal() {
        let failure = |status| json("http://a", status, b"{\"detail\": \"why\"}").unwrap_err();
        for status in [400, 413, 415, 422] {
            let reason = "why".to_owned();
            assert_eq!(failure(status), Failure::Refused { status, reason });
        }
        for status in [404, 405] {
            assert_eq!(failure(status), Failure::NotOffered);
        }
        for status in [408, 429, 500, 503] {
            assert!(matches!(failure(status), Failure::Broken(_)), "{status}");
        }
        let no_json = json("http://a", 200, b"NaN");
        assert!(matches!(no_json, Err(Failure::Broken(_))));
    }

    #[test]
    fn what_is_no_number_is_no_vector() {
        assert_eq!(rows(Some(&json!([[1, 2.5]]))), Ok(vec![vec![1.0, 2.5]]));
        for wrong in [
            json!([[1.0, null]]),
            json!([1.0]),
            json!("AAAA"),
            json!(null),
        ] {
            assert!(rows(Some(&wrong)).is_err(), "{wrong}");
        }
        assert!(rows(None).is_err());
    }
}
