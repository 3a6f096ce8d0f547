//! Texts as `SiglipTokenizer` prepares them for sentencepiece (transformers 5.24).
//!
//! ```text
//! text --"▁" before it--> split at special tokens
//!     each part --lower case, no ASCII punctuation, single spaces--> table of characters
//!               --single spaces--> pieces
//! ids of all parts --cut, </s> behind them, padded--> ids
//! ```

use tokenizers::{AddedToken, Encoding, Token, Tokenizer};

use super::TokenizerError;
use super::charsmap::CharsMap;

/// A SigLIP 1 tokenizer, except for the steps that work on the ids of a whole text.
pub(super) struct Siglip1 {
    /// Treats special tokens as ordinary text, and neither truncates nor pads.
    pieces: Tokenizer,
    /// Special tokens, the longest first.
    special: Vec<(u32, AddedToken)>,
    table: Option<CharsMap>,
    lower_case: bool,
}

impl Siglip1 {
    /// `tokenizer` has no normalizer any more; `table` is that of the one it had.
    pub fn new(tokenizer: &Tokenizer, table: Option<CharsMap>, lower_case: bool) -> Self {
        let mut special: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        special.retain(|(_, token)| !token.content.is_empty());
        special.sort_by_key(|(id, token)| (usize::MAX - token.content.len(), *id));
        let mut pieces = tokenizer.clone();
        pieces.set_encode_special_tokens(true);
        pieces.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        Self {
            pieces,
            special,
            table,
            lower_case,
        }
    }

    /// All pieces and special tokens of a text.
    pub fn encode(&self, text: &str) -> Result<Encoding, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Failed(error.to_string());
        let text = format!("▁{}", text.replace('▁', " "));
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        loop {
            let next = self.next_special(rest);
            let end = next.map_or(rest.len(), |(at, ..)| at);
            let prepared = self.prepare(&rest[..end]);
            if !prepared.is_empty() {
                parts.push(self.pieces.encode_fast(prepared, false).map_err(failed)?);
            }
            let Some((at, id, content)) = next else {
                return Ok(Encoding::merge(parts, false));
            };
            let token = Token::new(id, content.to_owned(), (0, 0));
            parts.push(Encoding::from_tokens(vec![token], 0));
            rest = &rest[at + content.len()..];
        }
    }

    /// The position of the next special token, and which it is.
    fn next_special(&self, text: &str) -> Option<(usize, u32, &str)> {
        let found = self.special.iter().filter_map(|(id, token)| {
            let content = token.content.as_str();
            Some((text.find(content)?, *id, content))
        });
        // Of those that begin at the same position, the first is the longest.
        found.min_by_key(|&(at, ..)| at)
    }

    /// A part of a text, prepared for looking up pieces in it.
    fn prepare(&self, text: &str) -> String {
        let lower = if self.lower_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        // `canonicalize_text`; Python's white space includes the four separators.
        let space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        let mut canonical = String::with_capacity(lower.len());
        for word in lower.split(space) {
            let word: String = word.chars().filter(|c| !c.is_ascii_punctuation()).collect();
            if !word.is_empty() {
                if !canonical.is_empty() {
                    canonical.push(' ');
                }
                canonical += &word;
            }
        }
        // What sentencepiece does.
        let normal = match &self.table {
            Some(table) => table.apply(&canonical),
            None => canonical,
        };
        let mut out = String::with_capacity(normal.len());
        for c in normal.chars() {
            if c != ' ' || !out.ends_with(' ') {
                out.push(c);
            }
        }
        // It treats "▁" at the end as a space, and drops it.
        out.truncate(out.trim_end_matches([' ', '▁']).len());
        out
    }
}
