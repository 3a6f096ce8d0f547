//! SigLIP and SigLIP 2 models: where a checkpoint is found, what it says, its tokenizer, and
//! its towers as graphs.
//!
//! ```text
//! directory | hub | "demo" --checkpoint--> configuration, weights, tokenizer files
//!                          configuration, weights --graph--> two towers as ONNX
//!                          tokenizer files --text--> token ids
//! ```
//!
//! * [`files`]: the small files of a model, by name.
//! * [`checkpoint`]: transformers' own files, found, checked and mapped.
//! * [`graph`]: the only place that knows the architecture of the towers.
//! * [`text`]: text to token ids, as transformers' tokenizer classes do.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod files;
pub mod graph;
pub mod text;
mod tower;

pub use tower::Tower;

/// What asks hubs for files and writes graphs.
const PROGRAM: &str = "siglip2-embeddings";
