//! The steps of loading an engine, so that somebody else can see whether it goes on.
//!
//! A driver or a library that hangs never returns, and the thread that called it cannot say so.
//!
//! ```text
//! loading thread --begin("loading the image tower")--> Steps <--look-- the thread that waits
//! ```

use std::fmt;
use std::io::{Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{LoadError, end_process};
use crate::directory::DirectoryError;
use crate::error::DeviceError;
use siglip2_engine::EngineError;

/// How long a step may take, in timeouts of a batch: kernels are compiled in some of them.
const TIMEOUTS: u32 = 5;

/// A timeout is divided into so many looks. Time is counted in looks, so that a process that was
/// stopped and goes on does not take its own sleep for the device's.
const LOOKS: u32 = 20;

/// Exit code of a program whose device hangs, as the service's.
const HANGS: u8 = 3;

/// What is being done, and how many steps that is from the first.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<Mutex<(u64, String)>>);

impl Steps {
    /// Notes what is done from now on.
    pub fn begin(&self, what: impl Into<String>) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (now.0 + 1, what.into());
    }

    fn now(&self) -> (u64, String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Why work on a device has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WatchedError {
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// The device is lost to this process: only another one may have it again.
    #[error("{0}")]
    Lost(String),
    /// It does not come to an end: only another process may have the device again.
    #[error("the device hangs: {doing} has taken longer than {seconds} s")]
    Hangs {
        /// The step that it does not come out of.
        doing: String,
        /// How long the step may take.
        seconds: f64,
    },
}

impl WatchedError {
    /// The same, of work on this device.
    #[must_use]
    pub fn on(self, device: &impl fmt::Display) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(format!("{device}: {reason}")),
            Self::Lost(reason) => Self::Lost(format!("{device}: {reason}")),
            hangs @ Self::Hangs { .. } => hangs,
        }
    }
}

impl From<String> for WatchedError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<DirectoryError> for WatchedError {
    fn from(error: DirectoryError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DeviceError> for WatchedError {
    fn from(error: DeviceError) -> Self {
        match error.is_sticky() {
            true => Self::Lost(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

impl From<LoadError> for WatchedError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Device(error) => error.into(),
            lost @ LoadError::Lost { .. } => Self::Lost(lost.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<EngineError> for WatchedError {
    fn from(error: EngineError) -> Self {
        match error {
            lost @ EngineError::Lost(_) => Self::Lost(lost.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Does work on a thread of its own and waits for it, as long as one step after the other is
/// begun: each may take five times `device_timeout`. A thread that hangs is left where it is.
///
/// # Errors
///
/// [`WatchedError`].
pub fn watched<T: Send + 'static>(
    device_timeout: Duration,
    work: impl FnOnce(&Steps) -> Result<T, WatchedError> + Send + 'static,
) -> Result<T, WatchedError> {
    let failed = WatchedError::Failed;
    let steps = Steps::default();
    let (done, result) = channel();
    let noted = steps.clone();
    std::thread::Builder::new()
        .name("load-gpu".into())
        .spawn(move || {
            // The receiver is gone if this took too long.
            let _ = done.send(work(&noted));
        })
        .map_err(|error| failed(format!("no thread could be started: {error}")))?;
    match look_on(device_timeout, &steps, &result)? {
        Some(result) => result,
        None => Err(failed("loading the engine panicked".into())),
    }
}

/// Waits for what comes out of work, as long as one step after the other is begun; `None` if nothing
/// ever will.
fn look_on<T>(
    device_timeout: Duration,
    steps: &Steps,
    result: &Receiver<T>,
) -> Result<Option<T>, WatchedError> {
    let limit = device_timeout.saturating_mul(TIMEOUTS);
    let look = (limit / LOOKS).clamp(Duration::from_millis(1), Duration::from_secs(1));
    let (mut seen, mut lasts) = (0, Duration::ZERO);
    loop {
        match result.recv_timeout(look) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (number, doing) = steps.now();
        match number == seen {
            true => lasts += look,
            false => (seen, lasts) = (number, Duration::ZERO),
        }
        if lasts >= limit {
            let seconds = limit.as_secs_f64();
            return Err(WatchedError::Hangs { doing, seconds });
        }
    }
}

/// Does work for a program that has nothing else to do. If a step of it hangs, which may take as long as
/// in [`watched`], says so and ends the process with exit code 3.
pub fn or_end<T>(
    device_timeout: Duration,
    doing: impl Into<String>,
    work: impl FnOnce(&Steps) -> T,
) -> T {
    let steps = Steps::default();
    steps.begin(doing);
    let (done, ended) = channel::<()>();
    let watched = steps.clone();
    let looking = std::thread::Builder::new()
        .name("watch-gpu".into())
        .spawn(move || {
            if let Err(hangs) = look_on(device_timeout, &watched, &ended) {
                // Standard error may be closed; the exit code says it as well.
                let _ = writeln!(stderr(), "error: {hangs}");
                end_process(HANGS);
            }
        });
    if let Err(error) = looking {
        tracing::warn!("no thread could be started to watch the GPU: {error}");
    }
    let result = work(&steps);
    drop(done);
    result
}

#[cfg(test)]
mod tests {
    use cudarc::driver::sys::CUresult;

    use super::*;

    #[test]
    fn a_result_an_error_and_a_panic_come_back() {
        let hour = Duration::from_secs(3600);
        assert_eq!(watched(hour, |_| Ok(7)), Ok(7));
        let failed = watched(hour, |_| Err::<(), _>("no memory".to_owned().into()));
        assert_eq!(failed, Err(WatchedError::Failed("no memory".into())));
        let panicked = watched::<()>(hour, |_| panic!("as the test wants"));
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn only_errors_that_stay_are_of_a_lost_device() {
        let driver = |code| DeviceError::Driver {
            doing: "waiting for a batch".into(),
            code,
        };
        let stays = driver(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        let passes = driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        let is_lost = |error: WatchedError| matches!(error, WatchedError::Lost(_));
        assert!(is_lost(stays.clone().into()) && !is_lost(passes.clone().into()));
        assert!(is_lost(LoadError::Device(stays.clone()).into()));
        assert!(!is_lost(LoadError::Device(passes.clone()).into()));
        assert!(is_lost(EngineError::from(stays).into()));
        assert!(!is_lost(EngineError::from(passes).into()));
        let lost = WatchedError::Lost("gone".into()).on(&"GPU 1");
        assert_eq!(lost, WatchedError::Lost("GPU 1: gone".into()));
    }

    #[test]
    fn a_step_without_an_end_is_named() {
        let (hold, held) = channel::<()>();
        let hanging = watched(Duration::from_millis(20), move |steps| {
            steps.begin("loading the text tower");
            // Until the test has ended.
            let _ = held.recv();
            Ok(())
        });
        let said = hanging.unwrap_err().to_string();
        assert!(said.contains("loading the text tower"), "{said}");
        assert!(said.contains("longer than 0.1 s"), "{said}");
        drop(hold);
    }
}
