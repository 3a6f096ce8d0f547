//! What all forms are.

use std::borrow::Cow;

use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::request::form::{Fields, Form};

/// A form that an endpoint reads.
pub(crate) trait TypedForm: ToSchema + Sized {
    /// Its fields. All others are skipped.
    const FIELDS: Fields;

    /// What was sent in them, or all that is wrong with it.
    fn from_form(form: Form) -> Result<Self, Problem>;

    /// The model that it names.
    fn model(&self) -> Option<Cow<'_, str>>;

    /// Whether it says that images are turned, or are not.
    fn apply_orientation(&self) -> Option<bool>;
}

/// A file part.
#[derive(ToSchema)]
#[schema(content_media_type = "application/octet-stream", value_type = String)]
#[allow(dead_code)] // It is only described.
pub(crate) struct Upload(String);
