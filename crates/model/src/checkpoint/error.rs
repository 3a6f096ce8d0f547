//! Why a checkpoint cannot be used.

use std::path::PathBuf;

use super::ConfigError;
use crate::text::TokenizerError;

/// Why a checkpoint cannot be used: one sentence that says what is wrong, where, and what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that every checkpoint has is missing.
    #[error(
        "{} has no {file}; a checkpoint directory needs config.json, model.safetensors, \
         tokenizer.json, tokenizer_config.json, and preprocessor_config.json or a \
         processor_config.json with an image processor",
        directory.display()
    )]
    MissingFile {
        /// Where it was looked for.
        directory: PathBuf,
        /// Its name.
        file: String,
    },
    /// The weights are only there in PyTorch's own format.
    #[error(
        "the weights in {} are only in {file}, a pickle, which can run code when it is read and \
         is therefore not read; convert them with Python: from transformers import AutoModel; \
         AutoModel.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY)",
        directory.display()
    )]
    PytorchOnly {
        /// Where they are.
        directory: PathBuf,
        /// The file.
        file: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        reason: std::io::Error,
    },
    /// `config.json` contradicts itself, or describes something that this service does not run.
    #[error("{file}: {reason}")]
    Config {
        /// Which file.
        file: String,
        /// What is wrong, and what is expected.
        #[source]
        reason: ConfigError,
    },
    /// A file that should be JSON is not.
    #[error("{} is malformed: {reason}", file.display())]
    Json {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and where in it.
        reason: String,
    },
    /// An index of weights names a file outside its directory.
    #[error("{} names {name:?}, which is not a file in its directory", file.display())]
    Outside {
        /// The index.
        file: PathBuf,
        /// The name in it.
        name: String,
    },
    /// The tokenizer's files cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A safetensors file is truncated or damaged.
    #[error("{file} is damaged or was not copied whole ({reason}); fetch it again")]
    Weights {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that the configuration requires is missing.
    #[error("the checkpoint has no tensor {name:?}, which its config.json requires")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor does not have the shape that the configuration requires.
    #[error("the tensor {name:?} has shape {found:?}, but config.json requires {expected:?}")]
    Misshapen {
        /// Its name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor does not contain floats.
    #[error("the tensor {name:?} is stored as {dtype}; only F64, F32, F16 and BF16 can be used")]
    Unsupported {
        /// Its name.
        name: String,
        /// How it is stored.
        dtype: String,
    },
}
