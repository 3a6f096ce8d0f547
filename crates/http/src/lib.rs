//! The endpoints: HTTP in, HTTP out; knows nothing of engines.
//!
//! ```text
//! listener -> server -> wire (socket) -> hyper -> app -> routes -> endpoints -> Service
//!                                                  |                  |
//!                       problem, answer, record <--+                  +-> call -> body -> text_request (JSON)
//!                       (what goes out, and what is told of it)                        -> form, forms (multipart)
//! ```
//!
//! * `server`: accepts connections within a bound, drains them at shutdown.
//! * `wire`: the socket under hyper: timers and last words that hyper lacks.
//! * `app`: one request: its id, who may pass, its permit, its panic. `record`: what is told
//!   of it when it is over: log, metrics, spans.
//! * `routes`: the table of paths, from which all that depends on a path follows.
//! * `endpoints`: what each path reads, asks of the service, and answers, through a `call`.
//! * `body`, `form`, `parameters`, `base64`, `text_request`: reading, within bounds.
//! * `forms`, `messages`: what is read and answered, as types.
//! * `validation`: FastAPI's 422. `problem`: every other refusal. `answer`: the body of an
//!   answer on its way.
//! * `openapi`: the description that clients are generated from, made of the table of routes
//!   and the types.
//!
//! What a client may send is bounded before it is read: by its Content-Length where
//! there is one, else piece by piece. Nothing of a request is decoded here; images
//! are looked at (their header only) as soon as they are complete.
//!
//! ```
//! use siglip2_http::HttpSettings;
//!
//! // What is in force where nobody says anything.
//! let settings = HttpSettings::default();
//! assert_eq!(settings.payload_limit, 256 << 20);
//! ```

#![forbid(unsafe_code)]

mod accepted;
mod answer;
mod api_key;
mod app;
mod base64;
mod body;
mod call;
mod clients;
mod connection_state;
mod date;
mod descriptors;
mod endpoints;
mod form;
mod forms;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod ignored;
mod json_text;
mod messages;
mod openapi;
mod parameters;
mod part_heads;
mod problem;
mod record;
mod request_id;
mod routes;
mod server;
mod settings;
mod shared;
mod spans;
mod text_request;
mod validation;
mod wire;

pub use api_key::{ApiKey, ApiKeysFile};
pub use server::{ServeError, serve};
pub use settings::HttpSettings;
pub use spans::Spans;

/// What answers.
const PROGRAM: &str = "siglip2-embeddings";

/// The document that `/openapi.json` answers.
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    openapi::document()
}
