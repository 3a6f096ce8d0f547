//! Running services over HTTP: each row goes to whichever has the fewest under way.
//!
//! A service that is full (429), starting, or gone is left alone for a while, and its rows go
//! to the others. Every request names the fingerprint, so that a service that was started
//! anew with another model answers nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use siglip2_model::fingerprint::Fingerprint;
use ureq::Agent;

use crate::embedder::{Failure, Outcome};
use crate::error::BulkError;
use crate::identity::Identity;
use crate::plan::Limits;

/// Rows under way at each service.
const ROWS_EACH: usize = 48;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

/// How long a service is left alone that is full or gone.
const ALONE: Duration = Duration::from_millis(500);
const LONGEST_ALONE: Duration = Duration::from_secs(10);

/// After so long without any answer from any service the run ends.
const GIVE_UP: Duration = Duration::from_secs(300);

/// How often a row is tried that a service fails on.
const TRIES: u32 = 3;

/// Bytes that an answer may have.
const LARGEST_ANSWER: u64 = 16 << 20;

/// How a service names a picture that is sent here.
const PART: &str = "file (\"picture\"): ";

/// Running services.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    agent: Agent,
    servers: Vec<Server>,
    key: Option<String>,
    fingerprint: Fingerprint,
    /// When any service last answered.
    answered: Mutex<Instant>,
}

struct Server {
    url: String,
    under_way: AtomicUsize,
    /// Until when it is left alone, and for how long it was the last time.
    alone: Mutex<(Instant, Duration)>,
}

/// What came of one request.
enum Answer {
    Json(Value),
    /// The row's fault.
    Refused(String),
    /// The service failed on it.
    Failed(String),
    /// It is full, starting or gone: another is asked.
    Later(Duration, String),
    /// Nothing will be answered to any row.
    Never(String),
}

impl Remote {
    /// Asks services what they are. They must all make the same vectors, and turn pictures if
    /// that is asked for.
    ///
    /// # Errors
    ///
    /// A sentence, when one does not answer or they differ.
    pub fn connect(
        urls: &[String],
        key: Option<String>,
        normalized: bool,
        apply_orientation: bool,
        version: &str,
    ) -> Result<(Self, Identity, Limits), String> {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_idle_connections_per_host(ROWS_EACH)
            .max_idle_connections(ROWS_EACH * urls.len().max(1))
            .build()
            .into();
        let mut known: Option<(Identity, Limits)> = None;
        for url in urls {
            let info = info(&agent, url, key.as_deref())?;
            let text = |name: &str| info.get(name).and_then(Value::as_str);
            let name = if normalized {
                "fingerprint"
            } else {
                "fingerprint_pooled"
            };
            let fingerprint = text(name)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    format!("{url} does not say the fingerprint of its vectors: is it loading?")
                })?;
            let dimensions = info.get("vision_dim").and_then(Value::as_u64).unwrap_or(0);
            let limit = |name: &str| {
                let limit = info
                    .get("limits")
                    .and_then(|limits| limits.get(name)?.as_u64());
                usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX)
            };
            let limits = Limits {
                max_image_pixels: limit("max_image_pixels"),
                max_jpeg_scans: limit("max_jpeg_scans"),
            };
            let identity = Identity {
                fingerprint,
                model: text("model").unwrap_or_default().to_owned(),
                precision: text("precision").unwrap_or_default().to_owned(),
                dimensions: usize::try_from(dimensions).unwrap_or(0),
                version: version.to_owned(),
            };
            let turns = info
                .get("limits")
                .and_then(|limits| limits.get("apply_orientation")?.as_bool());
            if apply_orientation && turns != Some(true) {
                return Err(format!(
                    "{url} does not turn pictures as their orientation tag says: start it with \
                     --apply-orientation, or leave that out here"
                ));
            }
            match &known {
                Some((first, _)) if first.fingerprint != fingerprint => {
                    return Err(format!(
                        "{url} has the model {} (fingerprint {fingerprint}), and {} has {} ({})",
                        identity.model, urls[0], first.model, first.fingerprint
                    ));
                }
                Some((_, first)) if *first != limits => {
                    return Err(format!(
                        "{url} refuses other pictures than {}: their --max-image-pixels and \
                         --max-jpeg-scans must be the same",
                        urls[0]
                    ));
                }
                Some(_) => {}
                None => known = Some((identity, limits)),
            }
        }
        let (identity, limits) = known.ok_or("--url names no service")?;
        let now = Instant::now();
        let server = |url: &String| Server {
            url: url.trim_end_matches('/').to_owned(),
            under_way: AtomicUsize::new(0),
            alone: Mutex::new((now, Duration::ZERO)),
        };
        let inner = Inner {
            agent,
            servers: urls.iter().map(server).collect(),
            key,
            fingerprint: identity.fingerprint,
            answered: Mutex::new(now),
        };
        Ok((Self(Arc::new(inner)), identity, limits))
    }

    pub(crate) fn rows_under_way(&self) -> usize {
        self.0.servers.len() * ROWS_EACH
    }

    pub(crate) async fn picture(&self, file: Bytes, normalize: bool) -> Outcome {
        // A line that is in no file by chance.
        let boundary = format!("siglip2-{}", blake3::hash(&file).to_hex());
        let mut body = Vec::with_capacity(file.len() + 512);
        for (name, value) in [
            (
                "normalize\"",
                if normalize { &b"true"[..] } else { b"false" },
            ),
            ("file\"; filename=\"picture\"", &file),
        ] {
            let head =
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let answer = self.post("/embed/image", kind, body.into()).await;
        answer.map_err(|failure| match failure {
            // Behind the name of the part, what is wrong is said as in this process.
            Failure::Row(why) => Failure::Row(match why.strip_prefix(PART) {
                Some(rest) => rest.to_owned(),
                None => why,
            }),
            failure => failure,
        })
    }

    pub(crate) async fn text(&self, text: &str, normalize: bool) -> Outcome {
        let body = serde_json::json!({ "texts": [text], "normalize": normalize }).to_string();
        self.post("/embed/text", "application/json".to_owned(), body.into())
            .await
    }

    async fn post(&self, path: &'static str, kind: String, body: Bytes) -> Outcome {
        let mut tries = 0;
        let began = Instant::now();
        loop {
            let Some(index) = self.0.free() else {
                if self.0.silent().min(began.elapsed()) > GIVE_UP {
                    let error = format!("no service has answered for {} s", GIVE_UP.as_secs());
                    return Err(Failure::Run(BulkError::Engine(error)));
                }
                tokio::time::sleep(ALONE / 5).await;
                continue;
            };
            let (inner, kind, body) = (Arc::clone(&self.0), kind.clone(), body.clone());
            let asked = move || inner.ask(index, path, &kind, &body);
            let answer = tokio::task::spawn_blocking(asked)
                .await
                .unwrap_or_else(|error| Answer::Failed(error.to_string()));
            if !matches!(answer, Answer::Later(..)) {
                self.0.has_answered(index);
            }
            match answer {
                Answer::Json(answer) => return vector(&answer),
                Answer::Refused(why) => return Err(Failure::Row(why)),
                Answer::Never(why) => return Err(Failure::Run(BulkError::Unusable(why))),
                Answer::Later(wait, why) => self.0.leave_alone(index, wait, &why),
                Answer::Failed(why) => {
                    tries += 1;
                    if tries == TRIES {
                        let error = format!("services failed {TRIES} times on it: {why}");
                        return Err(Failure::Row(error));
                    }
                }
            }
        }
    }
}

impl Inner {
    /// The service with the fewest rows under way of those that are not left alone; one more
    /// is then under way there.
    fn free(&self) -> Option<usize> {
        let now = Instant::now();
        let servers = self.servers.iter().enumerate();
        let free = servers.filter(|(_, server)| server.alone().0 <= now);
        let (index, server) =
            free.min_by_key(|(_, server)| server.under_way.load(Ordering::Relaxed))?;
        server.under_way.fetch_add(1, Ordering::Relaxed);
        Some(index)
    }

    fn ask(&self, index: usize, path: &str, kind: &str, body: &[u8]) -> Answer {
        let server = &self.servers[index];
        let url = format!("{}{path}", server.url);
        let mut request = self
            .agent
            .post(&url)
            .header("content-type", kind)
            .header("x-expect-fingerprint", self.fingerprint.to_string());
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let sent = request.send(body);
        let answer = sent
            .map_err(|error| error.to_string())
            .and_then(|mut answer| {
                let status = answer.status().as_u16();
                let header = answer.headers().get("retry-after");
                let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
                let reader = answer.body_mut().with_config().limit(LARGEST_ANSWER);
                let body = reader.read_to_vec().map_err(|error| error.to_string())?;
                Ok((status, seconds, body))
            });
        server.under_way.fetch_sub(1, Ordering::Relaxed);
        let (status, seconds, body) = match answer {
            Ok(answer) => answer,
            Err(error) => return Answer::Later(ALONE, format!("{url}: {error}")),
        };
        let json = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let detail = match json.get("detail") {
            Some(Value::String(detail)) => detail.clone(),
            _ => format!("{url} answered {status}"),
        };
        match status {
            200 => Answer::Json(json),
            400 | 413 | 415 | 422 => Answer::Refused(detail),
            408 | 429 | 502 | 503 | 504 => {
                let wait = seconds.map_or(ALONE, Duration::from_secs);
                Answer::Later(wait.min(LONGEST_ALONE), format!("{url}: {detail}"))
            }
            500 => Answer::Failed(detail),
            _ => Answer::Never(format!("{url} answered {status}: {detail}")),
        }
    }

    /// Leaves a service alone, each time for longer, until it answers.
    fn leave_alone(&self, index: usize, wait: Duration, why: &str) {
        let server = &self.servers[index];
        let mut alone = server.alone();
        let now = Instant::now();
        if alone.0 > now {
            return;
        }
        if alone.1.is_zero() {
            tracing::debug!(
                why,
                "a service takes nothing now; its rows go to the others"
            );
        }
        let longer = (alone.1 * 2).clamp(wait, LONGEST_ALONE);
        *alone = (now + longer, longer);
    }

    fn has_answered(&self, index: usize) {
        self.servers[index].alone().1 = Duration::ZERO;
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent(&self) -> Duration {
        self.answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

impl Server {
    /// Assignments cannot be left half done.
    fn alone(&self) -> std::sync::MutexGuard<'_, (Instant, Duration)> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn vector(answer: &Value) -> Outcome {
    let row = answer.get("embeddings").and_then(|rows| rows.get(0));
    let numbers = row.and_then(Value::as_array).map(|row| {
        let numbers = row
            .iter()
            .map(|number| number.as_f64().map(|number| number as f32));
        numbers.collect::<Option<Vec<f32>>>()
    });
    numbers.flatten().ok_or_else(|| {
        let error = "a service answered no vector: is it one of these?";
        Failure::Run(BulkError::Unusable(error.to_owned()))
    })
}

fn info(agent: &Agent, url: &str, key: Option<&str>) -> Result<Value, String> {
    let mut request = agent.get(format!("{}/info", url.trim_end_matches('/')));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let failed = |error: String| format!("{url} does not answer what it is: {error}");
    let mut answer = request.call().map_err(|error| failed(error.to_string()))?;
    if answer.status() != 200 {
        return Err(failed(format!("status {}", answer.status())));
    }
    let reader = answer.body_mut().with_config().limit(LARGEST_ANSWER);
    let body = reader
        .read_to_vec()
        .map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
}
