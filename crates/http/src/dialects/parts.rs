//! Items that are objects, and contents that are lists of parts, as Jina, SGLang, vLLM and Cohere
//! have them. They differ in names, not in meaning.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, Kind, wrong};

/// A text or an image, in one of its fields.
#[derive(ToSchema)]
#[schema(as = ItemObject)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct Part {
    /// The kind of part. It may be left out, because the field that is present says it too.
    r#type: Option<String>,
    /// A text.
    text: Option<String>,
    /// An image: base64 or a data URI.
    image: Option<String>,
    /// An image: a data URI, or its URL if the service fetches it.
    url: Option<String>,
    /// An image: base64.
    bytes: Option<String>,
    /// An image: a data URI or a URL, or an object with it.
    image_url: Option<ImageUrl>,
    /// An image: base64 or a data URI.
    image_base64: Option<String>,
}

/// A data URI or a URL of an image, or an object with it.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = ImageUrl)]
#[allow(dead_code, reason = "it is only described")]
enum ImageUrl {
    /// The data URI or the URL.
    Text(String),
    /// An object with it.
    Object(UrlObject),
}

/// An object with a data URI or a URL.
#[derive(ToSchema)]
#[schema(as = UrlObject)]
#[allow(dead_code, reason = "it is only described")]
struct UrlObject {
    /// The data URI, or the URL if the service fetches it.
    url: String,
}

/// A message, of which only the content is used.
#[derive(ToSchema)]
#[schema(as = Message)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct Message {
    /// Who wrote it; ignored.
    role: Option<String>,
    /// A text, or parts.
    content: Content,
}

/// An input made of parts, of which only one may have content.
#[derive(ToSchema)]
#[schema(as = ContentInput)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct ContentInput {
    /// A text, or parts.
    content: Content,
}

/// A text, or a list of parts. It becomes one vector, so only one part may have content.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Content)]
#[allow(dead_code, reason = "it is only described")]
enum Content {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<Part>),
}

/// Adds the text or the image of an object.
pub(super) fn object(reader: &mut ItemReader, place: Place, raw: &RawValue) -> Result<(), Problem> {
    const IMAGES: [&str; 5] = ["image", "url", "bytes", "image_url", "image_base64"];
    let [text, image, url, bytes, image_url, image_base64] = json::fields(
        place,
        raw,
        ["text", "image", "url", "bytes", "image_url", "image_base64"],
    )?;
    let images = [image, url, bytes, image_url, image_base64];
    let mut given = IMAGES
        .into_iter()
        .zip(images)
        .filter_map(|(name, raw)| Some((name, raw?)));
    match (text, given.next(), given.next()) {
        (Some(text), None, _) => reader.text(place, json::text(place, text)?),
        (None, Some((name, raw)), None) => {
            let raw = match json::kind(raw) {
                Kind::Object if name == "image_url" => {
                    let [url] = json::fields(format!("{place}.image_url"), raw, ["url"])?;
                    url.ok_or_else(|| wrong(format!("{place}.image_url has no url.")))?
                }
                _ => raw,
            };
            let encoded = json::text(format!("{place}.{name}"), raw)?;
            reader.image(place, &encoded)
        }
        (None, None, _) => Err(wrong(format!(
            "{place} must have a text in \"text\", or an image in one of: {}.",
            IMAGES.map(|name| format!("\"{name}\"")).join(", ")
        ))),
        _ => Err(mixed(place)),
    }
}

/// The parts of a content: the items of a list, or the text itself.
pub(super) fn of_content(
    place: Place,
    raw: &RawValue,
    most: usize,
) -> Result<Vec<&RawValue>, Problem> {
    match json::kind(raw) {
        Kind::Text => Ok(vec![raw]),
        _ => json::list(format!("{place}.content"), raw, most),
    }
}

/// Adds what becomes one vector. Only one of the parts may have content: the model has a tower for
/// texts and one for images, and none for both together.
pub(super) fn single(
    reader: &mut ItemReader,
    place: Place,
    parts: &[&RawValue],
) -> Result<(), Problem> {
    let mut filled = Vec::new();
    for part in parts {
        if !is_empty_text(place, part)? {
            filled.push(*part);
        }
    }
    let part = match filled.as_slice() {
        [part] => part,
        [] => match parts.first() {
            Some(part) => part,
            None => return Err(wrong(format!("{place} has no content."))),
        },
        _ => return Err(mixed(place)),
    };
    match json::kind(part) {
        Kind::Text => reader.text(place, json::text(place, part)?),
        _ => object(reader, place, part),
    }
}

fn is_empty_text(place: Place, part: &RawValue) -> Result<bool, Problem> {
    if json::kind(part) == Kind::Text {
        return Ok(part.get() == "\"\"");
    }
    let [text] = json::fields(place, part, ["text"])?;
    Ok(text.is_some_and(|text| text.get() == "\"\""))
}

fn mixed(place: Place) -> Problem {
    wrong(format!(
        "{place} has more than one part: this model embeds a text or an image, and not both as \
         one vector; send each as an input of its own."
    ))
}
