//! A GPU without a GPU: libraries in the place of the CUDA driver and of TensorRT's runtime
//! that keep device memory on the host (tests/stand_in/, which says what they do).
//!
//! ```text
//! stand_in::libraries()          compiled once for these sources
//! TENSORRT                       which TensorRT they stand in for
//! Machine::new()                 what the GPU is like: which, how fast, what fails when
//!   .delay(..).fault(..)
//!   .apply(&mut command)         a program that runs on it
//!   .control()                   commands to it while it runs
//!   .trace()                     what it did, once it has ended
//! EngineFile::image(..)          an engine that it can load
//! image_embedding(..)            and what that engine computes
//! ```

mod build;
mod control;
mod engine_file;
mod function;
mod machine;
mod tensorrt;
mod trace;

pub use build::{Libraries, libraries};
pub use control::Control;
pub use engine_file::EngineFile;
pub use function::{image_embedding, text_embedding, widen};
pub use machine::Machine;
pub use tensorrt::{TENSORRT, TensorRt};
pub use trace::{Operation, Trace};
