//! Forwards TensorRT's log to this program's, and keeps its last error, because TensorRT's
//! functions only report that they failed.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use trtx::logger::{LogHandler, Severity};

thread_local! {
    /// TensorRT logs on the thread that called it.
    static LAST_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A receiver of every message, besides the log.
pub(super) trait Listener: Send + Sync {
    /// Receives a message from TensorRT.
    fn hear(&self, severity: Severity, message: &str);
}

static LISTENER: Mutex<Option<Arc<dyn Listener>>> = Mutex::new(None);

/// Passes TensorRT's messages to `listener`, on all threads, until the guard is dropped.
/// There is one listener at a time, because TensorRT takes one logger per process.
pub(super) fn listen(listener: Arc<dyn Listener>) -> Listening {
    set(Some(listener));
    Listening
}

/// While it lives, the listener receives messages.
pub(super) struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(listener: Option<Arc<dyn Listener>>) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = listener;
}

struct ToTracing;

impl LogHandler for ToTracing {
    fn log(&self, severity: Severity, message: &str) {
        let listener = LISTENER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(listener) = listener {
            listener.hear(severity, message);
        }
        match severity {
            Severity::InternalError | Severity::Error => {
                LAST_ERROR.with_borrow_mut(|last| *last = Some(message.to_owned()));
                tracing::error!(target: "tensorrt", "{message}");
            }
            Severity::Warning => tracing::warn!(target: "tensorrt", "{message}"),
            Severity::Info => tracing::debug!(target: "tensorrt", "{message}"),
            Severity::Verbose => tracing::trace!(target: "tensorrt", "{message}"),
        }
    }
}

/// The logger of every TensorRT object in this process. It must outlive them all, so it lives
/// as long as the process.
///
/// # Errors
///
/// When the C++ bridge cannot be created.
pub(super) fn logger() -> Result<&'static trtx::Logger, trtx::Error> {
    static LOGGER: OnceLock<trtx::Logger> = OnceLock::new();
    if let Some(logger) = LOGGER.get() {
        return Ok(logger);
    }
    let logger = trtx::Logger::new(ToTracing)?;
    Ok(LOGGER.get_or_init(|| logger))
}

/// Takes the last error that TensorRT logged on this thread.
pub(super) fn last_error() -> Option<String> {
    LAST_ERROR.with_borrow_mut(Option::take)
}
