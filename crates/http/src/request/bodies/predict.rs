//! What immich asks for.

use std::borrow::Cow;

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::typed_form::{TypedForm, Upload};
use crate::answer::problem::Problem;
use crate::answer::validation::Issues;
use crate::request::form::{APPLY_ORIENTATION, Fields, File, Form};
use crate::request::json;

/// What immich asks for: an image or a text, and which task of which model.
#[derive(Debug, ToSchema)]
#[schema(as = Body_immich_predict)]
pub(crate) struct PredictForm {
    /// The tasks, as JSON: `clip`, with `visual` or `textual`.
    #[schema(
        min_length = 2,
        content_media_type = "application/json",
        example = "{\"clip\": {\"textual\": {\"modelName\": \"x\"}}}"
    )]
    pub(crate) entries: String,
    /// The image, where the task is visual.
    #[schema(value_type = Option<Upload>, nullable = false)]
    pub(crate) image: Option<File>,
    /// The text, where it is textual.
    #[schema(nullable = false)]
    pub(crate) text: Option<String>,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
}

impl TypedForm for PredictForm {
    const FIELDS: Fields = Fields {
        image: "image",
        many: false,
        texts: &["entries", "text", APPLY_ORIENTATION],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            entries: form.required_text("entries", &mut issues),
            image: form.image("image", &mut issues),
            text: form.text("text", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }

    /// The name of the model in the task; what is wrong with the task is said when it is read.
    fn model(&self) -> Option<Cow<'_, str>> {
        let raw: &RawValue = serde_json::from_str(&self.entries).ok()?;
        let [clip] = json::fields("entries", raw, ["clip"]).ok()?;
        let [visual, textual] = json::fields("clip", clip?, ["visual", "textual"]).ok()?;
        let [name] = json::fields("task", visual.or(textual)?, ["modelName"]).ok()?;
        json::text("modelName", name?).ok()
    }
}
