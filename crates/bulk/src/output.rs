//! The folder of a result, hidden where the result is one file (`target`, `join`).
//!
//! ```text
//! OUT/part-00000.parquet ...             or .jsonl
//! OUT/img_emb/img_emb_0.npy ...          (text_emb for texts)
//! OUT/metadata/metadata_0.parquet ...
//! OUT/_errors.jsonl                      rows without a vector, once all shards are done
//! OUT/_embed/plan.json                   what is being done
//! OUT/_embed/done/00000.json             a shard whose files are in place
//! OUT/_embed/errors/00000.jsonl          its rows without a vector
//! OUT/_embed/lock-0-of-1                 held while a process does part 0 of 1
//! OUT/_embed/joining.json                the file that they become, if any, is being written
//! OUT/_embed/joined.json                 it is in its place
//! ```
//!
//! A shard is done when its record in `done` is there, which comes last: its other files may
//! be there before, and are written again by the next run.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, copy};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::BulkError;
use crate::join::{Joined, Stopped};
use crate::options::{Format, Kind};
use crate::partition::Partition;
use crate::plan::Plan;
use crate::target::Target;

/// What a finished shard has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoneShard {
    pub(crate) rows: u64,
    /// Rows without a vector.
    pub(crate) errors: u64,
    pub(crate) files: Vec<String>,
}

/// What became of the whole output at the end of a run.
#[derive(Debug)]
pub(crate) enum End {
    /// It is whole, and has this.
    Whole(DoneShard),
    /// Other parts of it are not done.
    Parts,
    /// The run was stopped while it was put together.
    Stopped,
}

/// The folder, of whose part this process has the lock.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) root: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) plan: Plan,
    /// The one file that the shards become.
    pub(crate) joined: Option<Joined>,
    partition: Partition,
    _lock: File,
}

impl Output {
    /// Opens the folder to do a part of a plan in it, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// When another plan was begun there, another process does the same part, or it cannot be
    /// written to.
    pub(crate) fn open(
        target: &Target,
        plan: Plan,
        partition: Partition,
        disk: Disk,
    ) -> Result<Self, BulkError> {
        let root = target.folder.as_path();
        let state = root.join("_embed");
        if is_foreign(root) {
            return Err(BulkError::Unusable(format!(
                "{} has files that embed has not written: name another --out, or empty it",
                root.display()
            )));
        }
        let joined = target.file.as_deref().map(|file| Joined::of(root, file));
        let refused = |error: io::Error| BulkError::Unusable(format!("--out: {error}"));
        if let Some(joined) = &joined {
            joined.check_place().map_err(refused)?;
        }
        let make = |folder: &str| {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(cannot_write(&folder))
        };
        make("_embed")?;
        let lock = lock(&state, partition)?;
        if let Some(joined) = &joined {
            joined.forget(&disk).map_err(cannot_write(&state))?;
            joined.check_place().map_err(refused)?;
        }
        for folder in folders(&plan) {
            make(folder)?;
        }
        let shown = target.file.as_deref().unwrap_or(root);
        let plan = agree(&state.join("plan.json"), shown, plan, partition, &disk)?;
        Ok(Self {
            root: root.into(),
            joined,
            disk,
            plan,
            partition,
            _lock: lock,
        })
    }

    fn numbered(&self, shard: usize) -> String {
        format!("{shard:05}")
    }

    /// The record that a shard is done.
    fn record(&self, shard: usize) -> PathBuf {
        let name = format!("_embed/done/{}.json", self.numbered(shard));
        self.root.join(name)
    }

    /// The list of a shard's rows without a vector.
    pub(crate) fn errors(&self, shard: usize) -> PathBuf {
        let name = format!("_embed/errors/{}.jsonl", self.numbered(shard));
        self.root.join(name)
    }

    /// The files of a shard, relative to the folder.
    pub(crate) fn files(&self, shard: usize) -> Vec<String> {
        let number = self.numbered(shard);
        match self.plan.format {
            Format::Parquet => vec![format!("part-{number}.parquet")],
            Format::Jsonl => vec![format!("part-{number}.jsonl")],
            Format::Npy => {
                // As many digits as the last one has: sorted by name they are in order.
                let width = self.plan.shards.saturating_sub(1).to_string().len();
                let name = vectors_folder(self.plan.reading.kind);
                vec![
                    format!("{name}/{name}_{shard:0width$}.npy"),
                    format!("metadata/metadata_{shard:0width$}.parquet"),
                ]
            }
        }
    }

    /// What a shard has, if it is done.
    pub(crate) fn done(&self, shard: usize) -> Option<DoneShard> {
        let record = fs::read(self.record(shard)).ok()?;
        serde_json::from_slice(&record).ok()
    }

    /// Notes that a shard is done.
    pub(crate) fn note(&self, shard: usize, done: &DoneShard) -> io::Result<()> {
        let record = serde_json::to_vec(done).map_err(io::Error::other)?;
        self.disk.write(&self.record(shard), &record)
    }

    /// The list of all rows without a vector.
    pub(crate) fn error_list(&self) -> PathBuf {
        match &self.joined {
            Some(joined) => joined.errors(),
            // Readers of folders of Parquet files pass over what begins with an underscore.
            None => self.root.join("_errors.jsonl"),
        }
    }

    /// Puts the lists of errors together, and the shards if they are to be one file, if all
    /// shards of all parts are done.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub(crate) fn end(&self, stopped: Stopped<'_>) -> io::Result<End> {
        let mut all = DoneShard {
            rows: 0,
            errors: 0,
            files: Vec::new(),
        };
        for shard in 0..self.plan.shards {
            let Some(done) = self.done(shard) else {
                return Ok(End::Parts);
            };
            all.rows += done.rows;
            all.errors += done.errors;
        }
        if let Some(joined) = &self.joined {
            joined.begin(&self.disk)?;
        }
        if all.errors > 0 {
            let ending = format!("{}.tmp", self.partition.index);
            let mut list = self.disk.create_as(&self.error_list(), &ending)?;
            for shard in 0..self.plan.shards {
                match File::open(self.errors(shard)) {
                    Ok(file) => copy(&mut BufReader::new(file), &mut list.file)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
            }
            self.disk.commit(list)?;
        } else {
            // A run before may have found some.
            self.disk.remove(&self.error_list())?;
        }
        match self.join(stopped)? {
            true => Ok(End::Whole(all)),
            false => Ok(End::Stopped),
        }
    }
}

/// The folder of arrays of vectors.
pub(crate) fn vectors_folder(kind: Kind) -> &'static str {
    match kind {
        Kind::Pictures => "img_emb",
        Kind::Texts => "text_emb",
    }
}

fn folders(plan: &Plan) -> Vec<&'static str> {
    let mut folders = vec!["_embed/done", "_embed/errors"];
    if plan.format == Format::Npy {
        folders.extend([vectors_folder(plan.reading.kind), "metadata"]);
    }
    folders
}

/// Whether a folder has files, and none of a run. One look: others may be making it.
fn is_foreign(root: &Path) -> bool {
    let Ok(files) = fs::read_dir(root) else {
        return false;
    };
    let mut some = false;
    for file in files.flatten() {
        if file.file_name() == "_embed" {
            return false;
        }
        some = true;
    }
    some
}

/// The lock of a part. Who shares an output must cut it into the same number of parts.
fn lock(state: &Path, partition: Partition) -> Result<File, BulkError> {
    let name = |partition: Partition| format!("lock-{}-of-{}", partition.index, partition.count);
    let own = name(partition);
    let take = |path: &Path, own: bool| -> Result<Option<File>, BulkError> {
        let options = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .to_owned();
        let file = options.open(path).map_err(cannot_write(path))?;
        // Who only looks must not be in the way of others who look.
        let locked = if own {
            file.try_lock()
        } else {
            file.try_lock_shared()
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                let path = path.display();
                tracing::warn!(%path, %error, "no locks here: see that nobody does the same part");
                Ok(Some(file))
            }
        }
    };
    let Some(lock) = take(&state.join(&own), true)? else {
        return Err(BulkError::Unusable(format!(
            "another process is doing part {partition} of this output ({} is locked)",
            state.join(&own).display()
        )));
    };
    for entry in fs::read_dir(state).map_err(cannot_write(state))? {
        let path = entry.map_err(cannot_write(state))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let same_count = file.ends_with(&format!("-of-{}", partition.count));
        if file.starts_with("lock-") && !same_count && take(&path, false)?.is_none() {
            return Err(BulkError::Unusable(format!(
                "another process is working on this output in another number of parts ({} is \
                 locked)",
                path.display()
            )));
        }
    }
    Ok(lock)
}

/// The plan that was begun, if it is this one; else this one is begun. `shown` is what messages call
/// the output.
fn agree(
    path: &Path,
    shown: &Path,
    plan: Plan,
    partition: Partition,
    disk: &Disk,
) -> Result<Plan, BulkError> {
    let failed = cannot_write(path);
    let ending = format!("{}-of-{}.tmp", partition.index, partition.count);
    if path.exists() {
        disk.remove(&path.with_extension(format!("json.{ending}")))
            .map_err(&failed)?;
    } else {
        let json = serde_json::to_vec_pretty(&plan).map_err(|error| failed(error.into()))?;
        // Whoever is first has begun it: all others compare theirs with what is there then.
        let mut file = disk.create_as(path, &ending).map_err(&failed)?;
        io::Write::write_all(&mut file.file, &json).map_err(&failed)?;
        disk.commit_new(file).map_err(&failed)?;
    }
    let begun = fs::read(path).map_err(cannot_write(path))?;
    let begun: Plan = serde_json::from_slice(&begun).map_err(|error| {
        BulkError::Unusable(format!(
            "{} is not the plan of this version of embed ({error}): name another --out",
            path.display()
        ))
    })?;
    if let Err(difference) = plan.same_as(&begun) {
        return Err(BulkError::Unusable(format!(
            "the output {} was begun {difference}: go on with what it was begun with, remove it to \
             begin anew, or name another --out",
            shown.display()
        )));
    }
    if plan.identity.version != begun.identity.version {
        tracing::warn!(
            begun_by = begun.identity.version,
            now = plan.identity.version,
            "the output was begun by another version of the program"
        );
    }
    Ok(begun)
}

/// A failure with a file, as an error.
pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> BulkError {
    let path: PathBuf = path.into();
    move |error| BulkError::Disk(format!("cannot write {}: {error}", path.display()))
}
