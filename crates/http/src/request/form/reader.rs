//! Reads forms: `multipart/form-data`, streamed within bounds, and
//! `application/x-www-form-urlencoded`, which clients send when they have no file.
//!
//! multer splits the stream at its boundaries. What it leaves open is closed here: it has no bound
//! on parts; and it misreads odd file names, so the header is read by [`Parameters`].

use std::sync::Arc;

use bytes::Bytes;
use hyper::header;
use multer::{Field, Multipart};

use super::part_heads::{self, HeadEscaper};
use super::pieces::{HeadBudget, Pieces};
use super::{Fields, Form, Inspect, PARTIAL, Value};
use crate::answer::problem::{Problem, printable};
use crate::answer::validation::Issues;
use crate::header::parameters::{self, Parameters};
use crate::request::body::{Body, joined, off_thread};
use crate::settings::HttpSettings;
use siglip2_service::{MemoryBudget, MemoryUse};

/// RFC 2046 allows 70 characters; some clients take a few more.
const MAX_BOUNDARY: usize = 256;

/// How the body of a request is to be read as a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FormKind {
    /// `multipart/form-data` with this boundary.
    Multipart(String),
    /// `application/x-www-form-urlencoded`.
    UrlEncoded,
    /// No body: a form without fields.
    Empty,
}

impl FormKind {
    /// The kind that the Content-Type names, before any of the body is read.
    pub(crate) fn of(headers: &hyper::HeaderMap, body: &Body) -> Result<Self, Problem> {
        let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
            // FastAPI reads a request without a body as a form without fields.
            return if body.has_ended() {
                Ok(FormKind::Empty)
            } else {
                Err(wrong_content_type("none"))
            };
        };
        let content_type = Parameters::parse(content_type.as_bytes());
        match content_type.value.as_str() {
            "multipart/form-data" => match content_type.get("boundary") {
                Some(boundary) if (1..=MAX_BOUNDARY).contains(&boundary.len()) => {
                    std::str::from_utf8(boundary)
                        .map(|boundary| FormKind::Multipart(boundary.to_owned()))
                        .map_err(|_| {
                            Problem::BadRequest(
                                "The boundary in the Content-Type is not text.".into(),
                            )
                        })
                }
                Some(_) => Err(Problem::BadRequest(
                    format!(
                        "The boundary in the Content-Type must have 1 to {MAX_BOUNDARY} characters."
                    )
                    .into(),
                )),
                None => Err(Problem::BadRequest("Missing boundary in multipart.".into())),
            },
            "application/x-www-form-urlencoded" => Ok(FormKind::UrlEncoded),
            other => Err(wrong_content_type(&printable(other, 80))),
        }
    }
}

fn wrong_content_type(got: &str) -> Problem {
    Problem::Unsupported(format!(
        "This endpoint takes multipart/form-data; the Content-Type is {got}."
    ))
}

impl Form {
    /// Reads a body to its end.
    pub(crate) async fn read(
        body: &mut Body,
        kind: FormKind,
        fields: Fields,
        settings: &HttpSettings,
        inspect: Inspect<'_>,
    ) -> Result<Self, Problem> {
        match kind {
            FormKind::Empty => Ok(Self::default()),
            FormKind::UrlEncoded => Self::read_url_encoded(body, fields, settings).await,
            FormKind::Multipart(boundary) => {
                let form = Self::read_multipart(body, boundary, fields, settings, inspect).await?;
                // What follows the last boundary means nothing, and must be whole.
                body.skip_rest().await?;
                Ok(form)
            }
        }
    }

    async fn read_url_encoded(
        body: &mut Body,
        fields: Fields,
        settings: &HttpSettings,
    ) -> Result<Self, Problem> {
        let bytes = body.whole().await?;
        let counted = bytes.clone();
        let decoded = off_thread(counted.len(), move || {
            Ok(parameters::decoded_bytes(&counted))
        });
        body.hold(decoded.await?)?;
        let mut reader = Reader::new(fields, settings);
        off_thread(bytes.len(), move || {
            for (name, value) in form_urlencoded::parse(&bytes) {
                let Some(field) = reader.known(&name) else {
                    reader.form.ignored.field(&name);
                    continue;
                };
                reader.may_have_image(field)?;
                reader.may_have_text(field, value.len())?;
                reader.add(field, Value::Text(value.into_owned()));
            }
            Ok(reader.form)
        })
        .await
    }

    async fn read_multipart(
        body: &mut Body,
        boundary: String,
        fields: Fields,
        settings: &HttpSettings,
        inspect: Inspect<'_>,
    ) -> Result<Self, Problem> {
        let Some(first) = body.piece().await? else {
            return Ok(Self::default());
        };
        let memory = body.memory().clone();
        let mut decoded = memory.empty(MemoryUse::Bodies);
        let head = Arc::new(HeadBudget::default());
        let escaper = HeadEscaper::new(&boundary);
        let pieces = Pieces::new(first, body, Arc::clone(&head), escaper);
        let mut multipart = Multipart::new(pieces, boundary);
        let mut reader = Reader::new(fields, settings);
        let mut parts = 0;
        loop {
            head.begin();
            let next = multipart.next_field().await;
            head.end();
            let Some(mut part) = next.map_err(broken)? else {
                drop(multipart);
                body.absorb(decoded);
                return Ok(reader.form);
            };
            parts += 1;
            let most = settings.max_images_per_request + settings.max_other_parts;
            if parts > most {
                return Err(Problem::TooLarge(format!(
                    "The form has more than {most} parts."
                )));
            }
            let (name, filename) = names(&part)?;
            let Some(field) = reader.known(&name) else {
                reader.form.ignored.field(&name);
                while part.chunk().await.map_err(broken)?.is_some() {}
                continue;
            };
            reader.may_have_image(field)?;
            let value = match filename {
                Some(filename) if field == fields.image => {
                    let bytes = contents(&mut part, &memory, |_| Ok(())).await?;
                    // One that may be bad is looked at with the others, later.
                    if fields.many && !reader.form.said(PARTIAL, false, &mut Issues::default()) {
                        inspect(reader.images - 1, &filename, &bytes)?;
                    }
                    Value::File { filename, bytes }
                }
                // A file where a text belongs: that it is there is all that counts.
                Some(filename) => {
                    let allowed = |length| reader.may_have_text(field, length);
                    let bytes = contents(&mut part, &memory, allowed).await?;
                    Value::File { filename, bytes }
                }
                None => {
                    let allowed = |length| reader.may_have_text(field, length);
                    let bytes = contents(&mut part, &memory, allowed).await?;
                    let long = bytes.len();
                    decoded
                        .grow(parameters::text_bytes(&bytes) as u64)
                        .map_err(|error| error.beside(long as u64))?;
                    Value::Text(off_thread(long, move || Ok(parameters::text(&bytes))).await?)
                }
            };
            reader.add(field, value);
        }
    }
}

/// Collects the values of the fields that are asked for.
struct Reader {
    fields: Fields,
    form: Form,
    text_left: usize,
    text_most: usize,
    images: usize,
    images_most: usize,
}

impl Reader {
    fn new(fields: Fields, settings: &HttpSettings) -> Self {
        Self {
            fields,
            form: Form::default(),
            text_left: settings.max_text_body_bytes,
            text_most: settings.max_text_body_bytes,
            images: 0,
            images_most: settings.max_images_per_request,
        }
    }

    fn known(&self, name: &str) -> Option<&'static str> {
        std::iter::once(&self.fields.image)
            .chain(self.fields.texts)
            .find(|known| **known == name)
            .copied()
    }

    /// Counts an image, or what stands where one belongs, and refuses one too many.
    fn may_have_image(&mut self, field: &str) -> Result<(), Problem> {
        if !self.fields.many || field != self.fields.image {
            return Ok(());
        }
        self.images += 1;
        if self.images <= self.images_most {
            return Ok(());
        }
        Err(Problem::TooLarge(format!(
            "The request has more images than the limit of {}.",
            self.images_most
        )))
    }

    /// Refuses a text that would take all texts together beyond their limit.
    fn may_have_text(&self, field: &str, length: usize) -> Result<(), Problem> {
        if self.fields.long_text == Some(field) || length <= self.text_left {
            return Ok(());
        }
        Err(Problem::TooLarge(format!(
            "The text fields of the form have more bytes than the limit of {}.",
            self.text_most
        )))
    }

    fn add(&mut self, field: &'static str, value: Value) {
        if let Value::Text(text) = &value
            && self.fields.long_text != Some(field)
        {
            self.text_left = self.text_left.saturating_sub(text.len());
        }
        if !(self.fields.many && field == self.fields.image) {
            let before = self.form.values.len();
            self.form.values.retain(|(name, _)| *name != field);
            if self.form.values.len() < before {
                self.form.ignored.repeated(field);
            }
        }
        self.form.values.push((field, value));
    }
}

/// A part's field name, and its file name if it has one.
fn names(part: &Field<'_>) -> Result<(String, Option<String>), Problem> {
    let disposition = part
        .headers()
        .get(header::CONTENT_DISPOSITION)
        .map(|value| Parameters::parse(&part_heads::unescaped(value.as_bytes())))
        .ok_or(Problem::BadRequest(
            "A part of the form has no Content-Disposition header.".into(),
        ))?;
    let name = disposition.text("name").ok_or(Problem::BadRequest(
        "The Content-Disposition header field \"name\" must be provided.".into(),
    ))?;
    Ok((name, disposition.text("filename").map(without_windows_path)))
}

/// Very old browsers send the whole path; python-multipart cuts it, and so do we.
fn without_windows_path(filename: String) -> String {
    if filename.get(1..3) == Some(":\\") || filename.starts_with("\\\\") {
        filename
            .rsplit('\\')
            .next()
            .map(str::to_owned)
            .unwrap_or_default()
    } else {
        filename
    }
}

/// The bytes of a part, as long as `allowed` says so of their number.
async fn contents(
    part: &mut Field<'_>,
    memory: &MemoryBudget,
    allowed: impl Fn(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let mut chunks = Vec::new();
    let mut length = 0;
    while let Some(chunk) = part.chunk().await.map_err(broken)? {
        length += chunk.len();
        allowed(length)?;
        chunks.push(chunk);
    }
    joined(chunks, memory).await
}

/// An error of multer in our words, or our own problem if that is what ended the stream.
fn broken(error: multer::Error) -> Problem {
    let reason = match error {
        multer::Error::StreamReadFailed(error) => match error.downcast::<Problem>() {
            Ok(problem) => return *problem,
            Err(error) => error.to_string(),
        },
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. } => {
            "it ends early, or its boundary is not that of the Content-Type".to_owned()
        }
        other => other.to_string(),
    };
    Problem::BadRequest(format!("The body is not a valid multipart form: {reason}.").into())
}
