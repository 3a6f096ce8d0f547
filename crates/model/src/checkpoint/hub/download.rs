//! Downloads the files of a model into the hub cache.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use sha2::{Digest, Sha256};

use super::HubSettings;
use super::cache::{Cache, failed, has_image_processor, make_parent, optional, vocabularies_of};
use super::client::{Asked, Client, Patience, TRIES};
use super::error::HubFailure;
use super::headers::Answer;
use super::names::{self, escaped};
use super::part::{Outcome, Part, hex, is_whole};
use super::progress::Progress;
use crate::checkpoint::weights::shards;
use crate::files::{
    CONFIG, MAX_FILE_BYTES, PREPROCESSOR, PYTORCH_WEIGHTS, TOKENIZER, WEIGHTS, WEIGHTS_INDEX,
};

/// Largest size of a file of weights, in bytes.
const MAX_WEIGHTS_BYTES: u64 = 256 << 30;

/// A model that is being downloaded.
pub(super) struct Download<'a> {
    cache: &'a Cache,
    client: Client<'a>,
    settings: &'a HubSettings,
    name: &'a str,
    revision: &'a str,
}

impl<'a> Download<'a> {
    pub fn new(
        cache: &'a Cache,
        name: &'a str,
        revision: &'a str,
        settings: &'a HubSettings,
    ) -> Self {
        Self {
            cache,
            client: Client::new(settings),
            settings,
            name,
            revision,
        }
    }

    /// Downloads all missing files, the weights last, so that a model that cannot be run is
    /// detected before they are downloaded.
    pub fn all(&self) -> Result<PathBuf, HubFailure> {
        // The first file tells the commit of the revision; all others are taken from that
        // commit.
        let commit = self.first()?;
        let directory = self.cache.snapshot(&commit);
        // Twice: only the tokenizer's class says whether there may be one more.
        for _ in 0..2 {
            for file in optional(&directory) {
                self.optional(&commit, file)?;
            }
        }
        if !has_image_processor(&directory) {
            self.required(&commit, PREPROCESSOR)?;
        }
        // tokenizer.json too where another goes before it, so that the cache is whole for others.
        let mut found = self.optional(&commit, TOKENIZER)?;
        for file in vocabularies_of(&directory) {
            found = found || self.optional(&commit, file)?;
        }
        if !found {
            let file = TOKENIZER.to_owned();
            return Err(HubFailure::Lacks { file });
        }
        if self.optional(&commit, WEIGHTS)? {
            return Ok(directory);
        }
        if self.optional(&commit, WEIGHTS_INDEX)? {
            let index = directory.join(WEIGHTS_INDEX);
            let bytes = fs::read(&index).map_err(failed(&index))?;
            for shard in shards(&bytes, &index)? {
                self.required(&commit, &shard)?;
            }
            return Ok(directory);
        }
        for file in PYTORCH_WEIGHTS {
            let asked = self
                .client
                .get(&self.url(&commit, file), &commit, 0, Patience::Whole);
            if let Ok(Asked::Found(_)) = asked {
                return Err(HubFailure::PytorchOnly);
            }
        }
        let file = WEIGHTS.to_owned();
        Err(HubFailure::Lacks { file })
    }

    /// Requests optional files of a model that is in the cache and can be run. One that fails
    /// does not keep the others from being asked for.
    ///
    /// A server that cannot be reached is tried once, not five times for each file: a machine
    /// without a network must not wait for files that the model may not even have.
    ///
    /// # Errors
    ///
    /// The files that are still unknown, and the first failure.
    pub fn complete<'f>(
        &self,
        directory: &Path,
        files: &[&'f str],
    ) -> Result<(), (Vec<&'f str>, HubFailure)> {
        let commit = directory.file_name().and_then(|name| name.to_str());
        let mut unknown = Vec::new();
        let mut first = None;
        for (at, file) in files.iter().enumerate() {
            let commit = commit.unwrap_or(self.revision);
            let Err(failure) = self.file(commit, file, Patience::Answers) else {
                continue;
            };
            let unreachable = matches!(failure, HubFailure::Unreachable { .. });
            first.get_or_insert(failure);
            if unreachable {
                unknown.extend(&files[at..]);
                break;
            }
            unknown.push(*file);
        }
        first.map_or(Ok(()), |failure| Err((unknown, failure)))
    }

    fn url(&self, revision: &str, file: &str) -> String {
        format!(
            "{}/{}/resolve/{}/{}",
            self.settings.endpoint(),
            self.name,
            escaped(revision, false),
            escaped(file, true)
        )
    }

    /// Downloads config.json, and returns the commit.
    fn first(&self) -> Result<String, HubFailure> {
        let url = self.url(self.revision, CONFIG);
        let answer = match self.client.get(&url, self.revision, 0, Patience::Whole)? {
            Asked::Found(answer) => answer,
            Asked::Absent(Some(_)) => {
                let file = CONFIG.to_owned();
                return Err(HubFailure::Lacks { file });
            }
            Asked::Absent(None) => {
                return Err(HubFailure::Unknown {
                    endpoint: self.settings.endpoint().to_owned(),
                    revision: self.revision.to_owned(),
                });
            }
        };
        let given = || names::is_commit(self.revision).then(|| self.revision.to_owned());
        let commit = answer
            .commit
            .clone()
            .or_else(given)
            .or_else(|| {
                self.client
                    .commit(self.name, &escaped(self.revision, false))
            })
            .ok_or_else(|| HubFailure::NoCommit {
                endpoint: self.settings.endpoint().to_owned(),
                file: CONFIG.to_owned(),
            })?;
        self.store(&commit, CONFIG, &url, answer)?;
        self.cache.note_revision(self.revision, &commit)?;
        Ok(commit)
    }

    fn required(&self, commit: &str, file: &str) -> Result<(), HubFailure> {
        if self.optional(commit, file)? {
            return Ok(());
        }
        let file = file.to_owned();
        Err(HubFailure::Lacks { file })
    }

    /// Whether the model has a file, which is then in the cache.
    fn optional(&self, commit: &str, file: &str) -> Result<bool, HubFailure> {
        self.file(commit, file, Patience::Whole)
    }

    fn file(&self, commit: &str, file: &str, patience: Patience) -> Result<bool, HubFailure> {
        let anew = self.settings.anew;
        if !anew && self.cache.snapshot(commit).join(file).exists() {
            return Ok(true);
        }
        if !anew && self.cache.is_absent(commit, file) {
            return Ok(false);
        }
        let url = self.url(commit, file);
        match self.client.get(&url, commit, 0, patience)? {
            Asked::Found(answer) => {
                self.store(commit, file, &url, answer)?;
                self.cache.forget_absent(commit, file);
                Ok(true)
            }
            Asked::Absent(_) => self.cache.note_absent(commit, file).map(|()| false),
        }
    }

    /// Writes an answer into the cache under its name.
    fn store(&self, commit: &str, file: &str, url: &str, answer: Answer) -> Result<(), HubFailure> {
        let etag = answer.etag.as_deref().and_then(names::blob);
        let Some(blob) = etag.map(str::to_owned) else {
            return self.store_unnamed(commit, file, url, answer);
        };
        let path = self.cache.blob(&blob);
        make_parent(&path)?;
        let _lock = self.cache.lock(&blob)?;
        if !self.has_whole(file, &path, &blob, &answer) {
            let partial = self.cache.blob(&format!("{blob}.incomplete"));
            self.fetch(file, url, answer, &partial, Some(&blob))?;
            fs::rename(&partial, &path).map_err(failed(&path))?;
        }
        self.cache.link(commit, file, &blob, self.settings.anew)
    }

    /// Whether a blob is in the cache, and is what the hub has under this name. One that was cut
    /// short or damaged is not.
    fn has_whole(&self, file: &str, path: &Path, blob: &str, answer: &Answer) -> bool {
        if !path.exists() {
            return false;
        }
        match is_whole(path, blob, answer.size) {
            Ok(true) => true,
            Ok(false) => {
                let blob = path.display();
                tracing::warn!(file, %blob, "the hub cache has it damaged, and it is fetched anew");
                false
            }
            Err(error) => {
                let blob = path.display();
                tracing::warn!(file, %blob, %error, "it cannot be read, and is fetched anew");
                false
            }
        }
    }

    /// Like [`Download::store`], for an answer without an ETag that could be a file name: the
    /// file is named by its content.
    fn store_unnamed(
        &self,
        commit: &str,
        file: &str,
        url: &str,
        answer: Answer,
    ) -> Result<(), HubFailure> {
        let name = hex(&Sha256::digest(format!("{}\0{commit}\0{file}", self.name)));
        let partial = self.cache.blob(&format!("{name}.incomplete"));
        make_parent(&partial)?;
        let _lock = self.cache.lock(&name)?;
        // Nothing shows that what an earlier download left belongs to this file.
        let _ = fs::remove_file(&partial);
        self.fetch(file, url, answer, &partial, None)?;
        let mut sha256 = Sha256::new();
        let mut whole = File::open(&partial).map_err(failed(&partial))?;
        io::copy(&mut whole, &mut sha256).map_err(failed(&partial))?;
        let blob = hex(&sha256.finalize());
        let path = self.cache.blob(&blob);
        fs::rename(&partial, &path).map_err(failed(&path))?;
        self.cache.link(commit, file, &blob, self.settings.anew)
    }

    /// Downloads a complete file into `partial`, and continues what an earlier download left
    /// there.
    fn fetch(
        &self,
        file: &str,
        url: &str,
        answer: Answer,
        partial: &Path,
        blob: Option<&str>,
    ) -> Result<(), HubFailure> {
        let size = answer.size;
        let limit = if file.ends_with(".safetensors") {
            MAX_WEIGHTS_BYTES
        } else {
            MAX_FILE_BYTES
        };
        if size.is_some_and(|size| size > limit) {
            let file = file.to_owned();
            return Err(HubFailure::TooLarge { file, limit });
        }
        let mut part = Part::open(partial)?;
        let mut progress = Progress::of(file, size);
        let mut answer = Some(answer);
        for again in [true, false] {
            let first = answer.take();
            self.body(file, url, first, &mut part, &mut progress, size, limit)?;
            match part.check(blob)? {
                Outcome::Whole => break,
                Outcome::Damaged { found, .. } if again => {
                    tracing::warn!(file, %found, "the download arrived damaged, and is started again");
                    part.begin_again()?;
                }
                Outcome::Damaged { found, expected } => {
                    // It must not be mistaken for the beginning of the right file.
                    let _ = fs::remove_file(partial);
                    return Err(HubFailure::Hash {
                        file: file.to_owned(),
                        found,
                        expected,
                    });
                }
            }
        }
        part.sync()?;
        progress.finish();
        Ok(())
    }

    /// Completes a partial file, over as many answers as it takes. `answer` starts at the first
    /// byte.
    #[expect(clippy::too_many_arguments, reason = "what one download is made of")]
    fn body(
        &self,
        file: &str,
        url: &str,
        mut answer: Option<Answer>,
        part: &mut Part,
        progress: &mut Progress,
        size: Option<u64>,
        limit: u64,
    ) -> Result<(), HubFailure> {
        let mut tries = 0;
        loop {
            if size.is_some_and(|size| size == part.length) {
                return Ok(());
            }
            if size.is_some_and(|size| size < part.length) {
                part.begin_again()?;
            }
            let here = match answer.take() {
                Some(first) if part.length == 0 => first,
                _ => match self
                    .client
                    .get(url, self.revision, part.length, Patience::Whole)
                {
                    Ok(Asked::Found(answer)) => answer,
                    Ok(Asked::Absent(_)) => {
                        let file = file.to_owned();
                        return Err(HubFailure::Lacks { file });
                    }
                    // What is here does not belong to that file.
                    Err(HubFailure::Status { status: 416, .. }) if part.length > 0 => {
                        part.begin_again()?;
                        continue;
                    }
                    Err(failure) => return Err(failure),
                },
            };
            if here.start != part.length || here.compressed {
                // The server sent the whole file.
                part.begin_again()?;
                if here.start != 0 {
                    continue_or_fail(&mut tries, file, part.length, "it gave another range")?;
                    continue;
                }
            }
            let before = part.length;
            let ended = part.take(here.body, size.unwrap_or(limit), |length| {
                progress.at(length)
            })?;
            let whole = match (&ended, size) {
                (_, Some(size)) if part.length > size => {
                    return Err(HubFailure::Size {
                        file: file.to_owned(),
                        found: part.length,
                        expected: size,
                    });
                }
                (_, None) if part.length > limit => {
                    let file = file.to_owned();
                    return Err(HubFailure::TooLarge { file, limit });
                }
                (Ok(()), Some(size)) => part.length == size,
                (Ok(()), None) => true,
                (Err(_), size) => size == Some(part.length),
            };
            if whole {
                return Ok(());
            }
            if part.length > before && !here.compressed {
                tries = 0;
            }
            let reason = match ended {
                Ok(()) => "the answer ended early".to_owned(),
                Err(error) => error.to_string(),
            };
            continue_or_fail(&mut tries, file, part.length, &reason)?;
            tracing::info!(
                file,
                done = part.length,
                "the download broke off, and is resumed: {reason}"
            );
            thread::sleep(self.client.backoff(tries));
        }
    }
}

/// Counts a failed try; returns an error after the last one.
fn continue_or_fail(
    tries: &mut u32,
    file: &str,
    done: u64,
    reason: &str,
) -> Result<(), HubFailure> {
    *tries += 1;
    if *tries < TRIES {
        return Ok(());
    }
    Err(HubFailure::Broken {
        file: file.to_owned(),
        tries: *tries,
        done,
        reason: reason.to_owned(),
    })
}
