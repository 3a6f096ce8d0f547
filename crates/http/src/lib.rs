//! The endpoints: HTTP in, HTTP out; knows nothing of engines.
//!
//! ```text
//! listener -> server -> wire (socket) -> hyper -> app -> routes -> endpoints -> Service
//!                                                  |                  |
//!                       problem, answer, record <--+                  +-> call -> body -> text_request (JSON)
//!                       (what goes out, and what is told of it)                        -> form, forms (multipart)
//! ```
//!
//! * `server`: accepts connections within bounds (`descriptors`, `clients`), drains them at
//!   shutdown.
//! * `wire`: the socket under hyper: timers, last words and half-closed clients, which hyper
//!   lacks. `framing`: where requests begin and end, by the letter. `connection_state`: what a
//!   connection is doing.
//! * `app`: one request: its id, who may pass, its permit, its panic. `head`: what its head must
//!   be. `record`: what is told of it when it is over: log, metrics, spans.
//! * `routes`, `dialect_routes`: the table of paths, from which all that depends on a path
//!   follows. `route`: what a row of it is.
//! * `model`: which model a request is for.
//! * `page`: which requests get the page of `siglip2-page`, and its headers.
//! * `endpoints`: what each path reads, asks of the service, and answers, through a `call`.
//!   `dialects`: the same for the paths of other services, whose clients work here too.
//! * `body`, `coded`, `form`, `form_reader`, `form_pieces`, `part_heads`, `parameters`, `base64`, `json_text`, `text_request`: reading,
//!   within bounds. `ignored`: what was not read.
//! * `forms`, `messages`, `about_messages`: what is read and answered, as types.
//! * `json`, `item_reader`, `image_request`: texts and images in JSON, read without a tree of
//!   values. `packed`: several images in one body. `json_writer`: floats in JSON, written fast.
//! * `error_shape`: the refusals of the dialects. `validation`: FastAPI's 422. `problem`: every other refusal. `answer`: the body of an
//!   answer on its way.
//! * `encoding`: rows as bytes, where the client asks for them: `row_bytes`, `arrow_rows`,
//!   `quantized`.
//! * `accept`: what clients take. `compressed`: answers that go compressed. `cors`: pages of other
//!   origins.
//! * `openapi`, `content`: the description that clients are generated from, made of the table of
//!   routes and the types.
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

mod about_messages;
mod accept;
mod accepted;
mod answer;
mod api_key;
mod app;
mod arrow_rows;
mod base64;
mod body;
mod call;
mod clients;
mod coded;
mod compressed;
mod connection_state;
mod content;
mod cors;
mod date;
mod descriptors;
mod dialect_routes;
mod dialects;
mod encoding;
mod endpoints;
mod error_shape;
mod fingerprint;
mod form;
mod form_pieces;
mod form_reader;
mod forms;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod ignored;
mod image_request;
mod item_reader;
mod json;
mod json_text;
mod json_writer;
mod messages;
mod model;
mod openapi;
mod packed;
mod page;
mod parameters;
mod part_heads;
mod problem;
mod quantized;
mod record;
mod request_id;
mod route;
mod routes;
mod row_bytes;
mod server;
mod settings;
mod shared;
mod spans;
mod text_request;
mod validation;
mod wire;

pub use api_key::{ApiKey, ApiKeysFile};
pub use cors::Origins;
pub use server::{ServeError, serve};
pub use settings::HttpSettings;
pub use spans::Spans;

/// What answers.
const PROGRAM: &str = "siglip2-embeddings";

/// The document that `/openapi.json` answers.
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    openapi::document()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    /// The modules of this crate, and which others each uses.
    fn uses() -> BTreeMap<String, BTreeSet<String>> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for folder in [
            source.clone(),
            source.join("dialects"),
            source.join("endpoints"),
        ] {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
                    continue;
                };
                let is_source = path.extension().is_some_and(|kind| kind == "rs");
                if !is_source || ["lib", "fuzzing"].contains(&name) {
                    continue;
                }
                // A folder is one module.
                let inner = ["dialects", "endpoints"]
                    .into_iter()
                    .find(|folder| path.parent().is_some_and(|parent| parent.ends_with(folder)));
                let is_inner = inner.is_some();
                let name = inner.unwrap_or(name);
                let text = std::fs::read_to_string(&path).unwrap();
                let outer = if is_inner {
                    "use crate::"
                } else {
                    "use super::"
                };
                let lines = text.lines().filter_map(|line| line.strip_prefix(outer));
                let used = lines.map(|line| {
                    let end = line.find(|c: char| c != '_' && !c.is_alphanumeric());
                    line[..end.unwrap_or(line.len())].to_owned()
                });
                uses.entry(name.to_owned()).or_default().extend(used);
            }
        }
        uses
    }

    #[test]
    fn no_module_uses_one_that_uses_it() {
        let mut uses = uses();
        assert!(
            uses.len() > 25 && uses["routes"].contains("endpoints"),
            "{uses:?}"
        );
        // Those that use no other that is left, again and again.
        loop {
            let left: BTreeSet<String> = uses.keys().cloned().collect();
            let before = uses.len();
            uses.retain(|_, used| used.iter().any(|name| left.contains(name)));
            if uses.len() == before {
                break;
            }
        }
        assert!(uses.is_empty(), "in a circle, or behind one: {uses:?}");
    }
}
