//! The table of routes: everything that depends on which path is asked for is a column of
//! it, or follows from one.
//!
//! ```text
//! ROUTES -> server::app: dispatch, 404, 405, OPTIONS, HEAD, who must show a key, who takes a permit
//!        -> server::record: the name in logs, metrics and spans, and the log level
//!        -> openapi: paths, operations, statuses
//! PAGE   -> the same for what browsers are served, which is not in the document
//! ```

mod dialects;
pub(crate) mod route;

use hyper::Method;
use hyper::http::request::Parts;

use crate::answer;
use crate::answer::encoding;
use crate::answer::error_shape::ErrorShape;
use crate::answer::messages::{RankAnswer, SearchAnswer, SimilarityAnswers};
use crate::answer::problem::Problem;
use crate::content::{Content, Parameter, ParameterKind};
use crate::endpoints::about_messages::{Document, Health, Info, Readiness, Root};
use crate::endpoints::page_request::Asked;
use crate::endpoints::{self, SearchRequest};
use crate::request::bodies::{
    ImageForm, ImageRequest, ImagesForm, ImagesRequest, RankForm, RankRequest, SearchForm,
    SimilarityBody, SimilarityForm,
};
use crate::request::form;
use crate::request::packed;
use crate::request::text_request::TextRequest;
use dialects::DIALECTS;
use route::{Class, Handler, Route, SEARCH};

/// Of a body that is bytes.
const NORMALIZE: Parameter = Parameter {
    name: "normalize",
    says: "Where the body is bytes: whether the embeddings are L2-normalized",
    kind: ParameterKind::Query(true),
};

/// Of a body that is bytes.
const PARTIAL: Parameter = Parameter {
    name: form::PARTIAL,
    says: "Where the body is bytes: whether a bad image costs its own row only",
    kind: ParameterKind::Query(false),
};

/// The service's own routes.
static ROUTES: [Route; 12] = [
    Route {
        path: "/",
        name: "root",
        summary: "What this service is; browsers, which ask for HTML, get the page instead",
        class: Class::About,
        takes: &[],
        gives: &[Content::json::<Root>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::root(call)),
    },
    Route {
        path: "/openapi.json",
        name: "openapi",
        summary: "This document",
        class: Class::About,
        takes: &[],
        gives: &[Content::json::<Document>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::openapi(call)),
    },
    Route {
        path: "/health",
        name: "health",
        summary: "Whether the service can embed, without asking the device",
        class: Class::Probe,
        takes: &[],
        gives: &[Content::json::<Health>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::health(call)),
    },
    Route {
        path: "/ready",
        name: "ready",
        summary: "Whether a fixed image and a fixed text are embedded as they were at the start",
        class: Class::Probe,
        takes: &[],
        gives: &[Content::json::<Readiness>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::ready(call)),
    },
    Route {
        path: "/metrics",
        name: "metrics",
        summary: "What is counted and timed, in the format of OpenMetrics",
        class: Class::Scrape,
        takes: &[],
        gives: &[Content::text(answer::METRICS)],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::metrics(call)),
    },
    Route {
        path: "/info",
        name: "info",
        summary: "The model, and the limits in force",
        class: Class::About,
        takes: &[],
        gives: &[Content::json::<Info>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::info(call)),
    },
    Route {
        path: "/embed/text",
        name: "embed_text",
        summary: "One embedding for each text",
        class: Class::Work,
        takes: &[Content::json::<TextRequest>()],
        gives: &encoding::ROWS,
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::embed_text(call)),
    },
    Route {
        path: "/embed/image",
        name: "embed_image",
        summary: "The embedding of one image",
        class: Class::Work,
        takes: &[
            Content::form::<ImageForm>(),
            Content::json::<ImageRequest>(),
            Content::bytes("image/*", &[]).with(&[NORMALIZE]),
            Content::bytes(answer::BYTES, &[]).with(&[NORMALIZE]),
        ],
        gives: &encoding::ROWS,
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::embed_image(call)),
    },
    Route {
        path: "/embed/images",
        name: "embed_images",
        summary: "One embedding for each image",
        class: Class::Work,
        takes: &[
            Content::form::<ImagesForm>(),
            Content::json::<ImagesRequest>(),
            Content::bytes(answer::BYTES, &[]).with(&[NORMALIZE, PARTIAL]),
            Content::bytes(packed::TAR, &[]).with(&[NORMALIZE, PARTIAL]),
        ],
        gives: &encoding::ROWS,
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::embed_images(call)),
    },
    Route {
        path: "/similarity",
        name: "similarity",
        summary: "How well every text fits every image; text-embeddings-inference: how alike sentences are",
        class: Class::Work,
        takes: &[
            Content::form::<SimilarityForm>(),
            Content::json::<SimilarityBody>(),
        ],
        gives: &[Content::json::<SimilarityAnswers>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::similarity(call)),
    },
    Route {
        path: "/rank",
        name: "rank",
        summary: "The images, the one that fits the query best first",
        class: Class::Work,
        takes: &[Content::form::<RankForm>(), Content::json::<RankRequest>()],
        gives: &[Content::json::<RankAnswer>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::rank(call)),
    },
    Route {
        path: SEARCH,
        name: "search",
        summary: "The rows of the index that are nearest to a text or an image, best first",
        class: Class::Work,
        takes: &[
            Content::json::<SearchRequest>(),
            Content::form::<SearchForm>(),
        ],
        gives: &[Content::json::<SearchAnswer>()],
        errors: ErrorShape::Detail,
        handler: |call| Box::pin(endpoints::search(call)),
    },
];

/// The page and what it loads, at the paths that [`Asked`] knows. People read it, and no client
/// is generated from it: it is not in the document, as FastAPI's own `/docs` was not.
static PAGE: Route = Route {
    path: "/",
    name: "page",
    summary: "The page, the viewer of this document, and what they load",
    class: Class::Page,
    takes: &[],
    gives: &[Content::text("text/html; charset=utf-8")],
    errors: ErrorShape::Detail,
    handler: |call| Box::pin(endpoints::page(call)),
};

/// What requests for a path that is not served are counted under.
pub(crate) const UNKNOWN: &str = "unknown";

/// What is counted: each route, whether it embeds, and the statuses that it may answer; 405 is
/// the answer to another method, and 499 a client that did not wait for its answer.
pub(crate) fn series() -> impl Iterator<Item = (&'static str, bool, Vec<u16>)> {
    let of_routes = routes().chain([&PAGE]).map(|route| {
        let statuses = [200, 204, 405, 499].into_iter().chain(route.refusals());
        (route.name, route.class == Class::Work, statuses.collect())
    });
    of_routes.chain([(
        UNKNOWN,
        false,
        vec![204, 400, 401, 404, 408, 415, 417, 499, 500],
    )])
}

/// The methods that some route has.
pub(crate) const ANY_METHOD: &str = "GET, HEAD, OPTIONS, POST";

/// All routes of the document.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(&DIALECTS)
}

/// A route that was asked for, and what stands in its path where it has a name in braces.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    /// The route: where a path has two, that of the method.
    pub(crate) route: &'static Route,
    /// The value, as it was written.
    pub(crate) value: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// The route of a request; `path` is its path without the model that it may name.
    pub(crate) fn of(head: &'a Parts, path: &'a str) -> Option<Self> {
        match Asked::of(head) {
            Some(_) => Some(Self {
                route: &PAGE,
                value: Some(head.uri.path()),
            }),
            None => Self::at(path, &head.method),
        }
    }

    /// The route at a path. A slash at its end makes no difference: FastAPI sent clients
    /// that wrote one to the path without it.
    pub(crate) fn at(path: &'a str, method: &Method) -> Option<Self> {
        let path = match path.strip_suffix('/') {
            Some(without) if !without.is_empty() && !without.ends_with('/') => without,
            _ => path,
        };
        let mut found = routes().filter_map(|route| {
            let value = route.matches(path)?;
            Some(Self { route, value })
        });
        let first = found.next()?;
        // A path that two routes share has two methods; a name in braces never wins over
        // what is written out.
        let same = found.find(|next| next.route.path == first.route.path && next.route.has(method));
        match same {
            Some(other) if !first.route.has(method) => Some(other),
            _ => Some(first),
        }
    }

    /// The methods of the path, as the header `Allow` lists them.
    pub(crate) fn allow(&self) -> &'static str {
        let is_page = std::ptr::eq(self.route, &PAGE);
        // The page has its path in common with what answers JSON there.
        let path = match self.value {
            Some(path) if is_page => path,
            _ => self.route.path,
        };
        let has = |read: bool| routes().any(|route| route.path == path && route.is_read() == read);
        match (is_page || has(true), has(false)) {
            (true, true) => ANY_METHOD,
            (true, false) => "GET, HEAD, OPTIONS",
            _ => "OPTIONS, POST",
        }
    }

    /// Answers a request by a method that it has, or refuses another one.
    pub(crate) fn handler(&self, method: &Method) -> Result<Handler, Problem> {
        match self.route.has(method) {
            true => Ok(self.route.handler),
            false => Err(Problem::MethodNotAllowed(self.allow())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, method: &Method) -> Option<&'static str> {
        Found::at(path, method).map(|found| found.route.name)
    }

    #[test]
    fn paths_lead_where_they_say() {
        for route in routes() {
            let method = if route.is_read() {
                Method::GET
            } else {
                Method::POST
            };
            let path = route.path.replace("{model}", "a/b");
            for path in [path.clone(), format!("{path}/")] {
                // Two slashes are another path.
                if path != "//" {
                    assert_eq!(name(&path, &method), Some(route.name));
                }
            }
        }
        for path in [
            "",
            "//",
            "health",
            "/health//",
            "*",
            "/v1/models//",
            "/v2/models//infer",
        ] {
            assert!(name(path, &Method::GET).is_none(), "{path:?}");
        }
    }

    #[test]
    fn a_path_and_a_name_stand_in_the_table_once() {
        for (at, route) in routes().enumerate() {
            for other in routes().skip(at + 1) {
                assert!(route.name != other.name);
                assert!(route.path != other.path || route.is_read() != other.is_read());
            }
            assert_ne!(route.name, UNKNOWN);
            assert_ne!(route.name, PAGE.name);
        }
    }

    #[test]
    fn what_is_read_is_asked_by_get_and_what_embeds_by_post() {
        for route in routes() {
            assert_eq!(
                route.is_read(),
                route.class != Class::Work,
                "{}",
                route.path
            );
            let found = Found { route, value: None };
            assert!(found.handler(&Method::OPTIONS).is_err());
            assert_eq!(found.handler(&Method::HEAD).is_ok(), route.is_read());
            assert_eq!(found.handler(&Method::POST).is_ok(), !route.is_read());
        }
    }
}
