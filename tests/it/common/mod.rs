//! A server on a port of its own, and a client for it.
// Some is for builds with a feature alone.
#![allow(dead_code, unused_imports)]

pub mod client;
pub mod dialects;
pub mod document;
pub mod engine;
pub mod http2;
pub mod index;
pub mod jpegs;
pub mod model;
pub mod noise;
pub mod picture;
pub mod program;
pub mod server;
#[cfg(all(feature = "tensorrt", target_os = "linux"))]
pub mod stand_in;
pub mod tls;

pub use client::{Answer, Client, Form, ask, chunked, get, post_json, request};
pub use picture::{encoded, png, png_that_claims, uri};
pub use program::Program;
pub use server::{Server, quick};

/// Says what a test could not try here. Unlike `println!`, it is seen though the test passes.
pub fn tell(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "note: {what}");
}
