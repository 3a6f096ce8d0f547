//! A server on a port of its own, and a client for it.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

pub mod client;
pub mod server;

pub use client::{Answer, Client, Form, ask, chunked, get, post_json, request};
pub use server::{Server, png, quick};
