//! Why a request could not be answered.

use std::time::Duration;

use crate::search::IndexError;
use crate::service::State;
use crate::tokens::TextError;
use siglip2_image::ImageError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// One of the images cannot be used.
    #[error("image {index}: {error}")]
    Image {
        /// Its index among the images of the request.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: ImageError,
    },
    /// One of the texts cannot be used.
    #[error("text {index}: {error}")]
    Text {
        /// Its index among the texts of the request.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: TextError,
    },
    /// The queue is full. Nothing was started.
    #[error("the queue is full; try again in {} s", retry_after.as_secs())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// More rows than the queue holds when it is empty.
    #[error("{what}")]
    TooMuch {
        /// What there is too much of, and how much is allowed.
        what: String,
    },
    /// The request's deadline passed before it was answered.
    #[error("the deadline passed before the request was answered")]
    Expired,
    /// The service cannot embed at present.
    #[error("the service is {}", .0.as_str())]
    Unavailable(State),
    /// The index cannot be searched like this, or not read.
    #[error(transparent)]
    Index(IndexError),
    /// An error of the service.
    #[error("{0}")]
    Internal(String),
}
