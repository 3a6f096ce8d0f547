//! The towers on NVIDIA GPUs, through TensorRT, and their engine directories on disk.
//!
//! ```text
//! build_engine --> build (ONNX to engines, CUDA C++ to a kernel) --> directory (on disk)
//!                                       directory --> run (an Engine on a GPU)
//! ```
//!
//! * [`directory`]: an engine directory: its manifest, its files, and the canary that every
//!   engine is checked against. Needs neither a feature nor a GPU.
//!
//! With the feature `tensorrt` (or `tensorrt-enterprise`):
//!
//! * `libraries`: finds TensorRT's and CUDA's libraries, which are opened at run time.
//! * `nvjpeg`: NVIDIA's decoder of JPEG files, opened at run time.
//! * `run`: the engine: memory, slots, contexts, and the threads that wait for batches.
//! * `build`: ONNX to an engine, CUDA C++ to machine code; needs no GPU.
//! * `kernel`: the kernel that resizes and normalizes. `error`, `logger`: errors and TensorRT's
//!   log.
//! * `build_engine`, `gpu_check`: the programs of these names.
//!
//! CUDA and TensorRT are called through C, so `unsafe` is allowed here; each block says why it is
//! sound.
//!
//! ```
//! // The sizes that batches are padded to.
//! assert_eq!(siglip2_tensorrt::directory::buckets(6), [1, 2, 4, 6]);
//! ```

#![cfg_attr(feature = "tensorrt", allow(unsafe_code))]

pub mod directory;

#[cfg(feature = "tensorrt")]
pub mod build;
#[cfg(feature = "tensorrt")]
pub mod build_engine;
#[cfg(feature = "tensorrt")]
mod error;
#[cfg(feature = "tensorrt")]
pub mod gpu_check;
#[cfg(feature = "tensorrt")]
pub mod kernel;
#[cfg(feature = "tensorrt")]
pub mod libraries;
#[cfg(feature = "tensorrt")]
mod logger;
#[cfg(feature = "tensorrt")]
pub mod nvjpeg;
#[cfg(feature = "tensorrt")]
pub mod run;

#[cfg(feature = "tensorrt")]
pub use error::DeviceError;
