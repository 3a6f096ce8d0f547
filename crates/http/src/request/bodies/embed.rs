//! Images in JSON: what the endpoints take besides forms, for clients that have no multipart.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::item_reader::{ItemReader, Place};
use super::json::{self, wrong};
use crate::answer::problem::Problem;

/// The field with an image, or with several.
const FIELD: &str = "image_base64";

/// One image, as base64.
#[derive(ToSchema)]
#[schema(as = ImageRequest)]
pub(crate) struct ImageRequest {
    /// The image as base64, or as a data URI with it.
    #[allow(dead_code, reason = "it is only described")]
    image_base64: String,
    /// Whether the embedding is L2-normalized.
    #[schema(required = false, default = true)]
    pub(crate) normalize: bool,
    /// Whether pictures are turned as their orientation tag says; if not said, as the service is set.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    model: Option<String>,
}

/// Images, as base64.
#[derive(ToSchema)]
#[schema(as = ImagesRequest)]
pub(crate) struct ImagesRequest {
    /// The images, each as base64 or as a data URI with it.
    #[allow(dead_code, reason = "it is only described")]
    image_base64: Vec<String>,
    /// Whether the embeddings are L2-normalized.
    #[schema(required = false, default = true)]
    pub(crate) normalize: bool,
    /// Whether a bad image costs its own row only, which is then empty, and told in `errors`.
    #[schema(required = false, default = false)]
    pub(crate) partial: bool,
    /// Whether pictures are turned as their orientation tag says; if not said, as the service is set.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    model: Option<String>,
}

/// Images, as base64, and texts to hold them against.
#[derive(ToSchema)]
#[schema(as = SimilarityRequest)]
pub(crate) struct SimilarityRequest {
    /// The images, each as base64 or as a data URI with it.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(min_items = 1)]
    image_base64: Vec<String>,
    /// The texts.
    #[allow(dead_code, reason = "it is only described")]
    texts: Vec<String>,
    /// Whether the answer tells the cosines and the logits as well, unrounded.
    #[schema(required = false, default = false)]
    pub(crate) details: bool,
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether pictures are turned as their orientation tag says; if not said, as the service is set.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    model: Option<String>,
}

/// Images, as base64, and a text to order them by.
#[derive(ToSchema)]
#[schema(as = RankRequest)]
pub(crate) struct RankRequest {
    /// The images, each as base64 or as a data URI with it. In the answer their file names are
    /// their places: `image_base64[0]`.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(min_items = 1)]
    image_base64: Vec<String>,
    /// What the images are to show.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(min_length = 1)]
    query: String,
    /// Whether the answer tells the cosine, the logit and the probability as well, unrounded.
    #[schema(required = false, default = false)]
    pub(crate) details: bool,
    /// Whether a query of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(required = false, default = true)]
    pub(crate) truncate: bool,
    /// Whether pictures are turned as their orientation tag says; if not said, as the service is set.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    apply_orientation: Option<bool>,
    /// Where several models are served, the name of one.
    #[allow(dead_code, reason = "it is only described")]
    #[schema(nullable = false)]
    model: Option<String>,
}

impl ImageRequest {
    /// Reads the body; its image goes to the reader.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let [image, normalize] = json::fields("The body", raw, [FIELD, "normalize"])?;
        let image = image.ok_or_else(|| missing(FIELD, "an image as base64"))?;
        let place = Place::of(FIELD);
        reader.image(place, &json::text(place, image)?)?;
        Ok(Self {
            image_base64: String::new(),
            normalize: json::boolean("normalize", normalize)?.unwrap_or(true),
            apply_orientation: None,
            model: None,
        })
    }
}

impl ImagesRequest {
    /// Reads the body; its images go to the reader. Where each is for itself, a bad one stays for
    /// the service to find.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let names = [FIELD, "normalize", "partial"];
        let [images, normalize, partial] = json::fields("The body", raw, names)?;
        let partial = json::boolean("partial", partial)?.unwrap_or(false);
        read_images(images, reader, partial)?;
        Ok(Self {
            image_base64: Vec::new(),
            normalize: json::boolean("normalize", normalize)?.unwrap_or(true),
            partial,
            apply_orientation: None,
            model: None,
        })
    }
}

impl SimilarityRequest {
    /// Reads the body; its images and then its texts go to the reader.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let names = [FIELD, "texts", "details", "truncate"];
        let [images, texts, details, truncate] = json::fields("The body", raw, names)?;
        read_some_images(images, reader)?;
        let texts = texts.ok_or_else(|| missing("texts", "a list of strings"))?;
        let texts = json::list("texts", texts, reader.most())?;
        for (index, raw) in texts.into_iter().enumerate() {
            let place = Place::at("texts", index);
            reader.text(place, json::text(place, raw)?)?;
        }
        Ok(Self {
            image_base64: Vec::new(),
            texts: Vec::new(),
            details: json::boolean("details", details)?.unwrap_or(false),
            truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
            apply_orientation: None,
            model: None,
        })
    }
}

impl RankRequest {
    /// Reads the body; its images and then its query go to the reader.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let names = [FIELD, "query", "details", "truncate"];
        let [images, query, details, truncate] = json::fields("The body", raw, names)?;
        read_some_images(images, reader)?;
        let query = query.ok_or_else(|| missing("query", "a string"))?;
        let place = Place::of("query");
        let query = json::text(place, query)?;
        if query.is_empty() {
            return Err(wrong("query must not be empty."));
        }
        reader.text(place, query)?;
        Ok(Self {
            image_base64: Vec::new(),
            query: String::new(),
            details: json::boolean("details", details)?.unwrap_or(false),
            truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
            apply_orientation: None,
            model: None,
        })
    }
}

fn read_some_images(raw: Option<&RawValue>, reader: &mut ItemReader) -> Result<(), Problem> {
    match read_images(raw, reader, false)? {
        0 => Err(wrong(format!("{FIELD} must not be empty."))),
        _ => Ok(()),
    }
}

/// Reads a list of images; gives how many there are.
fn read_images(
    raw: Option<&RawValue>,
    reader: &mut ItemReader,
    partial: bool,
) -> Result<usize, Problem> {
    let raw = raw.ok_or_else(|| missing(FIELD, "a list of images as base64"))?;
    let images = json::list(FIELD, raw, reader.most_images())?;
    let count = images.len();
    for (index, raw) in images.into_iter().enumerate() {
        let place = Place::at(FIELD, index);
        let image = json::text(place, raw)?;
        match partial {
            true => reader.unchecked_image(place, &image)?,
            false => reader.image(place, &image)?,
        }
    }
    Ok(count)
}

fn missing(field: &str, what: &str) -> Problem {
    wrong(format!("The body must have {field}: {what}."))
}
