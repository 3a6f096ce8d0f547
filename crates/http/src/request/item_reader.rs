//! Texts and images of a request in JSON: collected in order, each within its bounds and
//! within the memory that bodies may take.
//!
//! An image is base64 or a data URI, is decoded once, and its header is looked at at once, so
//! that a bad one ends the reading. One that is named by its URL is fetched later, if that is
//! allowed; see `fetch`.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::base64;
use super::model::Choice;
use super::text_limits::TextLimits;
use crate::answer::problem::Problem;
use crate::settings::HttpSettings;
use crate::settings::picture_url::{PictureHosts, Target, Wanted, is_url};
use siglip2_service::{Item, Lease, MemoryUse};

/// Where in the body an item is, for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The field.
    pub(crate) field: &'static str,
    /// The position in it, where it is a list.
    pub(crate) index: Option<usize>,
}

impl Place {
    /// A field that is no list.
    pub(crate) fn of(field: &'static str) -> Self {
        Self { field, index: None }
    }

    /// An item of a field that is one.
    pub(crate) fn at(field: &'static str, index: usize) -> Self {
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
pub(crate) struct Items {
    /// What is to be embedded.
    pub(crate) items: Vec<Item>,
    /// Where each stood.
    pub(crate) places: Vec<Place>,
    /// The memory of the texts; that of an image goes with it.
    pub(crate) memory: Lease,
    /// Images that are still to be fetched; each stands among the items as an empty one.
    pub(crate) wanted: Vec<Wanted>,
}

impl Items {
    /// The texts and the images, apart, and the memory of the texts.
    pub(crate) fn apart(self) -> (Vec<String>, Vec<Bytes>, Lease) {
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
    pub(crate) fn name(places: &[Place], index: usize) -> String {
        let place = places.get(index);
        place.map_or_else(|| format!("item {index}"), Place::to_string)
    }
}

/// Collects items; see the module.
pub(crate) struct ItemReader {
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
    hosts: Option<PictureHosts>,
    most_urls: usize,
    wanted: Vec<Wanted>,
    /// Bytes that the request holds: its body, and what was decoded out of it.
    held: u64,
}

impl ItemReader {
    /// A reader for a request whose body takes so many bytes.
    pub(crate) fn new(choice: &Choice, settings: &HttpSettings, body: u64) -> Self {
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
            hosts: settings.picture_urls.picture_url_hosts.clone(),
            most_urls: settings.picture_urls.max_picture_urls_per_request,
            wanted: Vec::new(),
            held: body,
        }
    }

    /// Floats in a vector of the model.
    pub(crate) fn dimensions(&self) -> usize {
        self.choice.model().info().dimensions
    }

    /// So many items a list may have, whatever they are.
    pub(crate) fn most(&self) -> usize {
        self.most_texts + self.most_images
    }

    /// What was collected.
    pub(crate) fn finish(self) -> Items {
        Items {
            items: self.items,
            places: self.places,
            memory: self.memory,
            wanted: self.wanted,
        }
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, place: Place, text: Cow<'_, str>) -> Result<(), Problem> {
        self.texts += 1;
        if self.texts > self.most_texts {
            return Err(Problem::TooLarge(format!(
                "The request has more texts than the limit of {}.",
                self.most_texts
            )));
        }
        self.limits.check(place, &text)?;
        self.text_bytes += text.len();
        if self.text_bytes > self.most_text_bytes {
            return Err(Problem::TooLarge(format!(
                "The texts of the request have more bytes than the limit of {}.",
                self.most_text_bytes
            )));
        }
        self.hold(text.len())?;
        self.places.push(place);
        self.items.push(Item::Text(text.into_owned()));
        Ok(())
    }

    /// So many images a request may hold.
    pub(crate) fn most_images(&self) -> usize {
        self.most_images
    }

    /// Refuses a text of so many bytes, before it is made.
    pub(crate) fn room(&self, place: Place, bytes: usize) -> Result<(), Problem> {
        self.limits.check_bytes(place, bytes)
    }

    /// Takes so many bytes, for what is decoded beside the items.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held;
        self.memory
            .grow(bytes as u64)
            .map_err(|error| error.beside(held))?;
        self.held += bytes as u64;
        Ok(())
    }

    /// Adds an image that came as base64, as a data URI, or as a URL.
    pub(crate) fn image(&mut self, place: Place, encoded: &str) -> Result<(), Problem> {
        if is_url(encoded) {
            return self.url(place, encoded);
        }
        let file = self.decoded(place, encoded)?;
        self.inspected(place, file)
            .map_err(|problem| problem.because(base64::mistake(encoded)))
    }

    /// The same, of an image that may be bad without harm to the others: the service finds that.
    pub(crate) fn unchecked_image(&mut self, place: Place, encoded: &str) -> Result<(), Problem> {
        if is_url(encoded) {
            return self.url(place, encoded);
        }
        let file = self.decoded(place, encoded)?;
        self.places.push(place);
        self.items.push(Item::Image(file));
        Ok(())
    }

    /// Adds an image that is to be fetched. What is wrong with any is said before one is.
    fn url(&mut self, place: Place, url: &str) -> Result<(), Problem> {
        let Some(hosts) = &self.hosts else {
            return Err(Problem::BadRequest(
                format!(
                    "{place} is a URL, and this service fetches none: send the image itself, as \
                     base64 or as a data URI."
                )
                .into(),
            ));
        };
        let target = Target::parse(url, hosts)
            .map_err(|why| Problem::BadRequest(format!("{place} {why}.").into()))?;
        if self.wanted.len() == self.most_urls {
            return Err(Problem::TooLarge(format!(
                "The request has more URLs of images than the limit of {}.",
                self.most_urls
            )));
        }
        self.count_image()?;
        self.hold(url.len())?;
        self.wanted.push(Wanted {
            index: self.items.len(),
            name: place.to_string(),
            target,
        });
        self.places.push(place);
        self.items.push(Item::Image(Bytes::new()));
        Ok(())
    }

    fn decoded(&mut self, place: Place, encoded: &str) -> Result<Bytes, Problem> {
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
    pub(crate) fn file(&mut self, place: Place, file: Bytes) -> Result<(), Problem> {
        self.count_image()?;
        self.inspected(place, file)
    }

    fn count_image(&mut self) -> Result<(), Problem> {
        self.images += 1;
        if self.images > self.most_images {
            return Err(Problem::TooLarge(format!(
                "The request has more images than the limit of {}.",
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
    pub(crate) fn string(&mut self, place: Place, string: Cow<'_, str>) -> Result<(), Problem> {
        match is_data_uri(&string) {
            true => self.image(place, &string),
            false => self.text(place, string),
        }
    }
}

/// Whether a string is `data:TYPE;base64,...`. A sentence that begins with "data:" is none.
pub(crate) fn is_data_uri(string: &str) -> bool {
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
