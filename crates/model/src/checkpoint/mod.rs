//! A model's checkpoint: where it is found, its configuration and its tensors.
//!
//! ```text
//! directory | hub name | "demo" --> files --> Config        (config.json)
//!                                         +-> Weights       (*.safetensors, mapped, indexed)
//!                                         +-> tokenizer and processor files, as bytes
//! ```
//!
//! The files are transformers' own, as on the Hugging Face hub, and the only source of truth.
//! Weights are mapped and not read: what is never used, such as most rows of a vocabulary of
//! 256,000, never takes memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::files::{self, ModelFiles};

mod config;
mod demo;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod half;
mod hub_options;
mod naflex;
mod source;
pub(crate) mod weights;

pub mod hub;

pub use config::{
    Activation, Config, ConfigError, EncoderConfig, Resolution, TextConfig, VisionConfig,
};
pub use error::CheckpointError;
pub use hub_options::{DEFAULT_REVISION, HubOptions};
pub use naflex::{MAX_NUM_PATCHES, NaflexImages};
#[cfg(unix)]
pub use siglip2_mapping::explain_truncation;
pub use source::{Source, SourceError};
pub use weights::{DType, Tensor, Weights};

/// An opened checkpoint: configuration read, weights mapped and indexed. A clone shares the
/// mapped files.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The contents of config.json, with texts as long as the tokenizer pads them.
    pub config: Config,
    /// config.json itself, and the files of tokenizer and image processor.
    pub files: ModelFiles,
    /// The tensors.
    pub weights: Weights,
    /// Whether this is the built-in demo model.
    pub is_demo: bool,
}

impl Checkpoint {
    /// Opens a checkpoint directory.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable or damaged, or describes a model that this service does
    /// not run.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let files = ModelFiles::read(directory, |file| optional(directory, file))?;
        let name = directory.join(files::CONFIG).display().to_string();
        let config = files.config(&name)?;
        Ok(Self {
            config,
            files,
            weights: Weights::open(directory)?,
            is_demo: false,
        })
    }

    /// The demo model, which is part of every binary.
    ///
    /// # Errors
    ///
    /// None that a user can cause; its files are checked like those of any other checkpoint.
    pub fn demo() -> Result<Self, CheckpointError> {
        demo::checkpoint()
    }

    /// The checkpoint's `logit_scale`: the natural logarithm of the factor of cosines.
    ///
    /// # Errors
    ///
    /// If the tensor is missing or is not a single float.
    pub fn logit_scale(&self) -> Result<f32, CheckpointError> {
        self.weights.scalar("logit_scale")
    }

    /// The checkpoint's `logit_bias`.
    ///
    /// # Errors
    ///
    /// If the tensor is missing or is not a single float.
    pub fn logit_bias(&self) -> Result<f32, CheckpointError> {
        self.weights.scalar("logit_bias")
    }
}

/// Reads a small file of a directory; `None` if it does not exist.
fn optional(directory: &Path, file: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = directory.join(file);
    let read = File::open(&path).and_then(|file| {
        let mut bytes = Vec::new();
        let read = file
            .take(files::MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if read as u64 > files::MAX_FILE_BYTES {
            let limit = files::MAX_FILE_BYTES >> 20;
            return Err(io::Error::other(format!("it has more than {limit} MiB")));
        }
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(CheckpointError::Unreadable { path, reason }),
    }
}
