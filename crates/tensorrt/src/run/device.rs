//! The GPUs of this machine.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result};

use crate::error::{DeviceError, Doing};

/// A GPU, as the CUDA driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, from 0, in the driver's order.
    pub ordinal: usize,
    /// Its product name.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: (i32, i32),
    /// Its memory, in bytes.
    pub memory: usize,
}

impl Gpu {
    /// The name of its architecture, such as `sm_120`.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.capability;
        format!("sm_{major}{minor}")
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GPU {} ({}, {}, {} MiB)",
            self.ordinal,
            self.name,
            self.architecture(),
            self.memory >> 20
        )
    }
}

/// Whether there is a CUDA driver. Without one, nothing else in cudarc may be called: it
/// panics.
pub fn driver_is_present() -> bool {
    // SAFETY: it opens the driver's library and closes it again. The library's own
    // initializers run, as they do whenever it is opened.
    #[allow(unsafe_code)]
    unsafe {
        cudarc::driver::sys::is_culib_present()
    }
}

/// The oldest CUDA whose driver will do, as the driver numbers it: 13.0. The resize kernel and
/// TensorRT are compiled for it.
const OLDEST_DRIVER: i32 = 13_000;

/// The CUDA of the installed driver, such as 13.0; the driver must be present.
///
/// # Errors
///
/// When the driver cannot say.
pub fn driver_version() -> Result<String, DeviceError> {
    Ok(cuda_version(driver_number()?))
}

/// As the driver numbers it: 13000 for 13.0.
fn driver_number() -> Result<i32, DeviceError> {
    let mut version = 0;
    // SAFETY: cuDriverGetVersion writes one int, and needs no cuInit.
    unsafe { cudarc::driver::sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .doing(|| "asking for the driver's version".to_owned())?;
    Ok(version)
}

fn cuda_version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// The driver's own version, such as 580.159.04, as its kernel module says; `None` where that
/// cannot be read.
pub fn driver_release() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    release(&text).map(str::to_owned)
}

/// The first word of numbers and dots in the first line; the second one is about the compiler.
fn release(text: &str) -> Option<&str> {
    text.lines()
        .next()?
        .split_whitespace()
        .find(|word| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// All GPUs that the driver shows (`CUDA_VISIBLE_DEVICES` hides some); none without a driver.
///
/// # Errors
///
/// When there is a driver, and it is too old or fails.
pub fn gpus() -> Result<Vec<Gpu>, DeviceError> {
    if !driver_is_present() {
        return Ok(Vec::new());
    }
    // First of all: a driver that is too old lacks functions.
    let number = driver_number()?;
    if number < OLDEST_DRIVER {
        return Err(DeviceError::OldDriver {
            cuda: cuda_version(number),
            release: driver_release(),
            wanted: cuda_version(OLDEST_DRIVER),
        });
    }
    let doing = || "looking for GPUs".to_owned();
    match result::init() {
        Ok(()) => {}
        Err(DriverError(cudarc::driver::sys::CUresult::CUDA_ERROR_NO_DEVICE)) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).doing(doing),
    }
    let count = result::device::get_count().doing(doing)?;
    (0..usize::try_from(count).unwrap_or(0))
        .map(|ordinal| describe(ordinal).doing(|| format!("looking at GPU {ordinal}")))
        .collect()
}

fn describe(ordinal: usize) -> Result<Gpu, DriverError> {
    use cudarc::driver::sys::CUdevice_attribute as Attribute;
    let number = i32::try_from(ordinal).unwrap_or(i32::MAX);
    let device = result::device::get(number)?;
    // SAFETY: `device` is a handle that the driver just gave.
    #[allow(unsafe_code)]
    let (major, minor, memory) = unsafe {
        (
            result::device::get_attribute(
                device,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            )?,
            result::device::get_attribute(
                device,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )?,
            result::device::total_mem(device)?,
        )
    };
    Ok(Gpu {
        ordinal,
        name: result::device::get_name(device)?,
        capability: (major, minor),
        memory,
    })
}

/// Ends the process without running the destructors of CUDA and TensorRT, which may wait for a
/// device that never answers or run while other threads are still inside CUDA calls. The system
/// reclaims the process's resources.
pub fn end_process(code: u8) -> ! {
    #[allow(unsafe_code)]
    unsafe extern "C" {
        /// POSIX: ends the process at once, with the lower 8 bits of `status`.
        safe fn _exit(status: std::ffi::c_int) -> !;
    }
    _exit(code.into())
}

/// The context of a GPU: the primary one, which TensorRT uses as well.
pub(super) fn context(gpu: &Gpu) -> Result<Arc<CudaContext>, DeviceError> {
    let context = CudaContext::new(gpu.ordinal).doing(|| format!("opening {gpu}"))?;
    // SAFETY: cudarc's tracking orders its own slices between streams; none of its slices is
    // used here, and slots order their streams themselves.
    #[allow(unsafe_code)]
    unsafe {
        context.disable_event_tracking();
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_driver_is_read_from_both_of_its_modules() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Sep  2\n\
                      GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)\n";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release \
                    Build\nGCC version:\n";
        assert_eq!(release(closed), Some("580.159.04"));
        assert_eq!(release(open), Some("580.95.05"));
        assert_eq!(release(""), None);
        assert_eq!(cuda_version(12_080), "12.8");
    }
}
