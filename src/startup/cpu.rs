//! The start on the CPU: a checkpoint, run by rten on its weights.

use std::borrow::Cow;
use std::error::Error;

use super::files::Files;
use crate::checkpoint::Checkpoint;
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::engine::{Engine, EngineInfo};
use crate::image::Processor;
use crate::service::batcher::Worker;
use crate::settings::Settings;

/// A lower bound on the largest batch on the CPU. The engine distributes a batch to its threads
/// row by row, so more than a few rows per thread make it no faster, and a text that arrives
/// meanwhile waits for all of them.
const MAX_BATCH: usize = 4;

/// A checkpoint that can be loaded.
pub(super) struct Cpu {
    checkpoint: Checkpoint,
    options: CpuOptions,
}

impl Cpu {
    /// Finds the checkpoint, and checks that it has the tensors its configuration requires.
    pub(super) fn choose(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let hub = &settings.hub;
        let checkpoint = settings.source()?.open(&hub.revision, &hub.settings())?;
        CpuEngine::check(&checkpoint)?;
        let cores = siglip2_flags::cores();
        let options = CpuOptions {
            threads: settings.compute_threads.unwrap_or(cores),
            max_batch: settings.max_batch.unwrap_or(cores.max(MAX_BATCH)),
        };
        Ok(Self {
            checkpoint,
            options,
        })
    }

    pub(super) fn files(&self) -> Result<Files<'_>, Box<dyn Error>> {
        Files::of(&self.checkpoint)
    }

    pub(super) fn engine(&self) -> EngineInfo {
        CpuEngine::describe(&self.checkpoint.config, self.options)
    }

    pub(super) fn is_demo(&self) -> bool {
        self.checkpoint.is_demo
    }

    /// Describes it for the log.
    pub(super) fn describe(&self) -> String {
        format!("{} threads", self.options.threads)
    }

    /// Loads the weights. A rebuild uses the same mapped files.
    pub(super) fn load(mut self, processor: Processor) -> Result<Vec<Worker>, String> {
        // Kept for a rebuild, without the tokenizer's 34 MB of JSON, which have been read.
        self.checkpoint.files.tokenizer = Cow::default();
        let load = move || {
            CpuEngine::load(self.checkpoint.clone(), processor.clone(), self.options)
                .map(|engine| Box::new(engine) as Box<dyn Engine>)
                .map_err(|error| error.to_string())
        };
        Ok(vec![Worker {
            engine: load()?,
            rebuild: Some(Box::new(load)),
        }])
    }
}
