//! Which requests are for the page and what it loads, and with which headers it is served.
//!
//! `GET /` has two answers: JSON, as ever, to those that ask for it or for anything, as curl
//! does; and the page to those that say `text/html`, which browsers do. `/docs` is the viewer
//! of the OpenAPI document, where FastAPI had one; `/redoc` leads there.

use hyper::HeaderMap;
use hyper::Method;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use siglip2_page::Asset;

use crate::header::accept::listed;

/// What a request for the page gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    /// A file.
    File(&'static Asset),
    /// Another path, relative to the one that was asked for: a proxy may serve all of this
    /// under a prefix.
    Elsewhere(&'static str),
    /// Nothing: a path below those of the files where there is none.
    Nothing,
}

impl Asked {
    /// What a request asks of the page, if anything.
    pub(crate) fn of(head: &Parts) -> Option<Self> {
        // Browsers only read the page; who posts to its path is a client of TEI.
        match head.uri.path() == "/" && head.method == Method::POST {
            true => None,
            false => Self::at(head.uri.path(), &head.headers),
        }
    }

    /// The same, of a path and headers.
    pub(crate) fn at(path: &str, headers: &HeaderMap) -> Option<Self> {
        let file = |path| siglip2_page::asset(path).map_or(Asked::Nothing, Asked::File);
        match path {
            "/" if wants_html(headers) => Some(file("index.html")),
            "/docs" => Some(file("docs.html")),
            // Its relative links lead nowhere from below itself.
            "/docs/" | "/redoc/" => Some(Asked::Elsewhere("../docs")),
            "/redoc" => Some(Asked::Elsewhere("docs")),
            _ => {
                let path = path.strip_prefix("/assets/")?;
                // The pages themselves are served where their links lead somewhere.
                match path.ends_with(".html") {
                    true => Some(Asked::Nothing),
                    false => Some(file(path)),
                }
            }
        }
    }
}

/// Everything that the page runs, shows and asks comes from the service itself; pictures that
/// a person chose are shown from the browser's memory. Nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The headers of all files. Browsers keep them, and ask each time whether they are still the
/// same (304): so a new version of the service is never seen with files of the old one.
pub(crate) fn headers(asset: &Asset) -> [(HeaderName, HeaderValue); 6] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        // The page is one of two answers at its path.
        (
            header::VARY,
            match asset.path {
                "index.html" => "Accept, Accept-Encoding",
                _ => "Accept-Encoding",
            },
        ),
        (header::ETAG, asset.etag),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// Whether the client has this file already.
pub(crate) fn is_known(headers: &HeaderMap, asset: &Asset) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    listed(headers, &header::IF_NONE_MATCH)
        .any(|(tag, _)| tag == "*" || opaque(&tag) == opaque(asset.etag))
}

/// Whether the client would rather have HTML than JSON: that it names it with the higher quality, or first
/// where both are alike.
fn wants_html(headers: &HeaderMap) -> bool {
    let mut best = (0.0, false);
    for (kind, quality) in listed(headers, &header::ACCEPT) {
        let is_html = kind.eq_ignore_ascii_case("text/html");
        if quality > best.0 && (is_html || kind.eq_ignore_ascii_case("application/json")) {
            best = (quality, is_html);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn html_is_for_those_who_name_it() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in [
            (chrome, true),
            ("text/html", true),
            ("TEXT/HTML; charset=utf-8 ;q=0.5", true),
            ("text/html;q=0", false),
            ("text/html;q=0.5, application/json", false),
            ("text/html, application/json", true),
            ("application/json, text/html, */*", false),
            ("application/json;q=0.5, text/html", true),
            ("application/json", false),
            ("text/*", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(
                wants_html(&with(header::ACCEPT, accept)),
                expected,
                "{accept}"
            );
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn a_tag_is_compared_without_its_weakness() {
        let asset = siglip2_page::asset("index.html").unwrap();
        let strong = asset.etag.strip_prefix("W/").unwrap();
        for (tag, expected) in [
            (asset.etag.to_owned(), true),
            (strong.to_owned(), true),
            (format!("\"other\", {strong}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
        ] {
            let value = HeaderValue::from_str(&tag).unwrap();
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]);
            assert_eq!(is_known(&headers, asset), expected, "{tag}");
        }
    }

    #[test]
    fn only_its_own_paths_are_the_pages() {
        let none = HeaderMap::new();
        for path in ["/", "/assets", "/doc", "/docs/x", "/info", "//", ""] {
            assert!(Asked::at(path, &none).is_none(), "{path}");
        }
        for path in ["/assets/", "/assets/index.html", "/assets/../lib.rs"] {
            assert!(
                matches!(Asked::at(path, &none), Some(Asked::Nothing)),
                "{path}"
            );
        }
        assert!(matches!(Asked::at("/docs", &none), Some(Asked::File(_))));
    }
}
