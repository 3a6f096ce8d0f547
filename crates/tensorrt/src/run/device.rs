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

/// All GPUs that the driver shows (`CUDA_VISIBLE_DEVICES` hides some); none without a driver.
///
/// # Errors
///
/// When there is a driver and it fails.
pub fn gpus() -> Result<Vec<Gpu>, DeviceError> {
    if !driver_is_present() {
        return Ok(Vec::new());
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
