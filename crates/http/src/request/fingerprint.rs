//! Which vector space a request's vectors are in, and which one its client has vectors of.
//!
//! An index outlives the service that filled it. A client that keeps the fingerprint beside its
//! vectors and sends it back is refused by a service with another model, other preparation or
//! other precision, instead of getting vectors that compare with nothing that it has.

use hyper::HeaderMap;

use siglip2_service::{Fingerprint, Service};

use super::model::Choice;
use crate::answer::problem::{Problem, printable};

/// The header that names the space of an answer.
pub(crate) const FINGERPRINT: &str = "x-embedding-fingerprint";

/// The header that names the space of a client's vectors.
pub(crate) const EXPECT_FINGERPRINT: &str = "x-expect-fingerprint";

/// The space of vectors of a request's model, of turned images or not, normalized or not, unless
/// the client expects another.
pub(crate) fn agreed(
    headers: &HeaderMap,
    choice: &Choice,
    turned: bool,
    normalized: bool,
) -> Result<Option<Fingerprint>, Problem> {
    let of = |service: &Service| Some(service.fingerprints_of(turned)?.of(normalized));
    let found = of(choice.model());
    // Every one must hold: whoever sends two may have vectors of two.
    for expected in headers.get_all(EXPECT_FINGERPRINT) {
        let shown = String::from_utf8_lossy(expected.as_bytes());
        let expected: Fingerprint = shown.parse().map_err(|_| {
            let shown = printable(&shown, 40);
            Problem::BadRequest(
                format!(
                    "X-Expect-Fingerprint must be a fingerprint of 16 hexadecimal digits, and is \
                     {shown:?}."
                )
                .into(),
            )
        })?;
        match found {
            Some(found) if found == expected => {}
            Some(found) => {
                let other = choice.other_with(|service| of(service) == Some(expected));
                return Err(Problem::OtherSpace {
                    expected,
                    found,
                    other: other.map_or_else(String::new, |name| {
                        format!(
                            " It is that of \"{name}\", which is served here too: name it in the \
                             header X-Model."
                        )
                    }),
                });
            }
            None => return Err(Problem::NoFingerprint(expected)),
        }
    }
    Ok(found)
}
