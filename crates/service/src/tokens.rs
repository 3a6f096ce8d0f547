//! Turns texts into token ids, on threads of their own, and records how much of each was read.

use std::sync::Arc;

use futures_util::future::try_join_all;

use crate::demand::{Demand, Wish};
use crate::error::ServiceError;
use crate::pool::{WorkLease, WorkPool};
use crate::request::Request;
use crate::vectors::Embeddings;
use siglip2_model::text::{TextTokenizer, Tokenized, TokenizerError};

/// At most this many texts, of at most this many bytes together, are tokenized where the request
/// runs: they take well under a millisecond.
const INLINE_TEXTS: usize = 64;
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
    /// It has more bytes than the caller allows.
    #[error("the text has {bytes} bytes, more than the limit of {limit}")]
    TooManyBytes {
        /// Its bytes.
        bytes: usize,
        /// Bytes that a text may have.
        limit: usize,
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
            Self::TooManyTokens { .. }
                | Self::TooManyBytes { .. }
                | Self::Tokenizer(TokenizerError::TooLong { .. })
        )
    }
}

/// How much of a text the model read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Embeddings of texts, some of which may be refused.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialTexts {
    /// One row per text, in order; that of a bad text has no floats.
    pub embeddings: Embeddings,
    /// One per text, in the same order; of a bad text nothing was read.
    pub usage: Vec<TokenUsage>,
    /// The bad texts: their index from 0, and what is wrong with each.
    pub bad: Vec<(usize, TextError)>,
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
    /// The token ids of each text; the first bad text fails them all.
    pub(crate) async fn tokenize(
        &self,
        pool: &WorkPool,
        texts: Vec<String>,
        wish: Wish,
    ) -> Result<Vec<Tokenized>, ServiceError> {
        let tokenized = self.tokenized(pool, texts, wish, Bad::FailsAll).await?;
        let numbered = tokenized.into_iter().enumerate();
        numbered
            .map(|(index, text)| text.map_err(|error| ServiceError::Text { index, error }))
            .collect()
    }

    /// The token ids of each text, or what is wrong with it; a text of more than `most_bytes` is bad.
    pub(crate) async fn tokenize_each(
        &self,
        pool: &WorkPool,
        texts: Vec<String>,
        most_bytes: usize,
        wish: Wish,
    ) -> Result<Vec<Result<Tokenized, TextError>>, ServiceError> {
        let bad = Bad::FailsItself { most_bytes };
        self.tokenized(pool, texts, wish, bad).await
    }

    async fn tokenized(
        &self,
        pool: &WorkPool,
        texts: Vec<String>,
        wish: Wish,
        bad: Bad,
    ) -> Result<Vec<Result<Tokenized, TextError>>, ServiceError> {
        let tokenizer = self.service.tokenizer();
        let bytes: usize = texts.iter().map(String::len).sum();
        let mut tokenized = if bytes <= INLINE_BYTES && texts.len() <= INLINE_TEXTS {
            tokenize(tokenizer, 0, &texts, bad, &|| true)?
        } else {
            let demand = Demand::new(wish);
            let jobs = portions(texts).into_iter().map(|(first, texts)| {
                let tokenizer = Arc::clone(tokenizer);
                let work = move |_: WorkLease, is_wanted: &dyn Fn() -> bool| {
                    tokenize(&tokenizer, first, &texts, bad, is_wanted)
                };
                let run = pool.run(Arc::clone(&demand), 0, work);
                async {
                    run.await
                        .map_err(|error| ServiceError::Internal(error.to_string()))?
                }
            });
            try_join_all(jobs).await?.concat()
        };
        let is_cut = |it: &Result<Tokenized, TextError>| it.as_ref().is_ok_and(|it| it.is_cut);
        if self.context.long_texts == LongTexts::Refuse {
            let max_tokens = tokenizer.max_tokens();
            for text in tokenized.iter_mut().filter(|it| is_cut(it)) {
                *text = Err(TextError::TooManyTokens { max_tokens });
            }
        }
        if bad == Bad::FailsAll && tokenized.iter().any(Result::is_err) {
            // Nothing is computed, so nothing was cut.
            return Ok(tokenized);
        }
        let cut = tokenized.iter().filter(|it| is_cut(it)).count();
        self.context.timings.cut(cut);
        self.service.metrics().cut(cut);
        Ok(tokenized)
    }
}

/// What a bad text costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    /// The whole request.
    FailsAll,
    /// Its own row. A text is also bad if it has more bytes than this.
    FailsItself {
        /// Bytes that a text may have.
        most_bytes: usize,
    },
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
    bad: Bad,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Vec<Result<Tokenized, TextError>>, ServiceError> {
    let numbered = texts.iter().enumerate();
    numbered
        .map(|(at, text)| {
            if !is_wanted() {
                return Err(ServiceError::Expired);
            }
            if let Bad::FailsItself { most_bytes: limit } = bad
                && text.len() > limit
            {
                let bytes = text.len();
                return Ok(Err(TextError::TooManyBytes { bytes, limit }));
            }
            match tokenizer.tokenize(text).map_err(TextError::from) {
                // Those after it need not be looked at.
                Err(error) if bad == Bad::FailsAll => Err(ServiceError::Text {
                    index: first + at,
                    error,
                }),
                tokenized => Ok(tokenized),
            }
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
