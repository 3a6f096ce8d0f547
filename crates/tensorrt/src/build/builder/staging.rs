//! A directory that holds a graph beside its weights, as ONNX's external data requires.
//!
//! Weights that are already files are linked, not copied.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::BuildError;
use siglip2_model::checkpoint::Weights;
use siglip2_model::graph::external_name;

/// The directory. It is removed when this is dropped.
#[derive(Debug)]
pub struct Staging(PathBuf);

impl Staging {
    /// Creates it.
    ///
    /// # Errors
    ///
    /// When a file operation fails.
    pub fn new(path: PathBuf) -> Result<Self, BuildError> {
        fs::create_dir(&path).map_err(failed(&path))?;
        Ok(Self(path))
    }

    /// Links the files of a checkpoint's weights under the names that its graphs use.
    ///
    /// # Errors
    ///
    /// When a file operation fails.
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

    /// Links to a file.
    ///
    /// # Errors
    ///
    /// When a file operation fails.
    pub fn link(&self, name: &str, file: &Path) -> Result<(), BuildError> {
        let path = self.0.join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(failed(above))?;
        }
        fs::canonicalize(file)
            .and_then(|file| symlink(file, &path))
            .map_err(failed(&path))
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// When a file operation fails.
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
