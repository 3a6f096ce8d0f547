//! The hub cache, with the layout of Python's huggingface_hub.
//!
//! ```text
//! models--OWNER--NAME/
//!   refs/REVISION                     the commit that a branch or tag stood for
//!   snapshots/COMMIT/FILE             link to ../../blobs/ETAG
//!   blobs/ETAG
//!   .no_exist/COMMIT/FILE             a file that the model does not have
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::error::HubFailure;
use super::names;
use crate::checkpoint::weights::shards;
use crate::files::{
    ADDED_TOKENS, CONFIG, PREPROCESSOR, PROCESSOR, SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG,
    WEIGHTS, WEIGHTS_INDEX, nested, vocabularies,
};

/// Optional files of a model that change what it computes.
const OPTIONAL: [&str; 4] = [
    PROCESSOR,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS_MAP,
    ADDED_TOKENS,
];

/// The same of the model in this directory, as far as its files say what it is: SigLIP 1 may have a
/// vocabulary that goes before tokenizer.json.
pub(super) fn optional(directory: &Path) -> impl Iterator<Item = &'static str> {
    let other = vocabularies_of(directory)
        .iter()
        .filter(|&&file| file != TOKENIZER);
    OPTIONAL.into_iter().chain(other.copied())
}

/// The files that may have the vocabulary of the model in this directory.
pub(super) fn vocabularies_of(directory: &Path) -> &'static [&'static str] {
    let read = |file| fs::read(directory.join(file)).ok();
    vocabularies(read(TOKENIZER_CONFIG).as_deref(), read(CONFIG).as_deref())
}

/// How often a lock is tried.
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// How often a message says that a lock is being waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// One model's part of the cache.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

/// What the cache has of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// All files.
    Complete(PathBuf),
    /// A checkpoint, but it is unknown whether the model has these files too.
    Usable {
        directory: PathBuf,
        unknown: Vec<&'static str>,
    },
    /// Some files; at least this one is missing.
    Lacking(String),
    /// Nothing of this revision.
    Nothing,
}

impl Cache {
    pub fn new(root: &Path, name: &str) -> Self {
        let folder = format!("models--{}", name.replace('/', "--"));
        Self {
            locks: root.join(".locks").join(&folder),
            folder: root.join(folder),
        }
    }

    /// Looks a revision up without using the network.
    pub fn find(&self, revision: &str) -> Cached {
        let commit = if names::is_commit(revision) {
            revision.to_owned()
        } else {
            match fs::read_to_string(self.folder.join("refs").join(revision)) {
                Ok(commit) => commit.trim().to_owned(),
                // transformers takes the name of a snapshot as well, whatever it looks like.
                Err(_) if !revision.contains('/') => revision.to_owned(),
                Err(_) => return Cached::Nothing,
            }
        };
        if !crate::files::is_inside(&commit) {
            return Cached::Nothing;
        }
        let directory = self.snapshot(&commit);
        if !directory.is_dir() {
            return Cached::Nothing;
        }
        if let Some(file) = lacking(&directory) {
            return Cached::Lacking(file);
        }
        let known = |file: &&str| directory.join(file).exists() || self.is_absent(&commit, file);
        let unknown: Vec<&str> = optional(&directory).filter(|file| !known(file)).collect();
        if unknown.is_empty() {
            Cached::Complete(directory)
        } else {
            Cached::Usable { directory, unknown }
        }
    }

    /// The directory with the files of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The path of a blob, whether it exists or not.
    pub fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }

    /// Whether the model is known not to have this file.
    pub fn is_absent(&self, commit: &str, file: &str) -> bool {
        self.absent(commit, file).exists()
    }

    /// Records that the model does not have this file.
    pub fn note_absent(&self, commit: &str, file: &str) -> Result<(), HubFailure> {
        let path = self.absent(commit, file);
        make_parent(&path)?;
        File::create(&path).map(|_| ()).map_err(failed(&path))
    }

    /// Takes back that the model does not have this file.
    pub fn forget_absent(&self, commit: &str, file: &str) {
        let _ = fs::remove_file(self.absent(commit, file));
    }

    /// Records the commit of a branch or tag.
    pub fn note_revision(&self, revision: &str, commit: &str) -> Result<(), HubFailure> {
        let path = self.folder.join("refs").join(revision);
        let known = fs::read_to_string(&path);
        if revision == commit || known.is_ok_and(|known| known == commit) {
            return Ok(());
        }
        make_parent(&path)?;
        let new = path.with_added_extension(format!("{}.tmp", std::process::id()));
        fs::write(&new, commit)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(failed(&path))
    }

    /// Gives a blob its name among the files of a commit. A file that has this name already is
    /// kept, or replaced in one step if it is to be `anew`.
    pub fn link(&self, commit: &str, file: &str, blob: &str, anew: bool) -> Result<(), HubFailure> {
        let path = self.snapshot(commit).join(file);
        make_parent(&path)?;
        if path.exists() && !anew {
            return Ok(());
        }
        let new = path.with_added_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&new);
        let up = "../".repeat(file.split('/').count() + 1);
        let linked = link(&format!("{up}blobs/{blob}"), &new)
            // Where the file system has no links: a hard link, or a copy.
            .or_else(|_| fs::hard_link(self.blob(blob), &new))
            .or_else(|_| fs::copy(self.blob(blob), &new).map(|_| ()))
            .and_then(|()| fs::rename(&new, &path));
        // Renaming one hard link of a file to another leaves both.
        let _ = fs::remove_file(&new);
        linked.map_err(failed(&path))
    }

    /// Keeps other processes, of this program and of huggingface_hub, from downloading the same
    /// blob until the returned guard is dropped. Does nothing on a file system without locks,
    /// like huggingface_hub.
    pub fn lock(&self, blob: &str) -> Result<File, HubFailure> {
        let path = self.locks.join(format!("{blob}.lock"));
        make_parent(&path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed(&path))?;
        let mut said: Option<Instant> = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(%error, lock = %path.display(), "no lock can be had");
                    return Ok(file);
                }
            }
            if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                said = Some(Instant::now());
                tracing::info!(
                    lock = %path.display(),
                    "waiting for another process that is downloading the same file"
                );
            }
            thread::sleep(LOCK_EVERY);
        }
    }
}

/// The first file that a directory lacks to be a complete checkpoint.
fn lacking(directory: &Path) -> Option<String> {
    let has = |file: &str| directory.join(file).exists();
    let any = |files: &[&str]| files.iter().any(|file| has(file));
    for (name, choice) in [
        (CONFIG, &[CONFIG][..]),
        (TOKENIZER, vocabularies_of(directory)),
        (WEIGHTS, &[WEIGHTS, WEIGHTS_INDEX]),
    ] {
        if !any(choice) {
            return Some(name.to_owned());
        }
    }
    if !has(PREPROCESSOR) && !has_image_processor(directory) {
        return Some(PREPROCESSOR.to_owned());
    }
    if has(WEIGHTS) {
        return None;
    }
    let index = directory.join(WEIGHTS_INDEX);
    let files = fs::read(&index)
        .ok()
        .and_then(|bytes| shards(&bytes, &index).ok());
    match files {
        Some(files) => files.into_iter().find(|file| !has(file)),
        None => Some(WEIGHTS_INDEX.to_owned()),
    }
}

/// Whether a directory has an image processor inside its `processor_config.json`.
pub(super) fn has_image_processor(directory: &Path) -> bool {
    fs::read(directory.join(PROCESSOR))
        .is_ok_and(|bytes| matches!(nested(&bytes, directory), Ok(Some(_))))
}

#[cfg(unix)]
fn link(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Creates the parent directory of a path.
pub(super) fn make_parent(path: &Path) -> Result<(), HubFailure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(failed(parent))
}

/// What could not be written.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> HubFailure {
    let path = path.to_owned();
    move |reason| HubFailure::Cache {
        path: path.clone(),
        reason,
    }
}
