//! What the head of a request must be, beyond what hyper asks of it: what proxies before us
//! may read in another way, and what is asked for and not done.

use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::problem::{Problem, printable};

/// Refuses a head that is not as RFC 9112 and RFC 9110 have it.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    target(head)?;
    host(head)?;
    transfer_coding(head)?;
    expectation(head)
}

/// RFC 9112, 3.2: a path, a whole URI, or for OPTIONS an asterisk; `GET health` is none of
/// them.
fn target(head: &Parts) -> Result<(), Problem> {
    let uri = &head.uri;
    let good = match head.method {
        Method::CONNECT => true,
        Method::OPTIONS if uri.path() == "*" => true,
        _ => uri.path().starts_with('/') && (uri.scheme().is_some() || uri.authority().is_none()),
    };
    if good {
        return Ok(());
    }
    let shown = printable(&uri.to_string(), 80);
    Err(bad(format!(
        "The target of a request is a path that begins with /, or a whole URL; this one is {shown:?}."
    )))
}

/// RFC 9112, 3.2: one Host, and in HTTP/1.1 it must be there.
fn host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.count());
    match first {
        None if head.version == Version::HTTP_11 => Err(bad(
            "A request has one Host header; this one has 0.".to_owned(),
        )),
        Some(_) if more > 0 => Err(bad(format!(
            "A request has one Host header; this one has {}.",
            more + 1
        ))),
        Some(host) if !is_host(host) => {
            let shown = printable(&String::from_utf8_lossy(host.as_bytes()), 80);
            Err(bad(format!(
                "The Host header holds a name or an address, and perhaps a port; this one is {shown:?}."
            )))
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2); the host may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else {
        return false;
    };
    let (host, port) = match value.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) => {
                let v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
                return v6 && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match value.split_once(':') {
            Some((host, port)) => (host, port),
            None => (value, ""),
        },
    };
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    host.bytes().all(sign) && is_port(port)
}

fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// RFC 9112, 7.1: chunked must not be applied twice.
fn transfer_coding(head: &Parts) -> Result<(), Problem> {
    let codings = head
        .headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .count();
    if codings > 1 {
        return Err(bad(
            "The Transfer-Encoding may only be chunked, and only once.".to_owned(),
        ));
    }
    Ok(())
}

/// RFC 9110, 10.1.1: 100-continue is the one expectation there is.
fn expectation(head: &Parts) -> Result<(), Problem> {
    let mut expected = head.headers.get_all(header::EXPECT).iter();
    match expected.find(|value| {
        !value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"100-continue")
    }) {
        None => Ok(()),
        Some(value) => Err(Problem::Expectation(printable(
            &String::from_utf8_lossy(value.as_bytes()),
            80,
        ))),
    }
}

fn bad(sentence: String) -> Problem {
    Problem::BadRequest(sentence.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_ports() {
        for good in [
            "",
            "a",
            "a:",
            "a:80",
            "A.b-c.example",
            "127.0.0.1:8091",
            "[::1]",
            "[::1]:8091",
            "x_y",
            "a%20b",
        ] {
            assert!(is_host(&HeaderValue::from_str(good).unwrap()), "{good:?}");
        }
        for wrong in [
            "a b", "a/b", "a@b", "a:b", "a:99999", "a:-1", "a:80:80", "[::1", "[x]", "[::1]x",
            "a\tb", "a,b c", "\"a\"", "<a>", "a?b", "a#b", "::1",
        ] {
            assert!(
                !is_host(&HeaderValue::from_str(wrong).unwrap()),
                "{wrong:?}"
            );
        }
        assert!(!is_host(&HeaderValue::from_bytes(b"a\xff").unwrap()));
    }
}
