//! Where a model comes from, as written on a command line.

use std::path::PathBuf;

use super::hub::{self, HubError, HubSettings};
use super::{Checkpoint, CheckpointError, DEFAULT_REVISION};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The built-in demo model.
    Demo,
    /// A directory.
    Directory(PathBuf),
    /// A name on the hub.
    Hub(String),
}

/// Why a source has no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A path that does not exist.
    #[error("--model (MODEL_NAME) is {0:?}, and there is no such directory")]
    NoDirectory(String),
    /// Neither a path nor a valid name on the hub.
    #[error(
        "--model (MODEL_NAME) is {0:?}, which is neither a directory, nor a name on the hub \
         such as google/siglip2-base-patch16-224, nor demo"
    )]
    NoName(String),
    /// It could not be obtained from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its files are not a usable checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file in the hub cache is damaged.
    #[error(
        "{error}; `siglip2-embeddings download {name}{}{revision} --force` replaces what is damaged \
         in the hub cache",
        if revision.is_empty() { "" } else { " --revision " }
    )]
    Damaged {
        /// The model's name on the hub.
        name: String,
        /// The revision, unless it is the one that is taken anyway.
        revision: String,
        /// What is wrong.
        #[source]
        error: CheckpointError,
    },
}

impl Source {
    /// Interprets `--model`. It is a path if it exists as a directory or is written like a
    /// path.
    ///
    /// # Errors
    ///
    /// If it is written like a path and does not exist, or is not a valid name on the hub.
    pub fn of(model: &str) -> Result<Self, SourceError> {
        if model == "demo" {
            return Ok(Source::Demo);
        }
        let path = PathBuf::from(model);
        if path.is_dir() {
            return Ok(Source::Directory(path));
        }
        if path.is_absolute() || model.starts_with(['.', '~']) || path.is_file() {
            return Err(SourceError::NoDirectory(model.to_owned()));
        }
        if !hub::is_repository(model) {
            return Err(SourceError::NoName(model.to_owned()));
        }
        Ok(Source::Hub(model.to_owned()))
    }

    /// Opens the checkpoint. One on the hub is downloaded first if it is not in the cache.
    ///
    /// # Errors
    ///
    /// If it cannot be obtained or used.
    pub fn open(&self, revision: &str, hub: &HubSettings) -> Result<Checkpoint, SourceError> {
        Ok(match self {
            Source::Demo => Checkpoint::demo()?,
            Source::Directory(directory) => Checkpoint::open(directory)?,
            Source::Hub(name) => {
                let directory = hub::locate(name, revision, hub)?;
                Checkpoint::open(&directory).map_err(|error| match error {
                    CheckpointError::Weights { .. } | CheckpointError::Json { .. } => {
                        SourceError::Damaged {
                            name: name.clone(),
                            revision: match revision {
                                DEFAULT_REVISION => String::new(),
                                other => other.to_owned(),
                            },
                            error,
                        }
                    }
                    error => error.into(),
                })?
            }
        })
    }
}
