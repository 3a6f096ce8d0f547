//! What runs a tower: the only door to an inference runtime.
//!
//! ```text
//! RgbImage --Prepare--> Pixels  (any thread)  --+
//!                                               +--> Engine::submit --> Completion --> Rows
//! text::TextTokenizer --> token ids           --+    (one thread)       (any thread)
//! ```
//!
//! An [`Engine`] belongs to one thread, which hands it one batch after the other. An
//! engine that overlaps batches takes the next one before the last has come out, as many
//! as it has slots; a batch comes out through its [`Completion`]. What an image needs
//! before it can join a batch is done by the engine's [`Prepare`], on as many threads as
//! there are cores.
//!
//! An engine without a model, whose rows are the first two token ids of their texts:
//!
//! ```
//! use std::sync::Arc;
//!
//! use siglip2_engine::{Batch, Completion, Engine, EngineError, EngineInfo, Pixels, Prepare};
//! use siglip2_engine::{Rows, embed};
//! use siglip2_image::{ImageError, RgbImage};
//!
//! struct FirstIds;
//!
//! impl Prepare for FirstIds {
//!     fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
//!         Ok(Pixels::Decoded(image))
//!     }
//! }
//!
//! impl Engine for FirstIds {
//!     fn info(&self) -> EngineInfo {
//!         EngineInfo {
//!             name: "first ids",
//!             device: "cpu",
//!             precision: "fp32",
//!             agreement: None,
//!             dimensions: 2,
//!             max_batch: 8,
//!             slots: 1,
//!             device_timeout: None,
//!         }
//!     }
//!
//!     fn preparer(&self) -> Arc<dyn Prepare> {
//!         Arc::new(FirstIds)
//!     }
//!
//!     fn submit(&mut self, batch: Batch, done: Completion) {
//!         done.finish(match batch {
//!             Batch::Texts(texts) => {
//!                 let ids = texts.iter().flat_map(|ids| &ids[..2]);
//!                 Rows::new(2, ids.map(|&id| id as f32).collect())
//!             }
//!             Batch::Images(_) => Err(EngineError::Failed("it knows only texts".into())),
//!         });
//!     }
//! }
//!
//! let rows = embed(&mut FirstIds, Batch::Texts(vec![vec![7, 1, 0], vec![9, 1, 0]]))?;
//! assert_eq!(rows.iter().collect::<Vec<_>>(), [[7.0, 1.0], [9.0, 1.0]]);
//! # Ok::<(), EngineError>(())
//! ```

#![forbid(unsafe_code)]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use siglip2_image::{ImageError, ImageLimits, MAX_SIDE, PixelMemory, Processor, RgbImage};

mod cosine;
pub mod cpu;
mod pixels;

pub use cosine::cosine;
pub use pixels::{CodedImage, Pixels};
pub use siglip2_model::Tower;

/// What goes through a tower together. The engine owns it until its device has read the
/// last byte of it.
#[derive(Debug)]
pub enum Batch {
    /// Images that the engine's [`Prepare`] made ready.
    Images(Vec<Pixels>),
    /// Texts, each as many token ids as the checkpoint's text tower has positions.
    Texts(Vec<Vec<i32>>),
}

impl Batch {
    /// The tower that it goes through.
    pub fn tower(&self) -> Tower {
        match self {
            Batch::Images(_) => Tower::Image,
            Batch::Texts(_) => Tower::Text,
        }
    }

    /// How many rows will come out.
    pub fn len(&self) -> usize {
        match self {
            Batch::Images(images) => images.len(),
            Batch::Texts(texts) => texts.len(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where the rows of a batch go. It is called once, also when an engine drops it or
/// panics: then the batch has failed.
pub struct Completion(Option<WhenDone>);

type WhenDone = Box<dyn FnOnce(Result<Rows, EngineError>) + Send>;

impl Completion {
    /// Calls `answer` with what comes out.
    pub fn new(answer: impl FnOnce(Result<Rows, EngineError>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Passes on that the batch has come out, or failed.
    pub fn finish(mut self, result: Result<Rows, EngineError>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(EngineError::Failed(
                "it gave a batch up without an answer".into(),
            )));
        }
    }
}

/// The embeddings of one batch: one row of `dimensions` floats per item, in the
/// order of the items. They are the tower's pooled output, not normalized.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    dimensions: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Rows of `dimensions` floats each, one after the other in `values`.
    ///
    /// # Errors
    ///
    /// When `values` is not a whole number of rows.
    pub fn new(dimensions: usize, values: Vec<f32>) -> Result<Self, EngineError> {
        if dimensions == 0 || !values.len().is_multiple_of(dimensions) {
            return Err(EngineError::Failed(format!(
                "the engine answered {} values, which is not a whole number of rows of {dimensions}",
                values.len()
            )));
        }
        Ok(Self { dimensions, values })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows, in the order of the batch.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }
}

/// Why a batch, or the engine itself, could not run.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EngineError {
    /// The engine could not be built from the checkpoint.
    #[error("the {tower} tower could not be loaded: {reason}")]
    Load {
        /// Which tower.
        tower: Tower,
        /// What the runtime said.
        reason: String,
    },
    /// A batch failed; the engine itself may go on.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// The device is lost to this process, and every batch that it holds: only another
    /// process can have it again.
    #[error("the device is lost: {0}")]
    Lost(String),
}

/// What an engine says of itself, for `/info` and the log.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineInfo {
    /// `siglip2-cpu` or `tensorrt`.
    pub name: &'static str,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `fp32`, `fp16`, `bf16` or `int8`: what the products are computed in.
    pub precision: &'static str,
    /// The worst cosine between its canaries and the same in FP32, where it was asked for
    /// at the start: not for FP32 itself, unless that was taken because another precision was
    /// too far from it. Then it is the other's.
    pub agreement: Option<f64>,
    /// Floats per embedding.
    pub dimensions: usize,
    /// The largest batch of images and of texts that one run takes.
    pub max_batch: usize,
    /// Batches of each tower that may be in the engine at the same time. With more than
    /// one, the copies of one batch overlap the computing of another.
    pub slots: usize,
    /// How long it may have batches without one coming out. An engine that takes longer
    /// hangs, and is given up. `None` for one that always comes to an end.
    pub device_timeout: Option<Duration>,
}

/// Makes images ready for batches, on any thread.
pub trait Prepare: Send + Sync {
    /// Memory for `bytes` bytes of pixels that are about to be decoded, where the engine
    /// wants them to lie: with `None`, in memory of the process. It may wait until batches
    /// in the engine have given theirs back.
    ///
    /// # Errors
    ///
    /// When the engine has ended, or can never have so much.
    fn memory(&self, bytes: usize) -> Result<Option<Box<dyn PixelMemory>>, EngineError> {
        let _ = bytes;
        Ok(None)
    }

    /// Takes a file as it is, where the engine's device decodes such files itself. `None`: it is to
    /// be decoded here. It may wait, as [`Prepare::memory`] does.
    ///
    /// # Errors
    ///
    /// As for [`Prepare::memory`].
    fn take_coded(
        &self,
        file: &[u8],
        limits: &ImageLimits,
    ) -> Result<Option<CodedImage>, EngineError> {
        let _ = (file, limits);
        Ok(None)
    }

    /// What pictures are resized by, if that is done here: then one that is decoded row by row need
    /// not be in memory as a whole.
    fn processor(&self) -> Option<&Processor> {
        None
    }

    /// The longest side, in pixels, of a picture that can be made ready.
    fn max_side(&self) -> u32 {
        MAX_SIDE
    }

    /// Makes of an image what the engine takes.
    ///
    /// # Errors
    ///
    /// When the picture cannot be resized, for want of memory or because a side is
    /// beyond what the resizer takes.
    fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError>;

    /// Makes ready what [`Prepare::processor`] has already made of an image.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    fn prepare_resized(&self, image: RgbImage) -> Result<Pixels, ImageError> {
        Ok(Pixels::Decoded(image))
    }
}

/// Runs towers on one device. It is moved to the thread that owns the device and
/// stays there. Dropping it waits for the batches that it holds.
pub trait Engine: Send {
    /// What this engine is.
    fn info(&self) -> EngineInfo;

    /// The most pixels that the images of a batch have together, for an engine to which
    /// images are work by their sizes: then a batch has fewer than `max_batch` rows where
    /// they are large. An image that has more makes a batch of its own. `None` where all
    /// images are the same work.
    fn max_batch_pixels(&self) -> Option<u64> {
        None
    }

    /// What makes images ready for it.
    fn preparer(&self) -> Arc<dyn Prepare>;

    /// Takes a batch of at most `max_batch` rows, and of images with at most
    /// [`Engine::max_batch_pixels`] or a single one, while fewer than `slots` batches of its
    /// tower are under way. It may return before the batch has come out. Row `i` belongs
    /// to item `i`, whatever else is in the batch; when the runtime or the device fails, no
    /// row of it is known.
    fn submit(&mut self, batch: Batch, done: Completion);

    /// As [`Engine::submit`]; an engine that computes on the calling thread asks `next`
    /// at its resting places, a few milliseconds apart, for batches that are to be run
    /// before it goes on. So a single text does not wait for the whole of a large batch.
    fn submit_and_rest(
        &mut self,
        batch: Batch,
        done: Completion,
        next: &mut dyn FnMut() -> Option<(Batch, Completion)>,
    ) {
        let _ = next;
        self.submit(batch, done);
    }
}

/// Runs one batch and waits for it.
///
/// # Errors
///
/// When the batch fails.
pub fn embed(engine: &mut dyn Engine, batch: Batch) -> Result<Rows, EngineError> {
    let (done, result) = mpsc::channel();
    engine.submit(
        batch,
        Completion::new(move |rows| {
            // The receiver waits below.
            let _ = done.send(rows);
        }),
    );
    result
        .recv()
        .unwrap_or_else(|_| Err(EngineError::Failed("it never answered".into())))
}
