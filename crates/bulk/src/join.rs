//! Makes one file of the files of all shards.
//!
//! ```text
//! nothing of that name is there: joining.json
//! parts --copied--> .NAME.embed/joined.tmp --fsync, rename--> NAME
//!                                             joined.json: it is there
//!                                             the parts are removed
//! ```
//!
//! Ended at any step, by a signal or otherwise, it is done again from the parts, which are there
//! until the second record is.
//! A file of that name is only replaced where one of the records says that it is a run's own.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write, copy};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::disk::Disk;
use crate::options::{Format, Number};
use crate::output::Output;
use crate::shard::npy::{HEADER, header};

/// The file that the shards of a run become, and what is known of it.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The hidden folder of the run.
    root: PathBuf,
    pub(crate) file: PathBuf,
}

impl Joined {
    pub(crate) fn of(root: &Path, file: &Path) -> Self {
        Self {
            root: root.into(),
            file: file.into(),
        }
    }

    /// The record that the file and those beside it are being written, and may be replaced.
    fn joining(&self) -> PathBuf {
        self.root.join("_embed/joining.json")
    }

    /// The record that the file is in its place.
    fn done(&self) -> PathBuf {
        self.root.join("_embed/joined.json")
    }

    /// The list of rows without a vector.
    pub(crate) fn errors(&self) -> PathBuf {
        let mut name = self.file.as_os_str().to_owned();
        name.push(".errors.jsonl");
        name.into()
    }

    /// The files that are written beside it.
    fn beside(&self) -> Vec<PathBuf> {
        let mut files = vec![self.errors()];
        if self
            .file
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
        {
            files.push(metadata_of(&self.file));
        }
        files
    }

    /// Refuses to begin where something is in the place of what would be written.
    ///
    /// # Errors
    ///
    /// When a file is there that no run has written.
    pub(crate) fn check_place(&self) -> io::Result<()> {
        if self.joining().exists() || self.done().exists() {
            return Ok(());
        }
        let mut files = self.beside();
        files.push(self.file.clone());
        match files.iter().find(|file| file.symlink_metadata().is_ok()) {
            None => Ok(()),
            Some(file) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{} is there already, and embed has not written it: move it away, or name another file",
                    file.display()
                ),
            )),
        }
    }

    /// Notes that the files are being written.
    ///
    /// # Errors
    ///
    /// As [`Self::check_place`], and when the note cannot be written.
    pub(crate) fn begin(&self, disk: &Disk) -> io::Result<()> {
        if self.joining().exists() || self.done().exists() {
            return Ok(());
        }
        self.check_place()?;
        disk.write(&self.joining(), b"{}")
    }

    /// Forgets a run whose file is done and was taken away since, the record of that last.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read or written.
    pub(crate) fn forget(&self, disk: &Disk) -> io::Result<()> {
        if self.file.exists() || !self.done().exists() {
            return Ok(());
        }
        for file in self.beside() {
            disk.remove(&file)?;
        }
        // Parts of which the record came just before the end.
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name() == "_embed" {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => disk.remove(&entry.path())?,
            }
        }
        let state = self.root.join("_embed");
        for folder in ["done", "errors"].map(|folder| state.join(folder)) {
            for entry in fs::read_dir(&folder)? {
                disk.remove(&entry?.path())?;
            }
            disk.sync_folder(&folder)?;
        }
        disk.remove(&state.join("plan.json"))?;
        disk.remove(&self.joining())?;
        // Without its parts no record of a shard must outlive this one.
        disk.sync_folder(&state)?;
        disk.remove(&self.done())
    }
}

/// Bytes that are copied between two looks at whether it is to be stopped.
const PIECE: u64 = 4 << 20;

/// Whether the run was told to stop.
pub(crate) type Stopped<'a> = &'a (dyn Fn() -> bool + Sync);

/// What a part is copied with.
struct Copying<'a> {
    disk: &'a Disk,
    stopped: Stopped<'a>,
}

/// The error of a copy that was stopped.
fn was_stopped() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

impl Copying<'_> {
    /// The next part is begun.
    fn next(&self, part: &Path) -> io::Result<()> {
        self.look()?;
        self.disk.writes(part)
    }

    fn look(&self) -> io::Result<()> {
        match (self.stopped)() {
            true => Err(was_stopped()),
            false => Ok(()),
        }
    }

    /// Copies all that is left of a file, and says how much it was.
    fn copy(&self, from: &mut File, to: &mut File) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            self.look()?;
            // File to file, which systems do without bringing it here.
            match copy(&mut Read::by_ref(from).take(PIECE), to)? {
                0 => return Ok(copied),
                bytes => copied += bytes,
            }
        }
    }
}

impl Output {
    /// Puts the file in its place, if there is to be one, unless it is stopped meanwhile. Whether
    /// it came to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or a part not be read.
    pub(crate) fn join(&self, stopped: Stopped<'_>) -> io::Result<bool> {
        match self.join_all(stopped) {
            // No other call is interrupted for good: the library tries again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            joined => joined.map(|()| true),
        }
    }

    fn join_all(&self, stopped: Stopped<'_>) -> io::Result<()> {
        let Some(joined) = &self.joined else {
            return Ok(());
        };
        let copying = Copying {
            disk: &self.disk,
            stopped,
        };
        let file = &joined.file;
        // Of each shard one list of parts; of all shards as many files as a shard has.
        let parts: Vec<Vec<PathBuf>> = (0..self.plan.shards)
            .map(|shard| {
                let files = self.files(shard).into_iter();
                files.map(|file| self.root.join(file)).collect()
            })
            .collect();
        if !joined.done().exists() {
            tracing::info!(file = %file.display(), "joining the shards into one file");
            let parts_of = |place: usize| -> Vec<&Path> {
                let parts = parts.iter().filter_map(|files| files.get(place));
                parts.map(PathBuf::as_path).collect()
            };
            match self.plan.format {
                Format::Parquet => self.join_to(file, &parts_of(0), &copying, tables)?,
                Format::Jsonl => self.join_to(file, &parts_of(0), &copying, lines)?,
                Format::Npy => {
                    self.join_to(&metadata_of(file), &parts_of(1), &copying, tables)?;
                    let (number, dimensions) = (self.plan.number, self.plan.identity.dimensions);
                    self.join_to(file, &parts_of(0), &copying, |copying, parts, to| {
                        arrays(copying, parts, to, number, dimensions)
                    })?;
                }
            }
            self.disk.write(&joined.done(), b"{}")?;
        }
        for part in parts.iter().flatten() {
            self.disk.writes(part)?;
            self.disk.remove(part)?;
        }
        Ok(())
    }

    fn join_to(
        &self,
        target: &Path,
        parts: &[&Path],
        copying: &Copying<'_>,
        join: impl Fn(&Copying<'_>, &[&Path], &mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.root.join("joined.tmp");
        let mut joined = self.disk.create_at(path, target)?;
        let ended = join(copying, parts, &mut joined.file).and_then(|()| copying.look());
        if let Err(error) = ended {
            joined.discard();
            return Err(error);
        }
        self.disk.commit(joined)
    }
}

/// The table of an array's rows.
pub(crate) fn metadata_of(array: &Path) -> PathBuf {
    array.with_extension("metadata.parquet")
}

/// Lines behind lines.
fn lines(copying: &Copying<'_>, parts: &[&Path], to: &mut File) -> io::Result<()> {
    for part in parts {
        copying.next(part)?;
        copying.copy(&mut File::open(part)?, to)?;
    }
    Ok(())
}

/// Arrays below each other, with a header for all rows.
fn arrays(
    copying: &Copying<'_>,
    parts: &[&Path],
    to: &mut File,
    number: Number,
    dimensions: usize,
) -> io::Result<()> {
    to.write_all(&[0; HEADER])?;
    let mut bytes = 0;
    for part in parts {
        copying.next(part)?;
        let mut part = File::open(part)?;
        part.read_exact(&mut [0; HEADER])?;
        bytes += copying.copy(&mut part, to)?;
    }
    let row = dimensions
        * match number {
            Number::Float32 => 4,
            Number::Float16 => 2,
        };
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&header(number, bytes / row.max(1) as u64, dimensions)?)
}

/// Row groups behind row groups, as they are: nothing is decoded. All parts have one schema, and
/// what the first says of its model holds for all.
fn tables(copying: &Copying<'_>, parts: &[&Path], to: &mut File) -> io::Result<()> {
    let mut writer: Option<SerializedFileWriter<&mut File>> = None;
    let mut target = Some(to);
    for part in parts {
        copying.next(part)?;
        let file = File::open(part)?;
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(&file)
            .map_err(io::Error::other)?;
        let about = metadata.file_metadata();
        if let Some(target) = target.take() {
            let mut properties = WriterProperties::builder()
                .set_key_value_metadata(about.key_value_metadata().cloned());
            if let Some(created_by) = about.created_by() {
                properties = properties.set_created_by(created_by.to_owned());
            }
            let schema = about.schema_descr().root_schema_ptr();
            let new = SerializedFileWriter::new(target, schema, Arc::new(properties.build()));
            writer = Some(new.map_err(io::Error::other)?);
        }
        let Some(writer) = &mut writer else { continue };
        for (index, group) in metadata.row_groups().iter().enumerate() {
            let mut copied = writer.next_row_group().map_err(io::Error::other)?;
            for (place, column) in group.columns().iter().enumerate() {
                // A column of a group is copied in one piece, of some megabytes.
                copying.look()?;
                let pages = metadata.page_index();
                let closed = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                    rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: pages.and_then(|it| it.column_index(index, place)).cloned(),
                    offset_index: pages.and_then(|it| it.offset_index(index, place)).cloned(),
                };
                copied
                    .append_column(&file, closed)
                    .map_err(io::Error::other)?;
            }
            copied.close().map_err(io::Error::other)?;
        }
    }
    match writer {
        Some(writer) => writer.close().map(|_| ()).map_err(io::Error::other),
        None => Ok(()),
    }
}
