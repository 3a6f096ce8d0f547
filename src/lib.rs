//! SigLIP2 embeddings of images and texts in one vector space, over HTTP.
//!
//! This crate is the program: [`settings`] from flags and environment, [`startup`] from
//! settings to a service. Everything else is in separate crates, so that the compiler
//! enforces the direction of every import; they are re-exported here for programs that
//! embed the service, and for the tests.
//!
//! ```text
//! http -> service -> engine -> model -> mapping
//!            |         |
//!            +---------+-----> image
//! tensorrt -> engine, model, image       (in builds for GPUs)
//! ```
//!
//! A program that embeds without a server:
//!
//! ```
//! use clap::Parser;
//! use siglip2_embeddings::service::Context;
//! use siglip2_embeddings::{settings::Settings, startup::prepare};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::try_parse_from(["program", "--model", "demo", "--device", "cpu"])?;
//! let prepared = prepare(&settings)?;
//! let service = prepared.service().clone();
//! prepared.load()?;
//!
//! let texts = vec!["a red circle".to_owned(), "a blue square".to_owned()];
//! let request = service.request(Context::default());
//! let runtime = tokio::runtime::Runtime::new()?;
//! let embedded = runtime.block_on(request.embed_texts(texts, true))?;
//! assert_eq!(embedded.embeddings.rows().len(), 2);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub use siglip2_bulk as bulk;
pub use siglip2_engine as engine;
pub use siglip2_http as http;
pub use siglip2_image as image;
pub use siglip2_model::{checkpoint, fingerprint, graph, text};
pub use siglip2_service as service;
#[cfg(feature = "tensorrt")]
pub use siglip2_tensorrt as tensorrt;

pub mod build_info;
pub mod conformance;
pub mod download;
pub mod embed;
pub mod exit;
pub mod generate;
pub mod index;
pub mod log;
pub mod priority;
pub mod search;
pub mod settings;
pub mod signals;
pub mod startup;
mod subcommand;
