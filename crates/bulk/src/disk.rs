//! Files that are there whole or not at all, whenever the process or the machine ends.
//!
//! ```text
//! NAME.tmp --write--> fsync --> rename to NAME --> fsync of the folder
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Is told of every step before it is done, and may refuse it: so tests end a run at any step.
pub(crate) type Watch = Arc<dyn Fn(&str, &Path) -> io::Result<()> + Send + Sync>;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) watch: Option<Watch>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// A file that nobody sees yet.
#[derive(Debug)]
pub(crate) struct Temporary {
    pub(crate) file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Disk {
    fn step(&self, what: &str, path: &Path) -> io::Result<()> {
        tracing::trace!(step = what, path = %path.display(), "disk");
        match &self.watch {
            Some(watch) => watch(what, path),
            None => Ok(()),
        }
    }

    /// Waits until a file or folder is on the disk. A watched disk is that of a test, which
    /// ends runs and no machines.
    fn sync(&self, file: &File) -> io::Result<()> {
        match self.watch {
            Some(_) => Ok(()),
            None => file.sync_all(),
        }
    }

    /// Begins a file. What a run before has left under its temporary name is overwritten.
    pub(crate) fn create(&self, target: &Path) -> io::Result<Temporary> {
        self.create_as(target, "tmp")
    }

    /// As [`Self::create`], where several processes may write the same.
    pub(crate) fn create_as(&self, target: &Path, ending: &str) -> io::Result<Temporary> {
        let mut path = target.as_os_str().to_owned();
        path.push(".");
        path.push(ending);
        self.create_at(PathBuf::from(path), target)
    }

    /// As [`Self::create`], with this temporary name, which is on the same disk.
    pub(crate) fn create_at(&self, path: PathBuf, target: &Path) -> io::Result<Temporary> {
        self.step("create", &path)?;
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .to_owned();
        Ok(Temporary {
            file: options.open(&path)?,
            path,
            target: target.into(),
        })
    }

    /// Puts a file in its place.
    pub(crate) fn commit(&self, temporary: Temporary) -> io::Result<()> {
        let Temporary { file, path, target } = temporary;
        self.step("sync", &path)?;
        self.sync(&file)?;
        drop(file);
        self.step("rename", &path)?;
        fs::rename(&path, &target)?;
        if let Some(folder) = target.parent() {
            // A bare name is one in the working directory.
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            self.sync_folder(folder)?;
        }
        Ok(())
    }

    /// Puts a file in its place unless there is one already, which then stays.
    pub(crate) fn commit_new(&self, temporary: Temporary) -> io::Result<()> {
        self.step("sync", &temporary.path)?;
        self.sync(&temporary.file)?;
        self.step("link", &temporary.path)?;
        match fs::hard_link(&temporary.path, &temporary.target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Not every file system has links.
            Err(_) => return self.commit(temporary),
        }
        fs::remove_file(&temporary.path)?;
        match temporary.target.parent() {
            Some(folder) => self.sync(&File::open(folder)?),
            None => Ok(()),
        }
    }

    /// Writes a small file.
    pub(crate) fn write(&self, target: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = self.create(target)?;
        self.step("write", target)?;
        temporary.file.write_all(bytes)?;
        self.commit(temporary)
    }

    /// Waits until what was put into a folder, or removed from it, is on the disk.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step("sync folder", folder)?;
        self.sync(&File::open(folder)?)
    }

    /// Notes that rows are written.
    pub(crate) fn writes(&self, target: &Path) -> io::Result<()> {
        self.step("write", target)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Temporary {
    /// Another handle to the file, for what writes it.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Removes what was written.
    pub(crate) fn discard(self) {
        // What stays is overwritten by the next run.
        let _ = fs::remove_file(&self.path);
    }
}
