//! What each path reads, asks of the service, and answers.
//!
//! One function per path, named as its row in `routes`: it gets a [`Call`](super::call::Call)
//! that was let in, and gives the answer or a problem.

mod about;
mod compare;
mod embed;
mod page;
mod search;

pub(super) use about::{health, info, metrics, openapi, ready, root};
pub(super) use compare::{rank, similarity};
pub(super) use embed::{embed_image, embed_images, embed_text};
pub(super) use page::page;
pub(super) use search::{SearchRequest, search};

use bytes::Bytes;

use super::form::File;
use super::problem::part_name;

/// The file names and the contents of images, apart.
fn split(files: Vec<File>) -> (Vec<String>, Vec<Bytes>) {
    files
        .into_iter()
        .map(|File { filename, bytes }| (filename, bytes))
        .unzip()
}

/// The image of that index, for an error.
fn named(names: &[String], index: usize) -> String {
    part_name(
        "files",
        Some(index),
        names.get(index).map_or("", String::as_str),
    )
}
