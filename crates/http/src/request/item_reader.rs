//! Texts and images of a request in JSON: collected in order, each within its bounds and
//! within the memory that bodies may take.
//!
//! An image is base64 or a data URI, is decoded once, and its header is looked at at once, so
//! that a bad one ends the reading, unless each is for itself. One that is named by its URL is
//! fetched later, if that is allowed; see `fetch`.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::base64;
use super::model::Choice;
use super::text_limits::TextLimits;
use crate::answer::problem::Problem;
use crate::answer::row_error::RowError;
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
    /// The first item that is for itself: one from there on may be bad.
    pub(crate) for_itself_from: usize,
    /// Images that are bad before they are decoded, by the index of their item, which is an empty
    /// image.
    pub(crate) refused: Vec<RowError>,
}

impl Items {
    /// Takes note of what is wrong with an image, if it is for itself.
    pub(crate) fn refuse(&mut self, index: usize, problem: Problem) -> Result<(), Problem> {
        match index >= self.for_itself_from && problem.is_of_an_image() {
            true => {
                self.refused.push(RowError::of(index, &problem));
                Ok(())
            }
            false => Err(problem),
        }
    }

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
    for_itself_from: usize,
    refused: Vec<RowError>,
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
            for_itself_from: usize::MAX,
            refused: Vec::new(),
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
            for_itself_from: self.for_itself_from,
            refused: self.refused,
        }
    }

    /// From here on each item is for itself: images are not looked at, and texts may have any length
    /// as long as all together fit. The service finds the bad ones. Numbers of items and bytes have
    /// their limits all the same, and so has a text for which [`ItemReader::room`] is asked.
    pub(crate) fn each_for_itself(&mut self) {
        self.for_itself_from = self.items.len();
    }

    fn are_for_themselves(&self) -> bool {
        self.items.len() >= self.for_itself_from
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
        if !self.are_for_themselves() {
            self.limits.check(place, &text)?;
        }
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

    /// Refuses a text of so many bytes, before it is made, be it for itself or not.
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
        let Some(file) = self.decoded(place, encoded)? else {
            return Ok(());
        };
        self.inspected(place, file)
            .map_err(|problem| problem.because(base64::mistake(encoded)))
    }

    /// Adds an empty image in place of one that is bad; if it is not for itself, it is the request
    /// that is bad.
    fn bad_image(&mut self, place: Place, problem: Problem) -> Result<(), Problem> {
        if !self.are_for_themselves() {
            return Err(problem);
        }
        let index = self.items.len();
        self.refused.push(RowError::of(index, &problem));
        self.add_image(place, Bytes::new());
        Ok(())
    }

    fn add_image(&mut self, place: Place, file: Bytes) {
        self.places.push(place);
        self.items.push(Item::Image(file));
    }

    /// Adds an image that is to be fetched. What is wrong with any URL is said before one is fetched.
    fn url(&mut self, place: Place, url: &str) -> Result<(), Problem> {
        self.count_image()?;
        let target = match &self.hosts {
            Some(hosts) => Target::parse(url, hosts).map_err(|why| format!("{place} {why}.")),
            None => Err(format!(
                "{place} is a URL, and this service fetches none: send the image itself, as base64 or as a data URI."
            )),
        };
        let target = match target {
            Ok(target) => target,
            Err(why) => return self.bad_image(place, Problem::BadRequest(why.into())),
        };
        if self.wanted.len() == self.most_urls {
            return Err(Problem::TooLarge(format!(
                "The request has more URLs of images than the limit of {}.",
                self.most_urls
            )));
        }
        self.hold(url.len())?;
        self.wanted.push(Wanted {
            index: self.items.len(),
            name: place.to_string(),
            target,
        });
        self.add_image(place, Bytes::new());
        Ok(())
    }

    /// The file in base64; none if it is bad and for itself, in which case it has been added.
    fn decoded(&mut self, place: Place, encoded: &str) -> Result<Option<Bytes>, Problem> {
        self.count_image()?;
        let bytes = (encoded.len() / 4 * 3 + 3) as u64;
        let memory = self
            .choice
            .models()
            .memory()
            .take(MemoryUse::Bodies, bytes)
            .map_err(|error| error.beside(self.held))?;
        self.held += bytes;
        match base64::decode(encoded) {
            Ok(file) => Ok(Some(memory.keep_with(file))),
            Err(error) => {
                let problem = format!("{place} is not valid base64: {error}.");
                let problem = Problem::BadRequest(problem.into());
                self.bad_image(place, problem.because(base64::mistake(encoded)))?;
                Ok(None)
            }
        }
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
        if !self.are_for_themselves() {
            self.choice
                .model()
                .inspect_image(&file)
                .map_err(|error| Problem::image(&place.to_string(), &error))?;
        }
        self.add_image(place, file);
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
