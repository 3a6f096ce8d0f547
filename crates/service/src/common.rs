//! What the services of several models in one process have in common: settings, the memory of
//! requests, the threads that decode and tokenize, the turns on the cores, and the drain.
//! Engines, permits, caches and readiness belong to each model.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::batcher::Turns;
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::pool::WorkPool;
use crate::settings::ServiceSettings;
use siglip2_model::Tower;

/// See the module.
pub(crate) struct Common {
    settings: ServiceSettings,
    metrics: Arc<Metrics>,
    memory: MemoryBudget,
    /// Where engines may have to share cores.
    turns: Option<Turns>,
    /// A search uses the whole memory bandwidth, so there is one at a time.
    search_turn: Arc<Semaphore>,
    draining: AtomicBool,
    /// Started with the first engine.
    pools: Mutex<Option<(WorkPool, WorkPool)>>,
}

impl Common {
    /// What so many models share; `metrics` is the view of the process.
    pub(crate) fn new(mut settings: ServiceSettings, metrics: Arc<Metrics>, models: usize) -> Self {
        // `/info` shows the number in use.
        settings.decode_threads = Some(settings.decode_threads());
        Self {
            memory: MemoryBudget::new(settings.max_request_memory, Arc::clone(&metrics)),
            settings,
            metrics,
            turns: (models > 1).then(Turns::default),
            search_turn: Arc::new(Semaphore::new(1)),
            draining: AtomicBool::new(false),
            pools: Mutex::new(None),
        }
    }

    pub(crate) fn settings(&self) -> &ServiceSettings {
        &self.settings
    }

    /// The counters of the process.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    pub(crate) fn turns(&self) -> Option<Turns> {
        self.turns.clone()
    }

    pub(crate) fn search_turn(&self) -> Arc<Semaphore> {
        Arc::clone(&self.search_turn)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The threads that decode and those that tokenize, counting for a model.
    ///
    /// # Errors
    ///
    /// When the system cannot start one.
    pub(crate) fn pools(&self, metrics: &Arc<Metrics>) -> io::Result<(WorkPool, WorkPool)> {
        let start = |name: &str, tower, threads| {
            let (memory, metrics) = (self.memory.clone(), Arc::clone(&self.metrics));
            WorkPool::start(name, tower, threads, memory, metrics)
        };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let (decoders, tokenizers) = match &mut *pools {
            Some(started) => started,
            none => none.insert((
                start("decode", Tower::Image, self.settings.decode_threads())?,
                start("tokenize", Tower::Text, self.settings.tokenize_threads)?,
            )),
        };
        Ok((
            decoders.counting_for(Arc::clone(metrics)),
            tokenizers.counting_for(Arc::clone(metrics)),
        ))
    }
}
