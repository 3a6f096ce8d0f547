//! An engine as the batcher is given it, and how it fares.

use siglip2_engine::Engine;

/// How the engine is. Readiness and the end of the process depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It embeds.
    Running,
    /// It failed, and another is being built.
    Rebuilding,
    /// It is dead, for this reason.
    Failed(String),
}

/// Builds the engine anew after a failure; an error is one sentence.
pub type Rebuild = Box<dyn FnOnce() -> Result<Box<dyn Engine>, String> + Send>;

/// An engine, and what replaces it if it fails.
pub struct Worker {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// What builds another in its place; without it the first failure is final.
    pub rebuild: Option<Rebuild>,
}
