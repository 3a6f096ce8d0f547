//! Events: marks in a stream that other streams and the host wait for.
//!
//! They do not keep times. cudarc's events either do, which costs the device a timestamp for each
//! record, or make the host spin while it waits.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{self, CUevent, CUevent_flags, CUevent_wait_flags};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

/// A host thread that waits for the event sleeps, and no time is kept.
const FLAGS: u32 =
    CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32 | CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;

/// See the module.
pub(super) struct Event {
    event: CUevent,
    context: Arc<CudaContext>,
}

// SAFETY: an event may be used from any thread, by several at a time; every call below makes
// its context current first.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: the context is current, and the driver writes one handle.
        unsafe { sys::cuEventCreate(&raw mut event, FLAGS) }.result()?;
        Ok(Self {
            event,
            context: Arc::clone(context),
        })
    }

    /// Marks the point that the stream has been filled up to.
    pub(super) fn record(&self, stream: &CudaStream) -> Result<(), DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: both handles are alive, and of one context.
        unsafe { result::event::record(self.event, stream.cu_stream()) }
    }

    /// Lets the stream go on only when the event has been passed.
    pub(super) fn holds_up(&self, stream: &CudaStream) -> Result<(), DriverError> {
        self.context.bind_to_thread()?;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: as above.
        unsafe { result::stream::wait_event(stream.cu_stream(), self.event, flags) }
    }

    /// Waits until the event has been passed.
    pub(super) fn synchronize(&self) -> Result<(), DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: the handle is alive.
        unsafe { result::event::synchronize(self.event) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `new` and destroyed nowhere else; the driver keeps what is still in
        // flight.
        let destroyed = self
            .context
            .bind_to_thread()
            .and_then(|()| unsafe { result::event::destroy(self.event) });
        if let Err(error) = destroyed {
            tracing::debug!(?error, "an event was not destroyed");
        }
    }
}
