//! What can go wrong.

use crate::team::Panicked;

/// Why a tower could not be loaded, or did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The checkpoint lacks a tensor.
    #[error("the checkpoint has no tensor {0:?}")]
    Missing(String),
    /// A tensor has another shape than the configuration calls for.
    #[error("the tensor {name:?} has the shape {found:?}, not {expected:?}")]
    Misshapen {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// A tensor's bytes are not as many as its shape and type call for.
    #[error("the tensor {0:?} is cut short")]
    Short(String),
    /// The processor lacks what a kernel needs.
    #[error("this processor, or its operating system, does not run the kernel {0}")]
    Unavailable(&'static str),
    /// The kernel does not support the shape of the model.
    #[error("the kernel {kernel} cannot run this model: {reason}")]
    Unsupported {
        /// Which kernel.
        kernel: &'static str,
        /// What it does not support.
        reason: String,
    },
    /// An input does not fit the tower.
    #[error("{0}")]
    Input(String),
    /// A piece of the computation panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}
