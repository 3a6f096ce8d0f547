//! Device memory, and host memory that the device reads and writes directly (pinned). Both
//! are allocated once, at the start.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{CU_MEMHOSTALLOC_PORTABLE, CUdeviceptr};
use cudarc::driver::{CudaContext, result};

use crate::error::{DeviceError, Doing};

/// A block of device memory.
pub(super) struct DeviceBuffer {
    context: Arc<CudaContext>,
    address: CUdeviceptr,
    bytes: usize,
}

impl DeviceBuffer {
    /// Zeroed memory; `what` names its purpose in errors.
    pub(super) fn new(
        context: &Arc<CudaContext>,
        bytes: usize,
        what: &str,
    ) -> Result<Self, DeviceError> {
        let doing = || format!("allocating {} MiB on the GPU for {what}", bytes >> 20);
        let bytes = bytes.max(1);
        context.bind_to_thread().doing(doing)?;
        // SAFETY: the context is current; the address is freed once, in `drop`.
        let address = unsafe { result::malloc_sync(bytes) }.doing(doing)?;
        let buffer = Self {
            context: Arc::clone(context),
            address,
            bytes,
        };
        // SAFETY: the block was just allocated with this many bytes, and nothing else uses it.
        unsafe { result::memset_d8_sync(address, 0, bytes) }.doing(doing)?;
        // The call may return before the memory is set, and slots' streams do not wait for
        // the default stream.
        context.synchronize().doing(doing)?;
        Ok(buffer)
    }

    /// Its start on the device.
    pub(super) fn address(&self) -> CUdeviceptr {
        self.address
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` and freed nowhere else. A buffer's owner has waited for
        // the stream that used it. A lost device has nothing left to free.
        let freed = self
            .context
            .bind_to_thread()
            .and_then(|()| unsafe { result::free_sync(self.address) });
        if let Err(error) = freed {
            tracing::debug!(?error, "device memory was not freed");
        }
    }
}

/// Page-locked host memory, usable from all contexts of the process, so that several
/// GPUs can read the same pictures. Not write-combined: the CPU reads it, too.
pub(super) struct PinnedBuffer {
    context: Arc<CudaContext>,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: it is plain memory owned by this value; the context is bound to the thread that frees
// it. Access is through `&self` and `&mut self` as for a `Vec<u8>`.
unsafe impl Send for PinnedBuffer {}
// SAFETY: as above; through `&self` it can only be read, except by `Arena`, which explains why
// its parts do not overlap.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// Zeroed memory; `what` names its purpose in errors.
    pub(super) fn new(
        context: &Arc<CudaContext>,
        bytes: usize,
        what: &str,
    ) -> Result<Self, DeviceError> {
        let doing = || format!("pinning {} MiB of host memory for {what}", bytes >> 20);
        let bytes = bytes.max(1);
        context.bind_to_thread().doing(doing)?;
        // SAFETY: the context is current; the block is freed once, in `drop`.
        let start = unsafe { result::malloc_host(bytes, CU_MEMHOSTALLOC_PORTABLE) }.doing(doing)?;
        let start = start.cast::<u8>();
        // SAFETY: the driver gave at least `bytes` bytes. Written once, so that a slice of
        // them is initialized memory.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self {
            context: Arc::clone(context),
            start,
            bytes,
        })
    }

    /// Its start.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// All of it. The device must not be writing to it: its owner waits for the event after a
    /// download before it calls this.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` initialized bytes from `start` belong to this value.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// All of it, for writing. The device must not be reading it: its owner waits for the event
    /// after an upload before it calls this.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` is the only access from the host.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` and freed nowhere else, and no copy from or to it is
        // in flight: owners wait for their streams first.
        let freed = self
            .context
            .bind_to_thread()
            .and_then(|()| unsafe { result::free_host(self.start.cast()) });
        if let Err(error) = freed {
            tracing::debug!(?error, "pinned memory was not freed");
        }
    }
}
