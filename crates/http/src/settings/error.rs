//! A file that a setting names, and why it cannot be used.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

/// No client could present this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has no characters.
    #[error("the key is empty: leave it out to ask for none")]
    Empty,
    /// It has characters that the value of a header cannot have.
    #[error("a key must be printable ASCII characters: no client could send this one in a header")]
    NotAscii,
}

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The name of a file is empty.
    #[error("{0}")]
    Name(String),
    /// The system does not let it be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// It is longer than any such file.
    #[error("{} is larger than {most} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What it may have.
        most: u64,
    },
    /// A line of the file of keys holds none that a client could present.
    #[error("{}, line {line}: {error}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        error: BadKey,
    },
    /// The file of keys has none.
    #[error("{} has no key in it", .0.display())]
    NoKey(PathBuf),
    /// The file of certificates is damaged.
    #[error("{} is not valid PEM: {error}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        error: pem::Error,
    },
    /// The file of certificates has none.
    #[error("{} has no certificate in PEM in it", .0.display())]
    NoCertificate(PathBuf),
    /// The file of the private key has none.
    #[error("{} has no private key in PEM in it: {error}", path.display())]
    NoPrivateKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: pem::Error,
    },
    /// The key belongs to another certificate.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), cert.display())]
    OtherKey {
        /// The file of certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// TLS does not take the two.
    #[error("the certificate in {} with the key in {} cannot be used: {error}", cert.display(), key.display())]
    Pair {
        /// The file of certificates.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        #[source]
        error: Box<rustls::Error>,
    },
    /// One of the two files for TLS is not named.
    #[error(
        "--tls-cert (TLS_CERT) and --tls-key (TLS_KEY) are given together: one of them is missing"
    )]
    OneOfTwo,
    /// The certificates of further authorities cannot be used.
    #[error("{} (--picture-url-ca) cannot be used: {error}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: Box<dyn Error + Send + Sync>,
    },
    /// The library for TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Longer than any chain of certificates, or list of keys.
const MOST_BYTES: u64 = 1 << 20;

/// A whole file that a setting names.
///
/// # Errors
///
/// When it cannot be read, or is longer than such a file can be.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(FileError::unreadable(path))?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(FileError::TooLarge {
            path: path.to_owned(),
            most: MOST_BYTES,
        }),
        false => Ok(bytes),
    }
}

impl FileError {
    /// The system does not let a file be read.
    fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Unreadable {
            path: path.to_owned(),
            error,
        }
    }
}
