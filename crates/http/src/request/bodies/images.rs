//! Images in JSON.

use serde_json::value::RawValue;

use crate::answer::problem::Problem;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, wrong};

/// The field of JSON with an image, or with several.
pub(super) const FIELD: &str = "image_base64";

/// Reads a list of images that must not be empty, as [`read_images`] does.
pub(super) fn read_some_images(
    raw: Option<&RawValue>,
    reader: &mut ItemReader,
    partial: bool,
) -> Result<(), Problem> {
    match read_images(raw, reader, partial)? {
        0 => Err(wrong(format!("{FIELD} must not be empty."))),
        _ => Ok(()),
    }
}

/// Reads a list of images and returns how many there are. With `partial` each is for itself, and so is
/// what follows.
pub(super) fn read_images(
    raw: Option<&RawValue>,
    reader: &mut ItemReader,
    partial: bool,
) -> Result<usize, Problem> {
    let raw = raw.ok_or_else(|| missing(FIELD, "a list of images as base64"))?;
    let images = json::list(FIELD, raw, reader.most_images())?;
    let count = images.len();
    if partial {
        reader.each_for_itself();
    }
    for (index, raw) in images.into_iter().enumerate() {
        let place = Place::at(FIELD, index);
        reader.image(place, &json::text(place, raw)?)?;
    }
    Ok(count)
}

/// A field that must be there and is not.
pub(super) fn missing(field: &str, what: &str) -> Problem {
    wrong(format!("The body must have {field}: {what}."))
}
