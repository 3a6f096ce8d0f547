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
use crate::dialects;
use crate::request::body::Body;
use crate::request::coded::{Coding, Decoder};
use crate::request::form::reader::FormKind;
use crate::request::form::{Fields, Form};
use crate::request::packed;
use crate::request::text_limits::TextLimits;
use crate::request::{text_list, text_request};
use crate::settings::picture_url::{PictureHosts, Target};
use siglip2_service::metrics::Metrics;
use siglip2_service::{MemoryBudget, MemoryUse};

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
    let incoming = StreamBody::new(stream::iter(frames));
    let mut body = Body::new(incoming, settings, &memory);
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

/// The files of a tar body: names and contents, at most so many.
///
/// # Errors
///
/// Why it is refused, in words.
pub fn tar(body: &Bytes, most: usize) -> Result<Vec<(String, Bytes)>, String> {
    let files = packed::tar(body, most).map_err(|problem| problem.to_string())?;
    Ok(files
        .into_iter()
        .map(|file| (file.filename, file.bytes))
        .collect())
}

/// The files of a body of which each stands behind its length, at most so many.
///
/// # Errors
///
/// Why it is refused, in words.
pub fn length_prefixed(body: Bytes, most: usize) -> Result<Vec<Bytes>, String> {
    packed::length_prefixed(body, most).map_err(|problem| problem.to_string())
}

/// The elements of all tensors in a body of KServe's protocol, of which so many bytes are JSON; at most
/// so many of each tensor.
///
/// # Errors
///
/// Why it is refused, in words.
pub fn tensors(body: &Bytes, json: usize, most: usize) -> Result<Vec<Vec<u8>>, String> {
    dialects::tensors(body, json, most).map_err(|problem| problem.to_string())
}

/// What a coded body decodes to, and what it held at most besides, if it comes in pieces of this size
/// and all of it may take so much memory.
///
/// # Errors
///
/// Why it is refused, in words.
pub fn coded(is_zstd: bool, body: &[u8], size: usize, memory: u64) -> Result<Vec<u8>, String> {
    let told = |problem: crate::answer::problem::Problem| problem.to_string();
    let budget = MemoryBudget::new(8 * memory, Metrics::new());
    let mut lease = budget.empty(MemoryUse::Bodies);
    let coding = if is_zstd { Coding::Zstd } else { Coding::Gzip };
    let mut decoder = Decoder::new(coding, &mut lease).map_err(told)?;
    let mut decoded = Vec::new();
    let mut take = |piece: Bytes, held: u64| {
        decoded.extend_from_slice(&piece);
        assert!(
            held >= decoded.len() as u64,
            "less is held than was decoded"
        );
        match held <= memory {
            true => Ok(()),
            false => Err(format!("{held} bytes are held")),
        }
    };
    for piece in body.chunks(size.max(1)) {
        lease
            .grow(piece.len() as u64)
            .map_err(|full| told(full.into()))?;
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(piece) = decoder.piece(&mut lease).map_err(told)? {
            take(piece, lease.bytes())?;
        }
    }
    if let Some(last) = decoder.end(&mut lease).map_err(told)? {
        take(last, lease.bytes())?;
    }
    assert_eq!(
        lease.bytes(),
        decoded.len() as u64,
        "what was decoded is held"
    );
    Ok(decoded)
}

/// Host, port and path of the URL of a picture, and of where a redirect from there leads, if both may be
/// fetched.
///
/// # Errors
///
/// Why one of them is refused, in words.
pub fn redirected(
    hosts: &str,
    url: &str,
    location: &str,
) -> Result<[(String, u16, String); 2], String> {
    let hosts = PictureHosts::parse(hosts)?;
    let target = |url: &str| Target::parse(url, &hosts).map_err(|error| error.to_string());
    let from = target(url)?;
    let to = target(&from.join(location))?;
    Ok([from, to].map(|target| (target.host, target.port, target.path)))
}
