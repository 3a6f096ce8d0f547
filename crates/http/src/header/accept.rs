//! Headers that list what a client takes, each with how much it is wanted (RFC 9110, 12.4.2).

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

/// The members of a header that is a list, each with its quality.
pub(crate) fn listed(
    headers: &HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (String, f32)> {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|it| it.to_str().ok());
    let members = values.flat_map(|value| value.split(','));
    members.map(|member| {
        let mut pieces = member.split(';').map(str::trim);
        let name = pieces.next().unwrap_or_default().to_owned();
        let quality = pieces
            .filter_map(|piece| piece.strip_prefix("q=").or(piece.strip_prefix("Q=")))
            .find_map(|value| value.parse().ok())
            .filter(|quality| (0.0..=1.0).contains(quality));
        (name, quality.unwrap_or(1.0))
    })
}

/// How much a client wants a coding of the answer: not at all where it does not name it.
pub(crate) fn coding_quality(headers: &HeaderMap, coding: &str) -> f32 {
    let named = |wanted: &str| {
        listed(headers, &header::ACCEPT_ENCODING)
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, quality)| quality)
    };
    named(coding).or_else(|| named("*")).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn a_coding_is_for_those_who_name_it() {
        for (accept, gzip, zstd) in [
            ("gzip, deflate, br", 1.0, 0.0),
            ("br, GZIP;q=0.1, zstd", 0.1, 1.0),
            ("gzip;q=0", 0.0, 0.0),
            ("gzip;q=0, *;q=0.5", 0.0, 0.5),
            ("identity", 0.0, 0.0),
            ("gzip;q=0.1, zstd;q=nan", 0.1, 1.0),
            ("gzip;q=inf, zstd;q=-1", 1.0, 1.0),
            ("", 0.0, 0.0),
        ] {
            let value = HeaderValue::from_static(accept);
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]);
            assert_eq!(coding_quality(&headers, "gzip"), gzip, "{accept}");
            assert_eq!(coding_quality(&headers, "zstd"), zstd, "{accept}");
        }
        assert_eq!(coding_quality(&HeaderMap::new(), "gzip"), 0.0);
    }
}
