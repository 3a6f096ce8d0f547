//! What the service does, without HTTP: embed texts and images, compare them, rank.
//!
//! ```text
//! Service --request--> Request
//!   texts  --tokenize--------------------+
//!                                        +--> batcher --> rows --> normalize, compare, rank
//!   images --decode, prepare-------------+
//!            (on a thread for each core)
//! ```
//!
//! A [`Service`] is made once, given an engine, asked how it is, and told to end. What it
//! does for a client goes through a [`Request`], which carries that client's deadline and
//! collects what the stages took.

#![forbid(unsafe_code)]

pub mod batcher;
mod build_info;
mod cache;
mod decoders;
mod demand;
mod error;
pub mod metrics;
mod readiness;
mod request;
mod rows;
mod service;
mod settings;
mod vectors;

pub use build_info::BuildInfo;
pub use error::ServiceError;
pub use readiness::Readiness;
pub use request::{Context, Request};
pub use service::{Model, ModelInfo, Service, State};
pub use settings::ServiceSettings;
pub use vectors::{Embeddings, Ranked, Similarity};
