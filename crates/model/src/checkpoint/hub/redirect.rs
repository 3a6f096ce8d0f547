//! Where a redirect leads (RFC 3986, section 5.2).

use std::fmt::Write;

use ureq::http::Uri;

/// Scheme, host and port of an http or https address, in lower case and without the scheme's own
/// port; `None` for other addresses.
pub(super) fn origin(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?;
    let parts = Parts::of(url);
    let scheme = parts.scheme?.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let host = parts.authority?.rsplit('@').next()?.to_ascii_lowercase();
    let host = host.strip_suffix(port).unwrap_or(&host);
    (!host.is_empty()).then(|| format!("{scheme}://{host}"))
}

/// The address that `location` stands for in an answer from `base`; `None` for one that is neither
/// http nor https, and for one that names nothing but `base` itself.
pub(super) fn resolve(base: &str, location: &str) -> Option<String> {
    let base = Parts::of(base);
    let next = Parts::of(location);
    let scheme = next.scheme.or(base.scheme)?.to_ascii_lowercase();
    let (authority, path, query) = if next.scheme.is_some() || next.authority.is_some() {
        (next.authority?, without_dots(next.path), next.query)
    } else if next.path.starts_with('/') {
        (base.authority?, without_dots(next.path), next.query)
    } else if !next.path.is_empty() {
        let folder = base.path.rfind('/').map_or("/", |end| &base.path[..=end]);
        let path = without_dots(&format!("{folder}{}", next.path));
        (base.authority?, path, next.query)
    } else {
        // A query alone replaces that of the base, whose path it keeps.
        (base.authority?, base.path.to_owned(), Some(next.query?))
    };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let url = format!("{scheme}://{authority}{path}{query}");
    origin(&url).map(|_| url)
}

/// The value of a `Location` header as a URL: bytes that no URL has (blanks, letters beyond ASCII)
/// are escaped, as clients do for servers that forget to.
pub(super) fn location(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for &byte in value.trim_ascii() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The parts of a URL or a relative reference, without its fragment, which is not sent.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, text),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Self {
            scheme,
            authority,
            path,
            query,
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A path from the root, with `.` and `..` carried out (section 5.2.4). More `..` than there are
/// folders end at the root.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let folder = match segment {
            "." => true,
            ".." => {
                kept.pop();
                true
            }
            name => {
                kept.push(name);
                false
            }
        };
        if folder && segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let base = "https://hub/a/b/resolve/main/f.json?x=1";
        for (location, expected) in [
            ("https://cdn/x?y=1", Some("https://cdn/x?y=1")),
            ("HTTPS://cdn/x", Some("https://cdn/x")),
            ("https://cdn", Some("https://cdn/")),
            ("https://cdn/a/../x", Some("https://cdn/x")),
            ("https://cdn?y=1", Some("https://cdn/?y=1")),
            ("/api/x", Some("https://hub/api/x")),
            ("/api/./y/../x", Some("https://hub/api/x")),
            ("//cdn/x", Some("https://cdn/x")),
            ("g.json", Some("https://hub/a/b/resolve/main/g.json")),
            (
                "g?to=http://cdn/x",
                Some("https://hub/a/b/resolve/main/g?to=http://cdn/x"),
            ),
            (
                "?signed=1",
                Some("https://hub/a/b/resolve/main/f.json?signed=1"),
            ),
            ("?", Some("https://hub/a/b/resolve/main/f.json?")),
            ("../../../../cdn/x", Some("https://hub/cdn/x")),
            ("g.json#part", Some("https://hub/a/b/resolve/main/g.json")),
            ("file:///etc/passwd", None),
            ("ftp://cdn/x", None),
            ("https:cdn", None),
            ("https:///x", None),
            ("#part", None),
            ("", None),
        ] {
            assert_eq!(resolve(base, location).as_deref(), expected, "{location:?}");
        }
        assert_eq!(resolve("http://h:8", "x").as_deref(), Some("http://h:8/x"));
    }

    /// The examples of section 5.4 that lead to http, but for the empty reference and the fragment
    /// alone, which name the base itself, and for fragments, which are not sent.
    #[test]
    fn references_are_resolved_as_the_rfc_has_it() {
        for (location, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x=1/../y", "http://a/b/c/y"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            let found = resolve("http://a/b/c/d;p?q", location);
            assert_eq!(found.as_deref(), Some(expected), "{location:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (url, expected) in [
            ("http://a:1/b", Some("http://a:1")),
            ("https://me:pw@a/b", Some("https://a")),
            ("HTTPS://Hub:443/b", Some("https://hub")),
            ("http://hub:443", Some("http://hub:443")),
            ("file:///a", None),
            ("http:///a", None),
            ("a", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url:?}");
        }
    }

    #[test]
    fn locations_become_urls() {
        assert_eq!(location(b" /a%20b?c=\"d\" "), "/a%20b?c=%22d%22");
        assert_eq!(location("/ü b".as_bytes()), "/%C3%BC%20b");
    }
}
