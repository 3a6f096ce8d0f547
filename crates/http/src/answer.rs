//! What goes out: answers and refusals.
//!
//! * `body`: the body of an answer on its way to hyper. `progress`: how far it has come, for the
//!   stream of HTTP/2 that carries it.
//! * `problem`: why a request is refused, and with which status. `validation`: FastAPI's 422.
//!   `error_shape`: how the clients of each dialect expect a refusal to be written.
//! * `messages`: what the endpoints that embed answer, as types. `row_error`: what they tell of single
//!   images and texts that are bad. `json_writer`: floats in JSON, written fast.
//! * `encoding`: rows as bytes, where the client asks for them: `row_bytes`, `arrow_rows`.
//!   `quantized`: rows in fewer bits.

mod arrow_rows;
mod body;
pub(crate) mod encoding;
pub(crate) mod error_shape;
pub(crate) mod json_writer;
pub(crate) mod messages;
pub(crate) mod problem;
pub(crate) mod progress;
pub(crate) mod quantized;
mod row_bytes;
pub(crate) mod row_error;
pub(crate) mod validation;

pub(crate) use body::{
    Answer, BYTES, FLOAT_BYTES, METRICS, TEXT, Written, empty, held, held_text, json, json_bytes,
    metrics, respond, sized, typed,
};
