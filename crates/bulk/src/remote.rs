//! Running services over HTTP.
//!
//! ```text
//! rows --> queue --> a few requests under way at each service --> vectors
//!            ^            |
//!            +------------+-- refused: each row alone; full, gone: to whichever is free
//! ```
//!
//! A service that is free takes the next rows, so work goes to the faster ones. One that is
//! full (429), starting, or gone is left alone for a while, and its rows go to the others.
//! Every request names the fingerprint, so that a service that was started anew with another
//! model answers nothing.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use ureq::Agent;

use crate::embedder::{Failure, Outcome};
use crate::error::BulkError;
use crate::identity::Identity;
use crate::plan::Limits;

mod queue;
mod wire;

use queue::{Content, Most, Queue, Row};
use wire::{Answer, Wire};

/// Requests under way at each service: while one is computed, the next is received and the
/// last is answered.
const REQUESTS_EACH: usize = 4;

/// Rows of a request, and bytes of its files: enough that HTTP costs little, and few enough
/// that a service which is killed has little to lose.
const ROWS: usize = 32;
const FILE_BYTES: usize = 8 << 20;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

/// How long a service is left alone that is full or gone.
const ALONE: Duration = Duration::from_millis(500);
const LONGEST_ALONE: Duration = Duration::from_secs(10);

/// After so long in which no service took a row, but was full or gone, the run ends.
const GIVE_UP: Duration = Duration::from_secs(300);

/// How often a row is tried that a service fails on.
const TRIES: u32 = 3;

/// How often a row is tried on which the connection breaks, though the service answers others.
const BROKEN: u32 = 5;

/// Running services.
#[derive(Clone)]
pub struct Remote {
    services: Arc<Services>,
    workers: Arc<OnceLock<Workers>>,
}

struct Services {
    wire: Wire,
    servers: Vec<Server>,
    most: Most,
    queue: Queue,
    /// When any service last answered.
    answered: Mutex<Instant>,
}

struct Server {
    url: String,
    /// Until when it is left alone, and for how long it was the last time.
    alone: Mutex<(Instant, Duration)>,
}

/// Tasks that end with the last handle to the services.
struct Workers(Vec<JoinHandle<()>>);

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &self.0 {
            worker.abort();
        }
    }
}

impl Remote {
    /// Asks services what they are. They must all make the same vectors, and turn pictures if
    /// that is asked for.
    ///
    /// # Errors
    ///
    /// [`BulkError::Unusable`], when one does not answer or they differ.
    pub fn connect(
        urls: &[String],
        key: Option<String>,
        normalized: bool,
        apply_orientation: bool,
        version: &str,
    ) -> Result<(Self, Identity, Limits), BulkError> {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_idle_connections_per_host(REQUESTS_EACH)
            .max_idle_connections(REQUESTS_EACH * urls.len().max(1))
            .build()
            .into();
        let mut known: Option<(Identity, Limits)> = None;
        let mut most = Most {
            pictures: ROWS,
            picture_bytes: FILE_BYTES,
            texts: ROWS,
            text_bytes: FILE_BYTES,
        };
        for url in urls {
            let info = Wire::info(&agent, url, key.as_deref())?;
            let text = |name: &str| info.get(name).and_then(Value::as_str);
            let name = if normalized {
                "fingerprint"
            } else {
                "fingerprint_pooled"
            };
            let fingerprint = text(name)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    BulkError::Unusable(format!(
                        "{url} does not say the fingerprint of its vectors: is it loading?"
                    ))
                })?;
            let dimensions = info.get("vision_dim").and_then(Value::as_u64).unwrap_or(0);
            let limit = |name: &str| {
                let limit = info
                    .get("limits")
                    .and_then(|limits| limits.get(name)?.as_u64());
                usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX)
            };
            most.pictures = most.pictures.min(limit("max_images_per_request"));
            most.picture_bytes = most.picture_bytes.min(limit("payload_limit"));
            most.texts = most.texts.min(limit("max_texts_per_request"));
            most.text_bytes = most.text_bytes.min(limit("max_text_body_bytes"));
            let limits = Limits {
                max_image_pixels: limit("max_image_pixels"),
                max_jpeg_scans: limit("max_jpeg_scans"),
                max_request_memory: limit("max_request_memory") as u64,
            };
            let identity = Identity {
                fingerprint,
                // Where it is from, and not what that service calls it.
                model: text("model_id")
                    .or(text("model"))
                    .unwrap_or_default()
                    .to_owned(),
                precision: text("precision").unwrap_or_default().to_owned(),
                dimensions: usize::try_from(dimensions).unwrap_or(0),
                version: version.to_owned(),
            };
            let turns = info
                .get("limits")
                .and_then(|limits| limits.get("apply_orientation")?.as_bool());
            if apply_orientation && turns != Some(true) {
                return Err(BulkError::Unusable(format!(
                    "{url} does not turn pictures as their orientation tag says: start it with \
                     --apply-orientation, or leave that out here"
                )));
            }
            match &known {
                Some((first, _)) if first.fingerprint != fingerprint => {
                    return Err(BulkError::Unusable(format!(
                        "{url} has the model {} (fingerprint {fingerprint}), and {} has {} ({})",
                        identity.model, urls[0], first.model, first.fingerprint
                    )));
                }
                Some((_, first)) if *first != limits => {
                    return Err(BulkError::Unusable(format!(
                        "{url} refuses other pictures than {}: their --max-image-pixels, \
                         --max-jpeg-scans and --max-request-memory must be the same",
                        urls[0]
                    )));
                }
                Some(_) => {}
                None => known = Some((identity, limits)),
            }
        }
        let (identity, limits) =
            known.ok_or_else(|| BulkError::Unusable("--url names no service".to_owned()))?;
        let now = Instant::now();
        let server = |url: &String| Server {
            url: url.trim_end_matches('/').to_owned(),
            alone: Mutex::new((now, Duration::ZERO)),
        };
        let services = Services {
            wire: Wire {
                agent,
                key,
                fingerprint: identity.fingerprint,
                dimensions: identity.dimensions,
                normalize: normalized,
                wait: ALONE,
            },
            servers: urls.iter().map(server).collect(),
            most,
            queue: Queue::default(),
            answered: Mutex::new(now),
        };
        let remote = Self {
            services: Arc::new(services),
            workers: Arc::default(),
        };
        Ok((remote, identity, limits))
    }

    pub(crate) fn rows_under_way(&self) -> usize {
        self.services.servers.len() * REQUESTS_EACH * ROWS
    }

    pub(crate) async fn picture(&self, file: Bytes) -> Outcome {
        self.row(Content::Picture(file)).await
    }

    pub(crate) async fn text(&self, text: String) -> Outcome {
        self.row(Content::Text(text)).await
    }

    async fn row(&self, content: Content) -> Outcome {
        self.workers.get_or_init(|| {
            let servers = 0..self.services.servers.len();
            let workers = servers.flat_map(|server| std::iter::repeat_n(server, REQUESTS_EACH));
            let start = |server| tokio::spawn(Arc::clone(&self.services).work(server));
            Workers(workers.map(start).collect())
        });
        let (answer, told) = oneshot::channel();
        self.services.queue.put(Row {
            content,
            alone: false,
            failed: 0,
            broken: 0,
            began: Instant::now(),
            answer,
        });
        told.await.unwrap_or_else(|_| {
            let error = "asking the services failed; the log says where".to_owned();
            Err(Failure::Run(BulkError::Engine(error)))
        })
    }
}

/// Gives rows their failure.
fn fail(rows: Vec<Row>, failure: impl Fn() -> Failure) {
    for row in rows {
        // Who does not wait any more needs no answer.
        let _ = row.answer.send(Err(failure()));
    }
}

impl Services {
    /// One of the requests at a service, again and again.
    async fn work(self: Arc<Self>, server: usize) {
        loop {
            let until = self.servers[server].alone().0;
            tokio::time::sleep_until(until.into()).await;
            let rows = self.queue.take(self.most).await;
            if self.servers[server].alone().0 > Instant::now() {
                self.put_back(rows);
                continue;
            }
            let services = Arc::clone(&self);
            let asked = tokio::task::spawn_blocking(move || {
                let url = &services.servers[server].url;
                let answer = services.wire.ask(url, &rows);
                // Whether it is the request or the service that is broken.
                let lives = matches!(answer, Answer::Broken(_))
                    && Wire::info(&services.wire.agent, url, services.wire.key.as_deref()).is_ok();
                (rows, answer, lives)
            });
            // If it panics, its rows are told so by their channels.
            if let Ok((rows, answer, lives)) = asked.await {
                self.answered(server, rows, answer, lives);
            }
        }
    }

    /// Tells rows what came of their request, or lets them be asked for again.
    fn answered(&self, server: usize, mut rows: Vec<Row>, answer: Answer, lives: bool) {
        let is_single = rows.len() == 1;
        if lives || !matches!(answer, Answer::Later(..) | Answer::Broken(_)) {
            self.has_answered(server);
        }
        match answer {
            Answer::Rows(vectors) => {
                let mut again = Vec::new();
                for (mut row, vector) in rows.into_iter().zip(vectors) {
                    match vector {
                        Some(vector) => {
                            let _ = row.answer.send(Ok(vector));
                        }
                        // Alone it is told what is wrong with it.
                        None => {
                            row.alone = true;
                            again.push(row);
                        }
                    }
                }
                self.put_back(again);
            }
            Answer::Refused(why) if is_single => fail(rows, || Failure::Row(why.clone())),
            Answer::Never(why) => fail(rows, || Failure::Run(BulkError::Unusable(why.clone()))),
            Answer::Later(wait, why) => {
                self.leave_alone(server, wait, &why);
                self.again(rows, &why);
            }
            Answer::Broken(why) if !lives => {
                self.leave_alone(server, ALONE, &why);
                self.again(rows, &why);
            }
            Answer::Failed(why) if is_single => {
                (rows[0].alone, rows[0].failed) = (true, rows[0].failed + 1);
                if rows[0].failed == TRIES {
                    let error = format!("services failed {TRIES} times on it: {why}");
                    fail(rows, || Failure::Row(error.clone()));
                } else {
                    self.put_back(rows);
                }
            }
            Answer::Broken(why) if is_single => {
                self.leave_alone(server, ALONE, &why);
                (rows[0].alone, rows[0].broken) = (true, rows[0].broken + 1);
                if rows[0].broken == BROKEN {
                    let error = format!(
                        "a row was sent {BROKEN} times without an answer, though the service \
                         answers others; is there a proxy that does not let it pass? The last \
                         time: {why}"
                    );
                    fail(rows, || Failure::Run(BulkError::Engine(error.clone())));
                } else {
                    self.again(rows, &why);
                }
            }
            // Which of them it is about is seen when each is asked for alone.
            Answer::Refused(_) | Answer::Failed(_) | Answer::Broken(_) => {
                for row in &mut rows {
                    row.alone = true;
                }
                self.put_back(rows);
            }
        }
    }

    fn put_back(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            self.queue.put_back(rows);
        }
    }

    /// Lets rows be asked for again, unless nobody has taken one for too long.
    fn again(&self, rows: Vec<Row>, why: &str) {
        let oldest = rows.iter().map(|row| row.began.elapsed()).max();
        if self.silent().min(oldest.unwrap_or_default()) <= GIVE_UP {
            return self.put_back(rows);
        }
        let error = format!(
            "no service has taken a row for {} s; the last said: {why}",
            GIVE_UP.as_secs()
        );
        fail(rows, || Failure::Run(BulkError::Engine(error.clone())));
    }

    /// Leaves a service alone, each time for longer, until it answers.
    fn leave_alone(&self, server: usize, wait: Duration, why: &str) {
        let mut alone = self.servers[server].alone();
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
        let wait = wait.min(LONGEST_ALONE);
        let longer = (alone.1 * 2).clamp(wait, LONGEST_ALONE);
        *alone = (now + longer, longer);
    }

    fn has_answered(&self, server: usize) {
        self.servers[server].alone().1 = Duration::ZERO;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn services(silent_for: Duration) -> Services {
        let now = Instant::now();
        Services {
            wire: Wire {
                agent: Agent::new_with_defaults(),
                key: None,
                fingerprint: "0123456789abcdef".parse().unwrap(),
                dimensions: 4,
                normalize: true,
                wait: ALONE,
            },
            servers: vec![Server {
                url: "http://a".into(),
                alone: Mutex::new((now, Duration::ZERO)),
            }],
            most: Most {
                pictures: 1,
                picture_bytes: 1,
                texts: 2,
                text_bytes: 100,
            },
            queue: Queue::default(),
            answered: Mutex::new(now.checked_sub(silent_for).unwrap()),
        }
    }

    fn row(waits_for: Duration) -> (Row, oneshot::Receiver<Outcome>) {
        let (answer, told) = oneshot::channel();
        let row = Row {
            content: Content::Text("a".into()),
            alone: false,
            failed: 0,
            broken: 0,
            began: Instant::now().checked_sub(waits_for).unwrap(),
            answer,
        };
        (row, told)
    }

    #[test]
    fn a_run_ends_when_no_service_has_taken_a_row_for_five_minutes() {
        let long = GIVE_UP + Duration::from_secs(1);
        let short = GIVE_UP / 2;
        let full = || Answer::Later(ALONE, "full".into());
        let gone = || Answer::Broken("gone".into());
        for (silent, waits, answer, ends) in [
            (long, long, full(), true),
            (long, long, gone(), true),
            // Another service took rows meanwhile, or the row has only come.
            (short, long, full(), false),
            (long, short, gone(), false),
        ] {
            let services = services(silent);
            let (row, mut told) = row(waits);
            services.answered(0, vec![row], answer, false);
            match told.try_recv() {
                Ok(Err(Failure::Run(BulkError::Engine(error)))) if ends => {
                    assert!(
                        error.contains("no service has taken a row for 300 s"),
                        "{error}"
                    );
                }
                Ok(_) => panic!("another end"),
                Err(_) => {
                    assert!(!ends, "the row still waits");
                    assert!(services.silent() >= silent, "being full is no answer");
                }
            }
        }
    }
}
