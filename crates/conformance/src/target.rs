//! What is checked: something that makes vectors from texts and pictures.

use crate::property::Picture;

/// Vectors, one for each text or picture, in order.
pub type Rows = Vec<Vec<f32>>;

/// Why there are no vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The dialect or the server has nothing like it.
    #[error("not offered")]
    NotOffered,
    /// The server refused the input with a status of 4xx, other than 408 and 429.
    #[error("{status}: {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// The server's reason.
        reason: String,
    },
    /// Anything else: a status of 5xx, a server that stays busy, no answer, or an answer without
    /// vectors.
    #[error("{0}")]
    Broken(String),
}

/// A server, as far as it is asked. What is not implemented counts as not offered.
pub trait Target {
    /// A vector for each text, all in one request.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    fn texts(&self, texts: &[&str]) -> Result<Rows, Failure>;

    /// A vector for each picture, all in one request.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    fn pictures(&self, _pictures: &[Picture]) -> Result<Rows, Failure> {
        Err(Failure::NotOffered)
    }

    /// How well each text matches each picture: the probability, 0 to 1, one row for each text.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    fn probabilities(&self, _texts: &[&str], _pictures: &[Picture]) -> Result<Rows, Failure> {
        Err(Failure::NotOffered)
    }
}
