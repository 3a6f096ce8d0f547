//! From what a row has to its vector: in this process, as the service does it for a request,
//! or on running services.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use siglip2_service::{Context, Service, ServiceError, State};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dedup::{Seen, key};
use crate::error::{BulkError, RowError, UnreadFile};
use crate::remote::Remote;
use crate::row::{CHUNK_ROWS, Chunk, Content, Embedded, MAX_FILE};

/// Files of pictures that are in memory at a time, in units.
const FILES_MEMORY: u32 = 512 << 10;

/// What columns that go through to the result hold, from when they are read until they are written,
/// in units. They have memory of their own: rows are written in order, so those that wait for a
/// row's file must not hold what that file needs.
const COLUMNS_MEMORY: u32 = 256 << 10;

/// Bytes of a unit.
const UNIT: u64 = 1024;

/// Small files are read several at a time, one after another on one thread: to hand a file to a
/// thread takes longer than to read it. So many, and so many bytes of all of them.
const GROUP: usize = 16;
const GROUP_BYTES: u64 = 1 << 20;

/// Threads that read files: so many requests to a disk or a network are worth having under way.
const READERS: usize = 16;

/// How often a row is tried when the engine fails.
const TRIES: u32 = 3;

/// How long to wait before a row is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Where vectors are computed.
pub enum Place {
    /// In this process.
    Here(Service),
    /// By running services.
    There(Remote),
    /// By a function that is the same everywhere, of whatever is no picture of a bad one.
    #[cfg(test)]
    Nowhere,
}

/// See the module.
pub struct Embedder {
    place: Place,
    normalize: bool,
    seen: Option<Seen>,
    memory: Arc<Semaphore>,
    columns_memory: Arc<Semaphore>,
    readers: Semaphore,
}

/// Why a row has no vector.
pub(crate) enum Failure {
    /// It is the row's fault.
    Row(String),
    /// It is not.
    Run(BulkError),
}

pub(crate) type Outcome = Result<Vec<f32>, Failure>;

impl Embedder {
    /// An embedder that computes at a place.
    ///
    /// # Errors
    ///
    /// When there is no room for the vectors of files that were seen.
    pub fn new(
        place: Place,
        normalize: bool,
        dedup: bool,
        dimensions: usize,
    ) -> Result<Self, BulkError> {
        let seen = dedup.then(|| Seen::new(dimensions)).transpose();
        let seen = seen.map_err(|error| {
            BulkError::Disk(format!("--dedup cannot make a temporary file: {error}"))
        })?;
        Ok(Self {
            place,
            normalize,
            seen,
            memory: Arc::new(Semaphore::new(FILES_MEMORY as usize)),
            columns_memory: Arc::new(Semaphore::new(COLUMNS_MEMORY as usize)),
            readers: Semaphore::new(READERS),
        })
    }

    /// Chunks under way at a time: enough that the engine has its next batches ready while
    /// the oldest chunk is completed, and within the queue.
    pub(crate) fn window(&self) -> usize {
        let (wanted, most) = match &self.place {
            Place::Here(service) => {
                let (info, most) = (service.info(), service.settings().max_queued_rows);
                match info.device {
                    // One engine, and as many more rows as are decoded meanwhile.
                    "cpu" => (info.max_batch * 8, most),
                    // Of several GPUs each has batches waiting; memory is bounded anyhow.
                    _ => (most / 4 * 3, most),
                }
            }
            Place::There(remote) => (remote.rows_under_way(), usize::MAX),
            #[cfg(test)]
            Place::Nowhere => (100, 1000),
        };
        let most = (most / CHUNK_ROWS).saturating_sub(1).max(1);
        (wanted.div_ceil(CHUNK_ROWS) + 1).min(most)
    }

    /// Identical files and texts so far.
    pub(crate) fn duplicates(&self) -> Option<u64> {
        self.seen.as_ref().map(Seen::duplicates)
    }

    /// Takes memory for a chunk that was read. Waits until it is free.
    pub(crate) async fn reserve(&self, chunk: &mut Chunk) {
        let columns = chunk.columns.get_array_memory_size() as u64;
        chunk.columns_lease = permits(&self.columns_memory, COLUMNS_MEMORY, columns).await;
        if chunk.bytes > 0 {
            chunk.lease = self.lease(chunk.bytes).await;
        }
    }

    /// Memory for files. Waits until it is free.
    async fn lease(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        permits(&self.memory, FILES_MEMORY, bytes).await
    }

    /// The vectors of a chunk.
    ///
    /// # Errors
    ///
    /// When none can be computed any more.
    pub(crate) async fn chunk(self: Arc<Self>, chunk: Chunk) -> Result<Embedded, BulkError> {
        let Chunk {
            columns,
            contents,
            lease,
            columns_lease,
            ..
        } = chunk;
        let groups = groups(contents).into_iter().map(|group| async {
            match group {
                Group::Files(paths) => {
                    let files = self.read_small(paths).await;
                    try_join_all(files.into_iter().map(|file| self.told(self.file(file)))).await
                }
                Group::One(content) => Ok(vec![self.told(self.row(content)).await?]),
            }
        });
        let outcomes = try_join_all(groups).await?.into_iter().flatten().collect();
        drop(lease);
        Ok(Embedded {
            columns,
            outcomes,
            _columns_lease: columns_lease,
        })
    }

    /// What a row is told, unless the run ends.
    async fn told(
        &self,
        row: impl Future<Output = Outcome>,
    ) -> Result<Result<Vec<f32>, RowError>, BulkError> {
        match row.await {
            Ok(vector) => Ok(Ok(vector)),
            Err(Failure::Row(why)) => Ok(Err(RowError(why))),
            Err(Failure::Run(error)) => Err(error),
        }
    }

    async fn row(&self, content: Content) -> Outcome {
        match content {
            Content::Bad(why) => Err(Failure::Row(why)),
            Content::Text(text) => self.text(text).await,
            Content::Picture(bytes) => self.picture(bytes).await,
            Content::File(path) => self.file(Small::Not(path, 0)).await,
        }
    }

    async fn file(&self, file: Small) -> Outcome {
        let (bytes, _lease) = match file {
            Small::Here(bytes, lease) => (bytes, lease),
            Small::Not(path, length) => {
                let read = self.read(path, length).await;
                read.map_err(|error| Failure::Row(error.to_string()))?
            }
            Small::Bad(why) => return Err(Failure::Row(why)),
        };
        self.picture(bytes).await
    }

    async fn picture(&self, bytes: Bytes) -> Outcome {
        self.once(&bytes, || async {
            match &self.place {
                Place::Here(service) => {
                    self.patiently(|| {
                        let request = service.request(Context::default());
                        let bytes = bytes.clone();
                        async move {
                            let found = request.embed_images(vec![bytes], self.normalize).await?;
                            Ok(found.rows().next().map(<[f32]>::to_vec))
                        }
                    })
                    .await
                }
                Place::There(remote) => remote.picture(bytes.clone()).await,
                #[cfg(test)]
                Place::Nowhere => nowhere(&bytes),
            }
        })
        .await
    }

    async fn text(&self, text: String) -> Outcome {
        self.once(text.as_bytes(), || async {
            match &self.place {
                Place::Here(service) => {
                    self.patiently(|| {
                        let request = service.request(Context::default());
                        let text = text.clone();
                        async move {
                            let found = request.embed_texts(vec![text], self.normalize).await?;
                            Ok(found.embeddings.rows().next().map(<[f32]>::to_vec))
                        }
                    })
                    .await
                }
                Place::There(remote) => remote.text(text.clone()).await,
                #[cfg(test)]
                Place::Nowhere => nowhere(text.as_bytes()),
            }
        })
        .await
    }

    /// Computes what was not seen before, or everything without `--dedup`.
    async fn once<F: Future<Output = Outcome>>(
        &self,
        bytes: &[u8],
        compute: impl FnOnce() -> F,
    ) -> Outcome {
        let Some(seen) = &self.seen else {
            return compute().await;
        };
        let failed = |error: io::Error| {
            let error = format!("--dedup cannot use its temporary file: {error}");
            Failure::Run(BulkError::Disk(error))
        };
        let key = key(bytes);
        if let Some(vector) = seen.find(key).map_err(failed)? {
            return Ok(vector);
        }
        let vector = compute().await?;
        seen.keep(key, &vector).map_err(failed)?;
        Ok(vector)
    }

    /// Tries again while the engine is being built anew, and when it has failed.
    async fn patiently<F>(&self, mut compute: impl FnMut() -> F) -> Outcome
    where
        F: Future<Output = Result<Option<Vec<f32>>, ServiceError>>,
    {
        let mut tries = 0;
        loop {
            let error = match compute().await {
                Ok(Some(vector)) => return Ok(vector),
                Ok(None) => ServiceError::Internal("the service answered no row".to_owned()),
                Err(error) => error,
            };
            match error {
                ServiceError::Image { error, .. } => return Err(Failure::Row(error.to_string())),
                ServiceError::Text { error, .. } => return Err(Failure::Row(error.to_string())),
                ServiceError::Busy { .. }
                | ServiceError::Unavailable(State::Restarting | State::Starting) => {}
                ServiceError::Internal(what) => {
                    tries += 1;
                    if tries == TRIES {
                        let error = format!("the engine failed {TRIES} times on it: {what}");
                        return Err(Failure::Row(error));
                    }
                }
                ServiceError::Unavailable(_)
                | ServiceError::Expired
                | ServiceError::Index(_)
                | ServiceError::TooMuch { .. } => {
                    return Err(Failure::Run(BulkError::Engine(error.to_string())));
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reads some files, as long as they are small.
    async fn read_small(&self, paths: Vec<PathBuf>) -> Vec<Small> {
        let mut lease = self.lease(GROUP_BYTES).await;
        let reading = self.readers.acquire().await;
        let again = paths.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut left = GROUP_BYTES;
            let small = |path: &PathBuf| {
                let file = read(path, left);
                if let Ok(Ok(bytes)) = &file {
                    // A lease is in units.
                    left -= (bytes.len() as u64).next_multiple_of(UNIT).min(left);
                }
                file
            };
            paths.iter().map(small).collect::<Vec<_>>()
        });
        // A panic is that of one file; alone it is told which.
        let read = read.await.unwrap_or_default();
        drop(reading);
        let mut read = read.into_iter();
        let files = again.into_iter().map(|path| match read.next() {
            Some(Ok(Ok(bytes))) => {
                let kept = bytes.len().div_ceil(UNIT as usize);
                let part = lease.as_mut().and_then(|lease| lease.split(kept));
                Small::Here(bytes.into(), part)
            }
            Some(Ok(Err(length))) => Small::Not(path, length),
            Some(Err(error)) => Small::Bad(UnreadFile::Unreadable(error).to_string()),
            None => Small::Not(path, 0),
        });
        files.collect()
    }

    /// A file of about this length, and the permits for its memory.
    async fn read(
        &self,
        path: PathBuf,
        length: u64,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), UnreadFile> {
        if length > MAX_FILE {
            return Err(UnreadFile::TooLarge(length));
        }
        let mut most = length.max(GROUP_BYTES);
        loop {
            let mut lease = self.lease(most).await;
            let reading = self.readers.acquire().await;
            let file = path.clone();
            let read = tokio::task::spawn_blocking(move || read(&file, most))
                .await
                .map_err(UnreadFile::Given)?;
            drop(reading);
            match read.map_err(UnreadFile::Unreadable)? {
                Ok(bytes) => {
                    let kept = bytes.len().div_ceil(UNIT as usize);
                    let rest = lease.as_mut().and_then(|lease| lease.split(kept));
                    return Ok((bytes.into(), rest));
                }
                Err(length) if length > MAX_FILE => return Err(UnreadFile::TooLarge(length)),
                Err(length) if length > most => most = length,
                Err(_) => return Err(UnreadFile::Grows),
            }
        }
    }
}

/// Permits for so many bytes; all there are, where they are more.
async fn permits(of: &Arc<Semaphore>, all: u32, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    // It is never closed.
    Arc::clone(of).acquire_many_owned(units.min(all)).await.ok()
}

/// A file on its way.
enum Small {
    /// Its bytes, and the permits for them.
    Here(Bytes, Option<OwnedSemaphorePermit>),
    /// It is larger than there was room for: its length, if that is known.
    Not(PathBuf, u64),
    /// It cannot be read.
    Bad(String),
}

/// What is embedded together.
enum Group {
    Files(Vec<PathBuf>),
    One(Content),
}

/// Files that follow each other, and everything else alone, in the same order.
fn groups(contents: Vec<Content>) -> Vec<Group> {
    let mut groups = Vec::new();
    for content in contents {
        match (content, groups.last_mut()) {
            (Content::File(path), Some(Group::Files(paths))) if paths.len() < GROUP => {
                paths.push(path);
            }
            (Content::File(path), _) => groups.push(Group::Files(vec![path])),
            (content, _) => groups.push(Group::One(content)),
        }
    }
    groups
}

/// A file of at most so many bytes, or how many it has.
fn read(path: &Path, most: u64) -> io::Result<Result<Vec<u8>, u64>> {
    // Before it is opened: opening a pipe waits for one who writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > most {
        return Ok(Err(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(match bytes.len() as u64 > most {
        true => Err(most),
        false => Ok(bytes),
    })
}

/// Four numbers that depend on all bytes.
#[cfg(test)]
fn nowhere(bytes: &[u8]) -> Outcome {
    if bytes.starts_with(b"bad") {
        return Err(Failure::Row("this is not an image".to_owned()));
    }
    let hash = blake3::hash(bytes);
    let numbers = hash.as_bytes()[..4].iter();
    Ok(numbers.map(|&byte| f32::from(byte) / 256.0).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn identical_bytes_are_computed_once_and_counted() {
        for (dedup, expected) in [(true, (2, Some(3))), (false, (5, None))] {
            let embedder = Embedder::new(Place::Nowhere, true, dedup, 2).unwrap();
            let computed = AtomicUsize::new(0);
            for bytes in ["a", "b", "a", "a", "b"].map(str::as_bytes) {
                let vector = [f32::from(bytes[0]), 1.0];
                let found = embedder.once(bytes, || async {
                    computed.fetch_add(1, Ordering::Relaxed);
                    Ok(vector.to_vec())
                });
                assert_eq!(found.await.ok().as_deref(), Some(&vector[..]));
            }
            let found = (computed.into_inner(), embedder.duplicates());
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("a.jpg");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(read(&pipe, 10).unwrap_err().to_string().contains("no file"));
    }
}
