//! What `build-engine` makes with NVIDIA's compilers: engines and the kernel. Needs no GPU.

pub mod builder;
pub mod nvrtc;
