//! Runs an engine directory on the GPU that it is for, as the service would.

use std::error::Error;

use siglip2_embeddings::engine::directory::{Cosines, EngineDirectory, measure};
use siglip2_embeddings::engine::tensorrt::{Gpu, TensorRtEngine, TensorRtOptions, pinned_pictures};
use siglip2_embeddings::image::Processor;

/// Pinned memory for the canary's one picture.
const PINNED_BYTES: usize = 1 << 20;

/// How near the engines' vectors come to those of the CPU engine in FP32.
///
/// # Errors
///
/// When an engine does not load or run, or is not near enough to be used.
pub fn verify(
    directory: &EngineDirectory,
    processor: &Processor,
    gpu: &Gpu,
) -> Result<Cosines, Box<dyn Error>> {
    tracing::info!(%gpu, "running the canary");
    let pinned = pinned_pictures(gpu, PINNED_BYTES)?;
    let options = TensorRtOptions::default();
    let mut engine = TensorRtEngine::load(gpu, directory, processor, pinned, &options)?;
    let cosines = measure(&mut engine, &directory.canary()?, &gpu.name)?;
    match cosines.fault() {
        Some(fault) => Err(fault.into()),
        None => Ok(cosines),
    }
}
