//! Entry points for the fuzz targets in `fuzz/`, only in builds with `--cfg fuzzing`.

use super::{CheckpointError, Tensor, half, weights};

/// The tensors of floats in a safetensors file, with their names.
///
/// # Errors
///
/// If it is damaged.
pub fn tensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, CheckpointError> {
    weights::index("model.safetensors", bytes, 0)
        .map(|contents| contents.floats.into_iter().collect())
}

/// The numbers of a tensor of that file.
pub fn floats(bytes: &[u8], tensor: &Tensor) -> Vec<f32> {
    half::to_f32(
        tensor.dtype,
        &bytes[tensor.offset..tensor.offset + tensor.length],
    )
}
