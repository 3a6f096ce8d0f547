//! What comes in: reading a request within its bounds.
//!
//! ```text
//! hyper --> body --coded--> +--> form --> bodies                    (multipart)
//!                           +--> json --> bodies, text_request      (JSON)
//!                           |         +-> item_reader               (JSON of the dialects)
//!                           +--> packed                             (bytes)
//! ```
//!
//! * `head`: what the head of a request must be. `body`: the body, piece by piece. `coded`: bodies
//!   that come compressed. `awaited`: bodies that do not come, and make room for others.
//! * `form`: forms, read as they stream. `bodies`: the forms and the JSON of the endpoints, as
//!   types.
//! * `json`: JSON without a tree of values. `json_text`: its encoding. `item_reader`: texts and
//!   images, collected within bounds. `base64`: images in JSON.
//! * `text_request`: the JSON of `/embed/text`, as FastAPI read it. `text_list`: lists of texts.
//!   `text_limits`: how many and how long.
//! * `packed`: several images in one body.
//! * `fetch`: pictures that a request names by their URLs.
//! * `model`: which model a request is for. `fingerprint`: which vector space its client has
//!   vectors of. `ignored`: what was not read.

pub(crate) mod awaited;
pub(crate) mod base64;
pub(crate) mod bodies;
pub(crate) mod body;
pub(crate) mod coded;
pub(crate) mod fetch;
pub(crate) mod fingerprint;
pub(crate) mod form;
pub(crate) mod head;
pub(crate) mod ignored;
pub(crate) mod item_reader;
pub(crate) mod json;
pub(crate) mod json_text;
pub(crate) mod model;
pub(crate) mod packed;
pub(crate) mod text_limits;
pub(crate) mod text_list;
pub(crate) mod text_request;
