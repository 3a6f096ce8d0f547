//! Checks whether a running server returns the vectors that a SigLIP 2 checkpoint defines.
//!
//! A server can answer 200 with vectors that are wrong: texts that were not padded to 64 tokens
//! or not lower-cased, pictures that were cropped, blended or turned. Nothing looks broken then,
//! but searches find the wrong things. Each *property* here is one thing that servers get wrong.
//! Its cases are sent to the server, and the vectors are compared with those of this project's
//! own CPU engine on the same checkpoint in FP32.
//!
//! ```text
//! properties --cases--> Target (a dialect over HTTP) --vectors--+
//!                \----> Truth (the service in this process) ----+--> Outcome --> Report
//! ```
//!
//! * [`target`]: what is checked; [`dialect`]: the ways to speak to a server.
//! * [`truth`]: what is right.
//! * [`property`]: what is asked, and why it goes wrong.
//! * [`check`]: asks, compares and judges; [`report`]: shows the result.
//!
//! A target that swaps the rows of a batch fails the property about batches and no other:
//!
//! ```
//! use siglip2_conformance::check::{Verdict, check};
//! use siglip2_conformance::property::Picture;
//! use siglip2_conformance::target::{Failure, Rows, Target};
//! use siglip2_conformance::truth::{NoTruth, Truth};
//!
//! /// A vector that depends on every byte.
//! fn vector(bytes: &[u8]) -> Vec<f32> {
//!     let mut vector = vec![1.0; 8];
//!     for (at, byte) in bytes.iter().enumerate() {
//!         vector[at % 8] += f32::from(*byte);
//!     }
//!     vector
//! }
//!
//! struct Right;
//! impl Truth for Right {
//!     fn texts(&self, texts: &[&str]) -> Result<Rows, NoTruth> {
//!         Ok(texts.iter().map(|text| vector(text.as_bytes())).collect())
//!     }
//!     fn pictures(&self, pictures: &[Picture]) -> Result<Rows, NoTruth> {
//!         Ok(pictures.iter().map(|picture| vector(picture.bytes)).collect())
//!     }
//!     fn probability(&self, _cosine: f32) -> f32 {
//!         0.5
//!     }
//! }
//!
//! struct Swapped;
//! impl Target for Swapped {
//!     fn texts(&self, texts: &[&str]) -> Result<Rows, Failure> {
//!         let broken = |error: NoTruth| Failure::Broken(error.to_string());
//!         let mut rows = Right.texts(texts).map_err(broken)?;
//!         rows.reverse();
//!         Ok(rows)
//!     }
//! }
//!
//! let outcomes = check(&Swapped, &Right, 0.999, |_outcome| ()).unwrap();
//! let failed: Vec<_> = outcomes
//!     .iter()
//!     .filter(|outcome| outcome.verdict == Verdict::Fail)
//!     .map(|outcome| outcome.id)
//!     .collect();
//! // It does not normalize either.
//! assert_eq!(failed, ["texts.batch", "answers.unit-length"]);
//! ```

#![forbid(unsafe_code)]

pub mod check;
pub mod dialect;
mod multipart;
pub mod options;
pub mod property;
pub mod report;
pub mod target;
pub mod truth;
mod vector;
mod wire;
