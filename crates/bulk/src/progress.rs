//! How far a run is: a bar on a terminal, a line of the log now and then elsewhere.

use std::fmt;
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

/// How far a run is, at one moment.
#[derive(Debug)]
struct State {
    rows: u64,
    /// Rows in all, if they can be told.
    all: Option<u64>,
    /// Rows per second.
    rate: f64,
    /// Rows without a vector, in percent.
    bad: f64,
    /// Until the end, if it can be told.
    left: Option<Duration>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rows)?;
        if let Some(all) = self.all {
            write!(f, " of {all}")?;
        }
        write!(f, " rows, {:.0}/s, {:.1}% bad", self.rate, self.bad)?;
        match self.left {
            Some(left) => write!(f, ", {} left", HumanDuration(left)),
            None => Ok(()),
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

    /// What is shown after so many seconds.
    fn state(&self, seconds: f64) -> State {
        let rate = self.rows as f64 / seconds.max(1e-3);
        let bad = 100.0 * self.bad as f64 / (self.rows.max(1)) as f64;
        let all = self.left.rows();
        let left = all.map(|all| {
            let left = all.saturating_sub(self.rows) as f64 / rate.max(1e-3);
            Duration::from_secs_f64(left.clamp(0.0, 1e9))
        });
        State {
            rows: self.rows,
            all,
            rate,
            bad,
            left,
        }
    }

    fn show(&self) {
        let state = self.state(self.began.elapsed().as_secs_f64());
        let Some(bar) = &self.bar else {
            tracing::info!(
                rows = state.rows,
                of = state.all,
                rows_per_second = format_args!("{:.1}", state.rate),
                bad_percent = format_args!("{:.2}", state.bad),
                shards = format_args!("{}/{}", self.shards_done, self.shards),
                seconds_left = state.left.map(|left| left.as_secs()),
                "embedding"
            );
            return;
        };
        if let Some(all) = state.all {
            bar.set_length(all.max(self.rows));
        }
        bar.set_position(self.rows);
        bar.set_message(state.to_string());
    }

    /// Stops showing it.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_share_of_bad_rows_and_time_left_are_told() {
        let shards = [(Some(600), 0), (Some(400), 0)];
        let mut progress = Progress::new(shards.into_iter());
        progress.rows(150, 3);
        progress.rows(100, 7);
        let state = progress.state(5.0);
        assert_eq!((state.rows, state.all), (250, Some(1000)));
        assert_eq!(state.left, Some(Duration::from_secs(15)));
        assert_eq!(
            state.to_string(),
            "250 of 1000 rows, 50/s, 4.0% bad, 15 seconds left"
        );
    }

    #[test]
    fn rows_of_tars_are_told_from_those_that_were_read() {
        let shards = [(None, 1000), (None, 3000), (Some(50), 0)];
        let mut progress = Progress::new(shards.into_iter());
        progress.rows(20, 0);
        // Nothing is known of tars before the first one has ended.
        let state = progress.state(2.0);
        assert_eq!((state.all, state.left), (None, None));
        assert_eq!(state.to_string(), "20 rows, 10/s, 0.0% bad");
        progress.rows(80, 0);
        progress.shard(None, 1000, 100);
        // 4,000 bytes at a row in ten, and 50 rows that are known.
        let state = progress.state(10.0);
        assert_eq!(state.all, Some(450));
        assert_eq!(state.left, Some(Duration::from_secs(35)));
        // More rows than expected are no negative time.
        progress.rows(900, 0);
        assert_eq!(progress.state(10.0).left, Some(Duration::ZERO));
        assert_eq!((progress.shards_done, progress.shards), (1, 3));
    }
}
