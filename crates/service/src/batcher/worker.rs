//! An engine as the batcher gets it, and its state.

use std::error::Error;

use siglip2_engine::Engine;

/// The state of the engine. Readiness depends on it, and so does the end of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It embeds.
    Running,
    /// It failed, and is being rebuilt.
    Rebuilding,
    /// It has failed for good, for this reason.
    Failed(String),
}

/// Rebuilds an engine after a failure.
pub type Rebuild = Box<dyn FnOnce() -> Result<Box<dyn Engine>, RebuildError> + Send>;

/// Why an engine was not rebuilt: whatever its builder says.
pub type RebuildError = Box<dyn Error + Send + Sync>;

/// An engine, and how to replace it if it fails.
pub struct Worker {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Rebuilds it. Without this, the first failure is final.
    pub rebuild: Option<Rebuild>,
}
