//! Why a model could not be obtained.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ureq::http::HeaderMap;

/// Why a model could not be obtained.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no cache directory to look in.
    #[error(transparent)]
    NoCache(#[from] NoCache),
    /// Not a valid name on the hub.
    #[error("{0:?} cannot be the name of a model on the hub")]
    Name(String),
    /// Not a valid revision.
    #[error("--revision (MODEL_REVISION) is {0:?}, which is neither a branch, a tag nor a commit")]
    Revision(String),
    /// Neither the cache nor the hub has it.
    #[error(
        "the model {name} is not in the hub cache {} and {reason}; give the path of a \
         checkpoint directory, or --model demo, which needs no files",
        cache.display()
    )]
    Unavailable {
        /// The requested name.
        name: String,
        /// The directory of the cache.
        cache: PathBuf,
        /// Why it could not be downloaded.
        #[source]
        reason: Box<HubFailure>,
    },
    /// It was to be fetched anew, and could not be.
    #[error("the model {name} cannot be fetched anew: {reason}")]
    NotFetched {
        /// The requested name.
        name: String,
        /// Why.
        #[source]
        reason: Box<HubFailure>,
    },
    /// The cache has only part of it.
    #[error(
        "the hub cache {} has no {file} of the model {name}, and HF_HUB_OFFLINE forbids \
         downloading it; start once without it, or give the path of a checkpoint directory, or \
         --model demo, which needs no files",
        cache.display()
    )]
    Incomplete {
        /// The requested name.
        name: String,
        /// The directory of the cache.
        cache: PathBuf,
        /// What is missing.
        file: String,
    },
    /// The hub has it, but this service cannot run it.
    #[error("the model {name} at {endpoint} has no {file}, so it cannot be run")]
    NotACheckpoint {
        /// The requested name.
        name: String,
        /// Where the hub is.
        endpoint: String,
        /// What is missing in it.
        file: String,
    },
    /// The hub has its weights only in PyTorch's own format.
    #[error(
        "the model {name} at {endpoint} has its weights only in pytorch_model.bin, a pickle, which \
         can run code when it is read and is therefore not read; convert them with Python: from transformers \
         import AutoModel, AutoProcessor; AutoModel.from_pretrained(NAME).save_pretrained(DIRECTORY); \
         AutoProcessor.from_pretrained(NAME).save_pretrained(DIRECTORY); then --model DIRECTORY"
    )]
    PytorchOnly {
        /// The requested name.
        name: String,
        /// Where the hub is.
        endpoint: String,
    },
}

/// Why there is no directory for the cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCache {
    /// The user has no home directory, and no other place is named.
    #[error(
        "there is no home directory in which a hub cache could be; say where it is: \
         --hf-home (HF_HOME) or --hf-hub-cache (HF_HUB_CACHE)"
    )]
    NoHome,
    /// The home directory of another user, which is not known.
    #[error(
        "the hub cache is to be in {0:?}, and /etc/passwd has no such user; write the directory \
         out: --hf-home (HF_HOME) or --hf-hub-cache (HF_HUB_CACHE)"
    )]
    NoUser(PathBuf),
}

/// Most characters of a server's message that are repeated.
const MOST_SAID: usize = 200;

/// What a server says about a failure (`X-Error-Message`), to be put behind a sentence: escaped and
/// cut, because it comes from outside; nothing if it says nothing.
#[derive(Clone, Debug, Default)]
pub struct Said(String);

impl Said {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let message = headers.get("x-error-message");
        let message = message.map(|it| String::from_utf8_lossy(it.as_bytes()));
        let message = message.unwrap_or_default();
        Self(message.trim().chars().take(MOST_SAID).collect())
    }

    /// Whether the hub says that it is the token which is wrong.
    pub(super) fn is_of_token(&self) -> bool {
        self.0.starts_with("Invalid credentials")
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            message => write!(f, " ({message:?})"),
        }
    }
}

/// Why a download failed, in words that help to mend it.
#[derive(Debug, thiserror::Error)]
pub enum HubFailure {
    /// Downloads are turned off.
    #[error("HF_HUB_OFFLINE forbids downloading it")]
    Offline,
    /// The hub's address is not a valid URL.
    #[error("HF_ENDPOINT is {0:?}, which is not an http or https address")]
    Endpoint(String),
    /// The token contains characters that are not allowed in a header.
    #[error("the token in HF_TOKEN has characters that no token has")]
    Token,
    /// Status 401 without a token.
    #[error("{endpoint} requires a token that may read it (HF_TOKEN), status {status}{said}")]
    Unauthorized {
        /// Where the hub is.
        endpoint: String,
        /// The status.
        status: u16,
        /// Its message.
        said: Said,
    },
    /// Status 401 with a token.
    #[error(
        "{endpoint} refuses the token that was sent (HF_TOKEN, or the one stored by hf auth login), \
         status 401{said}"
    )]
    TokenRefused {
        /// Where the hub is.
        endpoint: String,
        /// Its message.
        said: Said,
    },
    /// The hub does not say whether there is such a model.
    #[error(
        "{endpoint} has no such model, or it is private, status {status}{said}: check the name, or \
         give a token that may read it (HF_TOKEN){hint}"
    )]
    Hidden {
        /// Where the hub is.
        endpoint: String,
        /// The status.
        status: u16,
        /// Its message.
        said: Said,
        /// What is to be said about a token that was sent.
        hint: &'static str,
    },
    /// Status 403, or 401 from a server that the hub redirected to.
    #[error("{host} refuses to give it, status {status}{said}{hint}")]
    Refused {
        /// The server that answered.
        host: String,
        /// The status.
        status: u16,
        /// Its message.
        said: Said,
        /// What may be the cause.
        hint: &'static str,
    },
    /// The model is gated: access has to be requested.
    #[error(
        "{endpoint} gives it only to accounts that have been granted access: request access on \
         the model's page, and give a token of that account (HF_TOKEN){said}"
    )]
    Gated {
        /// Where the hub is.
        endpoint: String,
        /// Its message.
        said: Said,
    },
    /// Status 404.
    #[error("{endpoint} does not know it, or not in revision {revision:?}")]
    Unknown {
        /// Where the hub is.
        endpoint: String,
        /// The requested URL.
        revision: String,
    },
    /// The model lacks a file that every checkpoint has.
    #[error("it has no {file}")]
    Lacks {
        /// The file.
        file: String,
    },
    /// The weights are in a format that is not read.
    #[error("its weights are only in pytorch_model.bin")]
    PytorchOnly,
    /// Any other status.
    #[error("{host} answered {tries} times with status {status}{said}")]
    Status {
        /// The server that answered.
        host: String,
        /// The status.
        status: u16,
        /// The number of tries.
        tries: u32,
        /// Its message.
        said: Said,
    },
    /// Status 429, with a delay that is too long to wait for.
    #[error(
        "{host} asks for {seconds} s until the next request; a token (HF_TOKEN) raises its limit"
    )]
    Limited {
        /// The server that answered.
        host: String,
        /// Its `Retry-After`.
        seconds: u64,
    },
    /// No answer.
    #[error("{host} cannot be reached ({reason})")]
    Unreachable {
        /// The server that was asked.
        host: String,
        /// The system's error.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects to {location:?}, which is not followed")]
    Redirect {
        /// The server that answered.
        host: String,
        /// Its target.
        location: String,
    },
    /// An answer that a hub would not give.
    #[error(
        "{endpoint} does not answer as a hub does: it does not say which commit {file} is from \
         (X-Repo-Commit)"
    )]
    NoCommit {
        /// Where the hub is.
        endpoint: String,
        /// The requested URL.
        file: String,
    },
    /// The download broke off too often.
    #[error("the download of {file} broke off {tries} times at {done} bytes ({reason})")]
    Broken {
        /// The file.
        file: String,
        /// How often.
        tries: u32,
        /// How many bytes had arrived.
        done: u64,
        /// The last error.
        reason: String,
    },
    /// The length differs from the announced one.
    #[error("{file} arrived with {found} bytes, but {expected} were announced")]
    Size {
        /// The file.
        file: String,
        /// Bytes received.
        found: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// Too large for what it is.
    #[error("{file} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// What it may have.
        limit: u64,
    },
    /// Damaged on the way, twice.
    #[error("{file} arrived damaged twice: its hash is {found}, but {expected} was announced")]
    Hash {
        /// The file.
        file: String,
        /// That of what came.
        found: String,
        /// What was announced.
        expected: String,
    },
    /// A file that is not what it should be.
    #[error(transparent)]
    Content(#[from] crate::checkpoint::CheckpointError),
    /// The cache cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
}
