//! The progress of a run, on standard error: a changing line on a terminal, otherwise a
//! line every five seconds.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::client::Ending;
use crate::run::Plan;
use crate::window::End;

const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Counts {
    good: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Starts to show it.
    pub fn begin(label: &str, plan: Plan, start: Instant) -> Self {
        let counts = Arc::new(Counts::default());
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let (shown, seen, label) = (bar.clone(), Arc::clone(&counts), label.to_owned());
        let task = tokio::spawn(async move {
            let mut before = 0;
            let mut last = start;
            let every = if shown.is_some() {
                ON_A_TERMINAL
            } else {
                ELSEWHERE
            };
            let mut ticks = tokio::time::interval(every);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let good = seen.good.load(Ordering::Relaxed);
                // The first time the window may have opened in between.
                let now = Instant::now().max(start);
                let rate = rate(good - before, now - last);
                (before, last) = (good, now);
                let line = line(&label, plan, start, &seen, rate);
                match &shown {
                    Some(bar) => {
                        bar.set_message(line);
                        bar.tick();
                    }
                    None => eprintln!("{line}"),
                }
            }
        });
        Self { counts, bar, task }
    }

    /// Counts a request.
    pub fn count(&self, ending: Ending, wrong: bool) {
        let counter = if wrong {
            &self.counts.wrong
        } else if ending.is_good() {
            &self.counts.good
        } else {
            &self.counts.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops showing it.
    pub fn end(&self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Requests per second.
fn rate(requests: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    requests as f64 / time.as_secs_f64()
}

fn line(label: &str, plan: Plan, start: Instant, counts: &Counts, rate: f64) -> String {
    let now = Instant::now();
    if now < start {
        return format!("{label}: warming up");
    }
    if matches!(plan.end, End::After(duration) if now >= start + duration) {
        return format!("{label}: measured; waiting for the last answers");
    }
    let good = counts.good.load(Ordering::Relaxed);
    let failed = counts.failed.load(Ordering::Relaxed);
    let wrong = counts.wrong.load(Ordering::Relaxed);
    let elapsed = now.saturating_duration_since(start).as_secs_f64();
    let of = match plan.end {
        End::After(duration) => format!("{elapsed:.0} of {:.0} s", duration.as_secs_f64()),
        End::Requests(requests) => format!("{} of {requests}", good + failed + wrong),
    };
    format!("{label}: {of}, {good} good ({rate:.0}/s), {failed} not, {wrong} wrong")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_by_the_time_that_was_measured() {
        assert_eq!(rate(8, Duration::from_secs(4)), 2.0);
        assert_eq!(rate(0, Duration::ZERO), 0.0);
    }
}
