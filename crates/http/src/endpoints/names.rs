//! What the images of a request are called.

use bytes::Bytes;

use crate::answer::problem::{Named, part_name};
use crate::call::Call;
use crate::request::form::File;

/// What the images of a request are called in errors and in answers.
pub(super) enum Names {
    /// File names of the parts `files` of a form, or none of them where the body is bytes.
    Files(Vec<String>),
    /// A field of JSON with a list of images.
    List,
}

impl Names {
    /// What an item is called in an error; texts are a list in a field of that name.
    pub(super) fn of(&self, item: Named) -> String {
        match item {
            Named::Image(index) => self.part(index),
            Named::Text(index) => format!("texts[{index}]"),
        }
    }

    /// The image of an index.
    pub(super) fn part(&self, index: usize) -> String {
        match self {
            Self::Files(names) => {
                let filename = names.get(index).map_or("", String::as_str);
                part_name("files", Some(index), filename)
            }
            Self::List => format!("image_base64[{index}]"),
        }
    }

    /// The bytes of the names of so many images.
    pub(super) fn bytes(&self, images: usize) -> usize {
        match self {
            Self::Files(names) => names.iter().map(String::len).sum(),
            Self::List => 32 * images,
        }
    }

    /// The names of so many images, as an answer tells them.
    pub(super) fn told(self, images: usize) -> Vec<String> {
        match self {
            Self::Files(names) => names,
            Self::List => (0..images).map(|index| Self::List.part(index)).collect(),
        }
    }
}

/// The file names and the contents of images, apart.
pub(super) fn split(files: Vec<File>) -> (Names, Vec<Bytes>) {
    let parts = files.into_iter();
    let (names, files) = parts
        .map(|File { filename, bytes }| (filename, bytes))
        .unzip();
    (Names::Files(names), files)
}

/// Whether the body is JSON by its content type, and no form.
pub(super) fn is_json(call: &Call<'_>) -> bool {
    call.content_type()
        .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}
