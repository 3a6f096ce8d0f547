//! What clients must present.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq;

use super::error::{BadKey, FileError, contents};

/// A secret. It is compared in constant time and never printed.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

impl ApiKey {
    /// The key, from a setting: white space around it is ignored.
    ///
    /// # Errors
    ///
    /// When no client could present it.
    pub fn parse(key: &str) -> Result<Self, BadKey> {
        let key = key.trim();
        if key.is_empty() {
            return Err(BadKey::Empty);
        }
        if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(BadKey::NotAscii);
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
    /// When it cannot be read, holds no key, or one that no client could send.
    pub fn open(path: &str) -> Result<Self, FileError> {
        let path = siglip2_flags::path(path).map_err(FileError::Name)?;
        let keys = RwLock::new(read(&path)?);
        Ok(Self(Arc::new(Inner { path, keys })))
    }

    /// Reads the file again, and says how many keys it has. If that fails the keys that were
    /// read before stay.
    ///
    /// # Errors
    ///
    /// As for [`ApiKeysFile::open`].
    pub fn reload(&self) -> Result<usize, FileError> {
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

fn read(path: &Path) -> Result<Vec<ApiKey>, FileError> {
    let bytes = contents(path)?;
    // What is no UTF-8 is no key either, and is found in its line.
    let keys = String::from_utf8_lossy(&bytes)
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, key)| {
            ApiKey::parse(key).map_err(|error| FileError::Key {
                path: path.to_owned(),
                line,
                error,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    match keys.is_empty() {
        true => Err(FileError::NoKey(path.to_owned())),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let error = ApiKeysFile::open(path).unwrap_err();
        assert!(matches!(error, FileError::NoKey(_)), "{error}");
        fs::write(path, "# of the indexer\n first \n\nsecond\n").unwrap();
        let keys = ApiKeysFile::open(path).unwrap();
        assert!(keys.matches(b"first") && keys.matches(b"second"));
        assert!(!keys.matches(b"# of the indexer") && !keys.matches(b""));
        fs::write(path, "third").unwrap();
        assert!(keys.matches(b"first"));
        assert_eq!(keys.reload().unwrap(), 1);
        assert!(keys.matches(b"third") && !keys.matches(b"first"));
        fs::write(path, "schl\u{fc}ssel").unwrap();
        let error = keys.reload().unwrap_err();
        assert!(matches!(error, FileError::Key { line: 1, .. }), "{error}");
        assert!(keys.matches(b"third"));
        fs::write(path, b"third\nschl\xfcssel").unwrap();
        let error = keys.reload().unwrap_err();
        assert!(matches!(error, FileError::Key { line: 2, .. }), "{error}");
        fs::write(path, "third\n".repeat(200_000)).unwrap();
        let error = keys.reload().unwrap_err();
        assert!(matches!(error, FileError::TooLarge { .. }), "{error}");
        assert!(!format!("{keys:?}").contains("third"));
    }
}
