//! What a row of the table of routes is.

use std::future::Future;
use std::pin::Pin;

use hyper::{Method, Response};

use crate::answer::Answer;
use crate::answer::error_shape::ErrorShape;
use crate::answer::problem::Problem;
use crate::call::Call;
use crate::content::Content;

/// The path that needs an index.
pub(crate) const SEARCH: &str = "/search";

/// A path that is served.
pub(crate) struct Route {
    /// The path, without a slash at its end. It may have one name in braces, which stands for
    /// one segment or several.
    pub(crate) path: &'static str,
    /// What its requests are counted under.
    pub(crate) name: &'static str,
    /// What is told of it in a line.
    pub(crate) summary: &'static str,
    /// What kind of request it takes.
    pub(crate) class: Class,
    /// What it reads, by content type; a route that reads nothing is a GET.
    pub(crate) takes: &'static [Content],
    /// What it answers with 200, by content type; a route that gives nothing answers 204.
    pub(crate) gives: &'static [Content],
    /// How its refusals are written.
    pub(crate) errors: ErrorShape,
    /// What answers.
    pub(crate) handler: Handler,
}

/// What kind of request a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Orchestrators ask it every few seconds for ever: it needs no key, and stands in the
    /// log only when it goes wrong.
    Probe,
    /// As [`Class::Probe`], and needs the key: it tells what others asked.
    Scrape,
    /// It tells of the service.
    About,
    /// It is the page, or what the page loads: the same for everybody, so that it needs no
    /// key; the requests that it makes do.
    Page,
    /// It embeds: it counts as a request under way, and is refused while the service
    /// cannot embed.
    Work,
}

impl Class {
    /// Whether a request must carry the key, where there is one.
    pub(crate) fn needs_key(self) -> bool {
        !matches!(self, Class::Probe | Class::Page)
    }

    /// Whether a request that went well is worth no more than a line at debug level.
    pub(crate) fn is_quiet(self) -> bool {
        matches!(self, Class::Probe | Class::Scrape | Class::Page)
    }

    /// Whether the request takes one of the permits for requests at the same time.
    pub(crate) fn takes_permit(self) -> bool {
        self == Class::Work
    }
}

/// An answer in the making.
pub(crate) type Answered<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Answer>, Problem>> + Send + 'a>>;

/// What answers requests.
pub(crate) type Handler = for<'a, 'b> fn(&'a mut Call<'b>) -> Answered<'a>;

impl Route {
    /// Whether it is asked by GET and HEAD, or else by POST.
    pub(crate) fn is_read(&self) -> bool {
        self.takes.is_empty()
    }

    /// Whether it has this method.
    pub(crate) fn has(&self, method: &Method) -> bool {
        match self.is_read() {
            true => matches!(*method, Method::GET | Method::HEAD),
            false => *method == Method::POST,
        }
    }

    /// The status of an answer that is no refusal.
    pub(crate) fn success(&self) -> u16 {
        if self.gives.is_empty() { 204 } else { 200 }
    }

    /// The name in its path, if there is one, with what stands before and behind it.
    pub(crate) fn parameter(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let (before, rest) = self.path.split_once('{')?;
        let (name, behind) = rest.split_once('}')?;
        Some((before, name, behind))
    }

    /// Whether a path is this one, and what stands where its name in braces is.
    pub(crate) fn matches<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        match self.parameter() {
            None => (self.path == path).then_some(None),
            Some((before, _, behind)) => {
                let value = path.strip_prefix(before)?.strip_suffix(behind)?;
                let is_whole = value.split('/').all(|segment| !segment.is_empty());
                is_whole.then_some(Some(value))
            }
        }
    }

    /// The statuses that it refuses requests with, by a method that it has; the page's leads
    /// elsewhere, or says that nothing has changed, as well.
    pub(crate) fn refusals(&self) -> Vec<u16> {
        let mut statuses = vec![400, 404, 408, 414, 415, 417, 431, 500];
        if self.class.needs_key() {
            statuses.push(401);
        }
        if self.class == Class::Page {
            statuses.extend([304, 307]);
        }
        if matches!(self.class, Class::Probe | Class::Work) {
            statuses.push(503);
        }
        if self.class == Class::Work {
            statuses.extend([412, 413, 429, 504]);
            // FastAPI's status for fields; the dialects have 400 for all that is wrong in JSON.
            let has_form = self
                .takes
                .iter()
                .any(|takes| takes.media_type.starts_with("multipart/"));
            if self.errors == ErrorShape::Detail || has_form {
                statuses.push(422);
            }
        }
        statuses.sort_unstable();
        statuses
    }
}
