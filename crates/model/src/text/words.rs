//! A text word by word, which takes a fraction of the time that a tokenizer takes for it as a whole.
//!
//! The BPE of a SigLIP 2 tokenizer treats the whole text as one word, and follows for each character of its
//! ids where it came from, which nobody here asks for. But a text falls into parts that have nothing to do with
//! each other, for the reason that `cut.rs` gives: at the space before a word, nearly always. The same words come
//! again and again, so what became of each is kept.
//!
//! Texts in which there might be an added token, and words with characters that the vocabulary
//! has no token for, are left to the tokenizer.

use tokenizers::{Encoding, Model, Token, Tokenizer};

use super::Ids;
use super::known::Known;
use super::pairs::{Pairs, normalized_space};

/// From how many bytes on a part is ended wherever it can be, and not only at a space.
const LONG: usize = 16;

/// Ids of texts, word by word.
pub(super) struct Words {
    is_lower_cased: bool,
    /// The two characters that each added token begins with.
    added: Pairs,
    /// Added tokens that are a single character.
    single: Vec<char>,
    /// What stands for characters that the vocabulary lacks.
    unknown: Option<u32>,
    /// The tokens that are put before every text, and behind it.
    around: [Vec<u32>; 2],
    max_tokens: usize,
    known: Known,
}

impl Words {
    /// For a tokenizer of which `cut.rs` says that it works place by place; `None` if it is not plain
    /// what it puts around a text.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        is_lower_cased: bool,
        max_tokens: usize,
    ) -> Option<Self> {
        let mut added = Pairs::default();
        let mut single = Vec::new();
        for token in tokenizer.get_added_tokens_decoder().values() {
            let mut characters = token.content.chars();
            match (characters.next(), characters.next()) {
                (Some(first), Some(second)) => added.add(&String::from_iter([first, second])),
                (Some(one), None) => {
                    single.extend(
                        [one, normalized_space(one)]
                            .into_iter()
                            .chain(one.to_lowercase()),
                    );
                }
                (None, _) => return None,
            }
        }
        // An id that no token has: where it is in the end, the text is.
        let marker = u32::MAX;
        let text = Encoding::from_tokens(vec![Token::new(marker, String::new(), (0, 0))], 0);
        let encoding = tokenizer.post_process(text, None, true).ok()?;
        let mut around = encoding
            .get_ids()
            .split(|&id| id == marker)
            .map(<[u32]>::to_vec);
        let around = match (around.next(), around.next(), around.next()) {
            (Some(before), Some(behind), None) => [before, behind],
            _ => return None,
        };
        Some(Self {
            is_lower_cased,
            added,
            single,
            unknown: tokenizer.token_to_id("<unk>"),
            around,
            max_tokens,
            known: Known::new(),
        })
    }

    /// The ids of a text of which `pairs` can be merged; `None` if that is for the tokenizer to say.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, pairs: &Pairs, text: &str) -> Option<Ids> {
        let [before, behind] = &self.around;
        // One more than there is room for says that there are more.
        let most = self.max_tokens.checked_sub(behind.len())?;
        let mut ids = Vec::with_capacity(self.max_tokens + 1);
        ids.extend(before);
        // A space becomes three bytes.
        let mut word = String::with_capacity(64);
        let (mut raw_left, mut left) = (None, None);
        for raw in text.chars() {
            if raw_left.is_some_and(|left| self.added.has(left, raw)) {
                return None;
            }
            raw_left = Some(raw);
            for right in self.normalized(raw) {
                if self.single.contains(&right) || self.single.contains(&raw) {
                    return None;
                }
                if let Some(left) = left {
                    if self.added.has(left, right) {
                        return None;
                    }
                    let may_end = right == '▁' || word.len() >= LONG;
                    if may_end && !pairs.has(left, right) {
                        self.add_word(tokenizer, &word, &mut ids)?;
                        if ids.len() > most {
                            break;
                        }
                        word.clear();
                    }
                }
                word.push(right);
                left = Some(right);
            }
            if ids.len() > most {
                break;
            }
        }
        if ids.len() <= most {
            self.add_word(tokenizer, &word, &mut ids)?;
        }
        let is_cut = ids.len() > most;
        ids.truncate(most);
        ids.extend(behind);
        Some(Ids { ids, is_cut })
    }

    /// What the model reads of a character.
    fn normalized(&self, raw: char) -> impl Iterator<Item = char> + use<> {
        let (plain, lower) = match self.is_lower_cased {
            true if raw.is_ascii() => (Some(raw.to_ascii_lowercase()), None),
            true => (None, Some(raw.to_lowercase())),
            false => (Some(raw), None),
        };
        let characters = plain.into_iter().chain(lower.into_iter().flatten());
        characters.map(normalized_space)
    }

    /// Adds the ids of a word.
    fn add_word(&self, tokenizer: &Tokenizer, word: &str, ids: &mut Vec<u32>) -> Option<()> {
        if self.known.add(word, ids) {
            return Some(());
        }
        let tokens = tokenizer.get_model().tokenize(word).ok()?;
        let own: Vec<u32> = tokens.into_iter().map(|token| token.id).collect();
        if own.iter().any(|&id| Some(id) == self.unknown) {
            return None;
        }
        self.known.keep(word, &own);
        ids.extend(own);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::super::{TextOptions, TextTokenizer, TokenizerFiles};

    fn fixture(name: &str) -> Vec<u8> {
        let fixtures =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers");
        std::fs::read(fixtures.join(name)).unwrap()
    }

    fn tokenizer(name: &str, max_tokens: usize) -> TextTokenizer {
        let read = |file: &str| fixture(&format!("{name}/{file}"));
        let files = TokenizerFiles {
            tokenizer: &read("tokenizer.json"),
            tokenizer_config: Some(&read("tokenizer_config.json")),
            special_tokens_map: None,
            config: Some(&read("config.json")),
        };
        let options = TextOptions {
            max_tokens,
            vocab_size: 1100,
            lower_case: None,
        };
        TextTokenizer::new(files, options).unwrap()
    }

    /// Word by word if that is possible.
    fn by_word(tokenizer: &TextTokenizer, text: &str) -> Option<(Vec<u32>, bool)> {
        let words = tokenizer.words.as_ref().unwrap();
        let pairs = tokenizer.cutter.as_ref().unwrap().pairs();
        let ids = words.encode(&tokenizer.tokenizer, pairs, text)?;
        Some((ids.ids, ids.is_cut))
    }

    fn at_once(tokenizer: &TextTokenizer, text: &str) -> (Vec<u32>, bool) {
        let ids = tokenizer.encode_at_once(text).unwrap();
        (ids.ids, ids.is_cut)
    }

    #[test]
    fn ids_are_the_same_word_by_word_and_at_once() {
        let parts: Vec<String> = serde_json::from_slice(&fixture("texts.json")).unwrap();
        let glue = [
            " ",
            " ",
            " ",
            "",
            "  ",
            "\n",
            "▁",
            "a",
            "<eos>",
            "\u{301}",
            "É",
            "İ",
            "ẞ",
            "<",
            "猫",
            "\u{1f600}",
            "\0",
        ];
        for name in ["siglip2_hub", "siglip2_hub_naflex"] {
            for max_tokens in [2, 7, 64] {
                let tokenizer = tokenizer(name, max_tokens);
                let mut random = fastrand::Rng::with_seed(7);
                let (mut taken, mut cut) = (0, 0);
                for _ in 0..3000 {
                    let mut text = String::new();
                    for _ in 0..random.usize(..6) {
                        let part = random.choice(&parts).unwrap();
                        text.extend(
                            part.chars()
                                .skip(random.usize(..9))
                                .take(random.usize(..25)),
                        );
                        text += random.choice(glue).unwrap();
                    }
                    if let Some(ids) = by_word(&tokenizer, &text) {
                        assert_eq!(ids, at_once(&tokenizer, &text), "{name}: {text:?}");
                        taken += 1;
                        cut += u32::from(ids.1);
                    }
                }
                assert!(taken > 1000 && taken < 3000 && cut > 40, "{taken} {cut}");
            }
        }
    }

    #[test]
    fn sentences_are_read_word_by_word_and_added_tokens_are_not() {
        let tokenizer = tokenizer("siglip2_hub", 64);
        let sentences = [
            "",
            "a",
            "a photo of a cat",
            "Two CATS, and a dog!",
            "猫の写真",
            "a < b",
            "naïve façades: 3 €",
        ];
        for text in sentences {
            // Once anew, and once as it is known then.
            for _ in 0..2 {
                let ids = by_word(&tokenizer, text);
                assert_eq!(ids, Some(at_once(&tokenizer, text)), "{text:?}");
            }
        }
        for text in ["a <eos> b", "<bos>", "a  b"] {
            assert_eq!(by_word(&tokenizer, text), None, "{text:?}");
        }
    }

    /// Characters without a token, which are one in a row, even across words; and an added token that is there in
    /// the text as it was written, but not in what the model reads, where its space is another character.
    #[test]
    fn what_goes_beyond_words_is_for_the_tokenizer() {
        let special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"];
        let tokens = special.iter().chain(&["a", "b", "▁", "B"]).zip(0..);
        let added = special.iter().zip(0..).chain([(&"B a", 9)]);
        let added = added.map(|(token, id)| {
            serde_json::json!({
                "id": id, "content": token, "special": id != 9, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        });
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": added.collect::<Vec<_>>(),
            "model": {
                "type": "BPE", "merges": [],
                "vocab": tokens.collect::<std::collections::HashMap<_, _>>(),
            },
        });
        let json = json.to_string();
        let files = TokenizerFiles {
            tokenizer: json.as_bytes(),
            tokenizer_config: Some(
                br#"{"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>"}"#,
            ),
            ..TokenizerFiles::default()
        };
        let options = TextOptions {
            max_tokens: 16,
            vocab_size: 10,
            lower_case: None,
        };
        let tokenizer = TextTokenizer::new(files, options).unwrap();
        let known = at_once(&tokenizer, "ba ab");
        assert_eq!(known.0, [6, 5, 7, 5, 6]);
        assert_eq!(by_word(&tokenizer, "ba ab"), Some(known));
        assert_eq!(at_once(&tokenizer, "aéxb").0, [5, 3, 6]);
        assert_eq!(at_once(&tokenizer, "bB aB").0, [6, 9, 8]);
        for text in ["aéxb", "é", "a éb", "bB aB"] {
            assert_eq!(by_word(&tokenizer, text), None, "{text}");
        }
    }
}
