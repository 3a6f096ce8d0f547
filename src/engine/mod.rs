//! What runs a tower: the only door to an inference runtime.
//!
//! ```text
//! RgbImage --Prepare--> Pixels  (any thread)  --+
//!                                               +--> Engine::embed_* --> Rows   (one thread)
//! text::TextTokenizer --> token ids           --+
//! ```
//!
//! An [`Engine`] belongs to one thread, which runs one batch after the other. What
//! an image needs before it can join a batch is done by the engine's [`Prepare`],
//! on as many threads as there are cores.

use std::fmt;
use std::sync::Arc;

use crate::image::{ImageError, RgbImage};

pub mod cpu;

/// The two halves of a SigLIP model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tower {
    /// The vision tower: pixels to an embedding.
    Image,
    /// The text tower: token ids to an embedding.
    Text,
}

impl fmt::Display for Tower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tower::Image => "image",
            Tower::Text => "text",
        })
    }
}

/// An image that is ready to join a batch: `size * size * 3` bytes of RGB, rows top
/// to bottom, resized as the checkpoint's processor does and not yet normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels(pub Vec<u8>);

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
                "the engine answered {} values, which are no rows of {dimensions}",
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
}

/// What an engine says of itself, for `/info` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// `rten` or `tensorrt`.
    pub name: &'static str,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `fp32`, `fp16` or `bf16`: what the products are computed in.
    pub precision: &'static str,
    /// Floats per embedding.
    pub dimensions: usize,
    /// The largest batch of images and of texts that one run takes.
    pub max_batch: usize,
}

/// Makes images ready for batches, on any thread.
pub trait Prepare: Send + Sync {
    /// Resizes an image to what the engine eats.
    ///
    /// # Errors
    ///
    /// When the picture cannot be resized, for want of memory or because a side is
    /// beyond what the resizer takes.
    fn prepare(&self, image: &RgbImage) -> Result<Pixels, ImageError>;
}

/// Runs towers on one device. It is moved to the thread that owns the device and
/// stays there.
pub trait Engine: Send {
    /// What this engine is.
    fn info(&self) -> EngineInfo;

    /// What makes images ready for [`Engine::embed_images`].
    fn preparer(&self) -> Arc<dyn Prepare>;

    /// Embeds up to `max_batch` images; row `i` belongs to image `i`, whatever else
    /// is in the batch.
    ///
    /// # Errors
    ///
    /// When the runtime or the device fails; then no row of the batch is known.
    fn embed_images(&mut self, batch: &[&Pixels]) -> Result<Rows, EngineError>;

    /// Embeds up to `max_batch` texts, each as many token ids as the checkpoint's
    /// text tower has positions.
    ///
    /// # Errors
    ///
    /// As for images.
    fn embed_texts(&mut self, batch: &[&[i32]]) -> Result<Rows, EngineError>;
}
