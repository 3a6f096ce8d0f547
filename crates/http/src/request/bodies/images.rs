//! Images in JSON.

use serde_json::value::RawValue;

use crate::answer::problem::Problem;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, wrong};

/// The field of JSON with an image, or with several.
pub(super) const FIELD: &str = "image_base64";

/// Reads a list of images that must not be empty.
pub(super) fn read_some_images(
    raw: Option<&RawValue>,
    reader: &mut ItemReader,
) -> Result<(), Problem> {
    match read_images(raw, reader, false)? {
        0 => Err(wrong(format!("{FIELD} must not be empty."))),
        _ => Ok(()),
    }
}

/// Reads a list of images and returns how many there are. With `partial` they are not looked at:
/// the service finds the bad ones.
pub(super) fn read_images(
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

/// A field that must be there and is not.
pub(super) fn missing(field: &str, what: &str) -> Problem {
    wrong(format!("The body must have {field}: {what}."))
}
