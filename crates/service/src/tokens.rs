//! Turns texts into token ids, on threads of their own, and records how much of each was read.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::demand::{Demand, Wish};
use crate::error::ServiceError;
use crate::pool::{WorkLease, WorkPool};
use crate::request::Request;
use crate::vectors::Embeddings;
use siglip2_model::text::{TextTokenizer, Tokenized, TokenizerError};

/// Texts of at most this many bytes together are tokenized where the request runs: they take
/// well under a millisecond.
const INLINE_BYTES: usize = 4096;

/// Bytes of texts that are tokenized before other jobs get their turn: about ten milliseconds.
/// Only a text that cannot be divided takes longer, by itself.
const PORTION: usize = 64 << 10;

/// What to do with texts that have more tokens than the model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongTexts {
    /// Cut off their end.
    #[default]
    Cut,
    /// Refuse them.
    Refuse,
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has more tokens than the model reads, and was not to be cut.
    #[error("the text has more than {max_tokens} tokens, which is all that the model reads")]
    TooManyTokens {
        /// Tokens that the model reads.
        max_tokens: usize,
    },
    /// The tokenizer cannot process it.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl TextError {
    /// Whether a shorter text would have been accepted.
    pub fn is_too_long(&self) -> bool {
        matches!(
            self,
            Self::TooManyTokens { .. } | Self::Tokenizer(TokenizerError::TooLong { .. })
        )
    }
}

/// How much of a text the model read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUsage {
    /// Its tokens, without padding.
    pub tokens: usize,
    /// Whether the text has more tokens, so that its end was cut off.
    pub is_cut: bool,
}

impl From<&Tokenized> for TokenUsage {
    fn from(tokenized: &Tokenized) -> Self {
        Self {
            tokens: tokenized.tokens,
            is_cut: tokenized.is_cut,
        }
    }
}

/// Embeddings of texts, and how much was read of each.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbeddings {
    /// One row per text.
    pub embeddings: Embeddings,
    /// One per text, in the same order.
    pub usage: Vec<TokenUsage>,
}

impl Request {
    /// The token ids of each text.
    pub(crate) async fn tokenize(
        &self,
        pool: &WorkPool,
        texts: Vec<String>,
        wish: Wish,
    ) -> Result<Vec<Tokenized>, ServiceError> {
        let tokenizer = self.service.tokenizer();
        let bytes: usize = texts.iter().map(String::len).sum();
        let tokenized = if bytes <= INLINE_BYTES {
            tokenize(tokenizer, 0, &texts, &|| true)?
        } else {
            let demand = Demand::new(wish);
            let jobs = portions(texts).into_iter().map(|(first, texts)| {
                let tokenizer = Arc::clone(tokenizer);
                let work = move |_: WorkLease, is_wanted: &dyn Fn() -> bool| {
                    tokenize(&tokenizer, first, &texts, is_wanted)
                };
                let run = pool.run(Arc::clone(&demand), 0, work);
                async {
                    run.await
                        .map_err(|error| ServiceError::Internal(error.to_string()))?
                }
            });
            try_join_all(jobs).await?.concat()
        };
        let cut = tokenized.iter().filter(|it| it.is_cut).count();
        if self.context.long_texts == LongTexts::Refuse
            && let Some(index) = tokenized.iter().position(|it| it.is_cut)
        {
            let max_tokens = tokenizer.max_tokens();
            let error = TextError::TooManyTokens { max_tokens };
            return Err(ServiceError::Text { index, error });
        }
        self.context.timings.cut(cut);
        self.service.metrics().cut(cut);
        Ok(tokenized)
    }
}

/// Texts that are tokenized one after the other, each lot with the index of its first.
fn portions(texts: Vec<String>) -> Vec<(usize, Vec<String>)> {
    let mut portions: Vec<(usize, Vec<String>)> = Vec::new();
    let mut room = 0;
    for (index, text) in texts.into_iter().enumerate() {
        match portions.last_mut() {
            Some((_, portion)) if text.len() <= room => {
                room -= text.len();
                portion.push(text);
            }
            _ => {
                room = PORTION.saturating_sub(text.len());
                portions.push((index, vec![text]));
            }
        }
    }
    portions
}

/// Tokenizes texts, the first of which has this index, while they are wanted.
fn tokenize(
    tokenizer: &TextTokenizer,
    first: usize,
    texts: &[String],
    is_wanted: &dyn Fn() -> bool,
) -> Result<Vec<Tokenized>, ServiceError> {
    let numbered = texts.iter().enumerate();
    numbered
        .map(|(at, text)| {
            if !is_wanted() {
                return Err(ServiceError::Expired);
            }
            tokenizer
                .tokenize(text)
                .map_err(|error| ServiceError::Text {
                    index: first + at,
                    error: error.into(),
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_bounded_and_every_text_keeps_its_index() {
        let lengths = [PORTION / 2, PORTION / 2, 1, 2 * PORTION, PORTION - 1, 1, 1];
        let texts: Vec<String> = lengths.iter().map(|&length| "x".repeat(length)).collect();
        let portions = portions(texts);
        let shape: Vec<(usize, Vec<usize>)> = portions
            .iter()
            .map(|(first, texts)| (*first, texts.iter().map(String::len).collect()))
            .collect();
        let half = PORTION / 2;
        let expected = [
            (0, vec![half, half]),
            (2, vec![1]),
            (3, vec![2 * PORTION]),
            (4, vec![PORTION - 1, 1]),
            (6, vec![1]),
        ];
        assert_eq!(shape, expected);
    }
}
