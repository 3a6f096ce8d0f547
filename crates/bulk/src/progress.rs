//! How far a run is: a bar on a terminal, a line of the log now and then elsewhere.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

const ON_A_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Progress {
    /// The least time between two looks.
    every: Duration,
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
        if !stderr().is_terminal() {
            return Self::shown(shards, None, ELSEWHERE);
        }
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self::shown(shards, Some(bar), ON_A_TERMINAL)
    }

    fn shown(
        shards: impl Iterator<Item = (Option<u64>, u64)>,
        bar: Option<ProgressBar>,
        every: Duration,
    ) -> Self {
        let (mut left, mut count) = (Left::default(), 0);
        for (rows, bytes) in shards {
            count += 1;
            match rows {
                Some(rows) => left.known += rows,
                None => left.bytes += bytes,
            }
        }
        let now = Instant::now();
        Self {
            every,
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
        if self.shown.elapsed() >= self.every {
            self.shown = Instant::now();
            self.show(self.began.elapsed().as_secs_f64());
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

    fn show(&self, seconds: f64) {
        let state = self.state(seconds);
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
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, as operators see it.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(log.finish(), work);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn without_a_terminal_lines_of_the_log_tell_rate_share_and_time_left() {
        let shards = || [(Some(600), 0), (None, 1000)].into_iter();
        let lines = logged(|| {
            let mut progress = Progress::shown(shards(), None, Duration::MAX);
            progress.rows(150, 3);
            progress.show(5.0);
            progress.shard(Some(600), 0, 150);
            progress.shard(None, 500, 100);
            progress.rows(100, 7);
            progress.show(10.0);
        });
        // Of the tar nothing is known at first, so neither is when it ends.
        let first = " INFO embedding rows=150 rows_per_second=30.0 bad_percent=2.00 shards=0/2";
        let then = " INFO embedding rows=250 of=800 rows_per_second=25.0 bad_percent=4.00 \
                    shards=2/2 seconds_left=22";
        assert_eq!(lines, [first, then]);
        // Whoever writes rows need not say when: a line comes as soon as it is due, and not before.
        for (every, expected) in [(Duration::ZERO, 3), (Duration::MAX, 0)] {
            let lines = logged(|| {
                let mut progress = Progress::shown(shards(), None, every);
                (0..3).for_each(|_| progress.rows(1, 0));
            });
            assert_eq!(lines.len(), expected, "{lines:?}");
        }
    }

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
