//! The towers of SigLIP 2 on the CPU.
//!
//! ```text
//! Source (a mapped checkpoint) --pack, on all threads--> Vision, Text
//! pictures (bytes) or token ids --Team--> embeddings
//! ```

mod error;
mod grid;
mod half;
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
