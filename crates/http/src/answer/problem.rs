//! Why a request is refused, and how its client is told.
//!
//! Everything that goes wrong between the socket and the service becomes a
//! [`Problem`]; here, and nowhere else, it becomes a status, headers and
//! `{"detail": ...}`.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::error_shape::{ErrorShape, Refusal};
use super::validation::{Issue, Issues, ValidationErrors};
use crate::answer::{self, Answer};
use siglip2_image::ImageError;

use siglip2_service::{Fingerprint, IndexError, OutOfMemory, ServiceError, State, TextError};

/// When to come back to a service that cannot embed at the moment.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// When to come back after requests held all the memory that they may.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

/// When to come back after there were too many requests.
const CONCURRENCY_RETRY: Duration = Duration::from_secs(1);

/// The longest sentence that is logged, in characters.
const MAX_LOGGED_SENTENCE: usize = 400;

/// The longest file name that is repeated in an error, in characters.
const MAX_SHOWN_NAME: usize = 120;

/// The codings of a body that are undone.
const CODINGS: &str = "gzip, zstd";

/// Which item of a request an error is about, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// An image.
    Image(usize),
    /// A text.
    Text(usize),
}

impl Named {
    /// Which one it is, where images and texts are counted together.
    pub(crate) fn index(self) -> usize {
        let (Self::Image(index) | Self::Text(index)) = self;
        index
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// 400: the body, or an image in it, is broken.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// 401: no key, or a wrong one.
    #[error(
        "This service requires an API key: send it as `Authorization: Bearer <key>` or as `X-API-Key: <key>`."
    )]
    Unauthorized,
    /// 404.
    #[error("Not Found")]
    NotFound,
    /// 404: the path is served, and nothing has this name.
    #[error("{0}")]
    NoSuchModel(String),
    /// 404: there is nothing to search.
    #[error(
        "This service has no index to search: start it with --index and a file that embed has written."
    )]
    NoIndex,
    /// 405, with what the path does take.
    #[error("Method Not Allowed")]
    MethodNotAllowed(&'static str),
    /// 408: the bytes did not come.
    #[error("{0}")]
    Timeout(Cow<'static, str>),
    /// 412: the client's vectors are of another space.
    #[error(
        "Vectors here have the fingerprint {found}, and X-Expect-Fingerprint asks for {expected}: \
         they cannot be compared with each other, so nothing was embedded.{other}"
    )]
    OtherSpace {
        /// What the client expects.
        expected: Fingerprint,
        /// What it would have got.
        found: Fingerprint,
        /// Which model it should have named, in a sentence, if there is one.
        other: String,
    },
    /// 412: the client's vectors cannot be told from others.
    #[error(
        "X-Expect-Fingerprint asks for {0}, and the vectors of this service have no fingerprint: \
         its engine was built before fingerprints were kept; build it again with build-engine."
    )]
    NoFingerprint(Fingerprint),
    /// 413: too many bytes, items or pixels.
    #[error("{0}")]
    TooLarge(String),
    /// 415: the wrong content type, or an image format that is not read.
    #[error("{0}")]
    Unsupported(String),
    /// 415: a body in a coding that is not undone.
    #[error("A body may have the Content-Encoding gzip or zstd; this one has {0}.")]
    Coding(String),
    /// 417.
    #[error("The only expectation that is supported is 100-continue; this one is {0}.")]
    Expectation(String),
    /// 422: fields that are missing or of the wrong type.
    #[error("the fields are not what the endpoint takes")]
    Invalid(Issues),
    /// 429: later, perhaps.
    #[error("{what}")]
    Busy {
        /// What is full.
        what: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// 500: what the log is told; the client gets an id.
    #[error("{0}")]
    Internal(String),
    /// 503.
    #[error("{}", unavailable(*.0))]
    Unavailable(State),
    /// 504.
    #[error("The deadline of the request passed before it was answered, and it was given up.")]
    Deadline,
}

fn unavailable(state: State) -> &'static str {
    match state {
        State::Starting => "The service is starting: it loads its model.",
        State::Draining => "The service is shutting down.",
        State::Restarting => "The engine failed and is being rebuilt.",
        State::Failed => "The engine has failed and the service must be restarted.",
        State::Ready => "The service cannot embed at the moment.",
    }
}

impl From<OutOfMemory> for Problem {
    fn from(error: OutOfMemory) -> Self {
        let OutOfMemory { for_use, limit, .. } = error;
        if error.is_final() {
            return Problem::TooLarge(format!(
                "The request needs more memory than the limit of {limit} bytes for all {for_use} together."
            ));
        }
        Problem::Busy {
            what: format!("The requests in progress hold all the memory that {for_use} may take."),
            retry_after: MEMORY_RETRY,
        }
    }
}

impl From<Issue> for Problem {
    fn from(issue: Issue) -> Self {
        Problem::Invalid(issue.into())
    }
}

impl From<Issues> for Problem {
    fn from(issues: Issues) -> Self {
        Problem::Invalid(issues)
    }
}

impl Problem {
    /// What is wrong with an image, and which one it is.
    pub(crate) fn image(part: &str, error: &ImageError) -> Self {
        let detail = format!("{part}: {error}");
        match error {
            ImageError::Unsupported { .. } => Problem::Unsupported(detail),
            ImageError::TooLarge { .. } | ImageError::TooLong { .. } => Problem::TooLarge(detail),
            _ => Problem::BadRequest(detail.into()),
        }
    }

    /// Whether it may be the fault of one image alone.
    pub(crate) fn is_of_an_image(&self) -> bool {
        matches!(
            self,
            Problem::BadRequest(_) | Problem::Unsupported(_) | Problem::TooLarge(_)
        )
    }

    /// A text that cannot be used, and where it stood.
    pub(crate) fn text(part: &str, error: &TextError) -> Self {
        match error.is_too_long() {
            true => Problem::TooLarge(format!("{part}: {error}.")),
            false => Problem::Internal(format!("tokenizing failed: {error}")),
        }
    }

    /// The same, if it is about what was sent, and behind it the likely cause.
    pub(crate) fn because(self, cause: Option<&str>) -> Self {
        match (self, cause) {
            (Problem::BadRequest(detail), Some(cause)) => {
                // A sentence about an image has no full stop.
                let detail = detail.trim_end().trim_end_matches('.');
                Problem::BadRequest(format!("{detail}. {cause}").into())
            }
            (problem, _) => problem,
        }
    }

    /// What the service said. `name` says what the client calls an item.
    pub(crate) fn service(error: ServiceError, name: impl FnOnce(Named) -> String) -> Self {
        match error {
            ServiceError::Image { index, error } => {
                Problem::image(&name(Named::Image(index)), &error)
            }
            ServiceError::Text { index, error } => Problem::text(&name(Named::Text(index)), &error),
            ServiceError::Busy { retry_after } => Problem::Busy {
                what: "The queue is full; nothing was started.".to_owned(),
                retry_after,
            },
            ServiceError::Index(IndexError::NoColumn(what)) => Problem::BadRequest(what.into()),
            ServiceError::Index(IndexError::TooLarge(what)) => Problem::TooLarge(what),
            ServiceError::Index(IndexError::Unreadable(what)) => Problem::Internal(what),
            ServiceError::Index(IndexError::Stopped) => Problem::Deadline,
            ServiceError::TooMuch { what } => Problem::TooLarge(what),
            ServiceError::Expired => Problem::Deadline,
            ServiceError::Unavailable(state) => Problem::Unavailable(state),
            ServiceError::Internal(what) => Problem::Internal(what),
        }
    }

    /// One more request than may be answered at the same time.
    pub(crate) fn too_many_requests(most: usize) -> Self {
        Problem::Busy {
            what: format!("The service is answering {most} requests already."),
            retry_after: CONCURRENCY_RETRY,
        }
    }

    /// Something that does not come, while others are kept out.
    pub(crate) fn makes_room(what: &str) -> Self {
        Problem::Busy {
            what: format!(
                "{what} did not come while others waited, and made room for one of them."
            ),
            retry_after: CONCURRENCY_RETRY,
        }
    }

    /// One more request of a client than it may have under way.
    pub(crate) fn too_many_of_client(most: usize) -> Self {
        Problem::Busy {
            what: format!("The service is answering {most} requests of this client already."),
            retry_after: CONCURRENCY_RETRY,
        }
    }

    /// What kind of problem it is, for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Problem::BadRequest(_) => "bad_request",
            Problem::Unauthorized => "unauthorized",
            Problem::NotFound | Problem::NoSuchModel(_) | Problem::NoIndex => "not_found",
            Problem::MethodNotAllowed(_) => "method_not_allowed",
            Problem::Timeout(_) => "timeout",
            Problem::OtherSpace { .. } | Problem::NoFingerprint(_) => "other_space",
            Problem::TooLarge(_) => "too_large",
            Problem::Unsupported(_) | Problem::Coding(_) => "unsupported",
            Problem::Expectation(_) => "expectation",
            Problem::Invalid(_) => "invalid",
            Problem::Busy { .. } => "busy",
            Problem::Internal(_) => "internal",
            Problem::Unavailable(_) => "unavailable",
            Problem::Deadline => "deadline",
        }
    }

    /// What the log says of it, in one line of bounded length.
    pub(crate) fn sentence(&self) -> String {
        let sentence = match self {
            Problem::Invalid(issues) => issues.to_string(),
            other => other.to_string(),
        };
        printable(&sentence, MAX_LOGGED_SENTENCE)
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorized => StatusCode::UNAUTHORIZED,
            Problem::NotFound | Problem::NoSuchModel(_) | Problem::NoIndex => StatusCode::NOT_FOUND,
            Problem::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Problem::OtherSpace { .. } | Problem::NoFingerprint(_) => {
                StatusCode::PRECONDITION_FAILED
            }
            Problem::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::Unsupported(_) | Problem::Coding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Expectation(_) => StatusCode::EXPECTATION_FAILED,
            Problem::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Problem::Unauthorized => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Problem::MethodNotAllowed(allow) => {
                Some((header::ALLOW, HeaderValue::from_static(allow)))
            }
            Problem::Coding(_) => {
                Some((header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS)))
            }
            Problem::Timeout(_) => Some((header::CONNECTION, HeaderValue::from_static("close"))),
            Problem::Busy { retry_after, .. } => Some(retry(*retry_after)),
            Problem::Unavailable(_) => Some(retry(UNAVAILABLE_RETRY)),
            _ => None,
        }
    }

    /// The answer to a request with this id, in the shape that its clients read. What is our
    /// fault goes to the log.
    pub(crate) fn into_answer(self, id: &str, shape: ErrorShape) -> Response<Answer> {
        let status = self.status().as_u16();
        let mut refusal = Refusal {
            status,
            detail: String::new(),
            id: None,
        };
        let body = match &self {
            Problem::Invalid(issues) if shape == ErrorShape::Detail => {
                answer::json(&ValidationErrors { detail: issues })
            }
            Problem::Internal(what) => {
                tracing::error!(id, error = %what, "a request failed, and it is our fault");
                refusal.detail =
                    format!("Internal error; the service's log has it under the id {id}.");
                refusal.id = Some(id);
                shape.body(refusal)
            }
            Problem::Invalid(issues) => {
                refusal.detail = issues.to_string();
                shape.body(refusal)
            }
            other => {
                refusal.detail = other.to_string();
                shape.body(refusal)
            }
        };
        let mut response = answer::respond(self.status(), body);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The header that says when to try again, in whole seconds and at least one.
pub(crate) fn retry(after: Duration) -> (HeaderName, HeaderValue) {
    let seconds = after.as_millis().div_ceil(1000).clamp(1, 3600);
    (header::RETRY_AFTER, HeaderValue::from(seconds as u64))
}

/// `Retry-After` for a service that cannot embed.
pub(crate) fn unavailable_retry() -> (HeaderName, HeaderValue) {
    retry(UNAVAILABLE_RETRY)
}

/// A part of a form by its field, its place among the images of the request, and the
/// name that its client gave it; safe to print, and of bounded length.
pub(crate) fn part_name(field: &str, index: Option<usize>, filename: &str) -> String {
    let mut name = field.to_owned();
    if let Some(index) = index {
        name.push_str(&format!("[{index}]"));
    }
    if filename.is_empty() {
        return name;
    }
    name.push_str(" (\"");
    name.push_str(&printable(filename, MAX_SHOWN_NAME));
    name.push_str("\")");
    name
}

/// A client's text for a log or an error: what would move a terminal's cursor or
/// turn the direction of writing is escaped, and the length is bounded.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most * 4));
    for (at, character) in text.chars().enumerate() {
        if at == most {
            shown.push_str("...");
            break;
        }
        let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if character.is_control() || hidden {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_bounded() {
        assert_eq!(
            part_name("files", Some(2), "a b.jpg"),
            "files[2] (\"a b.jpg\")"
        );
        assert_eq!(part_name("image_base64", None, ""), "image_base64");
        assert_eq!(
            part_name("file", None, "a\r\n\u{202e}\u{7}"),
            "file (\"a\\u{d}\\u{a}\\u{202e}\\u{7}\")"
        );
        assert!(part_name("file", None, &"é".repeat(9999)).len() < 300);
    }

    #[test]
    fn a_likely_cause_is_a_sentence_of_its_own() {
        for detail in [
            "file: this is not an image",
            "file: this is not an image.\n",
        ] {
            let problem = Problem::BadRequest(detail.into()).because(Some("It is a URL."));
            let Problem::BadRequest(said) = problem else {
                panic!("another problem");
            };
            assert_eq!(said, "file: this is not an image. It is a URL.");
        }
    }

    #[test]
    fn retry_after_is_in_whole_seconds() {
        for (millis, expected) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            assert_eq!(retry(Duration::from_millis(millis)).1, expected);
        }
    }
}
