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
//! A [`Service`] is created once and given an engine; it reports its state and can be shut
//! down. All work for a client goes through a [`Request`], which has that client's deadline
//! and collects how long the stages took.
//!
//! A service has one model. [`Models`] has one or several services with names, which share
//! the memory of requests, the threads that decode and tokenize, the cores and the metrics; each
//! has its own engine, permits and caches, so no vector of one is ever given for another's.
//!
//! The tokenizer of the demo model, and an engine without a model:
//!
//! ```
//! # use std::sync::Arc;
//! # use siglip2_engine::{Batch, Completion, Engine, EngineInfo, Pixels, Prepare, Rows};
//! # use siglip2_image::{ImageError, RgbImage, Target};
//! use siglip2_model::text::{TextOptions, TextTokenizer, TokenizerFiles};
//! use siglip2_service::{BuildInfo, Context, Decode, Model, ModelInfo, Service, ServiceSettings};
//! # struct FirstIds;
//! # impl Prepare for FirstIds {
//! #     fn prepare(&self, image: RgbImage) -> Result<Pixels, ImageError> {
//! #         Ok(Pixels::Decoded(image))
//! #     }
//! # }
//! # impl Engine for FirstIds {
//! #     fn info(&self) -> EngineInfo {
//! #         EngineInfo {
//! #             name: "first ids",
//! #             device: "cpu",
//! #             precision: "fp32",
//! #             agreement: None,
//! #             dimensions: 2,
//! #             max_batch: 8,
//! #             slots: 1,
//! #             device_timeout: None,
//! #         }
//! #     }
//! #     fn preparer(&self) -> Arc<dyn Prepare> {
//! #         Arc::new(FirstIds)
//! #     }
//! #     fn submit(&mut self, batch: Batch, done: Completion) {
//! #         let Batch::Texts(texts) = batch else { return };
//! #         let ids = texts.iter().flat_map(|ids| &ids[..2]);
//! #         done.finish(Rows::new(2, ids.map(|&id| id as f32).collect()));
//! #     }
//! # }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo");
//! let read = |file: &str| std::fs::read(format!("{demo}/{file}"));
//! let files = TokenizerFiles {
//!     tokenizer: &read("tokenizer.json")?,
//!     tokenizer_config: Some(&read("tokenizer_config.json")?),
//!     special_tokens_map: None,
//!     config: Some(&read("config.json")?),
//! };
//! let options = TextOptions { max_tokens: 64, vocab_size: 4096, lower_case: None };
//! let model = Model {
//!     info: ModelInfo {
//!         name: "example".into(),
//!         source: "example".into(),
//!         revision: None,
//!         device: "cpu",
//!         engine: "first ids",
//!         precision: "fp32",
//!         decode: Decode::Cpu,
//!         agreement: None,
//!         dimensions: 2,
//!         images: Target::Square { side: 64 },
//!         max_batch: 8,
//!         text_tokens: 64,
//!         description: "Answers the first two ids of a text.".into(),
//!         build: BuildInfo::default(),
//!     },
//!     tokenizer: TextTokenizer::new(files, options)?,
//!     logit_scale: 1.0,
//!     logit_bias: 0.0,
//! };
//! let service = Service::new(model, ServiceSettings::default());
//! service.attach(Box::new(FirstIds))?;
//!
//! let request = service.request(Context::default());
//! let texts = vec!["a red circle".to_owned(), "a blue square".to_owned()];
//! let answer = request.embed_texts(texts, true).await?;
//! assert_eq!(answer.embeddings.len(), 2);
//! assert!(answer.usage.iter().all(|text| text.tokens < 64 && !text.is_cut));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod aside;
pub mod batcher;
mod build_info;
mod cache;
mod common;
mod demand;
mod error;
mod items;
mod lines;
mod memory;
pub mod metrics;
mod models;
mod not_ready;
mod pool;
mod pressure;
mod readiness;
mod request;
mod rows;
mod search;
mod service;
mod settings;
mod tokens;
mod unfit_index;
mod vectors;

pub use build_info::BuildInfo;
pub use error::ServiceError;
pub use items::{Item, ItemEmbeddings, PartialItems};
pub use memory::{Lease, MemoryBudget, MemoryUse, OutOfMemory};
pub use models::{Models, SameName};
pub use not_ready::NotReady;
pub use readiness::Readiness;
pub use request::{Context, Request};
pub use search::{Columns, Hit, IndexError, IndexInfo, VectorIndex, Wanted};
pub use service::{FaultyTokenizer, Fingerprints, Model, ModelInfo, Service, State};
pub use settings::{Decode, ServiceSettings};
pub use siglip2_model::fingerprint::Fingerprint;
pub use tokens::{LongTexts, PartialTexts, TextEmbeddings, TextError, TokenUsage};
pub use unfit_index::UnfitIndex;
pub use vectors::{
    Embeddings, PartialEmbeddings, PartialRanking, PartialSimilarity, Ranked, Score, Similarity,
};
