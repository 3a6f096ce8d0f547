//! What the whole service does, as one program that reads as its specification; what one
//! crate does alone is tested in that crate.
//!
//! ```text
//! cargo test --test it                      everything here
//! cargo test --test it http_forms::         one subject
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

mod batch_work;
mod batcher;
#[cfg(all(feature = "tensorrt", not(feature = "tensorrt-enterprise")))]
mod build_engine;
mod bulk;
mod bulk_memory;
mod canaries;
mod conformance;
#[cfg(unix)]
mod container;
mod demo;
mod drain;
mod fingerprint;
mod golden;
#[cfg(feature = "tensorrt")]
mod gpu;
mod hostile;
mod http2;
mod http2_abuse;
mod http_bytes;
mod http_classify;
mod http_coded;
mod http_connections;
mod http_crowded;
mod http_dialects;
mod http_document;
mod http_endpoints;
mod http_errors;
mod http_failures;
mod http_forms;
mod http_kserve;
mod http_limits;
mod http_openai;
mod http_page;
mod http_strict;
mod http_tls;
mod http_watch;
mod image_cache;
mod load_test;
mod long_texts;
mod memory;
mod naflex;
mod orientation;
mod picture_urls;
mod program;
mod readiness;
mod reduced;
#[cfg(feature = "tensorrt")]
mod resize_kernel;
mod search;
mod several_models;
mod spans;
#[cfg(all(feature = "tensorrt", target_os = "linux"))]
mod stand_in_self;
mod text_cache;
#[cfg(target_os = "linux")]
mod threads;
