//! The towers of SigLIP 2 on the CPU.
//!
//! ```text
//! Source (a mapped checkpoint) --pack, on all threads--> Vision, Text
//! pictures (bytes) or token ids --Team--> embeddings
//! ```
//!
//! Plain Rust runs on every processor, so there is always a kernel for FP32; and the threads of a
//! team share the pieces of a job:
//!
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! use siglip2_cpu::{Isa, Precision, Team};
//!
//! let best = Isa::best(Precision::Fp32).expect("a kernel");
//! assert!(best.available());
//!
//! let team = Team::new(2);
//! let sum = AtomicUsize::new(0);
//! team.each(100, |_member, piece| drop(sum.fetch_add(piece, Ordering::Relaxed))).unwrap();
//! assert_eq!(sum.into_inner(), 4950);
//! ```

mod error;
mod grid;
mod kernel;
mod math;
mod matrix;
mod memory;
mod peak;
mod product;
mod quantize;
mod run;
mod shape;
mod simd;
mod source;
mod team;
#[cfg(test)]
mod testing;
mod tower;

pub use error::Error;
pub use peak::{Peak, peak};
pub use run::{Isa, Precision, Text, Vision};
pub use shape::{Activation, EncoderShape, Positions, TextShape, VisionShape, normalization};
pub use source::{Dtype, Source, Tensor};
pub use team::{Panicked, Team};
pub use tower::{Keep, Largest, Patches, Picture};
