//! Forms as the endpoints see them: the fields that were asked for, in the order of the parts.
//!
//! ```text
//! body pieces --pieces--> multer --parts--> form_reader --> Form { values by field, in order }
//! ```

mod part_heads;
mod pieces;
pub(crate) mod reader;

use bytes::Bytes;

use super::ignored::Ignored;
use crate::answer::problem::Problem;
use crate::answer::validation::{Input, Issue, Issues, bool_word};

/// Which fields of a form are read. All others are skipped, as FastAPI does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    /// The field with images.
    pub(crate) image: &'static str,
    /// Whether it may come more than once; if not, the last one counts.
    pub(crate) many: bool,
    /// The fields with text. Of each the last one counts.
    pub(crate) texts: &'static [&'static str],
    /// The text field that may be as long as an image.
    pub(crate) long_text: Option<&'static str>,
}

/// The field of a form with many images that says that each is for itself: a bad one is then
/// no reason to stop reading, so it must stand before them.
pub(crate) const PARTIAL: &str = "partial";

/// The field of a form with images, and the parameter in the query of any path that embeds, that
/// says whether images are turned as their orientation tag says.
pub(crate) const APPLY_ORIENTATION: &str = "apply_orientation";

/// The content of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A part without a file name.
    Text(String),
    /// A part with one.
    File {
        /// The name, as the client sent it.
        filename: String,
        /// Its bytes; none where only its presence counts.
        bytes: Bytes,
    },
}

impl Value {
    fn input(&self) -> Input {
        match self {
            Value::Text(text) => Input::text(text),
            Value::File { filename, bytes } => Input::File {
                filename: filename.clone(),
                size: bytes.len(),
            },
        }
    }
}

/// An image of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// The name, as the client sent it.
    pub(crate) filename: String,
    /// Its bytes.
    pub(crate) bytes: Bytes,
}

/// The fields of a form that were asked for, in the order of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) values: Vec<(&'static str, Value)>,
    /// Its other fields.
    pub(crate) ignored: Ignored,
}

/// Called with each image as soon as it has arrived: its index, its name, its bytes.
pub(crate) type Inspect<'a> = &'a (dyn Fn(usize, &str, &[u8]) -> Result<(), Problem> + Sync);

impl Form {
    /// The images; at least one.
    pub(crate) fn images(&self, field: &'static str, issues: &mut Issues) -> Vec<File> {
        let mut files = Vec::new();
        let mut index = 0;
        for value in self.all(field) {
            match value {
                Value::File { filename, bytes } => {
                    files.push(File {
                        filename: filename.clone(),
                        bytes: bytes.clone(),
                    });
                }
                Value::Text(_) => issues.push(Issue::not_a_file(field, Some(index), value.input())),
            }
            index += 1;
        }
        if index == 0 {
            issues.push(Issue::missing(Some(field), Input::Null));
        }
        files
    }

    /// One image, if there is one. A browser sends an empty name where no file was
    /// chosen; that is none.
    pub(crate) fn image(&self, field: &'static str, issues: &mut Issues) -> Option<File> {
        match self.last(field)? {
            Value::File { filename, .. } if filename.is_empty() => None,
            Value::File { filename, bytes } => Some(File {
                filename: filename.clone(),
                bytes: bytes.clone(),
            }),
            text @ Value::Text(_) => {
                issues.push(Issue::not_a_file(field, None, text.input()));
                None
            }
        }
    }

    /// A text that may be absent. An empty one is, as FastAPI has it.
    pub(crate) fn text(&mut self, field: &'static str, issues: &mut Issues) -> Option<String> {
        let at = self.values.iter().rposition(|(name, _)| *name == field)?;
        match self.values.swap_remove(at).1 {
            Value::Text(text) if text.is_empty() => None,
            Value::Text(text) => Some(text),
            file @ Value::File { .. } => {
                issues.push(Issue::not_a_string(field, None, file.input()));
                None
            }
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, field: &'static str, issues: &mut Issues) -> String {
        let is_file = matches!(self.last(field), Some(Value::File { .. }));
        let text = self.text(field, issues);
        if text.is_none() && !is_file {
            issues.push(Issue::missing(Some(field), Input::Null));
        }
        text.unwrap_or_default()
    }

    /// A boolean, or what it is where the form says nothing.
    pub(crate) fn said(&self, field: &'static str, unsaid: bool, issues: &mut Issues) -> bool {
        self.maybe_said(field, issues).unwrap_or(unsaid)
    }

    /// A boolean, if the form says something.
    pub(crate) fn maybe_said(&self, field: &'static str, issues: &mut Issues) -> Option<bool> {
        match self.last(field) {
            Some(Value::Text(word)) if !word.is_empty() => {
                let said = bool_word(word);
                if said.is_none() {
                    issues.push(Issue::unclear_bool(field, Input::text(word)));
                }
                said
            }
            Some(file @ Value::File { .. }) => {
                issues.push(Issue::not_a_bool(field, file.input()));
                None
            }
            _ => None,
        }
    }

    fn all(&self, field: &'static str) -> impl Iterator<Item = &Value> {
        self.values
            .iter()
            .filter(move |(name, _)| *name == field)
            .map(|(_, value)| value)
    }

    fn last(&self, field: &'static str) -> Option<&Value> {
        self.values
            .iter()
            .rev()
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value)
    }
}
