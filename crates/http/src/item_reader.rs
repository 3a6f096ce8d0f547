//! Texts and images as the dialects bring them: collected in order, each within its bounds and
//! within the memory that bodies may take.
//!
//! An image is base64 or a data URI, is decoded once, and its header is looked at at once, so
//! that a bad one ends the reading. No URL is fetched.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::base64;
use super::model::Choice;
use super::problem::Problem;
use super::settings::HttpSettings;
use super::text_request::TextLimits;
use siglip2_service::{Item, Lease, MemoryUse};

/// Where in the body an item is, for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The field.
    pub(super) field: &'static str,
    /// The position in it, where it is a list.
    pub(super) index: Option<usize>,
}

impl Place {
    /// A field that is no list.
    pub(super) fn of(field: &'static str) -> Self {
        Self { field, index: None }
    }

    /// An item of a field that is one.
    pub(super) fn at(field: &'static str, index: usize) -> Self {
        let index = Some(index);
        Self { field, index }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// Texts and images in the order in which they came.
pub(super) struct Items {
    /// What is to be embedded.
    pub(super) items: Vec<Item>,
    /// Where each stood.
    pub(super) places: Vec<Place>,
    /// The memory of the texts; that of an image goes with it.
    pub(super) memory: Lease,
}

impl Items {
    /// The texts and the images, apart, and the memory of the texts.
    pub(super) fn apart(self) -> (Vec<String>, Vec<Bytes>, Lease) {
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for item in self.items {
            match item {
                Item::Text(text) => texts.push(text),
                Item::Image(file) => images.push(file),
            }
        }
        (texts, images, self.memory)
    }

    /// The item of an index, for an error.
    pub(super) fn name(places: &[Place], index: usize) -> String {
        let place = places.get(index);
        place.map_or_else(|| format!("item {index}"), Place::to_string)
    }
}

/// Collects items; see the module.
pub(super) struct ItemReader {
    /// The model that they are for, which is known before the first is added.
    choice: Choice,
    limits: TextLimits,
    most_texts: usize,
    most_images: usize,
    most_text_bytes: usize,
    texts: usize,
    images: usize,
    text_bytes: usize,
    items: Vec<Item>,
    places: Vec<Place>,
    memory: Lease,
    /// Bytes that the request holds: its body, and what was decoded out of it.
    held: u64,
}

impl ItemReader {
    /// A reader for a request whose body takes so many bytes.
    pub(super) fn new(choice: &Choice, settings: &HttpSettings, body: u64) -> Self {
        Self {
            memory: choice.models().memory().empty(MemoryUse::Bodies),
            choice: choice.clone(),
            limits: TextLimits::of(settings),
            most_texts: settings.max_texts_per_request,
            most_images: settings.max_images_per_request,
            most_text_bytes: settings.max_text_body_bytes,
            texts: 0,
            images: 0,
            text_bytes: 0,
            items: Vec::new(),
            places: Vec::new(),
            held: body,
        }
    }

    /// Floats in a vector of the model.
    pub(super) fn dimensions(&self) -> usize {
        self.choice.model().info().dimensions
    }

    /// So many items a list may have, whatever they are.
    pub(super) fn most(&self) -> usize {
        self.most_texts + self.most_images
    }

    /// What was collected.
    pub(super) fn finish(self) -> Items {
        Items {
            items: self.items,
            places: self.places,
            memory: self.memory,
        }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, place: Place, text: Cow<'_, str>) -> Result<(), Problem> {
        self.texts += 1;
        if self.texts > self.most_texts {
            return Err(Problem::TooLarge(format!(
                "The request has more than the {} texts that one may hold.",
                self.most_texts
            )));
        }
        self.limits.check(place, &text)?;
        self.text_bytes += text.len();
        if self.text_bytes > self.most_text_bytes {
            return Err(Problem::TooLarge(format!(
                "The texts of the request have more than the {} bytes that they may have.",
                self.most_text_bytes
            )));
        }
        self.hold(text.len())?;
        self.places.push(place);
        self.items.push(Item::Text(text.into_owned()));
        Ok(())
    }

    /// So many images a request may hold.
    pub(super) fn most_images(&self) -> usize {
        self.most_images
    }

    /// Refuses a text of so many bytes, before it is made.
    pub(super) fn room(&self, place: Place, bytes: usize) -> Result<(), Problem> {
        self.limits.check_bytes(place, bytes)
    }

    /// Takes so many bytes, for what is decoded beside the items.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held;
        self.memory
            .grow(bytes as u64)
            .map_err(|error| error.beside(held))?;
        self.held += bytes as u64;
        Ok(())
    }

    /// Adds an image that came as base64 or as a data URI.
    pub(super) fn image(&mut self, place: Place, encoded: &str) -> Result<(), Problem> {
        let file = self.decoded(place, encoded)?;
        self.inspected(place, file)
            .map_err(|problem| problem.because(base64::mistake(encoded)))
    }

    /// The same, of an image that may be bad without harm to the others: the service finds that.
    pub(super) fn unchecked_image(&mut self, place: Place, encoded: &str) -> Result<(), Problem> {
        let file = self.decoded(place, encoded)?;
        self.places.push(place);
        self.items.push(Item::Image(file));
        Ok(())
    }

    fn decoded(&mut self, place: Place, encoded: &str) -> Result<Bytes, Problem> {
        refuse_url(place, encoded)?;
        self.count_image()?;
        let bytes = (encoded.len() / 4 * 3 + 3) as u64;
        let memory = self
            .choice
            .models()
            .memory()
            .take(MemoryUse::Bodies, bytes)
            .map_err(|error| error.beside(self.held))?;
        self.held += bytes;
        let file = base64::decode(encoded).map_err(|error| {
            let problem = format!("{place} is not valid base64: {error}.");
            Problem::BadRequest(problem.into()).because(base64::mistake(encoded))
        })?;
        Ok(memory.keep_with(file))
    }

    /// Adds an image whose file is here.
    pub(super) fn file(&mut self, place: Place, file: Bytes) -> Result<(), Problem> {
        self.count_image()?;
        self.inspected(place, file)
    }

    fn count_image(&mut self) -> Result<(), Problem> {
        self.images += 1;
        if self.images > self.most_images {
            return Err(Problem::TooLarge(format!(
                "The request has more than the {} images that one may hold.",
                self.most_images
            )));
        }
        Ok(())
    }

    fn inspected(&mut self, place: Place, file: Bytes) -> Result<(), Problem> {
        self.choice
            .model()
            .inspect_image(&file)
            .map_err(|error| Problem::image(&place.to_string(), &error))?;
        self.places.push(place);
        self.items.push(Item::Image(file));
        Ok(())
    }

    /// Adds a string: an image where it is a data URI with base64, else a text.
    pub(super) fn string(&mut self, place: Place, string: Cow<'_, str>) -> Result<(), Problem> {
        match is_data_uri(&string) {
            true => self.image(place, &string),
            false => self.text(place, string),
        }
    }
}

/// Whether a string is `data:TYPE;base64,...`. A sentence that begins with "data:" is none.
pub(super) fn is_data_uri(string: &str) -> bool {
    /// Longer than any media type with its parameters.
    const LOOKED_AT: usize = 256;
    let start = &string.as_bytes()[..string.len().min(LOOKED_AT)];
    let Some((scheme, rest)) = start.split_at_checked(5) else {
        return false;
    };
    let head = rest.split(|&byte| byte == b',').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"data:")
        && head.len() < rest.len()
        && head.to_ascii_lowercase().ends_with(b";base64")
        && !head.iter().any(u8::is_ascii_whitespace)
}

/// Says that URLs are not fetched, where an image is one.
fn refuse_url(place: Place, image: &str) -> Result<(), Problem> {
    let begins = |scheme: &str| {
        let start = image.trim_start().get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if ["http://", "https://", "s3://", "gs://", "file://"]
        .into_iter()
        .any(begins)
    {
        return Err(Problem::BadRequest(
            format!(
                "{place} is a URL, and this service fetches none: send the image itself, as \
                 base64 or as a data URI."
            )
            .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_uris_are_told_from_texts() {
        for uri in [
            "data:image/png;base64,AAAA",
            "DATA:image/jpeg;charset=x;BASE64,",
            "data:;base64,AAAA",
        ] {
            assert!(is_data_uri(uri), "{uri}");
        }
        for text in [
            "data: the new oil",
            "data:image/png,AAAA",
            "data:a b;base64,AAAA",
            "data:;base64",
            "database64,",
            "",
            "d\u{e4}ta:;base64,",
        ] {
            assert!(!is_data_uri(text), "{text}");
        }
    }

    #[test]
    fn places_are_named_as_they_stand_in_the_body() {
        assert_eq!(Place::at("input", 3).to_string(), "input[3]");
        assert_eq!(Place::of("input").to_string(), "input");
    }
}
