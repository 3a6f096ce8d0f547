//! What each path reads, asks of the service, and answers.
//!
//! One function per path, named as its row in `routes`: it gets a [`Call`]
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

use super::call::Call;
use super::form::File;
use super::problem::{Named, part_name};

/// What the images of a request are called in errors and in answers.
enum Names {
    /// File names of the parts `files` of a form, or none of them where the body is bytes.
    Files(Vec<String>),
    /// A field of JSON with a list of images.
    List,
}

impl Names {
    /// What an item is called in an error; texts are a list in a field of that name.
    fn of(&self, item: Named) -> String {
        match item {
            Named::Image(index) => self.part(index),
            Named::Text(index) => format!("texts[{index}]"),
        }
    }

    /// The image of an index.
    fn part(&self, index: usize) -> String {
        match self {
            Self::Files(names) => {
                let filename = names.get(index).map_or("", String::as_str);
                part_name("files", Some(index), filename)
            }
            Self::List => format!("image_base64[{index}]"),
        }
    }

    /// The bytes of the names of so many images.
    fn bytes(&self, images: usize) -> usize {
        match self {
            Self::Files(names) => names.iter().map(String::len).sum(),
            Self::List => 32 * images,
        }
    }

    /// The names of so many images, as an answer tells them.
    fn told(self, images: usize) -> Vec<String> {
        match self {
            Self::Files(names) => names,
            Self::List => (0..images).map(|index| Self::List.part(index)).collect(),
        }
    }
}

/// The file names and the contents of images, apart.
fn split(files: Vec<File>) -> (Names, Vec<Bytes>) {
    let parts = files.into_iter();
    let (names, files) = parts
        .map(|File { filename, bytes }| (filename, bytes))
        .unzip();
    (Names::Files(names), files)
}

/// Whether the body is JSON by its content type, and no form.
fn is_json(call: &Call<'_>) -> bool {
    call.content_type()
        .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}
