//! Why a model could not be had.

use std::io;
use std::path::PathBuf;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nowhere to look.
    #[error(
        "there is no home directory in which a hub cache could be; say where it is: \
         --hf-home (HF_HOME) or --hf-hub-cache (HF_HUB_CACHE)"
    )]
    NoHome,
    /// Not a name that the hub could know.
    #[error("{0:?} cannot be the name of a model on the hub")]
    Name(String),
    /// Not a revision.
    #[error("--revision (MODEL_REVISION) is {0:?}, which is neither a branch, a tag nor a commit")]
    Revision(String),
    /// Neither the cache nor the hub has it.
    #[error(
        "the model {name} is not in the hub cache {} and {reason}; give the path of a \
         checkpoint directory, or --model demo, which needs no files",
        cache.display()
    )]
    Unavailable {
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// Why it could not be downloaded.
        reason: Box<HubFailure>,
    },
    /// The cache has a part of it.
    #[error(
        "of the model {name} the hub cache {} has no {file}, and HF_HUB_OFFLINE forbids to \
         download it; start once without it, or give the path of a checkpoint directory, or \
         --model demo, which needs no files",
        cache.display()
    )]
    Incomplete {
        /// The name that was asked for.
        name: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// What is missing.
        file: String,
    },
    /// The hub has it, and it is no model that this service runs.
    #[error("the model {name} at {endpoint} has no {file}, so it cannot be run")]
    NotACheckpoint {
        /// The name that was asked for.
        name: String,
        /// Where the hub is.
        endpoint: String,
        /// What it lacks.
        file: String,
    },
    /// The hub has its weights in PyTorch's own format alone.
    #[error(
        "the model {name} at {endpoint} has its weights in pytorch_model.bin alone, which is a \
         program in disguise and is not read; convert them with Python: from transformers \
         import AutoModel, AutoProcessor; AutoModel.from_pretrained(NAME).save_pretrained(DIRECTORY); \
         AutoProcessor.from_pretrained(NAME).save_pretrained(DIRECTORY); then --model DIRECTORY"
    )]
    PytorchOnly {
        /// The name that was asked for.
        name: String,
        /// Where the hub is.
        endpoint: String,
    },
}

/// Why a download failed, in the words of somebody who can do something about it.
#[derive(Debug, thiserror::Error)]
pub enum HubFailure {
    /// It was not to be tried.
    #[error("HF_HUB_OFFLINE forbids to download it")]
    Offline,
    /// The address of the hub cannot be one.
    #[error("HF_ENDPOINT is {0:?}, which is not an http or https address")]
    Endpoint(String),
    /// The token has characters that no header may have.
    #[error("the token that is to be sent (HF_TOKEN) has characters that no token has")]
    Token,
    /// 401 or 403.
    #[error("{endpoint} wants a token that may read it (HF_TOKEN), status {status}")]
    Unauthorized {
        /// Where the hub is.
        endpoint: String,
        /// The status.
        status: u16,
    },
    /// Only for those who asked.
    #[error(
        "{endpoint} gives it only to accounts that have been granted access: ask for it on \
         the model's page, and give a token of that account (HF_TOKEN)"
    )]
    Gated {
        /// Where the hub is.
        endpoint: String,
    },
    /// 404.
    #[error("{endpoint} does not know it, or not in revision {revision:?}")]
    Unknown {
        /// Where the hub is.
        endpoint: String,
        /// What was asked for.
        revision: String,
    },
    /// The model lacks a file that every checkpoint has.
    #[error("it has no {file}")]
    Lacks {
        /// The file.
        file: String,
    },
    /// The model has weights that are not read.
    #[error("its weights are in pytorch_model.bin alone")]
    PytorchOnly,
    /// Another status.
    #[error("{host} answered {tries} times with status {status}")]
    Status {
        /// Who answered.
        host: String,
        /// The status.
        status: u16,
        /// How often it was asked.
        tries: u32,
    },
    /// 429, and not to be waited for.
    #[error("{host} wants to be asked again in {seconds} s; a token (HF_TOKEN) raises its limit")]
    Limited {
        /// Who answered.
        host: String,
        /// What it said.
        seconds: u64,
    },
    /// No answer.
    #[error("{host} cannot be reached ({reason})")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects to {location:?}, which is not followed")]
    Redirect {
        /// Who answered.
        host: String,
        /// Where to.
        location: String,
    },
    /// An answer that no hub gives.
    #[error(
        "{endpoint} does not answer as a hub does: it does not say which commit {file} is of \
         (X-Repo-Commit)"
    )]
    NoCommit {
        /// Where the hub is.
        endpoint: String,
        /// What was asked for.
        file: String,
    },
    /// It ended early, again and again.
    #[error("the download of {file} broke off {tries} times at {done} bytes ({reason})")]
    Broken {
        /// The file.
        file: String,
        /// How often.
        tries: u32,
        /// How far it came.
        done: u64,
        /// What happened the last time.
        reason: String,
    },
    /// More or fewer bytes than announced.
    #[error("{file} came with {found} bytes, and {expected} were announced")]
    Size {
        /// The file.
        file: String,
        /// What came.
        found: u64,
        /// What was announced.
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
    #[error("{file} came damaged twice: its hash is {found}, and {expected} was announced")]
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
        reason: io::Error,
    },
}
