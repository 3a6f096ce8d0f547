//! Progress of a download: a bar on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often progress is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Progress of one file's download.
pub(super) enum Progress {
    Bar(ProgressBar),
    Log {
        file: String,
        size: Option<u64>,
        done: u64,
        said: Instant,
    },
}

impl Progress {
    /// Announces, once, that a file is being downloaded.
    pub fn of(file: &str, size: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            tracing::info!(file, bytes = size, "downloading");
            return Self::Log {
                file: file.to_owned(),
                size,
                done: 0,
                said: Instant::now(),
            };
        }
        let (bar, template) = match size {
            Some(size) => (
                ProgressBar::new(size),
                "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ),
            None => (ProgressBar::no_length(), "{msg} {bytes} {bytes_per_sec}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(file.to_owned());
        Self::Bar(bar)
    }

    /// Sets how many bytes are there. A resumed download starts with some, and one that starts
    /// over is back at none.
    pub fn at(&mut self, bytes: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(bytes),
            Self::Log {
                file,
                size,
                done,
                said,
            } => {
                *done = bytes;
                if said.elapsed() >= LOG_EVERY {
                    *said = Instant::now();
                    tracing::info!(file = %file, done, bytes = size, "downloading");
                }
            }
        }
    }

    /// Announces that the file is complete.
    pub fn finish(self) {
        match self {
            Self::Bar(bar) => bar.finish(),
            Self::Log { file, done, .. } => {
                tracing::info!(file = %file, bytes = done, "downloaded");
            }
        }
    }
}
