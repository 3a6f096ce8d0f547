//! Pages of other origins that may ask the service from a browser (the Fetch standard, "CORS
//! protocol"). None may, unless a setting says so.

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};

use crate::answer::{self, Answer};

/// Seconds that a browser remembers what it may send. None remembers it longer.
const MAX_AGE: &str = "7200";

/// The longest list of header names that is agreed to.
const MAX_NAMES: usize = 1024;

/// The origins whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    /// Reads a list such as `https://a.example,http://localhost:3000`; `*` stands for all.
    ///
    /// # Errors
    ///
    /// A sentence, when an origin is none: it has no path, not even a slash.
    pub fn parse(list: &str) -> Result<Self, String> {
        let origins = list.split(',').map(str::trim).filter(|it| !it.is_empty());
        let origins = origins.map(|origin| match is_origin(origin) {
            true => HeaderValue::from_str(origin).map_err(|error| error.to_string()),
            false => Err(format!(
                "{origin:?} is not an origin: write it as https://a.example or http://localhost:3000, \
                 without a path, or * for all"
            )),
        });
        Ok(Self(origins.collect::<Result<_, _>>()?))
    }

    /// What the answer to a page says of its origin, if it may ask.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        if self.is_for_all() {
            return Some(HeaderValue::from_static("*"));
        }
        self.0.iter().find(|known| *known == origin).cloned()
    }

    fn is_for_all(&self) -> bool {
        self.0.iter().any(|origin| origin == "*")
    }

    /// The answer to a browser that asks what a page may send, at a path with these methods; none
    /// to any other request. It comes without a key, whatever the request itself will carry.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        allow: &'static str,
    ) -> Option<Response<Answer>> {
        let is_asked = *method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_asked || self.allowed(headers).is_none() {
            return None;
        }
        let mut response = answer::empty();
        let told = response.headers_mut();
        let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
        told.extend([
            fixed(header::ALLOW, allow),
            fixed(header::ACCESS_CONTROL_ALLOW_METHODS, allow),
            fixed(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            fixed(
                header::VARY,
                "Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        ]);
        // Any header may be sent: those that mean nothing here are not read.
        let names = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(names) = names.filter(|names| names.len() <= MAX_NAMES) {
            told.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        Some(response)
    }

    /// Lets the page read the answer to its request, if its origin may ask.
    pub(crate) fn tell(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if !self.is_for_all() {
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = self.allowed(request) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            let all = HeaderValue::from_static("*");
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, all);
        }
    }
}

/// A scheme, a host, and perhaps a port: as browsers write an origin.
fn is_origin(origin: &str) -> bool {
    if origin == "*" {
        return true;
    }
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let is_lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&b))
        && is_lower(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (
                header::ACCESS_CONTROL_REQUEST_METHOD,
                HeaderValue::from_static("POST"),
            ),
        ])
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for good in [
            "*",
            "",
            "https://a.example",
            " http://localhost:3000 , https://[::1]:8 ",
        ] {
            assert!(Origins::parse(good).is_ok(), "{good}");
        }
        for wrong in [
            "a.example",
            "https://a.example/",
            "HTTPS://a",
            "https://",
            "null",
            "a,b",
        ] {
            let sentence = Origins::parse(wrong).unwrap_err();
            assert!(sentence.contains("is not an origin"), "{sentence}");
        }
    }

    #[test]
    fn only_pages_of_known_origins_are_answered() {
        let some = Origins::parse("https://a.example,https://b.example").unwrap();
        let all = Origins::parse("*").unwrap();
        let preflight = |origins: &Origins, method: &Method, headers: &HeaderMap| {
            origins
                .preflight(method, headers, "POST, OPTIONS")
                .is_some()
        };
        for (origin, known) in [("https://b.example", true), ("https://c.example", false)] {
            let headers = asked(origin);
            assert_eq!(preflight(&some, &Method::OPTIONS, &headers), known);
            assert!(preflight(&all, &Method::OPTIONS, &headers));
            assert!(!preflight(&all, &Method::POST, &headers));
            let mut told = HeaderMap::new();
            some.tell(&headers, &mut told);
            let allowed = told.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.is_some_and(|allowed| allowed == origin), known);
            assert_eq!(told[header::VARY], "Origin");
        }
        assert!(!preflight(&all, &Method::OPTIONS, &HeaderMap::new()));
    }
}
