//! The service of one model: its engine, and whether it can embed. What it does for a client is
//! in [`Request`]; what the services of several models have in common is in `common`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::batcher::{Batcher, EngineState, Worker};
use crate::build_info::BuildInfo;
use crate::cache::{ImageKey, RowCache, TextKey};
use crate::common::Common;
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::not_ready::NotReady;
use crate::pool::WorkPool;
use crate::readiness::Readiness;
use crate::request::{Context, Request};
use crate::rows;
use crate::search::Searching;
use crate::settings::{Decode, ServiceSettings};
use crate::vectors::Score;
use siglip2_engine::{Engine, Prepare};
use siglip2_image::{Header, ImageError, ImageFormat, ImageLimits, Processor, Target};
use siglip2_model::fingerprint::{Fingerprint, Space, WeightsDigest};
use siglip2_model::text::{TextTokenizer, TokenizerError};

/// The longest that a decoder or tokenizer thread is expected to take for one job. The work of
/// a file is bounded to less than half of it, on a core of its own.
const LONGEST_JOB: Duration = Duration::from_secs(20);

/// What the service needs from a checkpoint, besides the engine that runs it.
pub struct Model {
    /// What clients are told about it.
    pub info: ModelInfo,
    /// Turns texts into token ids.
    pub tokenizer: TextTokenizer,
    /// The checkpoint's `logit_scale`, a natural logarithm.
    pub logit_scale: f32,
    /// The checkpoint's `logit_bias`.
    pub logit_bias: f32,
}

/// What clients are told about the model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// What requests call the model.
    pub name: String,
    /// Where it is from: a directory, a name on the hub or `demo`, as given by the user.
    pub source: String,
    /// The branch, tag or commit of the hub that was asked for; none where it is not from the hub.
    pub revision: Option<String>,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `siglip2-cpu` or `tensorrt`.
    pub engine: &'static str,
    /// The precision of products: `fp32`, `fp16`, `bf16`, `int8`, `fp8`.
    pub precision: &'static str,
    /// What decodes photos, once `auto` has been decided.
    pub decode: Decode,
    /// The worst cosine to FP32 that the engine's canaries had at the start, if known; where FP32
    /// was taken in place of another precision, that one's.
    pub agreement: Option<f64>,
    /// Floats per embedding.
    pub dimensions: usize,
    /// What images are resized to.
    pub images: Target,
    /// The largest batch of the engine.
    pub max_batch: usize,
    /// Token ids per text.
    pub text_tokens: usize,
    /// One sentence that describes the model.
    pub description: String,
    /// The program that runs it.
    pub build: BuildInfo,
}

/// Identifiers of the two vector spaces of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of L2-normalized vectors.
    pub normalized: Fingerprint,
    /// Of vectors as the towers' pooling returns them.
    pub pooled: Fingerprint,
}

impl Fingerprints {
    /// The identifier of the space of vectors that are normalized, or are not.
    pub fn of(self, normalized: bool) -> Fingerprint {
        if normalized {
            self.normalized
        } else {
            self.pooled
        }
    }
}

/// Whether the service can embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The model is being loaded.
    Starting,
    /// It embeds.
    Ready,
    /// It finishes what it accepted and accepts nothing new.
    Draining,
    /// The engine failed and is being rebuilt.
    Restarting,
    /// The engine has failed for good.
    Failed,
}

impl State {
    /// Its name, for `/health`.
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

/// The tokenizer fails on a plain text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tokenizer fails on a plain text: {0}")]
pub struct FaultyTokenizer(#[source] TokenizerError);

/// The service. Cheap to clone; all clones are the same service. It embeds nothing itself:
/// that is what a [`Request`] is for.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<TextTokenizer>,
    logit_scale: f32,
    logit_bias: f32,
    /// Exponential of `logit_scale`.
    scale: f64,
    bias: f64,
    common: Arc<Common>,
    running: OnceLock<Running>,
    /// Of images as they are stored, and turned.
    fingerprints: OnceLock<[Fingerprints; 2]>,
    searching: Searching,
    /// Whether the next photo is logged.
    warns_of_photos: AtomicBool,
    metrics: Arc<Metrics>,
    texts: Arc<RowCache<TextKey>>,
    images: Arc<RowCache<ImageKey>>,
}

/// What exists once there is an engine.
pub(crate) struct Running {
    pub(crate) prepare: Arc<dyn Prepare>,
    pub(crate) decoders: Arc<WorkPool>,
    pub(crate) tokenizers: WorkPool,
    pub(crate) batcher: Batcher,
    readiness: Option<Readiness>,
}

impl Service {
    /// A service that knows its model and has no engine yet: it can describe itself, and
    /// refuses to embed.
    pub fn new(model: Model, settings: ServiceSettings) -> Self {
        let metrics = Metrics::new();
        let common = Common::new(settings, Arc::clone(&metrics), 1);
        Self::beside(model, Arc::new(common), metrics)
    }

    /// The service of a model that may be one of several.
    pub(crate) fn beside(model: Model, common: Arc<Common>, metrics: Arc<Metrics>) -> Self {
        let settings = common.settings();
        Self(Arc::new(Inner {
            info: model.info,
            tokenizer: Arc::new(model.tokenizer),
            logit_scale: model.logit_scale,
            logit_bias: model.logit_bias,
            scale: f64::from(model.logit_scale).exp(),
            bias: f64::from(model.logit_bias),
            texts: RowCache::new(settings.text_cache_bytes),
            images: RowCache::new(settings.image_cache_bytes),
            running: OnceLock::new(),
            fingerprints: OnceLock::new(),
            searching: Searching::new(common.search_turn()),
            common,
            warns_of_photos: AtomicBool::new(false),
            metrics,
        }))
    }

    /// The checkpoint's `logit_scale`, a natural logarithm, and its `logit_bias`, which turn
    /// cosines into scores.
    pub fn logit_scale_and_bias(&self) -> (f32, f32) {
        (self.0.logit_scale, self.0.logit_bias)
    }

    /// A request to the service.
    #[must_use]
    pub fn request(&self, context: Context) -> Request {
        Request::new(self.clone(), context)
    }

    /// Says once in the log, when the first photo comes, that the model knows only drawings.
    pub fn warn_of_photos(&self) {
        self.0.warns_of_photos.store(true, Ordering::Relaxed);
    }

    /// The counters of this model; with one model those of the process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Gives the service its engine, on a thread of its own, and starts the threads that
    /// decode. From now on it embeds.
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread, or the service has an engine already.
    pub fn attach(&self, engine: Box<dyn Engine>) -> std::io::Result<()> {
        let worker = Worker {
            engine,
            rebuild: None,
        };
        self.attach_with(vec![worker], None)
    }

    /// Like [`Service::attach`], with several engines of the same kind, what rebuilds them if
    /// they fail, and the vectors by which readiness is checked.
    ///
    /// # Errors
    ///
    /// The same as for [`Service::attach`], and when there is no engine.
    pub fn attach_with(
        &self,
        workers: Vec<Worker>,
        readiness: Option<Readiness>,
    ) -> std::io::Result<()> {
        let no_engine = || std::io::Error::other("there is no engine");
        let prepare = workers.first().ok_or_else(no_engine)?.engine.preparer();
        let Inner {
            common, metrics, ..
        } = &*self.0;
        let (decoders, tokenizers) = common.pools(metrics)?;
        // A GPU runs batches of several engines at the same time by itself.
        let on_cores = workers.iter().all(|it| it.engine.info().device == "cpu");
        let turns = common.turns().filter(|_| on_cores);
        let rows = common.settings().max_queued_rows;
        let running = Running {
            prepare,
            decoders: Arc::new(decoders),
            tokenizers,
            batcher: Batcher::start_in_turns(workers, rows, Arc::clone(metrics), turns)?,
            readiness,
        };
        self.0
            .running
            .set(running)
            .map_err(|_| std::io::Error::other("the service has an engine already"))
    }

    /// What clients are told about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// Sets the vector space, once, before the engine is attached: the digest of the weights
    /// and how pictures are prepared. Without it a service has no fingerprints.
    pub fn identify(&self, weights: &WeightsDigest, processor: &Processor) {
        let stored = [
            &processor.identity()[..],
            self.settings().identity(self.0.info.decode).as_bytes(),
        ]
        .concat();
        let turned = [&stored[..], b" turned"].concat();
        let of = |image_processor: &[u8], normalized| {
            Fingerprint::of(Space {
                weights,
                tokenizer: &self.0.tokenizer,
                image_processor,
                precision: self.0.info.precision,
                normalized,
            })
        };
        let both = [stored, turned].map(|image_processor| Fingerprints {
            normalized: of(&image_processor, true),
            pooled: of(&image_processor, false),
        });
        // A second call would bring the same values.
        let _ = self.0.fingerprints.set(both);
    }

    /// Identifiers of the spaces of its vectors, once known: the weights are read for them
    /// while the model is loaded.
    pub fn fingerprints(&self) -> Option<Fingerprints> {
        self.fingerprints_of(self.settings().apply_orientation)
    }

    /// The same for requests whose images are turned as their orientation tag says, or are not.
    pub fn fingerprints_of(&self, apply_orientation: bool) -> Option<Fingerprints> {
        let [stored, turned] = *self.0.fingerprints.get()?;
        Some(if apply_orientation { turned } else { stored })
    }

    /// The limits in force.
    pub fn settings(&self) -> &ServiceSettings {
        self.0.common.settings()
    }

    /// Whether the service can embed. Never asks the device.
    pub fn state(&self) -> State {
        match self.running() {
            Some(running) if running.batcher.has_failed() => State::Failed,
            _ if self.0.common.is_draining() => State::Draining,
            Some(running) if *running.batcher.state().borrow() == EngineState::Rebuilding => {
                State::Restarting
            }
            Some(_) => State::Ready,
            None => State::Starting,
        }
    }

    /// Waits until the engine has failed for good, and returns why; waits for ever if there is
    /// none yet.
    pub async fn engine_failure(&self) -> String {
        let Some(running) = self.running() else {
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

    /// The token ids of the text by which readiness is checked.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails on it.
    pub fn readiness_ids(&self) -> Result<Vec<i32>, FaultyTokenizer> {
        self.0
            .tokenizer
            .encode("a yellow canary in a cage")
            .map_err(FaultyTokenizer)
    }

    /// Whether a thread is free for what is sent now, and a fixed image and a fixed text still
    /// give the vectors that they gave when the engine was loaded. See [`Readiness`].
    ///
    /// # Errors
    ///
    /// See [`NotReady`].
    pub async fn check_readiness(&self) -> Result<(), NotReady> {
        let Some(running) = self.running() else {
            return Ok(());
        };
        for (pool, what) in [
            (&*running.decoders, "decoding one image"),
            (&running.tokenizers, "tokenizing texts"),
        ] {
            if pool.is_stuck(LONGEST_JOB) {
                return Err(NotReady::Stuck {
                    what,
                    longer_than: LONGEST_JOB,
                });
            }
        }
        match &running.readiness {
            None => Ok(()),
            Some(readiness) => {
                let prepare = running.prepare.as_ref();
                readiness.check(&running.batcher, prepare).await
            }
        }
    }

    /// The memory that requests to all models hold, and its limits.
    pub fn memory(&self) -> &MemoryBudget {
        self.0.common.memory()
    }

    /// How well a text matches an image, from their L2-normalized embeddings.
    pub fn score(&self, text: &[f32], image: &[f32]) -> Score {
        Score::of(text, image, self.0.scale, self.0.bias)
    }

    /// How well a text matches an image, from the cosine of their embeddings.
    pub fn score_of(&self, cosine: f64) -> Score {
        Score::of_cosine(cosine, self.0.scale, self.0.bias)
    }

    /// From now on nothing new is accepted, for no model; what was accepted is finished.
    pub fn drain(&self) {
        self.0.common.drain();
    }

    /// Reads an image's header, so that a bad one is refused before it is decoded.
    ///
    /// # Errors
    ///
    /// If the bytes are not an image in a supported format, or the image is too large.
    pub fn inspect_image(&self, bytes: &[u8]) -> Result<(), ImageError> {
        self.inspect(bytes, &self.stored_limits()).map(|_header| ())
    }

    /// Like [`Service::inspect_image`], and returns the width and height in pixels, of the image as it
    /// is once it was turned, if it is to be.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn image_sides(&self, bytes: &[u8], turned: bool) -> Result<(u32, u32), ImageError> {
        let limits = ImageLimits {
            apply_orientation: turned,
            ..self.settings().image_limits()
        };
        self.inspect(bytes, &limits)
            .map(|header| (header.width, header.height))
    }

    /// The limits before it is known whether images are turned: the field that says so may stand
    /// behind them. `Request::limits` has those that are in force.
    fn stored_limits(&self) -> ImageLimits {
        ImageLimits {
            apply_orientation: false,
            ..self.settings().image_limits()
        }
    }

    /// The header of an image that can be decoded within the limits and the budget.
    pub(crate) fn inspect(&self, bytes: &[u8], limits: &ImageLimits) -> Result<Header, ImageError> {
        let header = siglip2_image::inspect(bytes, limits)?;
        let max_side = self.running().map(|running| running.prepare.max_side());
        if let Some(max_side) = max_side.filter(|&most| header.width.max(header.height) > most) {
            return Err(ImageError::TooLong {
                width: header.width,
                height: header.height,
                max_side,
            });
        }
        let (wanted, most) = (self.decode_bytes(&header), self.settings().picture_memory());
        if wanted > most {
            return Err(ImageError::TooComplex {
                format: header.format,
                reason: format!(
                    "decoding it takes {wanted} bytes of memory; at most {most} are allowed"
                ),
            });
        }
        // Cameras write JPEG, and few who draw do.
        if header.format == ImageFormat::Jpeg
            && self.0.warns_of_photos.swap(false, Ordering::Relaxed)
        {
            tracing::warn!(
                "an image looks like a photo, and the demo model knows only drawn shapes: its \
                 vectors and scores mean nothing for photos; for those start with another model, \
                 such as --model google/siglip2-base-patch16-224"
            );
        }
        Ok(header)
    }

    /// The most bytes that decoding and preparing a picture hold at the same time: its pixels,
    /// what its decoder or the two passes of the resize need besides, and the result. The
    /// pixels of a picture that is resized row by row are not among them.
    pub(crate) fn decode_bytes(&self, header: &Header) -> u64 {
        let by_rows = self
            .running()
            .and_then(|running| rows::by_rows(&*running.prepare, header));
        if let Some(processor) = by_rows {
            return header.rows_bytes(processor.target());
        }
        let target = self.0.info.images;
        let (between, resized) = target.resize_bytes(header.width, header.height);
        let pixels = header.pixel_bytes();
        header
            .whole_bytes()
            .max(pixels.saturating_add(between))
            .saturating_add(resized)
    }

    pub(crate) fn searching(&self) -> &Searching {
        &self.0.searching
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.0.running.get()
    }

    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.0.tokenizer
    }

    /// The factor of the cosine, and what is added to it before the sigmoid.
    pub(crate) fn logits(&self) -> (f64, f64) {
        (self.0.scale, self.0.bias)
    }

    pub(crate) fn texts(&self) -> &Arc<RowCache<TextKey>> {
        &self.0.texts
    }

    pub(crate) fn images(&self) -> &Arc<RowCache<ImageKey>> {
        &self.0.images
    }
}

impl Running {
    /// Counts how often computed rows became doubtful: see [`RowCache::find`].
    pub(crate) fn epoch(&self) -> u64 {
        self.batcher.failures() + self.readiness.as_ref().map_or(0, Readiness::failures)
    }

    /// A row of a request was not a vector: the service is not ready until a check succeeds.
    pub(crate) fn doubt(&self) {
        if let Some(readiness) = &self.readiness {
            readiness.doubt();
        }
    }

    /// Moves bulk work that an interactive request now waits for.
    pub(crate) fn promote(&self) {
        // Texts are tokenized before they are looked up, so none of them waits there.
        self.decoders.promote();
        self.batcher.promote();
    }
}
