//! Images to be embedded, one or several.

use serde_json::value::RawValue;

use super::fields::{bodies, form};
use super::images::{FIELD, missing, read_images};
use super::typed_form::Upload;
use crate::answer::problem::Problem;
use crate::request::form::File;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json;

bodies! {
    /// One image, as a file or as base64; the file counts where both are there.
    #[schema(as = Body_embed_image)]
    form ImageForm {
        /// The image.
        #[schema(value_type = Option<Upload>, nullable = false)]
        file: Option<File> = image, many: false;
        /// The image as base64, or as a data URI with it.
        #[schema(nullable = false)]
        image_base64: Option<String> = text;
    }
    long: Some(FIELD);

    /// One image, as base64.
    #[schema(as = ImageRequest)]
    json ImageRequest {
        /// The image as base64, or as a data URI with it.
        image_base64: String;
    }

    /// Whether the embedding is L2-normalized.
    normalize = true;
}

impl ImageRequest {
    fn items(
        &self,
        [image]: [Option<&RawValue>; 1],
        reader: &mut ItemReader,
    ) -> Result<(), Problem> {
        let image = image.ok_or_else(|| missing(FIELD, "an image as base64"))?;
        let place = Place::of(FIELD);
        reader.image(place, &json::text(place, image)?)
    }
}

bodies! {
    /// Images.
    #[schema(as = Body_embed_images)]
    form ImagesForm {
        /// The images.
        #[schema(value_type = Vec<Upload>, min_items = 1)]
        files: Vec<File> = images, many: true;
    }
    long: None;

    /// Images, as base64.
    #[schema(as = ImagesRequest)]
    json ImagesRequest {
        /// The images, each as base64 or as a data URI with it.
        image_base64: Vec<String>;
    }

    /// Whether a bad image costs only its own row, which is then empty, and described in `errors`.
    /// In a form it must stand before the images.
    partial = false;
    /// Whether the embeddings are L2-normalized.
    normalize = true;
}

impl ImagesRequest {
    /// With `partial`, a bad image is left for the service to find.
    fn items(
        &self,
        [images]: [Option<&RawValue>; 1],
        reader: &mut ItemReader,
    ) -> Result<(), Problem> {
        read_images(images, reader, self.partial).map(|_| ())
    }
}
