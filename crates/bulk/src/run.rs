//! One run: from inputs to files.
//!
//! ```text
//! reader thread --chunks--> window of chunks --in order--> writer thread --> files
//!   (one shard      |         (rows of several shards          |
//!    after another) |          at a time, so the engine        +-- a shard at a time
//!                   +-- memory is taken here   never waits for the end of one)
//! ```

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use futures_util::stream::unfold;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::embedder::Embedder;
use crate::error::BulkError;
use crate::output::{End, Output, cannot_write};
use crate::partition::Partition;
use crate::progress::Progress;
use crate::row::{Chunk, Embedded};
use crate::shard::{Form, Shard};
use crate::sources::{Cut, Source, Sources};

/// Chunks that wait to be written: as many as come while a file is synced.
const WRITES_WAITING: usize = 32;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Rows that were written.
    pub rows: u64,
    /// Rows of those that have no vector.
    pub bad: u64,
    /// Shards that were finished.
    pub shards: usize,
    /// Shards of this part that were finished before.
    pub shards_before: usize,
    /// Shards of this part that are left, where the run was ended early.
    pub shards_left: usize,
    /// Rows whose file or text was seen before, if they were counted.
    pub duplicates: Option<u64>,
    /// Rows, and rows without a vector, of the whole output, if all parts are done.
    pub whole: Option<(u64, u64)>,
    /// The list of all rows without a vector.
    pub errors: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// A shard to do.
struct Job {
    index: usize,
    source: Arc<dyn Source>,
    cut: Cut,
}

/// What goes from the reader to the writer.
enum Message<Rows> {
    Begin(usize, SchemaRef),
    Rows(Rows),
    End(Option<u64>, u64),
}

/// Does all shards of a part that are not done.
pub(crate) async fn run(
    output: Output,
    sources: Sources,
    form: Form,
    partition: Partition,
    embedder: Arc<Embedder>,
    stop: impl Future<Output = ()>,
) -> Result<Summary, BulkError> {
    let began = Instant::now();
    let (jobs, before) = jobs(&output, &sources, partition);
    let wanted = jobs.len();
    if before > 0 {
        tracing::info!(
            done = before,
            left = wanted,
            "going on: shards that are done stay"
        );
    }
    let progress = Progress::new(jobs.iter().map(|job| (job.cut.rows, job.cut.bytes)));
    let (to_embed, chunks) = channel(2);
    let (to_write, embedded) = channel(WRITES_WAITING);
    let reader = {
        let embedder = Arc::clone(&embedder);
        let runtime = Handle::current();
        spawn("read", move || read(jobs, &embedder, &runtime, &to_embed))?
    };
    let output = Arc::new(output);
    let writer = {
        let output = Arc::clone(&output);
        tokio::task::spawn_blocking(move || write(&output, &form, progress, embedded))
    };
    // A signal may come while rows are embedded, or behind that.
    let mut stop = pin!(stop.fuse());
    let outcome = embed(chunks, &embedder, to_write, stop.as_mut()).await;
    // By now the writer's messages have ended, and the reader's receiver is gone.
    let written = writer
        .await
        .map_err(|error| BulkError::Disk(format!("the writer failed: {error}")))?;
    let mut interrupted = matches!(outcome, Ok(true));
    if !interrupted && outcome.is_ok() && reader.join().is_err() {
        return Err(BulkError::Unusable("reading the inputs failed".to_owned()));
    }
    // An error of the writer ends the embedding, not the other way round.
    let Written { rows, bad, shards } = written?;
    outcome?;
    // Of one file there is still something to do, so a signal that came late is heeded.
    interrupted &= wanted > shards || output.joined.is_some();
    let mut whole = None;
    if !interrupted {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut end = {
            let (output, stopped) = (Arc::clone(&output), Arc::clone(&stopped));
            tokio::task::spawn_blocking(move || output.end(&|| stopped.load(Ordering::Relaxed)))
        };
        let ended = tokio::select! {
            ended = &mut end => ended,
            () = &mut stop => {
                stopped.store(true, Ordering::Relaxed);
                end.await
            }
        };
        let failed = |error| BulkError::Disk(format!("the shards were not put together: {error}"));
        match ended.map_err(failed)?.map_err(cannot_write(&output.root))? {
            End::Whole(all) => whole = Some(all),
            End::Parts => {}
            End::Stopped => interrupted = true,
        }
    }
    let mut summary = Summary {
        rows,
        bad,
        shards,
        shards_before: before,
        shards_left: wanted - shards,
        duplicates: embedder.duplicates(),
        whole: None,
        errors: None,
        took: began.elapsed(),
        interrupted,
    };
    if let Some(whole) = whole {
        summary.whole = Some((whole.rows, whole.errors));
        let list = || output.error_list().display().to_string();
        summary.errors = (whole.errors > 0).then(list);
    }
    Ok(summary)
}

/// The shards to do, and how many of the part are done.
fn jobs(output: &Output, sources: &Sources, partition: Partition) -> (Vec<Job>, usize) {
    let all = sources.list.iter().flat_map(|source| {
        let cuts = source.cuts().iter();
        cuts.map(move |cut| (source, *cut))
    });
    let (mut jobs, mut before) = (Vec::new(), 0);
    for (index, (source, cut)) in all.enumerate() {
        if !partition.has(index) {
            continue;
        }
        if output.done(index).is_some() {
            before += 1;
            continue;
        }
        let source = Arc::clone(source);
        jobs.push(Job { index, source, cut });
    }
    (jobs, before)
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, BulkError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| BulkError::Unusable(format!("cannot start a thread: {error}")))
}

/// Reads one shard after another, until nobody wants more.
fn read(jobs: Vec<Job>, embedder: &Embedder, runtime: &Handle, to: &Sender<Message<Chunk>>) {
    for Job { index, source, cut } in jobs {
        let columns = source.columns();
        if to
            .blocking_send(Message::Begin(index, Arc::clone(columns)))
            .is_err()
        {
            return;
        }
        let mut emit = |mut chunk: Chunk| {
            runtime.block_on(embedder.reserve(&mut chunk));
            to.blocking_send(Message::Rows(chunk)).is_ok()
        };
        // Files of others are read by code of others.
        let panicked = catch_unwind(AssertUnwindSafe(|| source.read(&cut, &mut emit))).is_err();
        if panicked {
            let why = "reading it failed; the log says where".to_owned();
            emit(Chunk::bad(columns, &format!("shard {index}"), why));
        }
        if to.blocking_send(Message::End(cut.rows, cut.bytes)).is_err() {
            return;
        }
    }
}

/// Embeds a window of chunks, and passes everything on in order. Whether it was stopped.
async fn embed(
    chunks: Receiver<Message<Chunk>>,
    embedder: &Arc<Embedder>,
    to_write: Sender<Message<Embedded>>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<bool, BulkError> {
    let chunks = unfold(chunks, |mut chunks| async move {
        let message = chunks.recv().await?;
        Some((message, chunks))
    });
    let embedded = chunks.map(|message| match message {
        Message::Rows(chunk) => {
            let task = Task(tokio::spawn(Arc::clone(embedder).chunk(chunk)));
            task.end().map(|rows| rows.map(Message::Rows)).boxed()
        }
        Message::Begin(index, columns) => async move { Ok(Message::Begin(index, columns)) }.boxed(),
        Message::End(rows, bytes) => async move { Ok(Message::End(rows, bytes)) }.boxed(),
    });
    let mut embedded = std::pin::pin!(embedded.buffered(embedder.window()));
    loop {
        let next = tokio::select! {
            next = embedded.next() => next,
            () = &mut stop => return Ok(true),
        };
        let Some(message) = next else {
            return Ok(false);
        };
        tokio::select! {
            sent = to_write.send(message?) => if sent.is_err() {
                // The writer has ended, and says why.
                return Ok(false);
            },
            () = &mut stop => return Ok(true),
        }
    }
}

/// A task that ends when it is dropped.
struct Task(JoinHandle<Result<Embedded, BulkError>>);

impl Task {
    async fn end(mut self) -> Result<Embedded, BulkError> {
        match (&mut self.0).await {
            Ok(rows) => rows,
            Err(error) => Err(BulkError::Engine(format!("embedding failed: {error}"))),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Written {
    rows: u64,
    bad: u64,
    shards: usize,
}

/// Writes what comes, until nothing does. A shard that has not ended then is dropped.
fn write(
    output: &Output,
    form: &Form,
    mut progress: Progress,
    mut embedded: Receiver<Message<Embedded>>,
) -> Result<Written, BulkError> {
    let mut written = Written::default();
    let mut shard: Option<Shard> = None;
    let failed = cannot_write(&output.root);
    while let Some(message) = embedded.blocking_recv() {
        match message {
            Message::Begin(index, columns) => {
                shard = Some(Shard::begin(output, form, index, &columns).map_err(&failed)?);
            }
            Message::Rows(rows) => {
                let bad = rows.outcomes.iter().filter(|it| it.is_err()).count();
                progress.rows(rows.outcomes.len(), bad);
                if let Some(shard) = &mut shard {
                    shard.write(output, &rows).map_err(&failed)?;
                }
            }
            Message::End(known, bytes) => {
                if let Some(shard) = shard.take() {
                    let done = shard.end(output).map_err(&failed)?;
                    written.rows += done.rows;
                    written.bad += done.errors;
                    written.shards += 1;
                    progress.shard(known, bytes, done.rows);
                }
            }
        }
    }
    if let Some(shard) = shard {
        shard.discard();
    }
    progress.end();
    Ok(written)
}
