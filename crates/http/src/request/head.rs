//! What the head of a request must be, beyond what hyper asks of it: what proxies before us
//! may read in another way, and what is asked for and not done.

use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Version};

use crate::answer::problem::{Problem, printable};

/// Refuses a head that is not as RFC 9112 and RFC 9110 have it.
pub(crate) fn check(head: &Parts) -> Result<(), Problem> {
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
        "The target of a request must be a path that begins with /, or a whole URL; this one is {shown:?}."
    )))
}

/// RFC 9112, 3.2: one Host, and in HTTP/1.1 it must be there. RFC 9113, 8.3.1: in HTTP/2 the
/// authority stands for it, and if both are there they are the same.
fn host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.count());
    let is_http2 = head.version == Version::HTTP_2;
    let authority = head.uri.authority().filter(|_| is_http2);
    if more > 0 {
        let count = more + 1;
        return Err(bad(format!(
            "A request must have one Host header; this one has {count}."
        )));
    }
    if let Some(authority) = authority {
        is_host(authority.as_str().as_bytes())?;
        if first.is_some_and(|host| {
            !host
                .as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes())
        }) {
            return Err(bad(
                "The :authority and the Host of a request must be the same; these differ."
                    .to_owned(),
            ));
        }
        return Ok(());
    }
    match first {
        Some(host) => is_host(host.as_bytes()),
        None if is_http2 => Err(bad(
            "A request must have an :authority or a Host header; this one has neither.".to_owned(),
        )),
        None if head.version == Version::HTTP_11 => Err(bad(
            "A request must have one Host header; this one has 0.".to_owned(),
        )),
        None => Ok(()),
    }
}

fn is_host(host: &[u8]) -> Result<(), Problem> {
    if std::str::from_utf8(host).is_ok_and(is_name_and_port) {
        return Ok(());
    }
    let shown = printable(&String::from_utf8_lossy(host), 80);
    Err(bad(format!(
        "The Host header must be a name or an address, with or without a port; this one is {shown:?}."
    )))
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2); the host may be empty.
fn is_name_and_port(value: &str) -> bool {
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
            assert!(is_host(good.as_bytes()).is_ok(), "{good:?}");
        }
        for wrong in [
            "a b", "a/b", "a@b", "a:b", "a:99999", "a:-1", "a:80:80", "[::1", "[x]", "[::1]x",
            "a\tb", "a,b c", "\"a\"", "<a>", "a?b", "a#b", "::1",
        ] {
            assert!(is_host(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(is_host(b"a\xff").is_err());
    }
}
