//! A checkpoint by its hub name: from the hub cache, else downloaded into it.
//!
//! ```text
//! "google/siglip2-base-patch16-224"
//!   --cache-----> HF_HOME/hub/models--google--siglip2.../snapshots/<commit>/   (no network)
//!   --download--> HF_ENDPOINT, the files that are missing, then the same directory
//! ```
//!
//! The cache is laid out, and locked, as Python's huggingface_hub has it, so models that are
//! there already are found, and the other way round.
//!
//! The requests are made here, on the HTTP client, and not by the crate hf-hub: version 0.5 asks
//! for one byte in gzip to learn a file's size, which caches answer wrongly; version 1.0
//! brings some 250 packages and a runtime of its own. What a checkpoint needs is one GET per
//! file.
//!
//! What comes from the hub is not trusted: a name is checked before it is asked for, and
//! nothing that a server says becomes part of a path that leads out of the cache.

mod cache;
mod client;
mod download;
mod error;
mod headers;
mod names;
mod part;
mod place;
mod progress;
mod redirect;

use std::path::PathBuf;

pub use error::{HubError, HubFailure, NoCache, Said};
pub use names::is_repository;
pub use place::HubSettings;
pub(crate) use place::Places;

use cache::{Cache, Cached};
use download::Download;

/// The directory with the files of the model `name` at `revision` (a branch, a tag or a
/// commit), downloading those that the cache lacks.
///
/// # Errors
///
/// When they are neither in the cache nor to be had.
pub fn locate(name: &str, revision: &str, settings: &HubSettings) -> Result<PathBuf, HubError> {
    if !is_repository(name) {
        return Err(HubError::Name(name.to_owned()));
    }
    if !names::is_revision(revision) {
        return Err(HubError::Revision(revision.to_owned()));
    }
    let root = settings.cache.as_deref().map_err(Clone::clone)?;
    let cache = Cache::new(root, name);
    if settings.anew {
        if settings.offline {
            return Err(HubError::NotFetched {
                name: name.to_owned(),
                reason: Box::new(HubFailure::Offline),
            });
        }
        let download = Download::new(&cache, name, revision, settings);
        return download.all().map_err(|failure| {
            not_downloaded(name, settings, failure, |reason| HubError::NotFetched {
                name: name.to_owned(),
                reason,
            })
        });
    }
    let cached = cache.find(revision);
    if let Cached::Complete(directory) = cached {
        return Ok(directory);
    }
    let unavailable = |reason| HubError::Unavailable {
        name: name.to_owned(),
        cache: root.to_owned(),
        reason,
    };
    if settings.offline {
        return match cached {
            Cached::Usable { directory, .. } => Ok(directory),
            Cached::Lacking(file) => Err(HubError::Incomplete {
                name: name.to_owned(),
                cache: root.to_owned(),
                file,
            }),
            _ => Err(unavailable(Box::new(HubFailure::Offline))),
        };
    }
    let download = Download::new(&cache, name, revision, settings);
    let all = || {
        let done = download.all();
        done.map_err(|failure| not_downloaded(name, settings, failure, unavailable))
    };
    match cached {
        Cached::Usable { directory, unknown } => {
            // What is here can be run. Files that change what it computes, and of which the
            // cache does not say whether the model has them, are asked for once.
            let asked = unknown;
            let mut completed = download.complete(&directory, &asked);
            // What came may name the tokenizer's class, and with it another vocabulary, also where
            // another file did not come.
            match cache.find(revision) {
                Cached::Usable { mut unknown, .. } => {
                    // What was asked for is not asked for twice.
                    unknown.retain(|file| !asked.contains(file));
                    completed = match completed {
                        Ok(()) => download.complete(&directory, &unknown),
                        Err((mut lacking, failure)) => {
                            // A hub that is not there is not asked again.
                            let more = match failure {
                                HubFailure::Unreachable { .. } => unknown,
                                _ => download
                                    .complete(&directory, &unknown)
                                    .map_or_else(|(more, _)| more, |()| Vec::new()),
                            };
                            lacking.extend(more);
                            Err((lacking, failure))
                        }
                    };
                }
                Cached::Complete(_) => {}
                Cached::Lacking(_) | Cached::Nothing => return all(),
            }
            if let Err((unknown, failure)) = completed {
                tracing::warn!(
                    model = name,
                    "the hub cache lacks {}, and it is not known whether the model has such files: {failure}",
                    unknown.join(", ")
                );
            }
            Ok(directory)
        }
        _ => all(),
    }
}

/// The error for a download that failed: what is wrong with the model itself, or `otherwise`.
fn not_downloaded(
    name: &str,
    settings: &HubSettings,
    failure: HubFailure,
    otherwise: impl Fn(Box<HubFailure>) -> HubError,
) -> HubError {
    let name = name.to_owned();
    let endpoint = settings.endpoint().to_owned();
    match failure {
        HubFailure::Lacks { file } => HubError::NotACheckpoint {
            name,
            endpoint,
            file,
        },
        HubFailure::PytorchOnly => HubError::PytorchOnly { name, endpoint },
        other => otherwise(Box::new(other)),
    }
}
