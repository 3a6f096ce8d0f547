//! Where a model comes from, as it is written on a command line.

use std::path::PathBuf;

use super::hub::{self, HubError, HubSettings};
use super::{Checkpoint, CheckpointError};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one that is built in.
    Demo,
    /// A directory.
    Directory(PathBuf),
    /// A name on the hub.
    Hub(String),
}

/// Why a source has no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The hub does not give it.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its files are no checkpoint that can be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl Source {
    /// What `--model` names. What exists as a directory, or is written as a path, is one.
    ///
    /// # Errors
    ///
    /// A sentence, when the model is written as a path and is not there, or is no
    /// name that the hub could know.
    pub fn of(model: &str) -> Result<Self, String> {
        if model == "demo" {
            return Ok(Source::Demo);
        }
        let path = PathBuf::from(model);
        if path.is_dir() {
            return Ok(Source::Directory(path));
        }
        if path.is_absolute() || model.starts_with(['.', '~']) || path.is_file() {
            return Err(format!(
                "--model (MODEL_NAME) is {model:?}, and there is no such directory"
            ));
        }
        let hub_like = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let parts: Vec<&str> = model.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| hub_like(part)) {
            return Err(format!(
                "--model (MODEL_NAME) is {model:?}, which is neither a directory, nor a name \
                 on the hub such as google/siglip2-base-patch16-224, nor demo"
            ));
        }
        Ok(Source::Hub(model.to_owned()))
    }

    /// Opens the checkpoint; one on the hub is fetched first, where it is not in the cache.
    ///
    /// # Errors
    ///
    /// When it cannot be had, or is none that can be used.
    pub fn open(&self, revision: &str, hub: &HubSettings) -> Result<Checkpoint, SourceError> {
        Ok(match self {
            Source::Demo => Checkpoint::demo()?,
            Source::Directory(directory) => Checkpoint::open(directory)?,
            Source::Hub(name) => Checkpoint::open(&hub::locate(name, revision, hub)?)?,
        })
    }
}
