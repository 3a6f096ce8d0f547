//! Builds engines and the kernel with NVIDIA's compilers, for `build-engine`. Needs no GPU.

pub mod builder;
pub mod nvrtc;
