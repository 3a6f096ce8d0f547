//! URLs of pictures: which are fetched at all, before anything is asked of anybody.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::InvalidUri;
use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::answer::problem::printable;

/// The longest URL that is looked at.
const MOST_BYTES: usize = 2048;

/// What is escaped in a path and a query, beside all that is not ASCII: what may not stand there as it is, and
/// stands there all the same in what people copy and programs put together.
const ESCAPED: &AsciiSet = &AsciiSet::EMPTY
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Hosts that pictures may be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureHosts(Arc<[Entry]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Name,
    /// None: 80 or 443, as the scheme has it.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Any,
    /// What ends with this, which begins with a dot.
    Below(String),
    This(String),
}

impl PictureHosts {
    /// Reads a list such as `images.example,*.cdn.example,a.example:8443`; `*` stands for all.
    ///
    /// # Errors
    ///
    /// A sentence, when an entry is no host.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|it| !it.is_empty());
        let entries: Arc<[Entry]> = entries.map(entry).collect::<Result<_, _>>()?;
        match entries.is_empty() {
            true => Err("it must name a host, such as images.example or *.cdn.example".to_owned()),
            false => Ok(Self(entries)),
        }
    }

    /// Whether a host may be asked on this port, which its scheme has unless it is named.
    fn allow(&self, host: &str, port: u16, of_scheme: u16) -> bool {
        self.0.iter().any(|entry| {
            entry.port.unwrap_or(of_scheme) == port
                && match &entry.name {
                    Name::Any => true,
                    Name::Below(end) => host.ends_with(end) && host.len() > end.len(),
                    Name::This(name) => host == name,
                }
        })
    }
}

fn entry(entry: &str) -> Result<Entry, String> {
    let wrong = || {
        format!(
            "{entry:?} is not a host: write it as images.example, *.cdn.example or a.example:8443"
        )
    };
    let (name, port) = split_port(entry).ok_or_else(wrong)?;
    let name = name.to_ascii_lowercase();
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
    };
    let name = match name.strip_prefix('*') {
        Some("") => Name::Any,
        Some(end) if end.starts_with('.') && is_name(&end[1..]) => Name::Below(end.to_owned()),
        None if is_name(&name) => Name::This(name),
        _ => return Err(wrong()),
    };
    Ok(Entry { name, port })
}

/// A host without brackets, and its port, where there is one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, rest) = literal.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
    match port {
        Some(None) => None,
        Some(port) => Some((host, port)),
        None => Some((host, None)),
    }
}

/// What is wrong with a URL: the end of a sentence that begins with its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("is longer than the {MOST_BYTES} bytes that one may have")]
    TooLong,
    #[error("must begin with https:// or http://")]
    OtherScheme,
    #[error("is not a valid URL: {0}")]
    Invalid(#[source] InvalidUri),
    #[error("must not hold a user or a password")]
    HoldsUser,
    #[error("has no valid host")]
    InvalidHost,
    #[error("has no host")]
    NoHost,
    #[error(
        "is at {0}, which is not one of the hosts that pictures are fetched from \
         (--picture-url-hosts)"
    )]
    NotListed(String),
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_https: bool,
    /// In lower case, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path with its query.
    pub(crate) path: String,
}

impl Target {
    /// Reads a URL, which must be of a host that may be asked.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(url: &str, hosts: &PictureHosts) -> Result<Self, UrlError> {
        let url = url.trim();
        if url.len() > MOST_BYTES {
            return Err(UrlError::TooLong);
        }
        if !is_http(url) {
            return Err(UrlError::OtherScheme);
        }
        let uri: Uri = escaped(url).parse().map_err(UrlError::Invalid)?;
        let is_https = uri.scheme_str() == Some("https");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(UrlError::HoldsUser);
        }
        let (host, port) = split_port(authority).ok_or(UrlError::InvalidHost)?;
        // A dot at the end means the same, and would pass by the list.
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let of_scheme = if is_https { 443 } else { 80 };
        let port = port.unwrap_or(of_scheme);
        if !hosts.allow(&host, port, of_scheme) {
            return Err(UrlError::NotListed(printable(authority, 80)));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_https,
            host,
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// The URL that a redirect from here leads to.
    pub(crate) fn join(&self, location: &str) -> String {
        let location = location.trim();
        let scheme = if self.is_https { "https" } else { "http" };
        let is_absolute = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !scheme.is_empty()
        });
        if is_absolute {
            return location.to_owned();
        }
        if location.starts_with("//") {
            return format!("{scheme}:{location}");
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let base = match location.as_bytes().first() {
            Some(b'/') => "",
            Some(b'?') => path,
            // Beside the file that redirected.
            _ => &path[..=path.rfind('/').unwrap_or(0)],
        };
        format!("{scheme}://{}{base}{location}", self.authority())
    }

    /// What stands in the Host header: the port only where it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        match self.port == if self.is_https { 443 } else { 80 } {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, which may hold a secret.
        let path = self.path.split('?').next().unwrap_or_default();
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), printable(path, 80))
    }
}

/// A URL as it is asked for: with its path and its query escaped, as browsers and Python's clients do it.
/// What is escaped already stays as it is, and so does the host.
fn escaped(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find(['/', '?', '#']);
    let (origin, path) = url.split_at(path.map_or(url.len(), |at| host + at));
    format!("{origin}{}", utf8_percent_encode(path, ESCAPED))
}

/// A picture that is to be fetched.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Which item of the request it is.
    pub(crate) index: usize,
    /// What the request calls it.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) target: Target,
}

/// Whether an image is named by a URL of any scheme that one might mean to be fetched.
pub(crate) fn is_url(image: &str) -> bool {
    is_http(image) || begins(image, &["s3://", "gs://", "file://", "ftp://"])
}

fn is_http(url: &str) -> bool {
    begins(url, &["http://", "https://"])
}

fn begins(url: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| {
        let start = url.trim_start().get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> PictureHosts {
        PictureHosts::parse("images.example, *.cdn.example,a.example:8443,[::1]:80,10.0.0.1")
            .unwrap()
    }

    #[test]
    fn hosts_that_are_named_are_asked_on_their_ports() {
        for good in [
            "https://images.example/a.png",
            "http://IMAGES.example/a.png?x=y#z",
            "https://images.example",
            "https://images.example:443/a",
            "https://images.example./a",
            "https://x.cdn.example/",
            "https://x.y.cdn.example/",
            "https://a.example:8443/",
            "http://[::1]/",
            "http://10.0.0.1/",
        ] {
            let target = Target::parse(good, &hosts());
            assert!(target.is_ok(), "{good}: {target:?}");
        }
        for (wrong, said) in [
            ("https://other.example/", "not one of the hosts"),
            ("https://cdn.example/", "not one of the hosts"),
            ("https://xcdn.example/", "not one of the hosts"),
            (
                "https://images.example.evil.example/",
                "not one of the hosts",
            ),
            ("https://images.example:8080/", "not one of the hosts"),
            ("http://images.example:443/", "not one of the hosts"),
            ("https://a.example/", "not one of the hosts"),
            ("https://images.example@evil.example/", "user"),
            ("https://user:word@images.example/", "user"),
            (
                "https://evil.example#@images.example/",
                "not one of the hosts",
            ),
            ("https://evil.example\\@images.example/", "valid"),
            ("https://images.example:0/", "host"),
            ("https://images.example:x/", "valid"),
            ("http://0x0a000001/", "not one of the hosts"),
            ("http://[::ffff:10.0.0.1]/", "not one of the hosts"),
            ("file:///etc/passwd", "begin with"),
            ("ftp://images.example/", "begin with"),
            ("gopher://images.example/", "begin with"),
            ("/a.png", "begin with"),
            ("https://", "valid"),
            ("https:///a", "valid"),
        ] {
            let error = Target::parse(wrong, &hosts()).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        let long = format!("https://images.example/{}", "a".repeat(MOST_BYTES));
        let error = Target::parse(&long, &hosts()).unwrap_err().to_string();
        assert!(error.contains("2048"), "{error}");
        assert!(Target::parse("https://any.example/", &PictureHosts::parse("*").unwrap()).is_ok());
    }

    /// The expected paths are those that Python's requests asks for.
    #[test]
    fn what_may_not_stand_in_a_path_is_escaped() {
        for (url, expected) in [
            ("https://images.example/a b.png", "/a%20b.png"),
            (
                "https://images.example/gr\u{f6}\u{df}e.png",
                "/gr%C3%B6%C3%9Fe.png",
            ),
            ("https://images.example?\u{e9} {x}", "/?%C3%A9%20%7Bx%7D"),
            ("https://images.example/<\"`>#\u{e9}", "/%3C%22%60%3E"),
            (
                "https://images.example/a%20b%2Fc.png?d=%26",
                "/a%20b%2Fc.png?d=%26",
            ),
        ] {
            let target = Target::parse(url, &hosts()).unwrap();
            assert_eq!(target.path, expected, "{url}");
        }
        for wrong in [
            "https://b\u{fc}cher.example/",
            "https://images.exa mple/",
            "https://images.example/\u{7}",
        ] {
            let error = Target::parse(wrong, &PictureHosts::parse("*").unwrap()).unwrap_err();
            assert!(matches!(error, UrlError::Invalid(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_list_of_hosts_is_checked() {
        for wrong in [
            "",
            ",",
            "https://a.example",
            "a.example/",
            "*a.example",
            "a b",
            "a.example:x",
            "*.",
            "[::1",
        ] {
            assert!(PictureHosts::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn redirects_lead_from_where_they_were_met() {
        let at = Target::parse("https://a.example:8443/x/y.png?q", &hosts()).unwrap();
        for (location, expected) in [
            ("https://b.example/z", "https://b.example/z"),
            ("//b.example/z", "https://b.example/z"),
            ("/z?w", "https://a.example:8443/z?w"),
            ("z.png", "https://a.example:8443/x/z.png"),
            ("?w", "https://a.example:8443/x/y.png?w"),
            ("gopher:x", "gopher:x"),
        ] {
            assert_eq!(at.join(location), expected);
        }
        assert_eq!(at.to_string(), "https://a.example:8443/x/y.png");
    }
}
