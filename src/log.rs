//! The log, on standard error, which never holds up a request or a signal.
//!
//! ```text
//! any thread --try--> queue (bounded) --one writer thread--> standard error
//!               `--full: the line is dropped and counted
//! ```
//!
//! The reader of the log may stall, and a pipe that is not read is full after 64 KiB. Lines
//! that do not fit in the queue are dropped and counted in `/metrics`; when the reader
//! continues, the log says how many lines were dropped.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write, stderr};
use std::panic::set_hook;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::settings::LogSettings;

/// Lines waiting to be written. A line is some hundred bytes.
const QUEUED_LINES: usize = 8192;

/// How long to wait for the last line to be written.
const LAST_LINE: Duration = Duration::from_millis(500);

/// How often to check whether lines were dropped.
const LOOK: Duration = Duration::from_secs(1);

/// The log. When this is dropped, queued lines get about a second to be written.
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Log {
    /// Starts the log of this process.
    pub fn start(settings: &LogSettings) -> Self {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(stderr());
        let dropped = writer.error_counter();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(settings.filter()))
            .with_ansi(stderr().is_terminal() && !plain)
            // Reporting this on standard error would panic if that is closed, and so fail
            // the requests whose line cannot be written.
            .log_internal_errors(false)
            .with_writer(writer);
        if settings.json_output {
            log.json().flatten_event(true).init();
        } else {
            log.with_target(false).init();
        }
        Self {
            dropped,
            _writer: guard,
        }
    }

    /// Passes the number of lines dropped so far to `count`, and reports it in the log once
    /// there is room, for as long as the runtime runs.
    pub fn watch(&self, count: Arc<dyn Fn(u64) + Send + Sync>) -> impl Future<Output = ()> + use<> {
        let dropped = self.dropped.clone();
        async move {
            let (mut before, mut told) = (0, 0);
            loop {
                tokio::time::sleep(LOOK).await;
                let now = dropped.dropped_lines();
                count(now as u64);
                // None was dropped since the last check, so the reader has continued.
                if now > told && now == before {
                    tracing::warn!(
                        lines = now - told,
                        "log lines were dropped because the reader of the log did not keep up"
                    );
                    told = now;
                }
                before = now;
            }
        }
    }
}

/// Whether the reader of the log did not take a line in time, and still has not.
static STALLED: AtomicBool = AtomicBool::new(false);

/// The last line of a process that fails. It waits for the reader of the log, but not forever.
pub fn last_line(line: &str) {
    write_within(LAST_LINE, stderr(), format!("error: {line}\n"), &STALLED);
}

/// Lets panics be told in Rust's own words, but without waiting for ever for the reader of the log: the
/// thread that panicked goes on to its next request. They are not put into the queue, because code of
/// others may end the process right after one.
pub fn tell_panics() {
    set_hook(Box::new(|panic| {
        // Not every thread need find out.
        if STALLED.load(Ordering::SeqCst) {
            return;
        }
        let thread = thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("{trace}\n"),
            _ => String::new(),
        };
        let line = format!("thread '{name}' {panic}\n{trace}");
        write_within(LAST_LINE, stderr(), line, &STALLED);
    }));
}

/// Writes a line on a thread of its own. If that takes longer than the limit, the thread goes on waiting,
/// and `stalled` is set until it has written.
fn write_within(
    limit: Duration,
    mut to: impl Write + Send + 'static,
    line: String,
    stalled: &'static AtomicBool,
) {
    let (written, done) = channel();
    let writer = thread::Builder::new().name("last line".into());
    let writing = writer.spawn(move || {
        let _ = to.write_all(line.as_bytes());
        let _ = written.send(());
        stalled.store(false, Ordering::SeqCst);
    });
    if writing.is_ok() && done.recv_timeout(limit).is_err() {
        stalled.store(true, Ordering::SeqCst);
        // It may have been done just now, and cleared what was not yet set.
        if done.try_recv().is_ok() {
            stalled.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// Takes what is written once it is told to.
    struct Reader(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_is_not_waited_for() {
        static STALLED: AtomicBool = AtomicBool::new(false);
        let write = |limit, to| write_within(limit, to, "line\n".to_owned(), &STALLED);
        let ((go, wait), (took, taken)) = (channel(), channel());
        write(Duration::ZERO, Reader(wait, took));
        assert!(STALLED.load(Ordering::SeqCst));
        // It gets the line when it goes on.
        go.send(()).unwrap();
        assert_eq!(taken.recv().unwrap(), b"line\n");
        while STALLED.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        write_within(Duration::from_secs(60), io::sink(), String::new(), &STALLED);
        assert!(!STALLED.load(Ordering::SeqCst));
    }
}
