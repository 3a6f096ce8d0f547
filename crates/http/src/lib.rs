//! The endpoints: HTTP in, HTTP out; knows nothing of engines.
//!
//! ```text
//! listener -> server -> wire (socket) -> hyper -> app -> endpoints -> Service
//!                                                  |        |
//!                         problem, answer  <-------+        +--> body -> text_request (JSON)
//!                         (JSON out)                                  -> form (multipart)
//! ```
//!
//! * `server`: accepts connections within a bound, drains them at shutdown.
//! * `wire`: the socket under hyper: timers and last words that hyper lacks.
//! * `app`: one request: its id, its route, its panic. `record`: what is told of it when it
//!   is over: log, metrics, spans.
//! * `endpoints`: what each path reads, asks of the service, and answers.
//! * `body`, `form`, `parameters`, `base64`, `text_request`: reading, within bounds.
//! * `validation`: FastAPI's 422. `problem`: every other refusal. `answer`: JSON.
//! * `openapi`: the description that clients are generated from.
//!
//! What a client may send is bounded before it is read: by its Content-Length where
//! there is one, else piece by piece. Nothing of a request is decoded here; images
//! are looked at (their header only) as soon as they are complete.

mod accepted;
mod answer;
mod api_key;
mod app;
mod base64;
mod body;
mod call;
mod endpoints;
mod form;
#[cfg(fuzzing)]
pub mod fuzzing;
mod openapi;
mod parameters;
mod problem;
mod record;
mod request_id;
mod server;
mod settings;
mod spans;
mod text_request;
mod validation;
mod wire;

pub use api_key::ApiKey;
pub use server::{ServeError, serve};
pub use settings::HttpSettings;
pub use spans::Spans;

/// What answers.
const PROGRAM: &str = "siglip2-embeddings";
