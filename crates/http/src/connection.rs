//! What is below HTTP: sockets, TLS, and what hyper's two protocols lack. Knows nothing of paths.
//!
//! * `socket`: a client's socket, and how long the client may read nothing. `opening`: its first
//!   bytes, which say TLS or not, HTTP/1 or HTTP/2.
//! * `wire`: what is under hyper's HTTP/1: timers, last words, clients that have closed their
//!   side. `framing`: where requests begin and end, by the letter.
//! * `http2`: what is under and around hyper's HTTP/2. `frames`: what a client may not do by the
//!   thousand.
//! * `state`: what a connection is doing.
//! * `clients`: how much one client may hold. `descriptors`: how many the system gives. `bell`: what calls
//!   many connections at once.

pub(crate) mod bell;
pub(crate) mod clients;
pub(crate) mod descriptors;
mod frames;
mod framing;
pub(crate) mod http2;
pub(crate) mod opening;
pub(crate) mod socket;
pub(crate) mod state;
pub(crate) mod wire;
