//! Why a load test cannot be run, or its report not be written.

use std::io;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the service is not one.
    #[error("`{0}` is not a URL such as http://127.0.0.1:8091")]
    Url(String),
    /// The address is that of a server that speaks TLS.
    #[error("`{0}`: the load test speaks plain HTTP; point it at the service itself")]
    Tls(String),
    /// The host or the key has characters that a header cannot have.
    #[error("{0} cannot be sent in a header")]
    Header(&'static str),
    /// The service asks for a key.
    #[error("{0} requires an API key: give it with --api-key")]
    Key(String),
    /// What answers may not be the service.
    #[error("{url}/info answered {status}; is that the service to measure?")]
    Status {
        /// The address.
        url: String,
        /// The status of its answer.
        status: u16,
    },
    /// Nothing listens at the address.
    #[error("cannot connect to {0}; is it running?")]
    Connect(String),
    /// There was a connection, and no answer.
    #[error("{0}/info did not answer")]
    Silent(String),
    /// What answers may not be the service.
    #[error("{url}/info does not give the model and its dimensions: {error}")]
    Info {
        /// The address.
        url: String,
        /// What is wrong with the answer.
        #[source]
        error: serde_json::Error,
    },
    /// The process that should be watched cannot be.
    #[error("cannot watch process {pid}: {error}")]
    Watch {
        /// Its process ID.
        pid: u32,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// No rate lies between the bounds of the search.
    #[error("no rate was tried: start with a --rate from 0.05 to 1000000")]
    NoRate,
    /// A folder, or a file in it, cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// A file is no image that a client would send.
    #[error("{} is larger than 256 MiB", .0.display())]
    LargeFile(PathBuf),
    /// A folder has no images.
    #[error("{} holds no image (jpg, png, gif, webp, bmp or tiff)", .0.display())]
    NoImages(PathBuf),
    /// An encoder failed.
    #[error("an image could not be drawn: {0}")]
    Drawing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The report holds a number that JSON does not have.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Standard output cannot be written.
    #[error("cannot print the report: {0}")]
    Print(#[source] io::Error),
    /// The page cannot be written.
    #[error("{} (--html) cannot be written: {error}", path.display())]
    Page {
        /// Where it should be.
        path: PathBuf,
        /// The system's error.
        #[source]
        error: io::Error,
    },
}

impl Error {
    /// The system does not let this be read.
    pub fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Unreadable {
            path: path.to_owned(),
            error,
        }
    }

    /// The system does not let the page be written.
    pub fn page(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Page {
            path: path.to_owned(),
            error,
        }
    }
}
