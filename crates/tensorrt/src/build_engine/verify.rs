//! Runs an engine directory on the GPU it was built for, as the service would.

use std::error::Error;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::directory::{Cosines, EngineDirectory, measure};
use crate::libraries::{Libraries, Search};
use crate::run::{Gpu, TensorRtEngine, TensorRtOptions, gpus, or_end, pinned_pictures};
use siglip2_image::{ImageLimits, Processor};

/// Pinned memory for the canary's one picture.
const PINNED_BYTES: usize = 1 << 20;

/// The cosines of the engines' vectors to those of the CPU engine in FP32.
///
/// # Errors
///
/// When an engine cannot be loaded or run, or its vectors are not close enough.
pub fn verify(
    directory: &EngineDirectory,
    processor: &Processor,
    gpu: &Gpu,
    device_timeout: Duration,
) -> Result<Cosines, Box<dyn Error>> {
    tracing::info!(%gpu, "running the canary");
    // The canary's picture is small, and the GPU may be too, or a service may have most of it.
    let options = TensorRtOptions {
        source_bytes: 4 << 20,
        limits: ImageLimits {
            max_pixels: 1 << 20,
            ..ImageLimits::default()
        },
        ..TensorRtOptions::default()
    };
    let manifest = directory.manifest();
    let canary = directory.canary()?;
    let taking = "taking pinned memory";
    let cosines = or_end(
        device_timeout,
        taking,
        |steps| -> Result<_, Box<dyn Error>> {
            let pinned = pinned_pictures(gpu, PINNED_BYTES, processor, None)?;
            let mut engine =
                TensorRtEngine::load(gpu, directory, processor, pinned, &options, steps)?;
            steps.begin("running the canary");
            let cosines = measure(&mut engine, &canary, manifest, &gpu.name)?;
            steps.begin("giving the GPU back");
            drop(engine);
            Ok(cosines)
        },
    )?;
    if let Some(doubt) = cosines.doubt(manifest.precision) {
        tracing::warn!("{doubt}");
    }
    match cosines.fault(manifest.precision) {
        Some(fault) => Err(fault.into()),
        None => Ok(cosines),
    }
}

/// Runs a directory that may have been built without its GPU, and records in its manifest how
/// close its vectors came.
///
/// # Errors
///
/// When its GPU or its TensorRT is not here, a file is damaged, or its vectors are wrong.
pub fn verify_here(
    directory: &Path,
    tensorrt_lib: Option<PathBuf>,
    device_timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    let mut directory = EngineDirectory::open(directory)?;
    directory.verify_hashes()?;
    let manifest = directory.manifest();
    let here = or_end(device_timeout, "looking for GPUs", |_| gpus())?;
    let gpu = here
        .iter()
        .find(|gpu| gpu.architecture() == manifest.gpu.name)
        .ok_or_else(|| {
            let names: Vec<String> = here.iter().map(Gpu::to_string).collect();
            format!(
                "{} is for {}, but this machine has {}; verify it on a machine with that GPU",
                directory.path().display(),
                manifest.gpu.name,
                match names.is_empty() {
                    true => "no GPU, or no driver for it".into(),
                    false => names.join(", "),
                }
            )
        })?;
    let search = Search::new(tensorrt_lib, None);
    let opening = "opening TensorRT's libraries";
    let libraries = or_end(device_timeout, opening, |_| Libraries::open(&search))?;
    directory.runs_in(&libraries.version, &libraries.runtime)?;
    let cosines = verify(&directory, &directory.processor()?, gpu, device_timeout)?;
    // Standard output may be closed: the exit code is the result.
    let _ = writeln!(stdout(), "cosine to FP32: {cosines}");
    if let Err(error) = directory.note(cosines) {
        tracing::warn!("cannot record the result in the manifest: {error}");
    }
    Ok(())
}
