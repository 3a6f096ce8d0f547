//! What each path reads, asks of the service, and answers.
//!
//! One function per path, named as its row in `routes`: it gets a `Call`
//! that was let in, and gives the answer or a problem.

mod about;
pub(crate) mod about_messages;
mod compare;
mod embed;
mod names;
mod page;
pub(crate) mod page_request;
mod search;
mod sentences;

pub(crate) use about::{health, info, metrics, openapi, ready, root};
pub(crate) use compare::{rank, similarity};
pub(crate) use embed::{embed_image, embed_images, embed_text};
pub(crate) use page::page;
pub(crate) use search::{SearchRequest, search};
pub(crate) use sentences::scores as sentence_scores;
