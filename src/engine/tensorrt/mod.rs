//! The GPU engine: TensorRT for the towers, CUDA for what surrounds them.

pub mod kernel;
pub mod nvrtc;
