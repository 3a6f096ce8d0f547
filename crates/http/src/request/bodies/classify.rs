//! Images, and classes to compare them with.

use super::fields::form;
use super::typed_form::Upload;
use crate::request::form::File;

form! {
    /// Images, and classes to compare them with: labels, examples or both.
    #[schema(as = Body_classify)]
    form ClassifyForm {
        /// The images.
        #[schema(value_type = Vec<Upload>, min_items = 1)]
        files: Vec<File> = images, many: true;
        /// The labels to choose from: a JSON array of strings.
        #[schema(
            nullable = false,
            content_media_type = "application/json",
            example = "[\"cat\", \"dog\"]"
        )]
        labels: Option<String> = text;
        /// Classes that are shown by pictures of them: a JSON array, as `examples` of the JSON has it.
        #[schema(nullable = false, content_media_type = "application/json")]
        examples: Option<String> = text;
        /// The sentence that a label is put into, at `{}`.
        #[schema(nullable = false, default = "This is a photo of {}.")]
        hypothesis_template: Option<String> = text;
        /// Several sentences, whose vectors are averaged: a JSON array of strings.
        #[schema(nullable = false, content_media_type = "application/json")]
        hypothesis_templates: Option<String> = text;
        /// `sigmoid`: each label is scored on its own; `softmax`: the scores of all labels add up to 1.
        #[schema(nullable = false, default = "sigmoid")]
        activation: Option<String> = text;
    }
    long: None;

    /// Whether a bad image costs only its own result, which is then empty, and described in `errors`. It
    /// must stand before the images.
    partial = false;
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    truncate = true;
}
