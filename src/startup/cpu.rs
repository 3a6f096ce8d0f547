//! The start on the CPU: a checkpoint, and rten over its weights.

use std::borrow::Cow;
use std::error::Error;

use super::files::Files;
use crate::checkpoint::Checkpoint;
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::engine::{Engine, EngineInfo};
use crate::image::Processor;
use crate::service::batcher::Worker;
use crate::settings::Settings;

/// The largest batch on the CPU, at least: the engine deals a batch out to its
/// threads row by row, so more than a few rows for each make it no faster, and a text
/// that arrives meanwhile waits for all of them.
const MAX_BATCH: usize = 4;

/// A checkpoint that can be loaded.
pub(super) struct Cpu {
    checkpoint: Checkpoint,
    options: CpuOptions,
}

impl Cpu {
    /// Finds the checkpoint, and checks that it holds what its configuration calls for.
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

    /// What the log says of it.
    pub(super) fn describe(&self) -> String {
        format!("{} threads", self.options.threads)
    }

    /// Loads the weights. The one worker is built anew from the same mapped files.
    pub(super) fn load(mut self, processor: Processor) -> Result<Vec<Worker>, String> {
        // Kept for a rebuild; the tokenizer, 34 MB of JSON, has been read.
        self.checkpoint.tokenizer = Cow::default();
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
