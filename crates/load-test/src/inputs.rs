//! Derives a request from its number: its contents, and the expected answer.
//!
//! ```text
//! number --seed--> endpoint, texts, images --> body and expectation
//! ```
//!
//! The same number gives the same request on every run and against every service, so
//! that two services are compared on the same work. Texts and images are used in turn,
//! and repeat only when all have been used. There is no limit to the number of images: a
//! few hundred are drawn or read, and each one sent is marked with a unique number.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::check::Expected;
use crate::error::Error;
use crate::hostile;
use crate::mix::{Endpoint, Mix};
use crate::options::Options;
use crate::pictures::{self, Picture};
use crate::random::Random;
use crate::texts;

/// Separates the parts of forms. It does not occur in texts, and occurs in an image with a
/// probability of 1 in 2^200.
pub const BOUNDARY: &str = "load-test-7f83b1657ff1fc53b92dc18148a1d65d";

const DISTINCT_TEXTS: u32 = 1_000_000;

/// Images that are drawn.
const DRAWN_IMAGES: u32 = 64;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The endpoint under which it is counted.
    pub endpoint: Endpoint,
    /// Its path.
    pub path: &'static str,
    /// Its content type.
    pub content_type: String,
    /// Its body.
    pub body: Bytes,
    /// Images in it.
    pub images: u32,
    /// Texts in it.
    pub texts: u32,
    /// The expected answer.
    pub expected: Expected,
    /// Whether to send half the body and close the connection.
    pub cut: bool,
}

/// All inputs.
#[derive(Debug)]
pub struct Inputs {
    mix: Mix,
    pictures: Vec<Picture>,
    marks: Marks,
    texts: u64,
    texts_per_request: u32,
    images_per_request: u32,
    normalize: bool,
    hostile: f64,
    seed: u64,
    used_texts: Used,
    used_images: Used,
}

/// How many distinct inputs there are, and how many were sent.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Distinct {
    /// Distinct texts available.
    pub texts: u64,
    /// Distinct texts sent, including the warm-up.
    pub texts_sent: u64,
    /// Distinct images available; none if every image sent is different.
    pub images: Option<u64>,
    /// Distinct images sent, including the warm-up.
    pub images_sent: u64,
}

/// Which images are different files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marks {
    /// The drawn or read images, unchanged.
    None,
    /// A limited number, after which they repeat.
    First(u64),
    /// Every image sent.
    All,
}

/// Counts distinct inputs: with a bit for each, or simply as they are sent if none repeats.
#[derive(Debug)]
struct Used {
    bits: Vec<AtomicU64>,
    count: AtomicU64,
}

impl Used {
    fn new(number: Option<u64>) -> Self {
        let words = number.unwrap_or(0).div_ceil(64);
        Self {
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
        }
    }

    fn mark(&self, number: u64) {
        let bit = 1 << (number % 64);
        let known = self
            .bits
            .get((number / 64) as usize)
            .is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit != 0);
        if !known {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// An image of a request: the file, and its mark.
type Chosen<'p> = (&'p Picture, Option<String>);

impl Inputs {
    /// Reads or draws what the options ask for.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let with_images = options.hostile > 0.0
            || options.mix.has(&[
                Endpoint::Image,
                Endpoint::Images,
                Endpoint::Similarity,
                Endpoint::Rank,
            ]);
        let with_texts = options
            .mix
            .has(&[Endpoint::Text, Endpoint::Similarity, Endpoint::Rank]);
        let marks = match options.distinct {
            _ if options.repeat_images => Marks::None,
            Some(number) => Marks::First(number.into()),
            None => Marks::All,
        };
        let pictures = match &options.images {
            Some(folder) if with_images => {
                let mut pictures = pictures::of_folder(folder)?;
                pictures.truncate(options.distinct.map_or(usize::MAX, |n| n as usize));
                pictures
            }
            None if with_images => pictures::drawn(
                match (marks, options.distinct) {
                    (Marks::None, Some(number)) => number,
                    (_, number) => number.unwrap_or(DRAWN_IMAGES).min(DRAWN_IMAGES),
                },
                &options.drawn,
                options.drawn_format,
                options.seed,
            )?,
            _ => Vec::new(),
        };
        let texts = if with_texts {
            u64::from(options.distinct.unwrap_or(DISTINCT_TEXTS))
        } else {
            0
        };
        let images = match marks {
            Marks::None => Some(pictures.len() as u64),
            Marks::First(number) => Some(number),
            Marks::All => None,
        };
        Ok(Self {
            mix: options.mix.clone(),
            used_texts: Used::new(Some(texts)),
            used_images: Used::new(images),
            pictures,
            marks,
            texts,
            texts_per_request: options.texts_per_request,
            images_per_request: options.images_per_request,
            normalize: options.normalize,
            hostile: options.hostile / 100.0,
            seed: options.seed,
        })
    }

    /// How many distinct inputs were sent so far.
    pub fn distinct(&self) -> Distinct {
        Distinct {
            texts: self.texts,
            texts_sent: self.used_texts.count(),
            images: match self.marks {
                _ if self.pictures.is_empty() => Some(0),
                Marks::None => Some(self.pictures.len() as u64),
                Marks::First(number) => Some(number),
                Marks::All => None,
            },
            images_sent: self.used_images.count(),
        }
    }

    /// The seed that everything here is derived from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The request with this number.
    pub fn request(&self, number: u64) -> Request {
        let mut random = Random::new(self.seed, number);
        if random.unit() < self.hostile {
            let picture = self.some_pictures(number, 1).into_iter().next();
            return hostile::request(&mut random, picture.map(|(picture, _)| picture));
        }
        let endpoint = self.mix.choose(&mut random);
        match endpoint {
            Endpoint::Text => self.text(number),
            Endpoint::Similarity => self.similarity(number),
            Endpoint::Rank => self.rank(number),
            Endpoint::Images => self.images(endpoint, "files", number, self.images_per_request),
            Endpoint::Image | Endpoint::Hostile => self.images(Endpoint::Image, "file", number, 1),
        }
    }

    fn some_texts(&self, number: u64, count: u32) -> Vec<String> {
        let first = number.wrapping_mul(u64::from(self.texts_per_request));
        (0..u64::from(count))
            .map(|n| {
                let number = first.wrapping_add(n) % self.texts.max(1);
                self.used_texts.mark(number);
                texts::text(number, self.seed)
            })
            .collect()
    }

    fn some_pictures(&self, number: u64, count: u32) -> Vec<Chosen<'_>> {
        let first = number.wrapping_mul(u64::from(self.images_per_request));
        let kept = (self.pictures.len() as u64).max(1);
        let different = match self.marks {
            Marks::First(number) => number.max(1),
            Marks::None | Marks::All => kept,
        };
        (0..u64::from(count))
            .filter_map(|n| {
                // Each round begins one image later: otherwise requests of one image among
                // requests of four would send only every fourth image. No number repeats,
                // because they grow with the request's number.
                let number = first.wrapping_add(n).wrapping_add(first / different);
                let number = match self.marks {
                    Marks::None | Marks::First(_) => number % different,
                    Marks::All => number,
                };
                self.used_images.mark(number);
                let mark = (self.marks != Marks::None)
                    .then(|| format!("load-test {:x} {number}", self.seed));
                let picture = self.pictures.get((number % kept) as usize)?;
                Some((picture, mark))
            })
            .collect()
    }

    fn text(&self, number: u64) -> Request {
        let texts = self.some_texts(number, self.texts_per_request);
        let body = serde_json::json!({"texts": texts, "normalize": self.normalize});
        Request {
            endpoint: Endpoint::Text,
            path: Endpoint::Text.path(),
            content_type: "application/json".to_owned(),
            body: body.to_string().into(),
            images: 0,
            texts: self.texts_per_request,
            expected: Expected::Rows {
                rows: texts.len(),
                unit: self.normalize,
            },
            cut: false,
        }
    }

    fn images(&self, endpoint: Endpoint, field: &str, number: u64, count: u32) -> Request {
        let pictures = self.some_pictures(number, count);
        let mut form = Form::default();
        form.pictures(field, &pictures);
        if !self.normalize {
            form.field("normalize", "false");
        }
        let expected = Expected::Rows {
            rows: pictures.len(),
            unit: self.normalize,
        };
        form.request(endpoint, count, 0, expected)
    }

    fn similarity(&self, number: u64) -> Request {
        let pictures = self.some_pictures(number, self.images_per_request);
        let texts = self.some_texts(number, self.texts_per_request);
        let expected = Expected::Pairs {
            texts: texts.len(),
            images: pictures.len(),
        };
        let mut form = Form::default();
        form.pictures("files", &pictures);
        form.field("texts", &serde_json::Value::from(texts).to_string());
        form.request(
            Endpoint::Similarity,
            self.images_per_request,
            self.texts_per_request,
            expected,
        )
    }

    fn rank(&self, number: u64) -> Request {
        let pictures = self.some_pictures(number, self.images_per_request);
        let query = self.some_texts(number, 1).pop().unwrap_or_default();
        let mut form = Form::default();
        let files = form.pictures("files", &pictures);
        form.field("query", &query);
        let expected = Expected::Ranking { query, files };
        form.request(Endpoint::Rank, self.images_per_request, 1, expected)
    }
}

/// A multipart form.
#[derive(Debug, Default)]
pub struct Form(Vec<u8>);

impl Form {
    /// Adds file parts, and returns their names.
    pub fn pictures(&mut self, field: &str, pictures: &[Chosen<'_>]) -> Vec<String> {
        let size: usize = pictures
            .iter()
            .map(|(picture, _)| picture.bytes.len() + 512)
            .sum();
        self.0.reserve(size + 256);
        let mut names = Vec::with_capacity(pictures.len());
        for (n, (picture, mark)) in pictures.iter().enumerate() {
            // The number makes each name unique in the request.
            let name = format!("{n}-{}", picture.name);
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; \
                 filename=\"{name}\"\r\nContent-Type: {}\r\n\r\n",
                picture.content_type
            );
            self.0.extend_from_slice(head.as_bytes());
            picture.write(&mut self.0, mark.as_deref());
            self.0.extend_from_slice(b"\r\n");
            names.push(name);
        }
        names
    }

    /// Adds a text field.
    pub fn field(&mut self, name: &str, value: &str) {
        let part = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        self.0.extend_from_slice(part.as_bytes());
    }

    /// The form's bytes, ended.
    pub fn finish(mut self) -> Bytes {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0.into()
    }

    fn request(self, endpoint: Endpoint, images: u32, texts: u32, expected: Expected) -> Request {
        Request {
            endpoint,
            path: endpoint.path(),
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
            body: self.finish(),
            images,
            texts,
            expected,
            cut: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;

    use super::*;

    fn inputs(arguments: &[&str]) -> Inputs {
        let all = ["load-test", "--seed", "1", "--drawn", "8x8"]
            .iter()
            .chain(arguments);
        Inputs::new(&Options::try_parse_from(all).expect("options")).expect("inputs")
    }

    /// How many different images the first 300 single-image requests contain.
    fn different(arguments: &[&str]) -> (usize, Distinct) {
        let inputs = inputs(&[&["--images-per-request", "1"], arguments].concat());
        let bodies: HashSet<_> = (0..300)
            .flat_map(|number| inputs.some_pictures(number, 1))
            .map(|(picture, mark)| {
                let mut file = Vec::new();
                picture.write(&mut file, mark.as_deref());
                file
            })
            .collect();
        (bodies.len(), inputs.distinct())
    }

    #[test]
    fn no_image_is_sent_twice_unless_it_is_asked_for() {
        let (sent, distinct) = different(&[]);
        assert_eq!(
            (sent, distinct.images, distinct.images_sent),
            (300, None, 300)
        );
        let (sent, distinct) = different(&["--repeat-images"]);
        assert_eq!(
            (sent, distinct.images, distinct.images_sent),
            (64, Some(64), 64)
        );
        let (sent, distinct) = different(&["--repeat-images", "--distinct", "70"]);
        assert_eq!((sent, distinct.images), (70, Some(70)));
        let (sent, distinct) = different(&["--distinct", "100"]);
        assert_eq!(
            (sent, distinct.images, distinct.images_sent),
            (100, Some(100), 100)
        );
    }

    #[test]
    fn several_images_in_a_request_are_different_too() {
        let inputs = inputs(&["--mix", "images=1", "--images-per-request", "5"]);
        for number in 0..200 {
            inputs.request(number);
        }
        assert_eq!(inputs.distinct().images_sent, 1000);
        let same = |number| inputs.request(number).body == inputs.request(number).body;
        assert!((0..20).all(same));
    }
}
