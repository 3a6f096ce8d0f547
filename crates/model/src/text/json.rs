//! tokenizer.json, read once.
//!
//! The crate `tokenizers` reads a model into a tree of JSON values first, to find out of which kind
//! it is, and its merges into another. Of SigLIP 2's 34 MB (256,000 tokens, about 580,000 merges) that
//! takes most of a second, so a byte-pair model is read here, directly into what its builder takes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

use super::TokenizerError;

/// tokenizer.json.
#[derive(serde::Deserialize)]
pub(super) struct TokenizerJson {
    #[serde(default)]
    model: Model,
    /// All other parts.
    #[serde(flatten)]
    parts: Map<String, Value>,
}

/// The model, as far as one of byte pairs has the same fields.
#[derive(Default, serde::Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Option<Vocabulary>,
    merges: Option<Vec<Merge>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// A byte-pair model.
pub(super) struct BytePairs {
    /// Tokens and their ids, in the file's order.
    pub(super) vocabulary: Vec<(String, u32)>,
    merges: Vec<(String, String)>,
    options: Map<String, Value>,
}

/// See [`super::length`].
pub(super) fn length(json: &[u8]) -> Option<usize> {
    /// Keeps what it finds; the rest of the file is left alone.
    #[derive(Default)]
    struct Head {
        truncation: Option<Value>,
        padding: Option<Value>,
    }

    impl<'de> Visitor<'de> for &mut Head {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("tokenizer.json")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut found = 0;
            while found < 2
                && let Some(key) = map.next_key::<String>()?
            {
                let place = match key.as_str() {
                    "truncation" => &mut self.truncation,
                    "padding" => &mut self.padding,
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                };
                *place = map.next_value()?;
                found += 1;
            }
            Ok(())
        }
    }

    let mut head = Head::default();
    // It complains of what it was not asked to read, and of damage, which is found when all of it is.
    let _ = serde_json::Deserializer::from_slice(json).deserialize_map(&mut head);
    let truncation = head
        .truncation
        .as_ref()
        .and_then(|part| part.get("max_length"));
    let padding = head
        .padding
        .as_ref()
        .and_then(|part| part.get("strategy")?.get("Fixed"));
    let length = truncation.or(padding)?.as_u64()?;
    usize::try_from(length).ok().filter(|&length| length > 0)
}

/// Why tokenizer.json cannot be used.
pub(super) fn unusable(reason: impl fmt::Display) -> TokenizerError {
    TokenizerError::Unreadable {
        file: "tokenizer.json",
        reason: reason.to_string(),
    }
}

impl TokenizerJson {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, TokenizerError> {
        serde_json::from_slice(bytes).map_err(unusable)
    }

    /// The model, if it is a byte-pair model; it is moved out.
    ///
    /// # Errors
    ///
    /// When two tokens are merged that are longer together than the longest token: the crate
    /// `tokenizers` takes for granted that there are none.
    pub(super) fn byte_pairs(&mut self) -> Result<Option<BytePairs>, TokenizerError> {
        let model = std::mem::take(&mut self.model);
        // Old files do not name the kind of their model.
        let is_named = model.kind.is_none_or(|kind| kind == "BPE");
        let (Some(Vocabulary(Some(vocabulary))), Some(merges)) = (model.vocab, model.merges) else {
            return Ok(None);
        };
        let merges: Vec<_> = merges
            .into_iter()
            .filter_map(|Merge(merge)| merge)
            .collect();
        let longest = vocabulary.iter().map(|(token, _)| token.len()).max();
        // What the second token of a merge begins with, and the merged one lacks.
        let prefix = model.options.get("continuing_subword_prefix");
        let prefix = prefix.and_then(Value::as_str).map_or(0, str::len);
        let longest = longest.unwrap_or(0);
        let fits = |(left, right): &&(String, String)| {
            right.len() >= prefix && left.len() + right.len() - prefix <= longest
        };
        if let Some((left, right)) = merges.iter().find(|merge| !fits(merge)) {
            return Err(unusable(format_args!(
                "it merges {left:?} and {right:?} to a token that its vocabulary lacks"
            )));
        }
        Ok(is_named.then_some(BytePairs {
            vocabulary,
            merges,
            options: model.options,
        }))
    }

    /// A part besides the model.
    pub(super) fn part(&self, name: &str) -> Option<&Value> {
        self.parts.get(name)
    }
}

impl BytePairs {
    /// What stands beside the model, as the crate reads it: with no tokens in the model.
    ///
    /// # Errors
    ///
    /// When any part of the file is not what it should be.
    pub(super) fn beside(&self, json: TokenizerJson) -> Result<Tokenizer, TokenizerError> {
        let mut model = self.options.clone();
        model.extend([
            ("type".to_owned(), json!("BPE")),
            ("vocab".to_owned(), json!({})),
            ("merges".to_owned(), json!([])),
        ]);
        let mut parts = json.parts;
        parts.insert("model".to_owned(), Value::Object(model));
        serde_json::from_value(Value::Object(parts)).map_err(unusable)
    }

    /// As `GemmaTokenizer.__init__` makes it: with byte fallback, and with a token for unknown
    /// characters, of which several in a row are one.
    ///
    /// # Errors
    ///
    /// When a merge is of tokens, or makes one, that the vocabulary lacks.
    pub(super) fn gemma(self) -> Result<BPE, TokenizerError> {
        BPE::builder()
            .vocab_and_merges(
                self.vocabulary
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
                self.merges,
            )
            .unk_token("<unk>".into())
            .fuse_unk(true)
            .byte_fallback(true)
            .build()
            .map_err(unusable)
    }
}

/// Tokens with their ids; none if the vocabulary is a list, as a unigram model has it.
struct Vocabulary(Option<Vec<(String, u32)>>);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;

        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    tokens.push(entry);
                }
                Ok(Vocabulary(Some(tokens)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocabulary, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocabulary(None))
            }
        }

        deserializer.deserialize_any(Tokens)
    }
}

/// Two tokens that become one: a list of both, or, in old files, both with a space between. Their
/// line with a version is no merge.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;

        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let mut next = || seq.next_element::<String>();
                match (next()?, next()?, next()?) {
                    (Some(left), Some(right), None) => Ok(Merge(Some((left, right)))),
                    _ => Err(A::Error::custom("a merge is of two tokens")),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                match text.split_once(' ') {
                    _ if text.starts_with("#version") => Ok(Merge(None)),
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(Some((left.to_owned(), right.to_owned()))))
                    }
                    _ => Err(E::custom(format!(
                        "a merge is of two tokens, and not {text:?}"
                    ))),
                }
            }
        }

        deserializer.deserialize_any(Pair)
    }
}
