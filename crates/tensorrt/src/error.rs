//! Errors of the CUDA driver and TensorRT as one sentence, and whether the device is lost.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use super::kernel::{KernelError, PlanError};
use siglip2_engine::EngineError;

/// Why an operation on the device failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The CUDA driver refused, or reported an earlier error.
    #[error("{doing}: the CUDA driver says {code:?}")]
    Driver {
        /// What was being done.
        doing: String,
        /// The driver's code.
        code: CUresult,
    },
    /// The driver is older than what this program was built for.
    #[error("the NVIDIA driver{} supports CUDA {cuda}, and CUDA {wanted} or later is needed: \
             install driver 580 or later",
            release.as_ref().map_or_else(String::new, |release| format!(" {release}")))]
    OldDriver {
        /// The CUDA that it supports.
        cuda: String,
        /// Its own version, where it can be read.
        release: Option<String>,
        /// The oldest CUDA that will do.
        wanted: String,
    },
    /// The request cannot be fulfilled on any device.
    #[error("{doing}: {why}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Why not.
        why: String,
    },
    /// TensorRT failed.
    #[error("{doing}: TensorRT says: {said}")]
    TensorRt {
        /// What was being done.
        doing: String,
        /// What it logged, or the binding's message.
        said: String,
    },
}

impl DeviceError {
    /// Whether every later call in this process will fail as well. CUDA calls such errors
    /// sticky: the context is corrupt, and only another process can use the device again
    /// (CUDA Driver API, `CUresult`: "the process must be terminated and relaunched").
    pub fn is_sticky(&self) -> bool {
        use CUresult as C;
        matches!(
            self,
            Self::Driver {
                code: C::CUDA_ERROR_DEINITIALIZED
                    | C::CUDA_ERROR_DEVICE_UNAVAILABLE
                    | C::CUDA_ERROR_NO_DEVICE
                    | C::CUDA_ERROR_ECC_UNCORRECTABLE
                    | C::CUDA_ERROR_NVLINK_UNCORRECTABLE
                    | C::CUDA_ERROR_CONTAINED
                    | C::CUDA_ERROR_ILLEGAL_ADDRESS
                    | C::CUDA_ERROR_LAUNCH_TIMEOUT
                    | C::CUDA_ERROR_CONTEXT_IS_DESTROYED
                    | C::CUDA_ERROR_ASSERT
                    | C::CUDA_ERROR_HARDWARE_STACK_ERROR
                    | C::CUDA_ERROR_ILLEGAL_INSTRUCTION
                    | C::CUDA_ERROR_MISALIGNED_ADDRESS
                    | C::CUDA_ERROR_INVALID_ADDRESS_SPACE
                    | C::CUDA_ERROR_INVALID_PC
                    | C::CUDA_ERROR_LAUNCH_FAILED
                    | C::CUDA_ERROR_TENSOR_MEMORY_LEAK
                    | C::CUDA_ERROR_EXTERNAL_DEVICE
                    | C::CUDA_ERROR_UNKNOWN,
                ..
            }
        )
    }
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        match error.is_sticky() {
            true => EngineError::Lost(error.to_string()),
            false => EngineError::Failed(error.to_string()),
        }
    }
}

/// An error in the request itself.
pub(super) fn refused(doing: impl Into<String>, why: impl Into<String>) -> DeviceError {
    DeviceError::Refused {
        doing: doing.into(),
        why: why.into(),
    }
}

/// Adds to an error what was being done.
pub(super) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError>;
}

impl<T> Doing<T> for Result<T, DriverError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError> {
        self.map_err(|DriverError(code)| DeviceError::Driver {
            doing: what(),
            code,
        })
    }
}

impl<T> Doing<T> for Result<T, KernelError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError> {
        self.map_err(|error| match error {
            KernelError::Launch(DriverError(code)) | KernelError::Load(DriverError(code)) => {
                DeviceError::Driver {
                    doing: what(),
                    code,
                }
            }
            other => refused(what(), other.to_string()),
        })
    }
}

impl<T> Doing<T> for Result<T, PlanError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError> {
        self.map_err(|error| refused(what(), error.to_string()))
    }
}

impl<T> Doing<T> for Result<T, trtx::Error> {
    /// TensorRT's functions only report that they failed; the reason is in its log.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError> {
        self.map_err(|error| DeviceError::TensorRt {
            doing: what(),
            said: super::logger::last_error().unwrap_or_else(|| error.to_string()),
        })
    }
}
