//! What was asked for and will not be, said at the start: nobody should find out from a bill
//! that the GPU did nothing.

#[cfg(not(feature = "tensorrt"))]
use std::path::Path;

use crate::settings::Settings;

/// What an NVIDIA driver puts into the file system, on every Linux that has one.
#[cfg(not(feature = "tensorrt"))]
const DRIVER: [&str; 2] = ["/proc/driver/nvidia/version", "/dev/nvidiactl"];

/// Whether there is an NVIDIA driver, without opening it.
#[cfg(not(feature = "tensorrt"))]
fn driver_is_there() -> bool {
    DRIVER.iter().any(|path| Path::new(path).exists())
}

/// Warns of a GPU that this binary cannot use.
#[cfg(not(feature = "tensorrt"))]
pub(super) fn warn_of_unused_gpu(settings: &Settings) {
    if driver_is_there() && !settings.force_cpu && settings.device == crate::settings::Device::Auto
    {
        tracing::warn!(
            "there is an NVIDIA driver, and this binary computes on the CPU because it is built \
             without TensorRT: build it with --features tensorrt, or say --device cpu"
        );
    }
}

/// Names the settings that were given and have no effect on the CPU.
pub(super) fn warn_of_gpu_settings(settings: &Settings) {
    let given = settings.gpu.given();
    if !given.is_empty() {
        tracing::warn!(
            settings = given.join(", "),
            "settings of GPUs have no effect, because the CPU computes"
        );
    }
}
