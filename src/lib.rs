//! SigLIP2 embeddings of images and texts in one vector space, over HTTP.
//!
//! The rooms, in the order in which a request passes through them; arrows go one
//! way, from the socket to the device:
//!
//! ```text
//! http -> service -> batcher -> engine
//!            |                    ^
//!            +-> text, image      +-- graph <- checkpoint      (at start)
//! ```
//!
//! * [`settings`]: flags and their environment mirrors, validated.
//! * [`startup`]: from settings to a service.
//! * [`checkpoint`]: where the model is found (directory, hub, built-in demo), its
//!   configuration, and the tensors of its safetensors files.
//! * [`graph`]: the two SigLIP towers as ONNX graphs over those tensors.
//! * [`text`]: text to token ids.
//! * [`image`]: bytes of a file to RGB pixels, and those to the model's square.
//! * [`engine`]: what runs a tower; the only door to an inference runtime.
//! * [`batcher`]: which work goes to the engine together, and when.
//! * [`metrics`]: what is counted and timed; every room may note something in it.
//! * [`spans`]: what each request took, for an OpenTelemetry collector.
//! * [`service`]: embed, similarity, rank; knows nothing of HTTP.
//! * [`http`]: the endpoints; knows nothing of engines.

pub mod batcher;
pub mod checkpoint;
pub mod engine;
pub mod graph;
pub mod http;
pub mod image;
pub mod metrics;
pub mod service;
pub mod settings;
pub mod spans;
pub mod startup;
pub mod text;
