//! Why a picture was not fetched: the end of a sentence that begins with the picture's name.

use std::io;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("has a host that could not be looked up")]
    NotLookedUp(#[source] tokio::task::JoinError),
    #[error("has a host that is not found: {0}")]
    NotFound(#[source] io::Error),
    #[error("is at an address that is not public (see --picture-url-networks)")]
    NotPublic,
    #[error("has a host without an address")]
    NoAddress,
    #[error("is at a host that cannot be connected to: {}", .0.kind())]
    Unreachable(#[source] io::Error),
    #[error("is at a host that does not answer")]
    Silent,
    #[error("has a host that no certificate can name")]
    Unnameable(#[source] rustls::pki_types::InvalidDnsNameError),
    #[error("cannot be fetched over TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("cannot be requested: {0}")]
    Unrequested(#[source] hyper::http::Error),
    #[error("could not be fetched: {0}")]
    Broken(#[source] hyper::Error),
}
