//! Where a long text can be cut without changing its first ids.
//!
//! The BPE of a SigLIP 2 tokenizer treats the whole text as one word, so ten megabytes cost
//! seconds and gigabytes for 64 ids. But two characters that are not adjacent in any token of
//! the vocabulary are never merged, directly or through others: every merge makes a token, and
//! the token that spans the two would have them side by side. So the ids on the left of such a
//! place do not depend on anything to its right. The same holds for added tokens, which are
//! found before the BPE runs.
//!
//! This is sound as long as everything else is local, which [`Cutter::new`] checks:
//! normalization works character by character (lower case, spaces to "▁"), no added token
//! looks at its surroundings, and long texts are truncated at their end.

use tokenizers::Tokenizer;
use tokenizers::models::ModelWrapper;

use super::class::{Class, Plan};
use super::pairs::{Pairs, normalized_space};

/// Knows which characters never merge.
pub(super) struct Cutter(Pairs);

impl Cutter {
    /// `None` if the tokenizer is not of the kind for which cutting is proved correct; `pairs` are
    /// those of its model's tokens.
    pub(super) fn new(tokenizer: &Tokenizer, plan: &Plan, pairs: Option<Pairs>) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        let local = matches!(plan.class, Class::Siglip2 | Class::Gemma)
            && !plan.truncate_left
            && model.dropout.is_none();
        let added = tokenizer.get_added_tokens_decoder();
        let looks_around = added
            .values()
            .any(|token| token.lstrip || token.rstrip || token.single_word);
        if !local || looks_around {
            return None;
        }
        let mut pairs = pairs?;
        added.values().for_each(|token| pairs.add(&token.content));
        Some(Self(pairs))
    }

    /// What can be merged, and what stands side by side in added tokens.
    pub(super) fn pairs(&self) -> &Pairs {
        &self.0
    }

    /// The longest prefix of `text` of at most `wish` bytes that can be tokenized on its own,
    /// or else the shortest one above; `None` if there is none.
    pub(super) fn cut<'a>(&self, text: &'a str, wish: usize) -> Option<&'a str> {
        let wish = text.floor_char_boundary(wish);
        let below = text[..wish].char_indices().rev().map(|(at, _)| at);
        let above = text[wish..].char_indices().map(|(at, _)| wish + at);
        below
            .chain(above)
            .find(|&at| self.parts(text, at))
            .map(|at| &text[..at])
    }

    /// Whether the characters on both sides of a place never end up in one token.
    fn parts(&self, text: &str, at: usize) -> bool {
        let (left, right) = text.split_at(at);
        let (Some(left), Some(right)) = (left.chars().next_back(), right.chars().next()) else {
            return false;
        };
        // As written, for added tokens, and in every form that the model may see.
        let space = normalized_space;
        let lefts = [Some(left), left.to_lowercase().next_back()];
        let mut rights = right.to_lowercase();
        let rights = [Some(right), rights.next()];
        let apart = |left: char, right: char| !self.0.has(left, right);
        lefts.into_iter().flatten().all(|left| {
            let mut rights = rights.into_iter().flatten();
            rights.all(|right| apart(left, right) && apart(space(left), space(right)))
        })
    }
}
