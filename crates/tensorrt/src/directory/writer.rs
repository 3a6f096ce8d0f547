//! Writes an engine directory, under a name that nothing reads until it is complete.
//!
//! ```text
//! <root>/<model>/<gpu>/.fp16.partial/   files, then manifest.json      (all on the disk)
//!        fp16 -> .fp16.replaced         where there is one already
//!        .fp16.partial -> fp16
//!        .fp16.replaced                 removed
//! ```
//!
//! Only one writer works for a GPU at a time: it holds a lock on that directory, which ends
//! with its process. So anything with one of the hidden names when a writer begins was left by
//! an interrupted writer. It is removed, or put back if it was moved away and its successor
//! never moved into place.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{
    Architecture, DirectoryError, EngineDirectory, FileEntry, MANIFEST, Manifest, Precision,
    directory_of, hash,
};

/// An engine directory being written. Dropping it unfinished leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    /// Where the files are now.
    partial: PathBuf,
    /// Where a directory being replaced is kept until its successor is in place.
    replaced: PathBuf,
    /// Where the directory will be.
    target: PathBuf,
    /// The directory above, locked.
    parent: File,
    finished: bool,
}

impl Writer {
    /// Begins the engine of `model` for `gpu` in `precision` under `root`, which is created if it
    /// does not exist. Removes what interrupted writers left there first.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Busy`] when another process is writing there, and when a file operation
    /// fails.
    pub fn new(
        root: &Path,
        model: &str,
        gpu: Architecture,
        precision: Precision,
    ) -> Result<Self, DirectoryError> {
        let target = directory_of(root, model, gpu, precision);
        let above = target.parent().unwrap_or(root).to_owned();
        let hidden = |what: &str| above.join(format!(".{precision}.{what}"));
        let (partial, replaced) = (hidden("partial"), hidden("replaced"));

        fs::create_dir_all(&above).map_err(DirectoryError::io(&above, "made"))?;
        let parent = lock(&above)?;
        let writer = Self {
            partial,
            replaced,
            target,
            parent,
            finished: false,
        };
        writer.sweep()?;
        fs::create_dir(&writer.partial).map_err(DirectoryError::io(&writer.partial, "made"))?;
        Ok(writer)
    }

    /// Removes what interrupted writers left, and puts back a directory that was moved away for
    /// a successor that never came.
    fn sweep(&self) -> Result<(), DirectoryError> {
        if self.replaced.exists() && !self.target.exists() {
            fs::rename(&self.replaced, &self.target)
                .map_err(DirectoryError::io(&self.replaced, "put back"))?;
        }
        for left in [&self.replaced, &self.partial] {
            remove(left).map_err(DirectoryError::io(left, "removed"))?;
        }
        Ok(())
    }

    /// Where the files are until they are moved into place.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Writes one file to the disk.
    ///
    /// # Errors
    ///
    /// When a file operation fails.
    pub fn write(&self, file: &str, bytes: &[u8]) -> Result<FileEntry, DirectoryError> {
        let path = self.partial.join(file);
        File::create(&path)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .map_err(DirectoryError::io(&path, "written"))?;
        Ok(FileEntry {
            file: file.to_owned(),
            sha256: hash(bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// Writes the manifest, and checks everything it names as a reader would. The directory can
    /// then be tried out where it is, and the manifest written again.
    ///
    /// # Errors
    ///
    /// When the manifest does not match the files, and when a file operation fails.
    pub fn seal(&self, manifest: &Manifest) -> Result<EngineDirectory, DirectoryError> {
        self.write(MANIFEST, &encode(manifest, &self.partial)?)?;
        EngineDirectory::open(&self.partial)
    }

    /// Moves the directory into place, replacing an existing one.
    ///
    /// # Errors
    ///
    /// When it was not sealed, and when a file operation fails; an existing directory is then
    /// still in place.
    pub fn finish(mut self) -> Result<EngineDirectory, DirectoryError> {
        EngineDirectory::open(&self.partial)?;
        sync(&self.partial).map_err(DirectoryError::io(&self.partial, "written"))?;
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &self.replaced)
                .map_err(DirectoryError::io(&self.target, "moved away"))?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.target) {
            if replaces && let Err(error) = fs::rename(&self.replaced, &self.target) {
                tracing::error!(directory = %self.replaced.display(), %error, "cannot be put back");
            }
            return Err(DirectoryError::io(&self.target, "written")(error));
        }
        self.finished = true;
        self.parent
            .sync_all()
            .map_err(DirectoryError::io(&self.target, "written"))?;
        if let Err(error) = remove(&self.replaced) {
            // The next build removes it.
            tracing::warn!(directory = %self.replaced.display(), %error, "cannot be removed");
        }
        EngineDirectory::open(&self.target)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = remove(&self.partial)
        {
            tracing::warn!(directory = %self.partial.display(), %error, "cannot be removed");
        }
    }
}

fn encode(manifest: &Manifest, directory: &Path) -> Result<Vec<u8>, DirectoryError> {
    manifest.encode().map_err(|error| DirectoryError::Manifest {
        path: directory.join(MANIFEST),
        reason: error.into(),
    })
}

/// Replaces the manifest of a directory that is in place, unless that directory has been
/// replaced in the meantime. Holds the writers' lock.
pub(super) fn rewrite(
    directory: &Path,
    from: &Manifest,
    to: &Manifest,
) -> Result<(), DirectoryError> {
    let json = encode(to, directory)?;
    let path = directory.join(MANIFEST);
    let above = directory.parent().unwrap_or(directory);
    let _locked = lock(above)?;
    if EngineDirectory::open(directory)?.manifest() != from {
        return Err(DirectoryError::Replaced {
            path: directory.to_owned(),
        });
    }
    let beside = directory.join(format!(".{MANIFEST}.partial"));
    // Left by a process that was killed: this one holds the lock, so nothing else uses it.
    let _ = fs::remove_file(&beside);
    let written = File::create_new(&beside)
        .and_then(|mut file| {
            file.write_all(&json)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| sync(directory));
    if written.is_err() {
        // A partial file is useless.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(DirectoryError::io(&path, "written"))
}

/// The directory of a GPU's engines, locked while this value lives.
fn lock(above: &Path) -> Result<File, DirectoryError> {
    let directory = File::open(above).map_err(DirectoryError::io(above, "opened"))?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DirectoryError::Busy {
                path: above.to_owned(),
            });
        }
        // Some network file systems cannot lock directories. There a second writer is merely
        // not warned.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(directory = %above.display(), %error, "cannot be locked");
        }
    }
    Ok(directory)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::super::{CANARY, RESIZE_KERNEL, TEXT_ENGINE, VISION_ENGINE};
    use super::*;

    const MODEL: &str = "google/siglip2-base-patch16-224";
    const GPU: Architecture = Architecture::new(12, 0);

    fn begin(root: &Path) -> Result<Writer, DirectoryError> {
        Writer::new(root, MODEL, GPU, Precision::Fp16)
    }

    fn find(root: &Path) -> Result<EngineDirectory, DirectoryError> {
        EngineDirectory::find(root, MODEL, GPU, Precision::Fp16)
    }

    /// Writes every file of [`manifest`].
    fn fill(writer: &Writer) {
        for file in [
            VISION_ENGINE,
            TEXT_ENGINE,
            RESIZE_KERNEL,
            CANARY,
            "config.json",
        ] {
            writer.write(file, file.as_bytes()).unwrap();
        }
    }

    fn build(root: &Path) -> EngineDirectory {
        let writer = begin(root).unwrap();
        fill(&writer);
        writer.seal(&manifest()).unwrap();
        writer.finish().unwrap()
    }

    /// Names under the GPU's directory.
    fn names(root: &Path) -> Vec<String> {
        let gpu = root.join("google--siglip2-base-patch16-224/sm_120");
        let mut names: Vec<String> = fs::read_dir(gpu)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_written_is_found_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let built = build(root.path());
        assert!(
            built
                .path()
                .ends_with("google--siglip2-base-patch16-224/sm_120/fp16")
        );
        let found = find(root.path()).unwrap();
        assert_eq!(found.manifest(), &manifest());
        found.verify_hashes().unwrap();
        assert_eq!(found.read("config.json").unwrap(), b"config.json");
        assert_eq!(
            found.read_optional("special_tokens_map.json").unwrap(),
            None
        );
        assert_eq!(names(root.path()), ["fp16"]);
    }

    #[test]
    fn nothing_is_found_before_it_is_whole_and_nothing_is_left_of_what_failed() {
        let root = tempfile::tempdir().unwrap();
        let writer = begin(root.path()).unwrap();
        fill(&writer);
        assert!(matches!(
            find(root.path()),
            Err(DirectoryError::NotBuilt { .. })
        ));
        writer.seal(&manifest()).unwrap();
        assert!(matches!(
            find(root.path()),
            Err(DirectoryError::NotBuilt { .. })
        ));
        drop(writer);
        assert!(names(root.path()).is_empty());

        // Without a file that the manifest names, or without a manifest.
        let writer = begin(root.path()).unwrap();
        assert!(writer.seal(&manifest()).is_err());
        assert!(writer.finish().is_err());
        let writer = begin(root.path()).unwrap();
        fill(&writer);
        assert!(writer.finish().is_err());
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn what_a_killed_build_left_is_swept_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        build(root.path());
        let writer = begin(root.path()).unwrap();
        fill(&writer);
        writer.seal(&manifest()).unwrap();
        // A process that is killed runs no destructor; its lock ends with it.
        writer.parent.unlock().unwrap();
        std::mem::forget(writer);
        assert_eq!(names(root.path()), [".fp16.partial", "fp16"]);
        find(root.path()).unwrap();

        let writer = begin(root.path()).unwrap();
        assert_eq!(fs::read_dir(writer.path()).unwrap().count(), 0);
        drop(writer);
        assert_eq!(names(root.path()), ["fp16"]);
    }

    #[test]
    fn one_that_was_killed_between_its_two_renames_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        let target = build(root.path()).path().to_owned();
        fs::rename(&target, target.with_file_name(".fp16.replaced")).unwrap();
        drop(begin(root.path()).unwrap());
        assert_eq!(names(root.path()), ["fp16"]);
        find(root.path()).unwrap();
    }

    #[test]
    fn a_directory_is_replaced_when_its_successor_is_whole() {
        let root = tempfile::tempdir().unwrap();
        build(root.path());
        let mut second = manifest();
        second.created_by = "build-engine 9".into();
        let writer = begin(root.path()).unwrap();
        fill(&writer);
        writer.seal(&second).unwrap();
        assert_eq!(find(root.path()).unwrap().manifest(), &manifest());
        writer.finish().unwrap();
        assert_eq!(find(root.path()).unwrap().manifest(), &second);
        assert_eq!(names(root.path()), ["fp16"]);
    }

    #[test]
    fn two_do_not_write_at_once() {
        let root = tempfile::tempdir().unwrap();
        let first = begin(root.path()).unwrap();
        let error = begin(root.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Busy { .. }), "{error}");
        assert!(first.path().exists());
        drop(first);
        begin(root.path()).unwrap();
    }

    #[test]
    fn a_file_that_was_cut_short_or_changed_is_named() {
        let root = tempfile::tempdir().unwrap();
        let built = build(root.path());
        let engine = built.path().join(TEXT_ENGINE);
        fs::write(&engine, "xext.engine").unwrap();
        let error = find(root.path()).unwrap().verify_hashes().unwrap_err();
        assert!(
            error.to_string().contains("text.engine: its SHA-256"),
            "{error}"
        );
        fs::write(&engine, "text").unwrap();
        let error = find(root.path()).unwrap_err().to_string();
        assert!(error.contains("text.engine: it has 4 bytes"), "{error}");
        fs::remove_file(&engine).unwrap();
        assert!(
            find(root.path())
                .unwrap_err()
                .to_string()
                .contains("text.engine")
        );
    }

    #[test]
    fn what_is_not_built_is_said_with_what_is_and_how_to_build_it() {
        let root = tempfile::tempdir().unwrap();
        let error = find(root.path()).unwrap_err().to_string();
        assert!(error.contains("none for this model"), "{error}");
        build(root.path());
        let l4 = Architecture::new(8, 9);
        let error = EngineDirectory::find(root.path(), MODEL, l4, Precision::Bf16)
            .unwrap_err()
            .to_string();
        assert!(error.contains("sm_120 in fp16"), "{error}");
        assert!(
            error.contains(&format!(
                "build-engine --model {MODEL} --gpu sm_89 --precision bf16"
            )),
            "{error}"
        );
    }
}
