//! How many texts a request may have, and how long they may be.

use std::fmt;

use crate::answer::problem::Problem;
use crate::settings::HttpSettings;

/// How many texts there may be, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextLimits {
    /// Texts that a request may have.
    pub(super) count: usize,
    /// Bytes that each may have.
    pub(super) bytes: usize,
}

impl TextLimits {
    /// The limits that the settings say.
    pub(crate) fn of(settings: &HttpSettings) -> Self {
        Self {
            count: settings.max_texts_per_request,
            bytes: settings.max_text_bytes,
        }
    }

    /// Bytes that each may have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same number of texts. Where each is for itself (`partial`), they may have any length here:
    /// the service finds those that are too long.
    #[must_use]
    pub(crate) fn unless_each_for_itself(self, partial: bool) -> Self {
        match partial {
            true => Self {
                bytes: usize::MAX,
                ..self
            },
            false => self,
        }
    }

    /// Refuses a text that is too long; `name` says which one it is.
    pub(crate) fn check(&self, name: impl fmt::Display, text: &str) -> Result<(), Problem> {
        self.check_bytes(name, text.len())
    }

    /// The same, by its length.
    pub(crate) fn check_bytes(&self, name: impl fmt::Display, bytes: usize) -> Result<(), Problem> {
        if bytes <= self.bytes {
            return Ok(());
        }
        Err(Problem::TooLarge(format!(
            "{name} has {bytes} bytes; a text may have at most {}.",
            self.bytes
        )))
    }
}
