//! A model's checkpoint: where it is found, its configuration and its tensors.
//!
//! ```text
//! directory | hub name | "demo" --> files --> Config        (config.json)
//!                                         +-> Weights       (*.safetensors, mapped, indexed)
//!                                         +-> tokenizer and processor files, as bytes
//! ```
//!
//! The files are transformers' own, as the Hugging Face hub has them, and are the
//! only source of truth. Weights are mapped, not read: what is never touched, such
//! as most rows of a vocabulary of 256,000, never costs memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

mod config;
mod demo;
#[cfg(fuzzing)]
pub mod fuzzing;
mod half;
mod hub_options;
mod source;
mod weights;

pub mod hub;

pub use config::{Activation, Config, EncoderConfig, TextConfig, VisionConfig};
pub use hub_options::HubOptions;
pub use source::{Source, SourceError};
pub use weights::{DType, Tensor, Weights};

/// Why a checkpoint cannot be used: one sentence that says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that every checkpoint has is not there.
    #[error("{} has no {file}; a checkpoint directory needs config.json, model.safetensors, tokenizer.json and preprocessor_config.json", directory.display())]
    MissingFile {
        /// Where it was looked for.
        directory: PathBuf,
        /// Its name.
        file: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// `config.json` says something that cannot be, or that this service does not run.
    #[error("{file}: {reason}")]
    Config {
        /// Which file.
        file: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A safetensors file is cut short or damaged.
    #[error("{file} is damaged or was not copied whole ({reason}); fetch it again")]
    Weights {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that the configuration calls for is not in the files.
    #[error("the checkpoint has no tensor {name:?}, which its config.json calls for")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor is not of the shape that the configuration calls for.
    #[error("the tensor {name:?} has shape {found:?}, and config.json calls for {expected:?}")]
    Misshapen {
        /// Its name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor holds something other than floats.
    #[error("the tensor {name:?} is stored as {dtype}; only F32, F16 and BF16 can be used")]
    Unsupported {
        /// Its name.
        name: String,
        /// How it is stored.
        dtype: String,
    },
}

/// A checkpoint, opened: configuration read, weights mapped and indexed. A clone
/// shares the mapped files.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What config.json says.
    pub config: Config,
    /// `config.json` itself.
    pub config_json: Cow<'static, [u8]>,
    /// The tensors.
    pub weights: Weights,
    /// `tokenizer.json`.
    pub tokenizer: Cow<'static, [u8]>,
    /// `tokenizer_config.json`, where there is one.
    pub tokenizer_config: Option<Cow<'static, [u8]>>,
    /// `special_tokens_map.json`, where there is one.
    pub special_tokens_map: Option<Cow<'static, [u8]>>,
    /// `preprocessor_config.json`.
    pub preprocessor: Cow<'static, [u8]>,
    /// Whether this is the small model that ships with the code.
    pub is_demo: bool,
}

impl Checkpoint {
    /// Opens a checkpoint directory.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable, damaged, or describes a model that this
    /// service does not run.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let config_json = required(directory, "config.json")?;
        let file = directory.join("config.json").display().to_string();
        Ok(Self {
            config: Config::parse(&config_json, &file)?,
            config_json: config_json.into(),
            tokenizer: required(directory, "tokenizer.json")?.into(),
            tokenizer_config: optional(directory, "tokenizer_config.json")?.map(Cow::from),
            special_tokens_map: optional(directory, "special_tokens_map.json")?.map(Cow::from),
            preprocessor: required(directory, "preprocessor_config.json")?.into(),
            weights: Weights::open(directory)?,
            is_demo: false,
        })
    }

    /// The small model that ships with the code, and inside every binary.
    ///
    /// # Errors
    ///
    /// None that a user can cause; the files are checked like any other checkpoint's.
    pub fn demo() -> Result<Self, CheckpointError> {
        demo::checkpoint()
    }

    /// The checkpoint's `logit_scale`: the natural logarithm of what cosines are
    /// multiplied by.
    ///
    /// # Errors
    ///
    /// When the tensor is missing or no single float.
    pub fn logit_scale(&self) -> Result<f32, CheckpointError> {
        self.weights.scalar("logit_scale")
    }

    /// The checkpoint's `logit_bias`.
    ///
    /// # Errors
    ///
    /// When the tensor is missing or no single float.
    pub fn logit_bias(&self) -> Result<f32, CheckpointError> {
        self.weights.scalar("logit_bias")
    }
}

fn required(directory: &Path, file: &str) -> Result<Vec<u8>, CheckpointError> {
    optional(directory, file)?.ok_or_else(|| CheckpointError::MissingFile {
        directory: directory.to_owned(),
        file: file.to_owned(),
    })
}

fn optional(directory: &Path, file: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = directory.join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(CheckpointError::Unreadable { path, reason }),
    }
}
