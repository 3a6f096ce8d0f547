//! Why an engine directory cannot be used or written.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::{Architecture, ManifestError, TensorRtVersion};
use siglip2_model::graph::Precision;

/// Why an engine directory cannot be used or written: one sentence that says what,
/// where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no engine for this model, GPU and precision.
    #[error("{} has no engine of {model} for {gpu} in {precision} ({there}); build it with: \
             build-engine --model {model} --gpu {gpu} --precision {precision} --out {}",
            root.display(), root.display())]
    NotBuilt {
        /// The directory that was searched.
        root: PathBuf,
        /// The model's name.
        model: String,
        /// The GPU.
        gpu: Architecture,
        /// The precision.
        precision: Precision,
        /// The engines of the model that exist.
        there: String,
    },
    /// The directory was made by a newer build-engine.
    #[error("{} has format {found}, but this program reads formats up to {known}: run the \
             program that came with its build-engine, or rebuild the engine", path.display())]
    Newer {
        /// Which manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// The manifest is malformed or contradicts itself.
    #[error("{}: {reason}; rebuild the engine", path.display())]
    Manifest {
        /// Which manifest.
        path: PathBuf,
        /// What is wrong.
        #[source]
        reason: ManifestError,
    },
    /// A file differs from what the manifest says.
    #[error("{}: {reason}; the directory is damaged or was copied only in part: copy it \
             again or rebuild the engine", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        reason: Box<dyn Error + Send + Sync>,
    },
    /// The system refused a file operation.
    #[error("{} cannot be {done}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What failed: `read`, `written` and so on.
        done: &'static str,
        /// The system's error.
        #[source]
        reason: io::Error,
    },
    /// The engine was built by another version of TensorRT than the one installed.
    #[error("the engine in {} was built by {} {}, but {} is {} {}: rebuild the engine, or \
             install that version", path.display(), built.flavour, built.version, library.display(),
            here.flavour, here.version)]
    OtherTensorRt {
        /// Which directory.
        path: PathBuf,
        /// The TensorRT that built it.
        built: TensorRtVersion,
        /// The TensorRT that would run it.
        here: TensorRtVersion,
        /// The path of that library.
        library: PathBuf,
    },
    /// The directory was replaced while this program used it.
    #[error("{} was replaced in the meantime; try again with the new one", path.display())]
    Replaced {
        /// Which directory.
        path: PathBuf,
    },
    /// Another process is writing an engine there.
    #[error("another build-engine is writing to {}; wait until it has finished", path.display())]
    Busy {
        /// Which directory.
        path: PathBuf,
    },
}

impl DirectoryError {
    pub(super) fn io(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::Io {
            path: path.to_owned(),
            done,
            reason,
        }
    }
}

pub(super) fn damaged(
    path: PathBuf,
    reason: impl Into<Box<dyn Error + Send + Sync>>,
) -> DirectoryError {
    let reason = reason.into();
    DirectoryError::Damaged { path, reason }
}
