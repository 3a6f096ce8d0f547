//! TLS: the certificate and the key that the service shows, read from files that may change
//! while it runs; and what it trusts when it fetches a picture.

use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::error::{FileError, contents};

/// How often it is looked whether the files have changed. They are taken when they were the same
/// twice, because a certificate and its key are seldom written in one step.
const LOOK: Duration = Duration::from_secs(2);

/// The files with the certificates and the key. A clone shares what was read of them.
#[derive(Clone)]
pub struct TlsFiles(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    shown: RwLock<Arc<CertifiedKey>>,
    /// As the files were when they were last read, with or without success.
    seen: Mutex<Option<Stamp>>,
    /// Held while files are read.
    reading: Mutex<()>,
}

/// What changes when the files do, also where they are links into a directory that is replaced.
type Stamp = [(u64, u64, i64, i64, u64); 2];

impl TlsFiles {
    /// The certificates of the service, its own first, and its private key; both in PEM.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds none of what it should, or the two do not belong together.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, FileError> {
        let seen = stamp(cert, key);
        let shown = read(cert, key)?;
        Ok(Self(Arc::new(Inner {
            cert: cert.to_owned(),
            key: key.to_owned(),
            shown: RwLock::new(Arc::new(shown)),
            seen: Mutex::new(seen),
            reading: Mutex::new(()),
        })))
    }

    /// Reads the files again. If that fails the pair that was read before stays. Connections that
    /// are open keep theirs.
    ///
    /// # Errors
    ///
    /// As for [`TlsFiles::open`].
    pub fn reload(&self) -> Result<(), FileError> {
        let Inner {
            cert, key, reading, ..
        } = &*self.0;
        // One that reads slowly must not put an older pair in the place of a newer.
        let _reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp(cert, key);
        let pair = Arc::new(read(cert, key)?);
        *self.0.shown.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(())
    }

    /// What makes TLS of a connection.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, FileError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Who comes again needs no signature, which is most of what a handshake costs.
        config.ticketer = ring::Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again whenever they have changed; it ends when it is dropped.
    pub(crate) async fn watch(self) {
        let mut before = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let files = self.clone();
            // Files may be somewhere slow.
            let looked = tokio::task::spawn_blocking(move || files.look(before)).await;
            before = looked.ok().flatten();
        }
    }

    /// Reads the files if they are others than were read, and the same as before.
    fn look(&self, before: Option<Stamp>) -> Option<Stamp> {
        let Inner { cert, key, .. } = &*self.0;
        let now = stamp(cert, key)?;
        let seen = *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen != Some(now) && before == Some(now) {
            match self.reload() {
                Ok(()) => {
                    tracing::info!("the TLS certificate has changed, and is used from now on")
                }
                Err(error) => {
                    tracing::error!(%error, "the TLS certificate stays as it was");
                }
            }
        }
        Some(now)
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.cert.display(), self.key.display())
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsFiles({:?})", self.0)
    }
}

fn stamp(cert: &Path, key: &Path) -> Option<Stamp> {
    let of = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        let (seconds, nanos) = (file.mtime(), file.mtime_nsec());
        Some((file.dev(), file.ino(), seconds, nanos, file.size()))
    };
    Some([of(cert)?, of(key)?])
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, FileError> {
    let chain = CertificateDer::pem_slice_iter(&contents(cert)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| FileError::Pem {
        path: cert.to_owned(),
        error,
    })?;
    if chain.is_empty() {
        return Err(FileError::NoCertificate(cert.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&contents(key)?);
    let private = private.map_err(|error| FileError::NoPrivateKey {
        path: key.to_owned(),
        error,
    })?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        match error {
            rustls::Error::InconsistentKeys(_) => FileError::OtherKey { cert, key },
            error => FileError::Pair {
                cert,
                key,
                error: Box::new(error),
            },
        }
    })
}

/// TLS as a client, with the authorities that the web trusts.
///
/// # Errors
///
/// When the file of further ones cannot be used.
pub(crate) fn connector(further: Option<&Path>) -> Result<TlsConnector, FileError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(file) = further {
        let unusable = |error: Box<dyn Error + Send + Sync>| FileError::Authorities {
            path: file.to_owned(),
            error,
        };
        let pem = contents(file)?;
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(error.into()))?;
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.into()))?;
        }
        if roots.len() == before {
            return Err(unusable("it has no certificate in PEM in it".into()));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_bad_pair_is_named_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let said = |text: &str| {
            let error = TlsFiles::open(&cert, &key).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        said("cert.pem cannot be read");
        let ((one, one_key), (other, other_key)) = (pair(), pair());
        fs::write(&cert, "nothing").unwrap();
        said("no certificate");
        fs::write(&cert, &one).unwrap();
        said("key.pem cannot be read");
        fs::write(&key, &one).unwrap();
        said("no private key");
        fs::write(&key, &other_key).unwrap();
        said("is not that of the first certificate");
        fs::write(&key, &one_key).unwrap();
        let files = TlsFiles::open(&cert, &key).unwrap();
        let shown = || files.0.shown.read().unwrap().cert.clone();
        let first = shown();
        fs::write(&cert, &other).unwrap();
        assert!(files.reload().is_err());
        assert_eq!(shown(), first);
        fs::write(&key, &other_key).unwrap();
        files.reload().unwrap();
        assert_ne!(shown(), first);
        assert!(files.acceptor().is_ok());
    }

    #[test]
    fn files_that_change_are_taken_when_they_have_settled() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let write = |(one, one_key): (String, String)| {
            fs::write(&cert, one).unwrap();
            fs::write(&key, one_key).unwrap();
        };
        write(pair());
        let files = TlsFiles::open(&cert, &key).unwrap();
        let shown = || files.0.shown.read().unwrap().cert.clone();
        let first = shown();
        let before = files.look(None);
        assert_eq!((files.look(before), shown()), (before, first.clone()));
        // Another file under the same name, as renewals make it.
        fs::remove_file(&cert).unwrap();
        write(pair());
        let changed = files.look(before);
        assert_eq!(shown(), first, "it was only seen once");
        assert_eq!(files.look(changed), changed);
        assert_ne!(shown(), first);
        // A file that is missing for a moment is no change.
        fs::remove_file(&key).unwrap();
        assert_eq!(files.look(changed), None);
    }
}
