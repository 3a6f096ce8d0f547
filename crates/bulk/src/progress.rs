//! How far a run is: a bar on a terminal, a line of the log now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

const ON_A_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Progress {
    began: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
    shards: usize,
    shards_done: usize,
    rows: u64,
    bad: u64,
    left: Left,
}

/// What there is to do, and what of it is done.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    /// Rows of shards whose rows are known.
    known: u64,
    /// Bytes of the others, those of them that were read, and the rows found in those.
    bytes: u64,
    read: u64,
    found: u64,
}

impl Left {
    /// Rows of all shards, as far as can be told.
    fn rows(self) -> Option<u64> {
        match (self.bytes, self.read) {
            (0, _) => Some(self.known),
            (_, 0) => None,
            (bytes, read) => {
                let per_byte = self.found as f64 / read as f64;
                Some(self.known + (bytes as f64 * per_byte) as u64)
            }
        }
    }
}

impl Progress {
    /// Begins to show a run over shards of so many rows, or else bytes.
    pub(crate) fn new(shards: impl Iterator<Item = (Option<u64>, u64)>) -> Self {
        let (mut left, mut count) = (Left::default(), 0);
        for (rows, bytes) in shards {
            count += 1;
            match rows {
                Some(rows) => left.known += rows,
                None => left.bytes += bytes,
            }
        }
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("[{bar:30}] {msg}");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        let now = Instant::now();
        Self {
            began: now,
            shown: now,
            bar,
            shards: count,
            shards_done: 0,
            rows: 0,
            bad: 0,
            left,
        }
    }

    /// Counts rows that were embedded.
    pub(crate) fn rows(&mut self, rows: usize, bad: usize) {
        self.rows += rows as u64;
        self.bad += bad as u64;
        let every = if self.bar.is_some() {
            ON_A_TERMINAL
        } else {
            ELSEWHERE
        };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            self.show();
        }
    }

    /// Counts a shard whose rows were not known before.
    pub(crate) fn shard(&mut self, known: Option<u64>, bytes: u64, rows: u64) {
        self.shards_done += 1;
        if known.is_none() {
            self.left.read += bytes;
            self.left.found += rows;
        }
    }

    fn show(&self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = self.rows as f64 / seconds.max(1e-3);
        let bad = 100.0 * self.bad as f64 / (self.rows.max(1)) as f64;
        let all = self.left.rows();
        let left = all.map(|all| {
            let left = all.saturating_sub(self.rows) as f64 / rate.max(1e-3);
            Duration::from_secs_f64(left.clamp(0.0, 1e9))
        });
        let Some(bar) = &self.bar else {
            let left = left.map(|left| left.as_secs());
            tracing::info!(
                rows = self.rows,
                of = all,
                rows_per_second = format_args!("{rate:.1}"),
                bad_percent = format_args!("{bad:.2}"),
                shards = format_args!("{}/{}", self.shards_done, self.shards),
                seconds_left = left,
                "embedding"
            );
            return;
        };
        if let Some(all) = all {
            bar.set_length(all.max(self.rows));
        }
        bar.set_position(self.rows);
        let of = all.map_or(String::new(), |all| format!(" of {all}"));
        let left = left.map_or(String::new(), |left| {
            format!(", {} left", HumanDuration(left))
        });
        bar.set_message(format!(
            "{}{of} rows, {rate:.0}/s, {bad:.1}% bad{left}",
            self.rows
        ));
    }

    /// Stops showing it.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
