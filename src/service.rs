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
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use crate::batcher::{BatchError, Batcher, Item, Permit, Permits, Ticket};
use crate::engine::{Engine, Prepare};
use crate::image::{self, ImageError, ImageLimits};
use crate::text::TextTokenizer;

mod vectors;

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
    /// The service cannot embed now.
    #[error("the service is {}", .0.as_str())]
    Unavailable(State),
    /// Our fault.
    #[error("{0}")]
    Internal(String),
}

/// The service: cheap to clone, every clone is the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<TextTokenizer>,
    /// Exponential of the checkpoint's `logit_scale`.
    scale: f64,
    bias: f64,
    settings: ServiceSettings,
    decoders: Arc<Semaphore>,
    running: OnceLock<Running>,
    draining: AtomicBool,
}

/// What there is once the engine is.
struct Running {
    prepare: Arc<dyn Prepare>,
    batcher: Batcher,
}

impl Service {
    /// A service that knows its model and has no engine yet: it answers what it is,
    /// and refuses to embed.
    pub fn new(model: Model, settings: ServiceSettings) -> Self {
        Self(Arc::new(Inner {
            info: model.info,
            tokenizer: Arc::new(model.tokenizer),
            scale: f64::from(model.logit_scale).exp(),
            bias: f64::from(model.logit_bias),
            decoders: Arc::new(Semaphore::new(settings.decoders.max(1))),
            settings,
            running: OnceLock::new(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Gives the service its engine, on a thread of its own. From here on it embeds.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or the service has an engine already.
    pub fn attach(&self, engine: Box<dyn Engine>) -> std::io::Result<()> {
        let running = Running {
            prepare: engine.preparer(),
            batcher: Batcher::start(engine, self.0.settings.max_queued_rows)?,
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
            Some(_) => State::Ready,
            None => State::Starting,
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
        let (State::Ready, Some(running)) = (self.state(), self.0.running.get()) else {
            return Err(ServiceError::Unavailable(self.state()));
        };
        let most = self.0.settings.max_queued_rows;
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
        Ok((running, permits))
    }

    async fn text_rows(
        &self,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let tickets = self.submit_texts(texts, permits).await?;
        self.rows(tickets).await
    }

    async fn submit_texts(
        &self,
        texts: Vec<String>,
        permits: &mut Permits,
    ) -> Result<Vec<Ticket>, ServiceError> {
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
            self.off_thread(tokenize).await?
        };
        ids.map_err(|error| ServiceError::Internal(format!("tokenizing failed: {error}")))?
            .into_iter()
            .map(|ids| {
                let permit = one(permits)?;
                permit
                    .submit(Item::Text(ids))
                    .map_err(|error| self.batch_error(error))
            })
            .collect()
    }

    async fn image_rows(
        &self,
        running: &Running,
        images: Vec<Bytes>,
        permits: &mut Permits,
    ) -> Result<Vec<Vec<f32>>, ServiceError> {
        let one_by_one = images
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| Ok(self.image_row(running, index, bytes, one(permits)?)))
            .collect::<Result<Vec<_>, ServiceError>>()?;
        try_join_all(one_by_one).await
    }

    async fn image_row(
        &self,
        running: &Running,
        index: usize,
        bytes: Bytes,
        permit: Permit,
    ) -> Result<Vec<f32>, ServiceError> {
        let limits = self.0.settings.image_limits;
        let prepare = Arc::clone(&running.prepare);
        let ticket = self
            .off_thread(move || {
                let pixels = image::decode(&bytes, &limits)
                    .and_then(|image| prepare.prepare(&image))
                    .map_err(|error| ServiceError::Image { index, error })?;
                Ok(permit.submit(Item::Image(pixels)))
            })
            .await??
            .map_err(|error| self.batch_error(error))?;
        self.row(ticket).await
    }

    /// Runs work that takes the CPU for long, on at most as many threads as there
    /// are decoders. A request that is dropped while it waits here leaves nothing
    /// behind; work that has begun is finished and its result dropped.
    async fn off_thread<T, F>(&self, work: F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let slot = Arc::clone(&self.0.decoders)
            .acquire_owned()
            .await
            .map_err(|_| ServiceError::Unavailable(State::Draining))?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        })
        .await
        .map_err(|error| ServiceError::Internal(format!("a decoding task failed: {error}")))
    }

    async fn rows(&self, tickets: Vec<Ticket>) -> Result<Vec<Vec<f32>>, ServiceError> {
        let mut rows = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            rows.push(self.row(ticket).await?);
        }
        Ok(rows)
    }

    async fn row(&self, ticket: Ticket) -> Result<Vec<f32>, ServiceError> {
        ticket.row().await.map_err(|error| self.batch_error(error))
    }

    fn batch_error(&self, error: BatchError) -> ServiceError {
        match error {
            BatchError::Stopped => ServiceError::Unavailable(match self.state() {
                State::Ready => State::Draining,
                state => state,
            }),
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
