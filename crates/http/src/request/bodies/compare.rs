//! Images, and texts to compare them with.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::fields::{bodies, form};
use super::images::{missing, read_some_images};
use super::sentences::SentencesRequest;
use super::typed_form::Upload;
use crate::answer::problem::Problem;
use crate::request::form::File;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, wrong};

bodies! {
    /// Images, and texts to compare them with.
    #[schema(as = Body_similarity)]
    form SimilarityForm {
        /// The images.
        #[schema(value_type = Vec<Upload>, min_items = 1)]
        files: Vec<File> = images, many: true;
        /// The texts: a JSON array of strings.
        #[schema(
            min_length = 2,
            content_media_type = "application/json",
            example = "[\"a red circle\", \"three blue stars\"]"
        )]
        texts: String = required_text;
    }
    long: None;

    /// Images, as base64, and texts to compare them with.
    #[schema(as = SimilarityRequest)]
    json SimilarityRequest {
        /// The images, each as base64 or as a data URI with it.
        #[schema(min_items = 1)]
        image_base64: Vec<String>;
        /// The texts.
        texts: Vec<String>;
    }

    /// Whether the answer has the cosines and the logits as well, unrounded.
    details = false;
    /// Whether a bad image costs only its own column, and a text that is too long only its own row: their
    /// pairs are then null, and they are described in `errors` and `text_errors`. In a form it must stand
    /// before the images.
    partial = false;
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused (413).
    truncate = true;
}

impl SimilarityRequest {
    fn items(
        &self,
        [images, texts]: [Option<&RawValue>; 2],
        reader: &mut ItemReader,
    ) -> Result<(), Problem> {
        read_some_images(images, reader, self.partial)?;
        let texts = texts.ok_or_else(|| missing("texts", "a list of strings"))?;
        let texts = json::list("texts", texts, reader.most())?;
        for (index, raw) in texts.into_iter().enumerate() {
            let place = Place::at("texts", index);
            reader.text(place, json::text(place, raw)?)?;
        }
        Ok(())
    }
}

/// Images, as base64, and texts to compare them with; or one sentence to compare with others, as
/// text-embeddings-inference has it: that is what a body with `inputs` is.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = SimilarityBody)]
pub(crate) enum SimilarityBody {
    /// The service's own.
    Own(SimilarityRequest),
    /// That of text-embeddings-inference.
    Sentences(SentencesRequest),
}

impl SimilarityBody {
    /// Reads the body; its images and texts go to the reader.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let [inputs] = json::fields("The body", raw, ["inputs"])?;
        Ok(match inputs {
            Some(_) => Self::Sentences(SentencesRequest::read(raw, reader)?),
            None => Self::Own(SimilarityRequest::read(raw, reader)?),
        })
    }
}

bodies! {
    /// Images, and a text to order them by.
    #[schema(as = Body_rank)]
    form RankForm {
        /// The images.
        #[schema(value_type = Vec<Upload>, min_items = 1)]
        files: Vec<File> = images, many: true;
        /// What the images are to show.
        #[schema(min_length = 1)]
        query: String = required_text;
    }
    long: None;

    /// Images, as base64, and a text to order them by.
    #[schema(as = RankRequest)]
    json RankRequest {
        /// The images, each as base64 or as a data URI with it. In the answer their file names are
        /// their places: `image_base64[0]`.
        #[schema(min_items = 1)]
        image_base64: Vec<String>;
        /// What the images are to show.
        #[schema(min_length = 1)]
        query: String;
    }

    /// Whether the answer has the cosine, the logit and the probability as well, unrounded.
    details = false;
    /// Whether a bad image only has no rank, and is described in `errors`. In a form it must stand before
    /// the images.
    partial = false;
    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    truncate = true;
}

impl RankRequest {
    fn items(
        &self,
        [images, query]: [Option<&RawValue>; 2],
        reader: &mut ItemReader,
    ) -> Result<(), Problem> {
        read_some_images(images, reader, self.partial)?;
        let query = query.ok_or_else(|| missing("query", "a string"))?;
        let place = Place::of("query");
        let query = json::text(place, query)?;
        if query.is_empty() {
            return Err(wrong("query must not be empty."));
        }
        // Without it there is nothing to rank by, so it is never for itself.
        reader.room(place, query.len())?;
        reader.text(place, query)
    }
}
