//! The kernel that turns a ragged batch of pictures into the vision tower's tensor: the
//! checkpoint's resize, byte for byte equal to the CPU's, and its normalization.
//!
//! ```text
//! sizes of pictures --Planner--> Plan, table     (host; any thread)
//! pictures, table --ResizeKernel--> [B, 3, S, S] (device; on the caller's stream)
//! ```
//!
//! * `resize.cu`: the device's part, and what bounds its speed.
//! * `planner`, `set`: the tables for the device. `element`: the output's type.
//!
//! # Shown without a GPU
//!
//! `tests/it/resize_kernel` compiles resize.cu for the host and compares its results with
//! `Processor::resize`, bit for bit. The tests beside this file compile it with NVRTC for
//! the supported architectures, and print the compiler's figures for registers and
//! shared memory: 40 to 64 registers, 18 KB, no spills.

#![allow(unsafe_code)] // The driver's API: launches, and modules by handle.

mod cubin;
mod element;
mod planner;
mod set;
#[cfg(test)]
mod tests;

use std::ffi::c_void;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{CUdeviceptr, CUfunction, CUmodule, CUstream};

pub use element::Element;
pub use planner::{Cost, Entry, MAX_SIDE, Plan, PlanError, Planner, SOURCE_ALIGN, THREADS};

/// The CUDA C++ source, for [`compile`](crate::build::nvrtc::Compiler::compile).
pub const SOURCE: &str = include_str!("kernel/resize.cu");

/// Why the kernel could not be loaded or launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The file is not a compiled kernel, or only a part of one.
    #[error("the resize kernel's file is damaged ({0}): rebuild the engine directory")]
    Damaged(&'static str),
    /// The driver rejected it.
    #[error(
        "the driver cannot load the resize kernel: {0}; build the engine directory for this GPU"
    )]
    Load(#[source] DriverError),
    /// It was built by another version.
    #[error(
        "the resize kernel has no entry point {0}: rebuild the engine directory with this version"
    )]
    Entry(String),
    /// The driver refused a launch, or an earlier one has failed on the device.
    #[error("the resize kernel could not be launched: {0}")]
    Launch(#[source] DriverError),
    /// The plan is for another kernel.
    #[error("a plan for {plan:?} was given to a resize kernel for {kernel:?}")]
    Element {
        /// The element type of the plan's table.
        plan: Element,
        /// The element type that the kernel writes.
        kernel: Element,
    },
}

/// A driver module; unloaded when dropped.
struct Module(CUmodule);

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it was loaded by `ResizeKernel::load` and is unloaded only here. An error
        // means that its context has gone, and the module with it.
        let _ = unsafe { result::module::unload(self.0) };
    }
}

/// The kernel, loaded into the context that was current at the time. When it is dropped, that
/// context must be current and no launch in flight; otherwise it stays loaded, or launches fail.
pub struct ResizeKernel {
    width: CUfunction,
    normalize: CUfunction,
    element: Element,
    /// The module that owns the functions.
    _module: Module,
}

// SAFETY: these are driver handles, which may be used from any thread; `launch` requires the
// right context to be current there.
unsafe impl Send for ResizeKernel {}
// SAFETY: as above; nothing is changed through `&self`.
unsafe impl Sync for ResizeKernel {}

impl ResizeKernel {
    /// Loads the code that NVRTC compiled from [`SOURCE`] for this GPU into the current context.
    ///
    /// # Errors
    ///
    /// [`KernelError`], if it is damaged, or for another GPU.
    ///
    /// # Panics
    ///
    /// Without a CUDA driver, like all of cudarc.
    pub fn load(cubin: &[u8], element: Element) -> Result<Self, KernelError> {
        cubin::check(cubin).map_err(KernelError::Damaged)?;
        // SAFETY: the driver finds the end of the image from its headers, and `check` has
        // verified that everything they name is inside the slice.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast::<c_void>()) };
        let module = Module(module.map_err(KernelError::Load)?);
        let function = |entry: Entry| {
            // SAFETY: the module was loaded above and is not dropped yet.
            unsafe { result::module::get_function(module.0, entry.name().to_owned()) }
                .map_err(|_| KernelError::Entry(entry.name().to_string_lossy().into_owned()))
        };
        Ok(Self {
            width: function(Entry::Width)?,
            normalize: function(Entry::Normalize(element))?,
            element,
            _module: module,
        })
    }

    /// Enqueues the resize and normalization of a batch on a stream: one launch, or two.
    ///
    /// # Errors
    ///
    /// [`KernelError::Element`], or [`KernelError::Launch`] with the driver's error, which
    /// may come from earlier work on this device.
    ///
    /// # Safety
    ///
    /// * The context that the kernel was loaded in is current, and `stream` belongs to it.
    /// * When the stream comes to it, `table` holds the first [`Plan::table_bytes`] bytes
    ///   that [`Planner::plan_into`] wrote together with this plan, and `source` the pictures
    ///   at [`Plan::offsets`].
    /// * `source` has [`Plan::source_bytes`] bytes, `scratch` [`Plan::scratch_bytes`] and
    ///   `out` [`Plan::out_elements`] elements, each begins at a multiple of 16 bytes, none
    ///   overlaps another, and nothing else writes to them, or reads `scratch` or `out`,
    ///   until the stream has passed it.
    pub unsafe fn launch(
        &self,
        stream: CUstream,
        plan: &Plan,
        source: CUdeviceptr,
        table: CUdeviceptr,
        scratch: CUdeviceptr,
        out: CUdeviceptr,
    ) -> Result<(), KernelError> {
        if plan.element != self.element {
            return Err(KernelError::Element {
                plan: plan.element,
                kernel: self.element,
            });
        }
        let mut pointers = [source, table, scratch, out];
        let mut parameters = pointers
            .each_mut()
            .map(|pointer| std::ptr::from_mut(pointer).cast::<c_void>());
        for (entry, [x, y, z]) in plan.launches() {
            let function = match entry {
                Entry::Width => self.width,
                Entry::Normalize(_) => self.normalize,
            };
            // SAFETY: the function takes four pointers, which the driver copies before it
            // returns; the caller promises that they meet the kernel's requirements.
            unsafe {
                result::launch_kernel(
                    function,
                    (x, y, z),
                    (THREADS, 1, 1),
                    0,
                    stream,
                    &mut parameters,
                )
            }
            .map_err(KernelError::Launch)?;
        }
        Ok(())
    }
}
