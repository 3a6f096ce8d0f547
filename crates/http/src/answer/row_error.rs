//! Bad images and texts of a request in which each is for itself (`partial`).

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use siglip2_image::ImageError;
use siglip2_service::TextError;

/// An error takes no more bytes in an answer: a sentence and a name, escaped.
pub(crate) const MAX_ROW_ERROR: usize = 2048;

/// An image or a text that is bad, and has no row.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowError {
    /// Which of the request's images, texts, labels or examples, from 0.
    pub(crate) index: usize,
    /// The status that it would have been refused with.
    pub(crate) status: u16,
    /// What is wrong with it.
    pub(crate) detail: String,
}

impl RowError {
    /// What would have been the refusal of the whole request.
    pub(crate) fn of(index: usize, problem: &Problem) -> Self {
        Self {
            index,
            status: problem.status().as_u16(),
            detail: problem.to_string(),
        }
    }

    /// Of the bad images that the service found; where more is known of one, which `refused` tells, that.
    pub(crate) fn of_images(
        bad: &[(usize, ImageError)],
        mut refused: Vec<Self>,
        name: impl Fn(usize) -> String,
    ) -> Vec<Self> {
        let told = bad.iter().map(|(index, error)| {
            match refused.iter().position(|known| known.index == *index) {
                Some(at) => refused.swap_remove(at),
                None => Self::of(*index, &Problem::image(&name(*index), error)),
            }
        });
        told.collect()
    }

    /// Of the bad texts that the service found.
    ///
    /// # Errors
    ///
    /// When a text is bad by no fault of its own.
    pub(crate) fn of_texts(
        bad: &[(usize, TextError)],
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<Self>, Problem> {
        let told = bad.iter().map(|(index, error)| {
            match Problem::text(&name(*index), error) {
                // Nothing that a client is told.
                problem @ Problem::Internal(_) => Err(problem),
                problem => Ok(Self::of(*index, &problem)),
            }
        });
        told.collect()
    }
}
