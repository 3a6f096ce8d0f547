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

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
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

/// The last line of a process that fails. It waits for the reader of the log, but not forever.
pub fn last_line(line: &str) {
    let line = format!("error: {line}\n");
    let (written, done) = channel();
    let writer = thread::Builder::new().name("last line".into());
    let writing = writer.spawn(move || {
        let _ = stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    if writing.is_ok() {
        let _ = done.recv_timeout(LAST_LINE);
    }
}
