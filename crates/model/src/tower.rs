//! The two towers of a model.

use std::fmt;

/// The two halves of a SigLIP model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tower {
    /// The vision tower: pixels to an embedding.
    Image,
    /// The text tower: token ids to an embedding.
    Text,
}

impl Tower {
    /// Its name: `image` or `text`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tower::Image => "image",
            Tower::Text => "text",
        }
    }
}

impl fmt::Display for Tower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
