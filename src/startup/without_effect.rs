//! Warns at the start about settings and devices that will not be used, so that an idle GPU is
//! not first noticed on a bill.

#[cfg(not(feature = "tensorrt"))]
use std::path::Path;

use crate::image::Processor;
use crate::settings::Settings;

/// Files that an NVIDIA driver creates on every Linux system.
#[cfg(not(feature = "tensorrt"))]
const DRIVER: [&str; 2] = ["/proc/driver/nvidia/version", "/dev/nvidiactl"];

/// Whether there is an NVIDIA driver, without opening it.
#[cfg(not(feature = "tensorrt"))]
fn driver_is_there() -> bool {
    DRIVER.iter().any(|path| Path::new(path).exists())
}

/// Warns about a GPU that this binary cannot use.
#[cfg(not(feature = "tensorrt"))]
pub(super) fn warn_of_unused_gpu(settings: &Settings) {
    if driver_is_there() && !settings.force_cpu && settings.device == crate::settings::Device::Auto
    {
        tracing::warn!(
            "there is an NVIDIA driver, but this binary computes on the CPU because it was built \
             without TensorRT: build it with --features tensorrt, or set --device cpu"
        );
    }
}

/// Warns about settings that were given but have no effect on the CPU.
pub(super) fn warn_of_gpu_settings(settings: &Settings) {
    let given = settings.gpu.given();
    if !given.is_empty() {
        tracing::warn!(
            settings = given.join(", "),
            "GPU settings have no effect, because the service computes on the CPU"
        );
    }
}

/// Warns about a number of patches for a model whose pictures all become the same square.
pub(super) fn warn_of_patches(settings: &Settings, processor: &Processor) {
    if settings.max_num_patches.is_some() && processor.target().patches().is_none() {
        tracing::warn!(
            "--max-num-patches (MAX_NUM_PATCHES) has no effect, because the model is of fixed \
             resolution"
        );
    }
}
