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
//! * [`fingerprint`]: a short identifier for the resulting vector space.
//! * [`graph`]: the only place that knows the architecture of the towers.
//! * [`text`]: text to token ids, as transformers' tokenizer classes do.
//!
//! ```
//! use siglip2_model::checkpoint::Checkpoint;
//!
//! // The small model that is built in.
//! let demo = Checkpoint::demo()?;
//! let tokenizer = demo.files.text_tokenizer(&demo.config, None)?;
//! let text = tokenizer.tokenize("three blue stars")?;
//! assert_eq!(text.ids.len(), demo.config.text.positions);
//! assert!(!text.is_cut);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod files;
pub mod fingerprint;
pub mod graph;
pub mod text;
mod tower;

pub use tower::Tower;

/// For requests to hubs and writing graphs.
const PROGRAM: &str = "siglip2-embeddings";
