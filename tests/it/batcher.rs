//! The batcher: what goes to the engine together, what is left out, and what happens when the
//! engine fails. The engines here wait for leave, so that a test decides what has arrived by then.

mod batches;
pub(crate) mod engines;
mod failures;
mod hangs;
mod permits;
mod rest;
mod seeds;
mod slots;
