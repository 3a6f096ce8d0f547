//! Weights as FP32, for runtimes that compute in FP32.

use half::{bf16, f16};

use super::weights::{DType, Tensor};

/// The floats of `bytes`, which holds little-endian numbers of type `dtype`.
pub(super) fn to_f32(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        DType::F32 => numbers(bytes, f32::from_le_bytes),
        DType::F16 => numbers(bytes, |raw| f16::from_le_bytes(raw).to_f32()),
        DType::BF16 => numbers(bytes, |raw| bf16::from_le_bytes(raw).to_f32()),
    }
}

/// An FP64 tensor of a file, rounded to FP32.
pub(super) fn narrowed(file: &[u8], tensor: &Tensor) -> Vec<f32> {
    let bytes = &file[tensor.offset..tensor.offset + tensor.length];
    numbers(bytes, |raw| f64::from_le_bytes(raw) as f32)
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|&raw| number(raw)).collect()
}
