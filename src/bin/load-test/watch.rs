//! What the server's process takes while it is measured, from /proc.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

/// One look at a process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Look {
    /// Seconds from the end of the warm-up.
    pub at_s: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors; none where they may not be listed.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: u64,
}

/// Looks at a process once.
pub fn look(pid: u32, at_s: f64) -> Result<Look, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| format!("process {pid} cannot be watched: {error}"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
    };
    Ok(Look {
        at_s,
        // A process that has ended but was not waited for has no memory.
        resident_bytes: field("VmRSS:").unwrap_or(0) * 1024,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
            .ok()
            .map(|entries| entries.count() as u64),
        threads: field("Threads:").unwrap_or(0),
    })
}

/// Looks at a process each second until it is told to end.
#[derive(Debug)]
pub struct Watch {
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins at `start`, which may be to come.
    pub fn begin(pid: u32, start: Instant) -> Self {
        let looks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&looks);
        let task = tokio::spawn(async move {
            for second in 0u64.. {
                let at = start + Duration::from_secs(second);
                tokio::time::sleep_until(at.into()).await;
                // A process that is gone leaves a gap; the requests say the rest.
                if let Ok(look) = look(pid, start.elapsed().as_secs_f64()) {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(look);
                }
            }
        });
        Self { looks, task }
    }

    /// What was seen.
    pub fn end(self) -> Vec<Look> {
        self.task.abort();
        self.looks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let seen = look(std::process::id(), 0.0).expect("seen");
        assert!(seen.resident_bytes > 0 && seen.threads > 0);
        assert!(seen.descriptors.is_some_and(|number| number > 0));
        assert!(look(u32::MAX, 0.0).is_err());
    }
}
