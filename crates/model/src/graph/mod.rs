//! The two SigLIP towers as ONNX graphs: the only place that knows the architecture.
//!
//! ```text
//! Config, Weights, Precision or Scales --vision, text--> Graph --encode--> bytes of a model.onnx
//! ```
//!
//! Weights are not copied into a graph. Each is ONNX external data: a byte range of
//! the safetensors file that holds it, so a graph is some tens of kilobytes. The
//! file behind shard `i` is called [`external_name`]`(i)`.
//!
//! The towers are those of transformers' `SiglipModel`, to the tensor names:
//!
//! * vision: patches -> + positions -> encoder -> layer norm -> attention pooling by
//!   a learned probe -> + feed-forward;
//! * text: token embeddings + positions -> encoder -> layer norm -> last token ->
//!   linear head.
//!
//! Inputs are `pixel_values` (`[batch, 3, S, S]`, normalized) and `input_ids`
//! (`[batch, T]`), of the types that [`Precision`] says; the output of both is
//! `embedding` (`[batch, D]` FP32), the tower's pooled output, not normalized.
//!
//! A model of variable resolution (NaFlex) has `patches` (`[batch, P, W]`, bytes) in place of
//! `pixel_values`: [`naflex()`] and [`patches`].

mod builder;
mod encoder;
mod export;
mod naflex;
mod onnx;
pub mod patches;
mod precision;
mod quantize;
mod scales;
mod text;
#[cfg(test)]
mod types;
mod vision;

pub use export::{Export, ExportError, ExportedTower};
pub use naflex::naflex;
pub use onnx::Graph;
pub use precision::Precision;
pub use scales::{NotFinite, Products, Scales};
pub use text::text;
pub use vision::vision;

/// The name of the vision tower's input.
pub const PIXEL_VALUES: &str = "pixel_values";
/// The name of the vision tower's input where pictures are of variable resolution.
pub const PATCHES: &str = "patches";
/// The name of the text tower's input.
pub const INPUT_IDS: &str = "input_ids";
/// The name of either tower's output.
pub const EMBEDDING: &str = "embedding";

/// The name in a graph of the file of shard `shard`. ONNX Runtime accepts any name, rten only
/// those whose extension starts with `data` or `onnx_data`.
pub fn external_name(shard: usize) -> String {
    format!("weights-{shard}.data")
}
