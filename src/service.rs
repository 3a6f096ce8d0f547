//! What the service does, without HTTP: embed texts and images, compare them, rank.
//!
//! ```text
//! texts  --tokenize--------------------+
//!                                      +--> batcher --> rows --> normalize, compare, rank
//! images --decode, prepare-------------+
//!          (one task per core at most)
//! ```
//!
//! A request takes the permits for all its rows before anything of it is decoded,
//! so it is refused early or carried through. Dropping the future of a request
//! takes back whatever of it has not begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::batcher::{
    BatchError, Batcher, BatcherOptions, EngineState, Item, Permit, Permits, Rebuild, Row, Ticket,
    largest_request,
};
use crate::engine::{Engine, Prepare};
use crate::image::{self, ImageError, ImageLimits};
use crate::metrics::{Lookup, Metrics, Stage, Timings};
use crate::text::TextTokenizer;

mod cache;
mod canary;
mod vectors;

use cache::{Flight, Found, TextCache};
pub use canary::Canary;

pub use vectors::{Embeddings, Ranked, Similarity};

/// Texts longer than this, in bytes over the whole request, are tokenized off the
/// async threads. A text of this length takes well under a millisecond.
const INLINE_TEXT_BYTES: usize = 4096;

/// When to try again after a refusal: about what a full queue takes to move on.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the service must know of a checkpoint, besides the engine that runs it.
pub struct Model {
    /// What clients are told.
    pub info: ModelInfo,
    /// Text to token ids.
    pub tokenizer: TextTokenizer,
    /// The checkpoint's `logit_scale`, a natural logarithm.
    pub logit_scale: f32,
    /// The checkpoint's `logit_bias`.
    pub logit_bias: f32,
}

/// Bounds of the service.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Rows (images and texts together) that may be under way at once.
    pub max_queued_rows: usize,
    /// What an image may be.
    pub image_limits: ImageLimits,
    /// Images that are decoded at the same time.
    pub decoders: usize,
    /// Bytes that pictures may take while they are decoded and resized, all together.
    pub max_decoded_bytes: u64,
    /// Bytes that remembered text embeddings may take; 0 remembers none.
    pub text_cache_bytes: usize,
}

impl ServiceSettings {
    /// The room for pictures, in units of [`DECODE_UNIT`].
    fn decode_units(&self) -> u32 {
        let units = (self.max_decoded_bytes / DECODE_UNIT).max(1);
        u32::try_from(units).unwrap_or(u32::MAX).min(1 << 28)
    }
}

/// What clients are told of the model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The model's name, as it was asked for.
    pub name: String,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `rten` or `tensorrt`.
    pub engine: &'static str,
    /// What the products are computed in: `fp32`, `fp16`, `bf16`.
    pub precision: &'static str,
    /// Floats per embedding.
    pub dimensions: usize,
    /// Side of the square that images are resized to, in pixels.
    pub image_size: u32,
    /// The largest batch of the engine.
    pub max_batch: usize,
    /// Token ids per text.
    pub text_tokens: usize,
    /// One sentence on what the model is for.
    pub description: String,
}

/// Whether the service can embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The model is being loaded.
    Starting,
    /// It embeds.
    Ready,
    /// It finishes what it accepted and takes nothing new.
    Draining,
    /// The engine failed, and is being built anew.
    Restarting,
    /// The engine is dead.
    Failed,
}

impl State {
    /// The word for `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ok",
            State::Draining => "draining",
            State::Restarting => "restarting",
            State::Failed => "failed",
        }
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// One of the images is no good.
    #[error("image {index}: {error}")]
    Image {
        /// Which of the request's images, from 0.
        index: usize,
        /// What is wrong with it.
        error: ImageError,
    },
    /// The queue is full; nothing was started.
    #[error("the queue is full; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// More rows than the queue holds when it is empty.
    #[error("{what}")]
    TooMuch {
        /// What is too much, and how much is allowed.
        what: String,
    },
    /// The request's deadline passed while it waited.
    #[error("the deadline passed while the request waited")]
    Late,
    /// The service cannot embed now.
    #[error("the service is {}", .0.as_str())]
    Unavailable(State),
    /// Our fault.
    #[error("{0}")]
    Internal(String),
}

/// The request that work is done for.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// What has not begun by then is not begun.
    pub deadline: Option<Instant>,
    /// Where it is noted what the stages took.
    pub timings: Arc<Timings>,
}

/// The service: cheap to clone, every clone is the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>, Context);

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<TextTokenizer>,
    /// Exponential of the checkpoint's `logit_scale`.
    scale: f64,
    bias: f64,
    settings: ServiceSettings,
    decoders: Arc<Semaphore>,
    /// Who wants to decode for a bulk request stands here first. There are as many
    /// places as decoders, so that an interactive image has no more than those
    /// before it, however many images the bulk has.
    bulk_decoders: Arc<Semaphore>,
    /// Memory that decoded pictures may take, in units of [`DECODE_UNIT`].
    decode_room: Arc<Semaphore>,
    running: OnceLock<Running>,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
    cache: Arc<TextCache>,
}

/// A row of a text: here, or to come.
enum TextRow {
    Here(Vec<f32>),
    Coming(Flight),
}

/// What there is once the engine is.
struct Running {
    prepare: Arc<dyn Prepare>,
    batcher: Batcher,
    canary: Option<Canary>,
}

/// The endpoints that requests are counted by.
pub const ENDPOINTS: [&str; 13] = [
    "root",
    "openapi",
    "health",
    "ready",
    "metrics",
    "info",
    "embed_text",
    "embed_image",
    "embed_images",
    "similarity",
    "rank",
    "unknown",
    "malformed",
];

/// The memory of pictures is counted in these, because a semaphore counts to 2^29 on
/// machines of 32 bits.
const DECODE_UNIT: u64 = 64 << 10;

impl Service {
    /// A service that knows its model and has no engine yet: it answers what it is,
    /// and refuses to embed.
    pub fn new(model: Model, settings: ServiceSettings) -> Self {
        let decoders = || Arc::new(Semaphore::new(settings.decoders.max(1)));
        let inner = Inner {
            info: model.info,
            tokenizer: Arc::new(model.tokenizer),
            scale: f64::from(model.logit_scale).exp(),
            bias: f64::from(model.logit_bias),
            decoders: decoders(),
            bulk_decoders: decoders(),
            decode_room: Arc::new(Semaphore::new(settings.decode_units() as usize)),
            cache: TextCache::new(settings.text_cache_bytes),
            settings,
            running: OnceLock::new(),
            draining: AtomicBool::new(false),
            metrics: Metrics::new(&ENDPOINTS),
        };
        Self(Arc::new(inner), Context::default())
    }

    /// The same service, working for one request.
    #[must_use]
    pub fn within(&self, context: Context) -> Self {
        Self(Arc::clone(&self.0), context)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Gives the service its engine, on a thread of its own. From here on it embeds.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or the service has an engine already.
    pub fn attach(&self, engine: Box<dyn Engine>) -> std::io::Result<()> {
        self.attach_with(engine, None, None)
    }

    /// As [`Service::attach`], with what replaces the engine if it fails, and with
    /// the vectors that its readiness is told by.
    ///
    /// # Errors
    ///
    /// As for [`Service::attach`].
    pub fn attach_with(
        &self,
        engine: Box<dyn Engine>,
        rebuild: Option<Rebuild>,
        canary: Option<Canary>,
    ) -> std::io::Result<()> {
        let running = Running {
            prepare: engine.preparer(),
            batcher: Batcher::with(
                engine,
                BatcherOptions {
                    capacity: self.0.settings.max_queued_rows,
                    rebuild,
                    metrics: Arc::clone(&self.0.metrics),
                },
            )?,
            canary,
        };
        self.0
            .running
            .set(running)
            .map_err(|_| std::io::Error::other("the service has an engine already"))
    }

    /// What clients are told of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// The bounds in force.
    pub fn settings(&self) -> &ServiceSettings {
        &self.0.settings
    }

    /// Whether the service can embed. Never asks the device.
    pub fn state(&self) -> State {
        match self.0.running.get() {
            Some(running) if running.batcher.has_failed() => State::Failed,
            _ if self.0.draining.load(Ordering::Acquire) => State::Draining,
            Some(running) if *running.batcher.state().borrow() == EngineState::Rebuilding => {
                State::Restarting
            }
            Some(_) => State::Ready,
            None => State::Starting,
        }
    }

    /// Waits until the engine is dead, and says why; for ever, if there is none yet.
    pub async fn engine_failure(&self) -> String {
        let Some(running) = self.0.running.get() else {
            return std::future::pending().await;
        };
        let mut state = running.batcher.state();
        loop {
            if let EngineState::Failed(reason) = &*state.borrow_and_update() {
                return reason.clone();
            }
            if state.changed().await.is_err() {
                return "the engine has stopped".to_owned();
            }
        }
    }

    /// The token ids of the text that readiness is told by.
    ///
    /// # Errors
    ///
    /// A sentence, when the tokenizer fails on it.
    pub fn canary_ids(&self) -> Result<Vec<i32>, String> {
        self.0
            .tokenizer
            .encode("a yellow canary in a cage")
            .map_err(|error| format!("the tokenizer fails on a plain text: {error}"))
    }

    /// Whether a fixed image and a fixed text still give the vectors that they gave
    /// when the engine was loaded. See [`Canary`].
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub async fn check_canary(&self) -> Result<(), String> {
        match self.0.running.get() {
            Some(Running {
                batcher,
                canary: Some(canary),
                ..
            }) => canary.check(batcher).await,
            _ => Ok(()),
        }
    }

    /// From now on nothing new is taken; what was accepted is finished.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Reads an image's header, so that a bad one is refused before it is decoded.
    ///
    /// # Errors
    ///
    /// When the bytes are no image that the service takes, or too large a one.
    pub fn inspect_image(&self, bytes: &[u8]) -> Result<(), ImageError> {
        image::inspect(bytes, &self.0.settings.image_limits).map(|_header| ())
    }

    /// One embedding per text, L2-normalized if asked for, else the text tower's
    /// pooled output.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn embed_texts(
        &self,
        texts: Vec<String>,
        normalize: bool,
    ) -> Result<Embeddings, ServiceError> {
        let (_, mut permits) = self.reserve(texts.len())?;
        let rows = self.text_rows(texts, &mut permits).await?;
        Ok(self.embeddings(rows, normalize))
    }

    /// One embedding per image, L2-normalized if asked for, else the vision tower's
    /// pooled output.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`]; one bad image fails the whole request, and is named.
    pub async fn embed_images(
        &self,
        images: Vec<Bytes>,
        normalize: bool,
    ) -> Result<Embeddings, ServiceError> {
        let (running, mut permits) = self.reserve(images.len())?;
        let rows = self.image_rows(running, images, &mut permits).await?;
        Ok(self.embeddings(rows, normalize))
    }

    /// How well every text fits every image.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn similarity(
        &self,
        images: Vec<Bytes>,
        texts: Vec<String>,
    ) -> Result<Similarity, ServiceError> {
        let (running, mut permits) = self.reserve(images.len() + texts.len())?;
        // Texts first: they reach the engine while the images are still decoded.
        let tickets = self.submit_texts(texts, &mut permits).await?;
        let images = self.image_rows(running, images, &mut permits).await?;
        let texts = self.rows(tickets).await?;
        Ok(vectors::similarity(
            self.embeddings(texts, true),
            self.embeddings(images, true),
            self.0.scale,
            self.0.bias,
        ))
    }

    /// The images by how well they fit the query, best first.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn rank(
        &self,
        images: Vec<Bytes>,
        query: String,
    ) -> Result<Vec<Ranked>, ServiceError> {
        let similarity = self.similarity(images, vec![query]).await?;
        Ok(vectors::rank(
            similarity.similarities.first().map_or(&[], Vec::as_slice),
        ))
    }

    fn reserve(&self, rows: usize) -> Result<(&Running, Permits), ServiceError> {
        // Draining is no reason: who calls has been accepted before it began.
        let (State::Ready | State::Draining, Some(running)) = (self.state(), self.0.running.get())
        else {
            return Err(ServiceError::Unavailable(self.state()));
        };
        let most = largest_request(self.0.settings.max_queued_rows);
        if rows > most {
            return Err(ServiceError::TooMuch {
                what: format!(
                    "the request has {rows} images and texts together, and the service takes \
                     {most} at once"
                ),
            });
        }
        let permits = running
            .batcher
            .reserve(rows)
            .map_err(|_| ServiceError::Busy {
                retry_after: RETRY_AFTER,
            })?;
        Ok((running, permits.until(self.1.deadline)))
    }

    async fn text_rows(
        &self,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let rows = self.submit_texts(texts, permits).await?;
        self.rows(rows).await
    }

    /// Every text is looked up, shared or put into the lane before any is waited for.
    async fn submit_texts(
        &self,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<Vec<TextRow>, ServiceError> {
        let bytes: usize = texts.iter().map(String::len).sum();
        let tokenizer = Arc::clone(&self.0.tokenizer);
        let tokenize = move || {
            texts
                .iter()
                .map(|text| tokenizer.encode(text))
                .collect::<Result<Vec<_>, _>>()
        };
        let ids = if bytes <= INLINE_TEXT_BYTES {
            tokenize()
        } else {
            self.off_thread(permits.are_interactive(), tokenize).await?
        };
        ids.map_err(|error| ServiceError::Internal(format!("tokenizing failed: {error}")))?
            .into_iter()
            .map(|ids| {
                // Given back at once where there is nothing to compute.
                let permit = one(permits)?;
                let deadline = self.1.deadline;
                let cache = &self.0.cache;
                Ok(match cache.find(&ids, deadline) {
                    Found::Row(row) => {
                        self.looked_up(Lookup::Hit);
                        TextRow::Here(row)
                    }
                    Found::Flight(flight) => {
                        self.looked_up(Lookup::Shared);
                        TextRow::Coming(flight)
                    }
                    Found::Nothing => {
                        self.looked_up(Lookup::Miss);
                        let ticket = permit
                            .submit(Item::Text(ids.clone()))
                            .map_err(|error| self.batch_error(error))?;
                        TextRow::Coming(cache.fly(ids, ticket, deadline))
                    }
                })
            })
            .collect()
    }

    async fn image_rows(
        &self,
        running: &Running,
        images: Vec<Bytes>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let interactive = permits.are_interactive();
        let one_by_one = images
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| {
                Ok(self.image_row(running, interactive, index, bytes, one(permits)?))
            })
            .collect::<Result<Vec<_>, ServiceError>>()?;
        try_join_all(one_by_one).await
    }

    async fn image_row(
        &self,
        running: &Running,
        interactive: bool,
        index: usize,
        bytes: Bytes,
        permit: Permit,
    ) -> Result<Vec<f32>, ServiceError> {
        let limits = self.0.settings.image_limits;
        let prepare = Arc::clone(&running.prepare);
        let metrics = Arc::clone(&self.0.metrics);
        let Context { timings, deadline } = self.1.clone();
        let bad = move |error| ServiceError::Image { index, error };
        let header = image::inspect(&bytes, &limits).map_err(bad)?;
        let room = self
            .decode_room(u64::from(header.width) * u64::from(header.height) * 3)
            .await?;
        let ticket = self
            .off_thread(interactive, move || {
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Err(ServiceError::Late);
                }
                let stage = |stage, since: Instant| {
                    metrics.stage(stage, since.elapsed());
                    timings.note(stage, since.elapsed());
                };
                let begun = Instant::now();
                let image = image::decode(&bytes, &limits).map_err(bad)?;
                stage(Stage::Decode, begun);
                let begun = Instant::now();
                let pixels = prepare.prepare(&image).map_err(bad)?;
                stage(Stage::Prepare, begun);
                drop((image, bytes, room));
                Ok(permit.submit(Item::Image(pixels)))
            })
            .await??
            .map_err(|error| self.batch_error(error))?;
        self.row(ticket).await
    }

    /// Runs work that takes the CPU for long, on at most as many threads as there
    /// are decoders. A request that is dropped while it waits here leaves nothing
    /// behind; work that has begun is finished and its result dropped.
    async fn off_thread<T, F>(&self, interactive: bool, work: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let closed = |_| ServiceError::Unavailable(State::Draining);
        let bulk = match interactive {
            true => None,
            false => Some(
                Arc::clone(&self.0.bulk_decoders)
                    .acquire_owned()
                    .await
                    .map_err(closed)?,
            ),
        };
        let slot = Arc::clone(&self.0.decoders)
            .acquire_owned()
            .await
            .map_err(closed)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((slot, bulk));
            result
        })
        .await
        .map_err(|error| ServiceError::Internal(format!("a decoding task failed: {error}")))
    }

    /// Waits until a picture of so many bytes has room in memory. One that is larger
    /// than all the room has it to itself.
    async fn decode_room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, ServiceError> {
        let units = bytes
            .div_ceil(DECODE_UNIT)
            .min(u64::from(self.0.settings.decode_units()));
        Arc::clone(&self.0.decode_room)
            .acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX))
            .await
            .map_err(|_| ServiceError::Unavailable(State::Draining))
    }

    async fn rows(&self, pending: Vec<TextRow>) -> Result<Vec<Vec<f32>>, ServiceError> {
        let mut rows = Vec::with_capacity(pending.len());
        for row in pending {
            rows.push(match row {
                TextRow::Here(row) => row,
                TextRow::Coming(flight) => self.timed(flight.await)?,
            });
        }
        Ok(rows)
    }

    fn looked_up(&self, what: Lookup) {
        self.0.metrics.looked_up(what);
        self.1.timings.looked_up(what);
    }

    async fn row(&self, ticket: Ticket) -> Result<Vec<f32>, ServiceError> {
        self.timed(ticket.timed().await)
    }

    /// Notes what a row took.
    fn timed(&self, row: Result<Row, BatchError>) -> Result<Vec<f32>, ServiceError> {
        let row = row.map_err(|error| self.batch_error(error))?;
        self.1.timings.note(Stage::Queue, row.queued);
        self.1.timings.note(Stage::Compute, row.computed);
        Ok(row.values)
    }

    fn batch_error(&self, error: BatchError) -> ServiceError {
        match error {
            BatchError::Stopped => ServiceError::Unavailable(match self.state() {
                State::Ready => State::Draining,
                state => state,
            }),
            BatchError::Late => ServiceError::Late,
            BatchError::Engine(error) => ServiceError::Internal(error.to_string()),
        }
    }

    fn embeddings(&self, rows: Vec<Vec<f32>>, normalize: bool) -> Embeddings {
        let mut embeddings = Embeddings::new(self.0.info.dimensions, rows);
        if normalize {
            embeddings.normalize();
        }
        embeddings
    }
}

/// A request takes as many permits as it has rows, so there is always one left.
fn one(permits: &mut Permits) -> Result<Permit, ServiceError> {
    permits
        .one()
        .ok_or_else(|| ServiceError::Internal("a row has no permit".into()))
}
