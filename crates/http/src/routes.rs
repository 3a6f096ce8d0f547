//! The table of routes: everything that depends on which path is asked for is a column of
//! it, or follows from one.
//!
//! ```text
//! ROUTES -> app: dispatch, 404, 405, OPTIONS, HEAD, who must show a key, who takes a permit
//!        -> record: the name in logs, metrics and spans, and the log level
//!        -> openapi: paths, operations, statuses
//! PAGE   -> the same for what browsers are served, which is not in the document
//! ```

use std::future::Future;
use std::pin::Pin;

use hyper::http::request::Parts;
use hyper::{Method, Response};

use super::answer::{self, Answer};
use super::call::Call;
use super::content::Content;
use super::endpoints;
use super::forms::{ImageForm, ImagesForm, RankForm, SimilarityForm};
use super::messages::{
    Document, EmbeddingsAnswer, Health, Info, RankAnswer, Readiness, Root, SimilarityAnswer,
};
use super::page::Asked;
use super::problem::Problem;
use super::text_request::TextRequest;

/// A path that is served.
pub(super) struct Route {
    /// The path, without a slash at its end.
    pub(super) path: &'static str,
    /// What its requests are counted under.
    pub(super) name: &'static str,
    /// What is told of it in a line.
    pub(super) summary: &'static str,
    /// What kind of request it takes.
    pub(super) class: Class,
    /// What it reads; a route that reads nothing is a GET.
    pub(super) takes: Option<Content>,
    /// What it answers with 200.
    pub(super) gives: Content,
    handler: Handler,
}

/// What kind of request a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
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
    pub(super) fn needs_key(self) -> bool {
        !matches!(self, Class::Probe | Class::Page)
    }

    /// Whether a request that went well is worth no more than a line at debug level.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Class::Probe | Class::Scrape | Class::Page)
    }

    /// Whether the request takes one of the permits for requests at the same time.
    pub(super) fn takes_permit(self) -> bool {
        self == Class::Work
    }
}

type Answered<'a> = Pin<Box<dyn Future<Output = Result<Response<Answer>, Problem>> + Send + 'a>>;
type Handler = for<'a, 'b> fn(&'a mut Call<'b>) -> Answered<'a>;

/// All routes.
pub(super) static ROUTES: [Route; 11] = [
    Route {
        path: "/",
        name: "root",
        summary: "What this service is; browsers, which ask for HTML, get the page instead",
        class: Class::About,
        takes: None,
        gives: Content::json::<Root>(),
        handler: |call| Box::pin(endpoints::root(call)),
    },
    Route {
        path: "/openapi.json",
        name: "openapi",
        summary: "This document",
        class: Class::About,
        takes: None,
        gives: Content::json::<Document>(),
        handler: |call| Box::pin(endpoints::openapi(call)),
    },
    Route {
        path: "/health",
        name: "health",
        summary: "Whether the service can embed, without asking the device",
        class: Class::Probe,
        takes: None,
        gives: Content::json::<Health>(),
        handler: |call| Box::pin(endpoints::health(call)),
    },
    Route {
        path: "/ready",
        name: "ready",
        summary: "Whether a fixed image and a fixed text are embedded as they were at the start",
        class: Class::Probe,
        takes: None,
        gives: Content::json::<Readiness>(),
        handler: |call| Box::pin(endpoints::ready(call)),
    },
    Route {
        path: "/metrics",
        name: "metrics",
        summary: "What is counted and timed, in the format of OpenMetrics",
        class: Class::Scrape,
        takes: None,
        gives: Content::text(answer::METRICS),
        handler: |call| Box::pin(endpoints::metrics(call)),
    },
    Route {
        path: "/info",
        name: "info",
        summary: "The model, and the limits in force",
        class: Class::About,
        takes: None,
        gives: Content::json::<Info>(),
        handler: |call| Box::pin(endpoints::info(call)),
    },
    Route {
        path: "/embed/text",
        name: "embed_text",
        summary: "One embedding for each text",
        class: Class::Work,
        takes: Some(Content::json::<TextRequest>()),
        gives: Content::json::<EmbeddingsAnswer>(),
        handler: |call| Box::pin(endpoints::embed_text(call)),
    },
    Route {
        path: "/embed/image",
        name: "embed_image",
        summary: "The embedding of one image",
        class: Class::Work,
        takes: Some(Content::form::<ImageForm>()),
        gives: Content::json::<EmbeddingsAnswer>(),
        handler: |call| Box::pin(endpoints::embed_image(call)),
    },
    Route {
        path: "/embed/images",
        name: "embed_images",
        summary: "One embedding for each image",
        class: Class::Work,
        takes: Some(Content::form::<ImagesForm>()),
        gives: Content::json::<EmbeddingsAnswer>(),
        handler: |call| Box::pin(endpoints::embed_images(call)),
    },
    Route {
        path: "/similarity",
        name: "similarity",
        summary: "How well every text fits every image",
        class: Class::Work,
        takes: Some(Content::form::<SimilarityForm>()),
        gives: Content::json::<SimilarityAnswer>(),
        handler: |call| Box::pin(endpoints::similarity(call)),
    },
    Route {
        path: "/rank",
        name: "rank",
        summary: "The images, the one that fits the query best first",
        class: Class::Work,
        takes: Some(Content::form::<RankForm>()),
        gives: Content::json::<RankAnswer>(),
        handler: |call| Box::pin(endpoints::rank(call)),
    },
];

/// The page and what it loads, at the paths that [`Asked`] knows. People read it, and no client
/// is generated from it: it is not in the document, as FastAPI's own `/docs` was not.
pub(super) static PAGE: Route = Route {
    path: "/",
    name: "page",
    summary: "The page, the viewer of this document, and what they load",
    class: Class::Page,
    takes: None,
    gives: Content::text("text/html; charset=utf-8"),
    handler: |call| Box::pin(endpoints::page(call)),
};

/// What requests for a path that is not served are counted under.
pub(super) const UNKNOWN: &str = "unknown";

/// What is counted: each route, and the statuses that it may answer; 405 is the answer to
/// another method, and 499 a client that did not wait for its answer.
pub(super) fn series() -> impl Iterator<Item = (&'static str, Vec<u16>)> {
    let of_routes = ROUTES.iter().chain([&PAGE]).map(|route| {
        let statuses = [200, 204, 405, 499].iter().chain(route.refusals());
        (route.name, statuses.copied().collect())
    });
    of_routes.chain([(UNKNOWN, vec![204, 400, 401, 404, 408, 415, 417, 499, 500])])
}

/// The methods that some route has.
pub(super) const ANY_METHOD: &str = "GET, HEAD, OPTIONS, POST";

impl Route {
    /// The route of a request.
    pub(super) fn of(head: &Parts) -> Option<&'static Self> {
        match Asked::of(head) {
            Some(_) => Some(&PAGE),
            None => Self::at(head.uri.path()),
        }
    }

    /// The route at a path. A slash at its end makes no difference: FastAPI sent clients
    /// that wrote one to the path without it.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        let path = match path.strip_suffix('/') {
            Some(without) if !without.is_empty() && !without.ends_with('/') => without,
            _ => path,
        };
        ROUTES.iter().find(|route| route.path == path)
    }

    /// Whether it is asked by GET and HEAD, or else by POST.
    pub(super) fn is_read(&self) -> bool {
        self.takes.is_none()
    }

    /// Its methods, as the header `Allow` lists them.
    pub(super) fn allow(&self) -> &'static str {
        if self.is_read() {
            "GET, HEAD, OPTIONS"
        } else {
            "OPTIONS, POST"
        }
    }

    /// The statuses that it refuses requests with, by a method that it has; the page's leads
    /// elsewhere, or says that nothing has changed, as well.
    pub(super) fn refusals(&self) -> &'static [u16] {
        match self.class {
            Class::Probe => &[400, 408, 414, 415, 417, 431, 500, 503],
            Class::Scrape | Class::About => &[400, 401, 408, 414, 415, 417, 431, 500],
            Class::Page => &[304, 307, 400, 404, 408, 414, 415, 417, 431, 500],
            Class::Work => &[
                400, 401, 408, 412, 413, 414, 415, 417, 422, 429, 431, 500, 503, 504,
            ],
        }
    }

    /// Answers a request by a method that it has, or refuses another one.
    pub(super) fn handler(&self, method: &Method) -> Result<Handler, Problem> {
        let allowed = match self.is_read() {
            true => matches!(*method, Method::GET | Method::HEAD),
            false => *method == Method::POST,
        };
        if allowed {
            Ok(self.handler)
        } else {
            Err(Problem::MethodNotAllowed(self.allow()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        for route in &ROUTES {
            for path in [route.path.to_owned(), format!("{}/", route.path)] {
                // Two slashes are another path.
                if path != "//" {
                    assert_eq!(Route::at(&path).map(|found| found.name), Some(route.name));
                }
            }
        }
        for path in ["", "//", "health", "/health//", "/embed", "*"] {
            assert!(Route::at(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn a_path_and_a_name_stand_in_the_table_once() {
        for (at, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[at + 1..] {
                assert!(route.path != other.path && route.name != other.name);
            }
            assert_ne!(route.name, UNKNOWN);
            assert_ne!(route.name, PAGE.name);
        }
    }

    #[test]
    fn what_is_read_is_asked_by_get_and_what_embeds_by_post() {
        for route in &ROUTES {
            assert_eq!(
                route.is_read(),
                route.class != Class::Work,
                "{}",
                route.path
            );
            assert!(route.handler(&Method::OPTIONS).is_err());
            assert_eq!(route.handler(&Method::HEAD).is_ok(), route.is_read());
            assert_eq!(route.handler(&Method::POST).is_ok(), !route.is_read());
        }
    }
}
