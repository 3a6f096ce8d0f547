//! The resources of the server's process while it is measured, from /proc.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::error::Error;

/// One sample of a process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Look {
    /// Seconds from the end of the warm-up.
    pub at_s: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors; none if they may not be listed.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: u64,
}

impl Look {
    /// Samples a process once.
    pub fn at(pid: u32, at_s: f64) -> Result<Self, Error> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|error| Error::Watch { pid, error })?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|number| number.parse::<u64>().ok())
        };
        Ok(Self {
            at_s,
            // A zombie process has no memory.
            resident_bytes: field("VmRSS:").unwrap_or(0) * 1024,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
                .ok()
                .map(|entries| entries.count() as u64),
            threads: field("Threads:").unwrap_or(0),
        })
    }
}

/// The watched process over a run.
#[derive(Clone, Debug, Serialize)]
pub struct Watched {
    /// Its process ID.
    pub pid: u32,
    /// Before the first request.
    pub at_rest: Look,
    /// After the warm-up.
    pub after_warm_up: Look,
    /// At the end of the window.
    pub end: Look,
    /// The maximum of memory, descriptors and threads since the end of the warm-up.
    pub highest: Look,
    /// The largest deviation of memory from its value after the warm-up, in either
    /// direction.
    pub memory_deviation_percent: f64,
    /// The same for descriptors.
    pub descriptors_deviation_percent: Option<f64>,
    /// A sample for each second.
    pub looks: Vec<Look>,
}

/// The value furthest from the first, in percent of the first.
fn deviation(values: impl Iterator<Item = u64> + Clone) -> Option<f64> {
    let first = values.clone().next().filter(|first| *first > 0)? as f64;
    values
        .map(|value| (value as f64 / first - 1.0) * 100.0)
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
}

impl Watched {
    /// Summarizes samples; none if there are none.
    pub fn of(pid: u32, at_rest: Option<Look>, looks: &[Look]) -> Option<Self> {
        let (first, end) = (*looks.first()?, *looks.last()?);
        let highest = looks.iter().fold(first, |most, look| Look {
            at_s: most.at_s,
            resident_bytes: most.resident_bytes.max(look.resident_bytes),
            descriptors: most.descriptors.max(look.descriptors),
            threads: most.threads.max(look.threads),
        });
        Some(Self {
            pid,
            at_rest: at_rest.unwrap_or(first),
            after_warm_up: first,
            end,
            highest,
            memory_deviation_percent: deviation(looks.iter().map(|l| l.resident_bytes))
                .unwrap_or(0.0),
            descriptors_deviation_percent: deviation(
                looks.iter().filter_map(|look| look.descriptors),
            ),
            looks: looks.to_vec(),
        })
    }

    /// As text, for each quantity.
    pub fn facts(&self) -> [(&'static str, String); 3] {
        let number = |look: &Look| look.descriptors.map_or(f64::NAN, |n| n as f64);
        let row = |value: &dyn Fn(&Look) -> f64, digits: usize| {
            let [rest, warm, end, most] =
                [&self.at_rest, &self.after_warm_up, &self.end, &self.highest].map(value);
            format!(
                "{rest:.digits$} at rest, {warm:.digits$} after the warm-up, {end:.digits$} at \
                 the end, {most:.digits$} at most"
            )
        };
        let strayed = |percent: f64| format!("; largest deviation after it {percent:+.1}%");
        let memory = row(&|look| look.resident_bytes as f64 / f64::from(1 << 20), 1);
        [
            (
                "memory, MiB",
                memory + &strayed(self.memory_deviation_percent),
            ),
            (
                "descriptors",
                row(&number, 0)
                    + &self
                        .descriptors_deviation_percent
                        .map(strayed)
                        .unwrap_or_default(),
            ),
            ("threads", row(&|look| look.threads as f64, 0)),
        ]
    }
}

/// Samples a process each second until it is stopped.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    start: Instant,
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts at `start`, which may be in the future.
    pub fn begin(pid: u32, start: Instant) -> Self {
        let looks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&looks);
        let task = tokio::spawn(async move {
            for second in 0u64.. {
                let at = start + Duration::from_secs(second);
                tokio::time::sleep_until(at.into()).await;
                // A process that is gone leaves a gap; the requests show the rest.
                if let Ok(look) = Look::at(pid, start.elapsed().as_secs_f64()) {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(look);
                }
            }
        });
        Self {
            pid,
            start,
            looks,
            task,
        }
    }

    /// Takes a last sample, and returns all samples.
    pub fn end(self) -> Vec<Look> {
        self.task.abort();
        let mut looks = self
            .looks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        looks.extend(Look::at(self.pid, self.start.elapsed().as_secs_f64()));
        looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let seen = Look::at(std::process::id(), 0.0).expect("seen");
        assert!(seen.resident_bytes > 0 && seen.threads > 0);
        assert!(seen.descriptors.is_some_and(|number| number > 0));
        assert!(Look::at(u32::MAX, 0.0).is_err());
    }

    #[test]
    fn deviations_are_from_what_was_after_the_warm_up() {
        let look = |(at_s, resident_bytes, descriptors): (f64, u64, u64)| Look {
            at_s,
            resident_bytes,
            descriptors: Some(descriptors),
            threads: 4,
        };
        let at_rest = look((0.0, 50 << 20, 10));
        let looks = [
            (0.0, 100 << 20, 20),
            (1.0, 104 << 20, 19),
            (2.0, 90 << 20, 21),
        ]
        .map(look);
        let watched = Watched::of(7, Some(at_rest), &looks).expect("looks");
        assert!((watched.memory_deviation_percent + 10.0).abs() < 1e-9);
        let descriptors = watched.descriptors_deviation_percent;
        assert!(descriptors.is_some_and(|percent| (percent.abs() - 5.0).abs() < 1e-9));
        assert_eq!(watched.highest.resident_bytes, 104 << 20);
        let [(_, memory), (_, descriptors), _] = watched.facts();
        assert_eq!(
            memory,
            "50.0 at rest, 100.0 after the warm-up, 90.0 at the end, 104.0 at most; largest \
             deviation after it -10.0%"
        );
        assert!(
            descriptors.starts_with("10 at rest, 20 after"),
            "{descriptors}"
        );
        assert!(Watched::of(7, None, &[]).is_none());
    }
}
