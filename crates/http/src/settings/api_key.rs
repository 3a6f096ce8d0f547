//! What clients must present.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, fs};

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
                "a key must be printable ASCII characters: no client could send this one in a header"
                    .to_owned(),
            );
        }
        Ok(Self(key.as_bytes().into()))
    }

    /// Whether this is what a client presented.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// The keys of a file, which may change while the service runs. A clone shares them.
#[derive(Clone)]
pub struct ApiKeysFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    keys: RwLock<Vec<ApiKey>>,
}

impl ApiKeysFile {
    /// The file of this name, read.
    ///
    /// # Errors
    ///
    /// A sentence, when it cannot be read, holds no key, or one that no client could send.
    pub fn open(path: &str) -> Result<Self, String> {
        let path = siglip2_flags::path(path)?;
        let keys = RwLock::new(read(&path)?);
        Ok(Self(Arc::new(Inner { path, keys })))
    }

    /// Reads the file again, and says how many keys it has. If that fails the keys that were
    /// read before stay.
    ///
    /// # Errors
    ///
    /// As for [`ApiKeysFile::open`].
    pub fn reload(&self) -> Result<usize, String> {
        let keys = read(&self.0.path)?;
        let count = keys.len();
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(count)
    }

    /// Whether a client presented one of them. All are compared, so that the time does not
    /// tell which one it was.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter()
            .fold(false, |found, key| key.matches(presented) | found)
    }
}

impl fmt::Debug for ApiKeysFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeysFile({})", self.0.path.display())
    }
}

fn read(path: &Path) -> Result<Vec<ApiKey>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let keys = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            ApiKey::parse(line)
                .map_err(|error| format!("{}, line {number}: {error}", path.display()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match keys.is_empty() {
        true => Err(format!("{} has no key in it", path.display())),
        false => Ok(keys),
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

    #[test]
    fn a_file_of_keys_is_read_again_and_a_bad_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert!(ApiKeysFile::open(path).unwrap_err().contains("no key"));
        fs::write(path, "# of the indexer\n first \n\nsecond\n").unwrap();
        let keys = ApiKeysFile::open(path).unwrap();
        assert!(keys.matches(b"first") && keys.matches(b"second"));
        assert!(!keys.matches(b"# of the indexer") && !keys.matches(b""));
        fs::write(path, "third").unwrap();
        assert!(keys.matches(b"first"));
        assert_eq!(keys.reload(), Ok(1));
        assert!(keys.matches(b"third") && !keys.matches(b"first"));
        fs::write(path, "schl\u{fc}ssel").unwrap();
        assert!(keys.reload().unwrap_err().contains("line 1"));
        assert!(keys.matches(b"third"));
        assert!(!format!("{keys:?}").contains("third"));
    }
}
