//! Why an engine directory cannot be used or written.

use std::io;
use std::path::{Path, PathBuf};

use super::{Architecture, TensorRtVersion};
use siglip2_model::graph::Precision;

/// Why an engine directory cannot be used or written: one sentence that says what,
/// where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no engine for what is asked for.
    #[error("{} has no engine of {model} for {gpu} in {precision} ({there}); build it with: \
             build-engine --model {model} --gpu {gpu} --precision {precision} --out {}",
            root.display(), root.display())]
    NotBuilt {
        /// Where engines are looked for.
        root: PathBuf,
        /// The model's name.
        model: String,
        /// The GPU.
        gpu: Architecture,
        /// The precision.
        precision: Precision,
        /// Which engines of the model are there instead.
        there: String,
    },
    /// The directory was made by a newer build-engine.
    #[error("{} has format {found}, and this program reads formats up to {known}: run the \
             program that came with its build-engine, or build the engine anew", path.display())]
    Newer {
        /// Which manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one that is known here.
        known: u32,
    },
    /// The manifest does not say what a manifest must.
    #[error("{}: {reason}; build the engine anew", path.display())]
    Manifest {
        /// Which manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is not what the manifest says.
    #[error("{}: {reason}; the directory was not copied whole: copy it again or build the \
             engine anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refused a file operation.
    #[error("{} cannot be {done}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`, and the like.
        done: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The engine was built by another TensorRT than the one at hand.
    #[error("the engine in {} was built by {} {}, and {} is {} {}: build it anew, or install that \
             version", path.display(), built.flavour, built.version, library.display(),
            here.flavour, here.version)]
    OtherTensorRt {
        /// Which directory.
        path: PathBuf,
        /// What built it.
        built: TensorRtVersion,
        /// What would run it.
        here: TensorRtVersion,
        /// Where that is.
        library: PathBuf,
    },
    /// The directory is not the one that it was.
    #[error("{} was replaced meanwhile; do it again with the one that is there now", path.display())]
    Replaced {
        /// Which directory.
        path: PathBuf,
    },
    /// Somebody else is writing an engine there.
    #[error("another build-engine is writing in {}; wait for it to end", path.display())]
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

pub(super) fn damaged(path: PathBuf, reason: String) -> DirectoryError {
    DirectoryError::Damaged { path, reason }
}
