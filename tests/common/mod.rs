//! A server on a port of its own, and a client for it.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

pub mod client;
pub mod document;
pub mod engine;
pub mod model;
pub mod picture;
pub mod program;
pub mod server;
#[cfg(all(feature = "tensorrt", target_os = "linux"))]
pub mod stand_in;

pub use client::{Answer, Client, Form, ask, chunked, get, post_json, request};
pub use picture::{png, png_that_claims};
pub use program::Program;
pub use server::{Server, quick};
