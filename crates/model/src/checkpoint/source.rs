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
    /// A path that is not there.
    #[error("--model (MODEL_NAME) is {0:?}, and there is no such directory")]
    NoDirectory(String),
    /// Neither a path nor a name that the hub could know.
    #[error(
        "--model (MODEL_NAME) is {0:?}, which is neither a directory, nor a name on the hub \
         such as google/siglip2-base-patch16-224, nor demo"
    )]
    NoName(String),
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
    /// When the model is written as a path and is not there, or is no name that the hub
    /// could know.
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
