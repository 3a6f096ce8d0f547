//! Why a service is not ready.

use std::time::Duration;

use crate::batcher::BatchError;
use crate::service::State;
use siglip2_image::ImageError;

/// See the module.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotReady {
    /// It cannot embed at present.
    #[error("the service is {}", .0.as_str())]
    State(State),
    /// All threads of a pool are on jobs that take too long.
    #[error("every thread has been {what} for more than {} s", longer_than.as_secs())]
    Stuck {
        /// What the threads do.
        what: &'static str,
        /// How long a job may take.
        longer_than: Duration,
    },
    /// The engine's last answer was wrong, and there is no room in the queue to check it.
    #[error(
        "the engine answered a value that is not finite, and the queue is too full to check \
         whether it still does"
    )]
    Unchecked,
    /// The engine gave a wrong answer while it was checked.
    #[error("the engine answered a value that is not finite while it was checked")]
    NotFinite,
    /// A vector is not what it was.
    #[error("the readiness check's vector has changed: its cosine to the one at startup is {0:.6}")]
    Moved(f64),
    /// The check's image cannot be prepared for the engine.
    #[error("the readiness check's image cannot be prepared: {0}")]
    Image(#[source] ImageError),
    /// The engine did not embed the check's image or text.
    #[error("the readiness check was not embedded: {0}")]
    NotEmbedded(#[source] BatchError),
    /// The same, of one of several models.
    #[error("model {name:?}: {error}")]
    OfModel {
        /// The model's name.
        name: String,
        /// What is wrong.
        #[source]
        error: Box<NotReady>,
    },
}
