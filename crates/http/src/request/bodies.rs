//! The forms of the endpoints, as types: which fields each has, what is in them, and how
//! they are described.

use std::borrow::Cow;

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::form::{APPLY_ORIENTATION, Fields, File, Form, PARTIAL};
use super::json;
use super::model;
use crate::answer::problem::Problem;
use crate::answer::validation::Issues;

/// A form that an endpoint reads.
pub(crate) trait TypedForm: ToSchema + Sized {
    /// Its fields. All others are skipped.
    const FIELDS: Fields;

    /// What was sent in them, or all that is wrong with it.
    fn from_form(form: Form) -> Result<Self, Problem>;

    /// The model that it names.
    fn model(&self) -> Option<Cow<'_, str>>;

    /// Whether it says that images are turned, or are not.
    fn apply_orientation(&self) -> Option<bool> {
        None
    }
}

/// One image, as a file or as base64; the file counts where both are there.
#[derive(Debug, ToSchema)]
#[schema(as = Body_embed_image)]
pub(crate) struct ImageForm {
    /// The image.
    #[schema(value_type = Option<Upload>, nullable = false)]
    pub(crate) file: Option<File>,
    /// The image as base64, or as a data URI with it.
    #[schema(nullable = false)]
    pub(crate) image_base64: Option<String>,
    /// Whether the embedding is L2-normalized.
    #[schema(required = false, default = true)]
    pub(crate) normalize: bool,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for ImageForm {
    const FIELDS: Fields = Fields {
        image: "file",
        many: false,
        texts: &["image_base64", "normalize", APPLY_ORIENTATION, model::FIELD],
        long_text: Some("image_base64"),
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            file: form.image("file", &mut issues),
            image_base64: form.text("image_base64", &mut issues),
            normalize: form.unless_said("normalize", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

/// Images.
#[derive(Debug, ToSchema)]
#[schema(as = Body_embed_images)]
pub(crate) struct ImagesForm {
    /// Whether a bad image costs its own row only, which is then empty, and told in `errors`. It
    /// must stand before the images.
    #[schema(required = false, default = false)]
    pub(crate) partial: bool,
    /// The images.
    #[schema(value_type = Vec<Upload>, min_items = 1)]
    pub(crate) files: Vec<File>,
    /// Whether the embeddings are L2-normalized.
    #[schema(required = false, default = true)]
    pub(crate) normalize: bool,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for ImagesForm {
    const FIELDS: Fields = Fields {
        image: "files",
        many: true,
        texts: &[PARTIAL, "normalize", APPLY_ORIENTATION, model::FIELD],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            partial: form.said(PARTIAL, false, &mut issues),
            files: form.images("files", &mut issues),
            normalize: form.unless_said("normalize", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

/// Images, and texts to hold them against.
#[derive(Debug, ToSchema)]
#[schema(as = Body_similarity)]
pub(crate) struct SimilarityForm {
    /// The images.
    #[schema(value_type = Vec<Upload>, min_items = 1)]
    pub(crate) files: Vec<File>,
    /// The texts: a JSON array of strings.
    #[schema(
        min_length = 2,
        content_media_type = "application/json",
        example = "[\"a red circle\", \"three blue stars\"]"
    )]
    pub(crate) texts: String,
    /// Whether the answer tells the cosines and the logits as well, unrounded.
    #[schema(required = false, default = false)]
    pub(crate) details: bool,
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for SimilarityForm {
    const FIELDS: Fields = Fields {
        image: "files",
        many: true,
        texts: &[
            "texts",
            "details",
            "truncate",
            APPLY_ORIENTATION,
            model::FIELD,
        ],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            files: form.images("files", &mut issues),
            texts: form.required_text("texts", &mut issues),
            details: form.said("details", false, &mut issues),
            truncate: form.unless_said("truncate", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

/// Images, and a text to order them by.
#[derive(Debug, ToSchema)]
#[schema(as = Body_rank)]
pub(crate) struct RankForm {
    /// The images.
    #[schema(value_type = Vec<Upload>, min_items = 1)]
    pub(crate) files: Vec<File>,
    /// What the images are to show.
    #[schema(min_length = 1)]
    pub(crate) query: String,
    /// Whether the answer tells the cosine, the logit and the probability as well, unrounded.
    #[schema(required = false, default = false)]
    pub(crate) details: bool,
    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for RankForm {
    const FIELDS: Fields = Fields {
        image: "files",
        many: true,
        texts: &[
            "query",
            "details",
            "truncate",
            APPLY_ORIENTATION,
            model::FIELD,
        ],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            files: form.images("files", &mut issues),
            query: form.required_text("query", &mut issues),
            details: form.said("details", false, &mut issues),
            truncate: form.unless_said("truncate", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

/// Images, and labels to hold them against.
#[derive(Debug, ToSchema)]
#[schema(as = Body_classify)]
pub(crate) struct ClassifyForm {
    /// The images.
    #[schema(value_type = Vec<Upload>, min_items = 1)]
    pub(crate) files: Vec<File>,
    /// What they may show: a JSON array of strings.
    #[schema(
        min_length = 2,
        content_media_type = "application/json",
        example = "[\"cat\", \"dog\"]"
    )]
    pub(crate) labels: String,
    /// The sentence that a label is put into, at `{}`.
    #[schema(nullable = false, default = "This is a photo of {}.")]
    pub(crate) hypothesis_template: Option<String>,
    /// Several sentences, whose vectors are averaged: a JSON array of strings.
    #[schema(nullable = false, content_media_type = "application/json")]
    pub(crate) hypothesis_templates: Option<String>,
    /// `sigmoid`, each label for itself, or `softmax`, all labels together 1.
    #[schema(nullable = false, default = "sigmoid")]
    pub(crate) activation: Option<String>,
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether images are turned as their orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for ClassifyForm {
    const FIELDS: Fields = Fields {
        image: "files",
        many: true,
        texts: &[
            "labels",
            "hypothesis_template",
            "hypothesis_templates",
            "activation",
            "truncate",
            APPLY_ORIENTATION,
            model::FIELD,
        ],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            files: form.images("files", &mut issues),
            labels: form.required_text("labels", &mut issues),
            hypothesis_template: form.text("hypothesis_template", &mut issues),
            hypothesis_templates: form.text("hypothesis_templates", &mut issues),
            activation: form.text("activation", &mut issues),
            truncate: form.unless_said("truncate", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

/// A text or an image, and how many rows of the index are wanted.
#[derive(Debug, ToSchema)]
#[schema(as = Body_search)]
pub(crate) struct SearchForm {
    /// The image to search by.
    #[schema(value_type = Option<Upload>, nullable = false)]
    pub(crate) file: Option<File>,
    /// The image as base64, or as a data URI with it.
    #[schema(nullable = false)]
    pub(crate) image_base64: Option<String>,
    /// The text to search by.
    #[schema(nullable = false)]
    pub(crate) query: Option<String>,
    /// How many rows, 1 to 1000.
    #[schema(nullable = false, default = "10")]
    pub(crate) top: Option<String>,
    /// The columns of the rows that are told: a JSON array of names, or `*` for all.
    #[schema(nullable = false)]
    pub(crate) columns: Option<String>,
    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether an image is turned as its orientation tag says; by default as the service's
    /// `--apply-orientation` has it.
    #[schema(nullable = false)]
    pub(crate) apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[schema(nullable = false)]
    pub(crate) model: Option<String>,
}

impl TypedForm for SearchForm {
    const FIELDS: Fields = Fields {
        image: "file",
        many: false,
        texts: &[
            "image_base64",
            "query",
            "top",
            "columns",
            "truncate",
            APPLY_ORIENTATION,
            model::FIELD,
        ],
        long_text: Some("image_base64"),
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            file: form.image("file", &mut issues),
            image_base64: form.text("image_base64", &mut issues),
            query: form.text("query", &mut issues),
            top: form.text("top", &mut issues),
            columns: form.text("columns", &mut issues),
            truncate: form.unless_said("truncate", &mut issues),
            apply_orientation: form.maybe_said(APPLY_ORIENTATION, &mut issues),
            model: form.text(model::FIELD, &mut issues),
        };
        Ok(issues.or(read)?)
    }

    fn model(&self) -> Option<Cow<'_, str>> {
        self.model.as_deref().map(Cow::Borrowed)
    }

    fn apply_orientation(&self) -> Option<bool> {
        self.apply_orientation
    }
}

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
}

impl TypedForm for PredictForm {
    const FIELDS: Fields = Fields {
        image: "image",
        many: false,
        texts: &["entries", "text"],
        long_text: None,
    };

    fn from_form(mut form: Form) -> Result<Self, Problem> {
        let mut issues = Issues::default();
        let read = Self {
            entries: form.required_text("entries", &mut issues),
            image: form.image("image", &mut issues),
            text: form.text("text", &mut issues),
        };
        Ok(issues.or(read)?)
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

/// A file part.
#[derive(ToSchema)]
#[schema(content_media_type = "application/octet-stream", value_type = String)]
#[allow(dead_code)] // It is only described.
pub(crate) struct Upload(String);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// The names in a schema, and those that it requires.
    fn described<T: ToSchema>() -> (Vec<String>, Vec<String>) {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let names = schema["properties"].as_object().unwrap().keys();
        let required = schema["required"].as_array();
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        (
            names.cloned().collect(),
            required.map(str::to_owned).collect(),
        )
    }

    fn holds<T: TypedForm>(required: &[&str]) {
        let (mut named, wanted) = described::<T>();
        let texts = T::FIELDS.texts.iter();
        let mut read: Vec<_> = texts
            .chain([&T::FIELDS.image])
            .map(|name| (*name).to_owned())
            .collect();
        named.sort();
        read.sort();
        assert_eq!(named, read);
        assert_eq!(wanted, required);
    }

    #[test]
    fn what_is_described_is_what_is_read() {
        holds::<ImageForm>(&[]);
        holds::<ImagesForm>(&["files"]);
        holds::<SimilarityForm>(&["files", "texts"]);
        holds::<RankForm>(&["files", "query"]);
        holds::<ClassifyForm>(&["files", "labels"]);
        holds::<SearchForm>(&[]);
        holds::<PredictForm>(&["entries"]);
    }
}
