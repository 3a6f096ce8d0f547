//! What clients must present.

use std::fmt;

use subtle::ConstantTimeEq;

/// A secret. It is compared in constant time and never printed.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// The key, from a setting: white space around it is ignored.
    ///
    /// # Errors
    ///
    /// A sentence, when no client could present it: it is empty, or holds what the value of
    /// a header cannot.
    pub fn parse(key: &str) -> Result<Self, String> {
        let key = key.trim();
        if key.is_empty() {
            return Err("the key is empty: leave it out to ask for none".to_owned());
        }
        if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(
                "a key is of printable ASCII characters: no client could send this one in a header"
                    .to_owned(),
            );
        }
        Ok(Self(key.as_bytes().into()))
    }

    /// Whether this is what a client presented.
    pub(super) fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_whole() {
        let key = ApiKey::parse(" secret\n").unwrap();
        assert!(key.matches(b"secret"));
        assert!(!key.matches(b"secre"));
        assert!(!key.matches(b"secret "));
        assert!(!key.matches(b""));
    }

    #[test]
    fn a_key_that_nobody_could_send_is_refused() {
        for key in ["", " \n", "line\nbreak", "schl\u{fc}ssel"] {
            assert!(ApiKey::parse(key).is_err(), "{key:?}");
        }
    }
}
