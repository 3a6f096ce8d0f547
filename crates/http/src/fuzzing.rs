//! Doors for the fuzz targets in `fuzz/`, in builds with `--cfg fuzzing` only: what a
//! client sends goes in, and what the endpoints would see comes out.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::HttpSettings;
use crate::answer::validation::Issues;
use crate::request::body::Body;
use crate::request::form::reader::FormKind;
use crate::request::form::{Fields, Form};
use crate::request::text_limits::TextLimits;
use crate::request::{text_list, text_request};
use siglip2_service::MemoryBudget;
use siglip2_service::metrics::Metrics;

/// A form as an endpoint reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// File name and contents of each image.
    pub images: Vec<(String, Vec<u8>)>,
    /// The fields with text.
    pub texts: Vec<String>,
    /// What was looked at as soon as it had arrived: index, file name, length.
    pub inspected: Vec<(usize, String, usize)>,
}

/// Reads a form whose body arrives in these pieces: with `many` as `/similarity` reads
/// it, images in `files` and a text in `texts`, otherwise as `/embed/image` does.
///
/// # Errors
///
/// Why it is refused, in words.
pub async fn form(
    content_type: &[u8],
    pieces: Vec<Bytes>,
    many: bool,
    settings: &HttpSettings,
) -> Result<Parts, String> {
    let fields = if many {
        Fields {
            image: "files",
            many,
            texts: &["texts"],
            long_text: None,
        }
    } else {
        Fields {
            image: "file",
            many,
            texts: &["image_base64", "normalize"],
            long_text: Some("image_base64"),
        }
    };
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_bytes(content_type).map_err(|error| error.to_string())?;
    headers.insert(CONTENT_TYPE, content_type);
    let frames = pieces
        .into_iter()
        .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let memory = MemoryBudget::new(8 << 30, Metrics::new());
    let mut body = Body::new(StreamBody::new(stream::iter(frames)), settings, &memory);
    let kind = FormKind::of(&headers, &body).map_err(|problem| problem.to_string())?;
    let inspected = Mutex::new(Vec::new());
    let mut form = Form::read(&mut body, kind, fields, settings, &|index, name, bytes| {
        if let Ok(mut inspected) = inspected.lock() {
            inspected.push((index, name.to_owned(), bytes.len()));
        }
        Ok(())
    })
    .await
    .map_err(|problem| problem.to_string())?;
    let mut issues = Issues::default();
    let images = if many {
        form.images(fields.image, &mut issues)
    } else {
        form.image(fields.image, &mut issues).into_iter().collect()
    };
    let texts = fields.texts.iter();
    Ok(Parts {
        images: images
            .into_iter()
            .map(|file| (file.filename, file.bytes.to_vec()))
            .collect(),
        texts: texts
            .filter_map(|field| form.text(field, &mut issues))
            .collect(),
        inspected: inspected.into_inner().unwrap_or_default(),
    })
}

/// The bytes of a base64 text or data URI, if it is one.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    crate::request::base64::decode(text).ok()
}

/// The texts and `normalize` of a body of `/embed/text`.
///
/// # Errors
///
/// Why it is refused, in words.
pub fn text_request(body: &[u8], settings: &HttpSettings) -> Result<(Vec<String>, bool), String> {
    text_request::parse(body, TextLimits::of(settings))
        .map(|request| (request.texts, request.normalize))
        .map_err(|problem| problem.to_string())
}

/// The texts in the field `texts` of a form.
///
/// # Errors
///
/// Why they are refused, in words.
pub fn text_field(text: &str, settings: &HttpSettings) -> Result<Vec<String>, String> {
    text_list::parse_field(text, TextLimits::of(settings)).map_err(|problem| problem.to_string())
}
