//! Certificates for a test, and clients that trust them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use siglip2_embeddings::http::{HttpSettings, TlsFiles};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name in the certificates.
pub const NAME: &str = "localhost";

/// A certificate and its key in files, which go when this is dropped.
pub struct Files {
    folder: TempDir,
}

/// A certificate and its key, in PEM.
pub fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

impl Files {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Self { folder };
        files.write(&pair());
        files
    }

    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Puts another pair in their place.
    pub fn write(&self, (cert, key): &(String, String)) {
        std::fs::write(self.cert(), cert).expect("a file");
        std::fs::write(self.key(), key).expect("a file");
    }

    /// The same settings with this certificate.
    pub fn with(&self, settings: HttpSettings) -> HttpSettings {
        HttpSettings {
            tls: Some(TlsFiles::open(&self.cert(), &self.key()).expect("a pair")),
            ..settings
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A connection to a server with one of these certificates, on which one of these protocols is
/// agreed on; an error if the handshake fails.
pub async fn connect(
    address: SocketAddr,
    trusted: &[&str],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for pem in trusted {
        let cert = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        roots.add(cert).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(NAME).expect("a name"), stream)
        .await
}

/// What serves TLS with these files, for a host that is not the service.
pub fn acceptor(files: &Files) -> TlsAcceptor {
    let (cert, key) = (files.cert(), files.key());
    let chain = CertificateDer::pem_file_iter(cert).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    TlsAcceptor::from(Arc::new(config))
}
