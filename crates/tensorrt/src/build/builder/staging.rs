//! A directory in which a graph lies beside its weights, as ONNX's external data wants it.
//!
//! Weights that are files already are linked, not copied.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::BuildError;
use siglip2_model::checkpoint::Weights;
use siglip2_model::graph::external_name;

/// The directory. It goes with its owner.
#[derive(Debug)]
pub struct Staging(PathBuf);

impl Staging {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn new(path: PathBuf) -> Result<Self, BuildError> {
        fs::create_dir(&path).map_err(failed(&path))?;
        Ok(Self(path))
    }

    /// Puts the files of a checkpoint's weights there, as its graphs call them.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn weights(&self, weights: &Weights) -> Result<(), BuildError> {
        for (shard, bytes) in weights.shards().iter().enumerate() {
            let name = external_name(shard);
            match weights.file(shard) {
                Some(file) => self.link(&name, file)?,
                None => drop(self.write(&name, bytes)?),
            }
        }
        Ok(())
    }

    /// Puts a link to a file there.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn link(&self, name: &str, file: &Path) -> Result<(), BuildError> {
        let path = self.0.join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(failed(above))?;
        }
        fs::canonicalize(file)
            .and_then(|file| symlink(file, &path))
            .map_err(failed(&path))
    }

    /// Writes a file there.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, BuildError> {
        let path = self.0.join(name);
        fs::write(&path, bytes).map_err(failed(&path))?;
        Ok(path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "cannot be removed");
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    move |reason| BuildError::Io {
        path: path.to_owned(),
        reason,
    }
}
