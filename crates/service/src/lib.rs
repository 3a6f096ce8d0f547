//! What the service does, without HTTP: embed texts and images, compare them, rank.
//!
//! ```text
//! texts  --tokenize--------------------+
//!                                      +--> batcher --> rows --> normalize, compare, rank
//! images --decode, prepare-------------+
//!          (on a thread for each core)
//! ```
//!
//! A request takes the permits for all its rows before anything of it is decoded,
//! so it is refused early or carried through. Dropping the future of a request
//! takes back whatever of it has not begun.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batcher::{Batcher, EngineState, Permits, Worker, largest_request};
use crate::metrics::{Metrics, Timings};
use siglip2_engine::{Engine, Prepare};
use siglip2_image::ImageError;
use siglip2_model::text::TextTokenizer;

pub mod batcher;
mod build_info;
mod cache;
mod canary;
mod decoders;
pub mod metrics;
mod rows;
mod settings;
mod vectors;

pub use build_info::BuildInfo;
use cache::{ImageKey, RowCache, TextKey};
pub use canary::Canary;
use decoders::Decoders;

pub use settings::ServiceSettings;
pub use vectors::{Embeddings, Ranked, Similarity};

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

/// What clients are told of the model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The model's name, as it was asked for.
    pub name: String,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `siglip2-cpu` or `tensorrt`.
    pub engine: &'static str,
    /// What the products are computed in: `fp32`, `fp16`, `bf16`.
    pub precision: &'static str,
    /// The worst cosine to FP32 that the engine's canaries had at the start, if it is known.
    pub agreement: Option<f64>,
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
    /// The program that runs it.
    pub build: BuildInfo,
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
pub struct Service {
    inner: Arc<Inner>,
    context: Context,
}

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<TextTokenizer>,
    /// Exponential of the checkpoint's `logit_scale`.
    scale: f64,
    bias: f64,
    settings: ServiceSettings,
    running: OnceLock<Running>,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
    texts: Arc<RowCache<TextKey>>,
    images: Arc<RowCache<ImageKey>>,
}

/// What there is once the engine is.
struct Running {
    prepare: Arc<dyn Prepare>,
    decoders: Arc<Decoders>,
    batcher: Batcher,
    canary: Option<Canary>,
}

impl Service {
    /// A service that knows its model and has no engine yet: it answers what it is,
    /// and refuses to embed.
    pub fn new(model: Model, settings: ServiceSettings) -> Self {
        let inner = Inner {
            info: model.info,
            tokenizer: Arc::new(model.tokenizer),
            scale: f64::from(model.logit_scale).exp(),
            bias: f64::from(model.logit_bias),
            texts: RowCache::new(settings.text_cache_bytes),
            images: RowCache::new(settings.image_cache_bytes),
            settings,
            running: OnceLock::new(),
            draining: AtomicBool::new(false),
            metrics: Metrics::new(),
        };
        Self {
            inner: Arc::new(inner),
            context: Context::default(),
        }
    }

    /// The same service, working for one request.
    #[must_use]
    pub fn within(&self, context: Context) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            context,
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Gives the service its engine, on a thread of its own, and the threads that decode.
    /// From here on it embeds.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or the service has an engine already.
    pub fn attach(&self, engine: Box<dyn Engine>) -> std::io::Result<()> {
        let worker = Worker {
            engine,
            rebuild: None,
        };
        self.attach_with(vec![worker], None)
    }

    /// As [`Service::attach`], with several engines of the same kind, what replaces them
    /// if they fail, and the vectors that readiness is told by.
    ///
    /// # Errors
    ///
    /// As for [`Service::attach`], and when there is no engine.
    pub fn attach_with(&self, workers: Vec<Worker>, canary: Option<Canary>) -> std::io::Result<()> {
        let no_engine = || std::io::Error::other("there is no engine");
        let prepare = workers.first().ok_or_else(no_engine)?.engine.preparer();
        let ServiceSettings {
            max_queued_rows,
            decode_threads,
            max_decoded_bytes,
            ..
        } = self.inner.settings;
        let running = Running {
            prepare,
            decoders: Arc::new(Decoders::start(decode_threads, max_decoded_bytes)?),
            batcher: Batcher::start(workers, max_queued_rows, Arc::clone(&self.inner.metrics))?,
            canary,
        };
        self.inner
            .running
            .set(running)
            .map_err(|_| std::io::Error::other("the service has an engine already"))
    }

    /// What clients are told of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// The bounds in force.
    pub fn settings(&self) -> &ServiceSettings {
        &self.inner.settings
    }

    /// Whether the service can embed. Never asks the device.
    pub fn state(&self) -> State {
        match self.inner.running.get() {
            Some(running) if running.batcher.has_failed() => State::Failed,
            _ if self.inner.draining.load(Ordering::Acquire) => State::Draining,
            Some(running) if *running.batcher.state().borrow() == EngineState::Rebuilding => {
                State::Restarting
            }
            Some(_) => State::Ready,
            None => State::Starting,
        }
    }

    /// Waits until the engine is dead, and says why; for ever, if there is none yet.
    pub async fn engine_failure(&self) -> String {
        let Some(running) = self.inner.running.get() else {
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
        self.inner
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
        match self.inner.running.get() {
            Some(Running {
                batcher,
                canary: Some(canary),
                prepare,
                ..
            }) => canary.check(batcher, prepare.as_ref()).await,
            _ => Ok(()),
        }
    }

    /// From now on nothing new is taken; what was accepted is finished.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Reads an image's header, so that a bad one is refused before it is decoded.
    ///
    /// # Errors
    ///
    /// When the bytes are no image that the service takes, or too large a one.
    pub fn inspect_image(&self, bytes: &[u8]) -> Result<(), ImageError> {
        siglip2_image::inspect(bytes, &self.inner.settings.image_limits()).map(|_header| ())
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
        let (running, mut permits) = self.reserve(texts.len())?;
        let texts = self.submit_texts(running, texts, &mut permits).await?;
        let rows = self.text_rows(texts).await?;
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
        let texts = self.submit_texts(running, texts, &mut permits).await?;
        let images = self.image_rows(running, images, &mut permits).await?;
        let texts = self.text_rows(texts).await?;
        Ok(vectors::similarity(
            self.embeddings(texts, true),
            self.embeddings(images, true),
            self.inner.scale,
            self.inner.bias,
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
        let (State::Ready | State::Draining, Some(running)) =
            (self.state(), self.inner.running.get())
        else {
            return Err(ServiceError::Unavailable(self.state()));
        };
        let most = largest_request(self.inner.settings.max_queued_rows);
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
        Ok((running, permits.until(self.context.deadline)))
    }

    fn embeddings(&self, rows: Vec<Vec<f32>>, normalize: bool) -> Embeddings {
        let mut embeddings = Embeddings::new(self.inner.info.dimensions, rows);
        if normalize {
            embeddings.normalize();
        }
        embeddings
    }
}
