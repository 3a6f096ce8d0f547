//! Builds the tokenizer as transformers' class does from the files.

use std::iter::repeat_n;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{
    PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::charsmap::CharsMap;
use super::class::{Class, Plan};
use super::json::{TokenizerJson, unusable};
use super::pairs::Pairs;
use super::siglip1::Siglip1;
use super::{TokenizerError, TokenizerFiles};

/// A part of a tokenizer, from its JSON form.
fn part<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, TokenizerError> {
    serde_json::from_value(value).map_err(unusable)
}

/// A tokenizer without padding and truncation.
pub(super) struct Assembled {
    pub(super) tokenizer: Tokenizer,
    /// SigLIP 1's preparation of texts.
    pub(super) siglip1: Option<Siglip1>,
    /// The token with the highest id, without those that were added.
    pub(super) highest: Option<(String, u32)>,
    /// What its byte-pair model can merge, if long texts may be cut between the rest.
    pub(super) pairs: Option<Pairs>,
    /// Whether the tokenizer lower-cases texts, as far as that was asked for here.
    pub(super) is_lower_cased: bool,
}

/// Builds the tokenizer.
pub(super) fn assemble(
    files: &TokenizerFiles<'_>,
    mut json: TokenizerJson,
    plan: &Plan,
    lower_case: Option<bool>,
) -> Result<Assembled, TokenizerError> {
    let byte_pairs = json.byte_pairs()?;
    let read = || Tokenizer::from_bytes(files.tokenizer).map_err(unusable);
    let (mut tokenizer, highest, pairs) = match plan.class {
        Class::Siglip2 | Class::Gemma => {
            let byte_pairs =
                byte_pairs.ok_or_else(|| unusable("a SigLIP 2 tokenizer has a BPE model"))?;
            let highest = byte_pairs.vocabulary.iter().max_by_key(|&(_, id)| id);
            let highest = highest.cloned();
            let pairs = Pairs::of(
                byte_pairs
                    .vocabulary
                    .iter()
                    .map(|(token, _)| token.as_str()),
            );
            let beside = byte_pairs.beside(json)?;
            (gemma(byte_pairs.gemma()?, &beside)?, highest, pairs)
        }
        // A SigLIP 1 tokenizer is a unigram. Anything else under this class is a SigLIP 2
        // vocabulary with the wrong class, which would silently give other ids.
        Class::Siglip1 if byte_pairs.is_some() => return Err(TokenizerError::UnknownClass),
        Class::Siglip1 | Class::AsIs => {
            let read = read()?;
            let is_unigram = matches!(read.get_model(), ModelWrapper::Unigram(_));
            if plan.class == Class::Siglip1 && !is_unigram {
                return Err(TokenizerError::UnknownClass);
            }
            let vocabulary = read.get_vocab(false).into_iter();
            let highest = vocabulary.max_by_key(|&(_, id)| id);
            (read, highest, None)
        }
    };
    add_tokens(&mut tokenizer, plan)?;
    let mut assembled = Assembled {
        tokenizer,
        siglip1: None,
        highest,
        pairs,
        is_lower_cased: false,
    };
    let tokenizer = &mut assembled.tokenizer;
    if plan.split_special_tokens {
        if plan.class == Class::Siglip1 {
            return Err(TokenizerError::SplitSpecialTokens);
        }
        tokenizer.set_encode_special_tokens(true);
    }
    if plan.class == Class::Siglip1 {
        let lower_case = lower_case.unwrap_or(plan.do_lower_case);
        assembled.siglip1 = Some(siglip1(tokenizer, lower_case)?);
        return Ok(assembled);
    }
    let lower = (plan.class == Class::Siglip2).then_some(true);
    let lower = lower_case.or(lower);
    assembled.is_lower_cased = lower == Some(true);
    if let Some(normalizer) = normalizer(tokenizer, lower)? {
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(unusable)?;
    }
    Ok(assembled)
}

/// Removes from a tokenizer.json what stands for steps that `SiglipTokenizer` does in Python:
/// its normalizer, except for the table of characters, and the "▁" before text after a special
/// token, which conversions add and the class does not.
fn siglip1(tokenizer: &mut Tokenizer, lower_case: bool) -> Result<Siglip1, TokenizerError> {
    let own = serde_json::to_value(tokenizer.get_normalizer()).map_err(unusable)?;
    let mut steps = Vec::new();
    flatten(own, &mut steps);
    let table = steps
        .iter()
        .filter(|step| step["type"] == "Precompiled")
        .find_map(|step| step["precompiled_charsmap"].as_str())
        .map(|encoded| {
            STANDARD
                .decode(encoded)
                .ok()
                .and_then(|bytes| CharsMap::read(&bytes))
                .ok_or_else(|| unusable("its precompiled_charsmap is damaged"))
        })
        .transpose()?;
    tokenizer
        .with_normalizer(None::<NormalizerWrapper>)
        .map_err(unusable)?;
    let mut own = serde_json::to_value(tokenizer.get_pre_tokenizer()).map_err(unusable)?;
    if own["type"] == "Metaspace" {
        own["prepend_scheme"] = json!("never");
        tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(own)?));
    }
    Ok(Siglip1::new(tokenizer, table, lower_case))
}

/// `GemmaTokenizer.__init__`: spaces become "▁", and a BPE with byte fallback works on the
/// whole text.
fn gemma(model: BPE, beside: &Tokenizer) -> Result<Tokenizer, TokenizerError> {
    let mut tokenizer = Tokenizer::new(model);
    let spaces: NormalizerWrapper =
        part(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}))?;
    let split: PreTokenizerWrapper = part(json!({
        "type": "Split", "pattern": {"String": " "},
        "behavior": "MergedWithPrevious", "invert": false,
    }))?;
    tokenizer.with_normalizer(Some(spaces)).map_err(unusable)?;
    tokenizer.with_pre_tokenizer(Some(split));
    tokenizer.with_post_processor(beside.get_post_processor().cloned());
    Ok(tokenizer)
}

/// `TokenizersBackend.__init__`: adds the tokens that do not exist in exactly this form, then
/// the special tokens whose content does not exist at all.
fn add_tokens(tokenizer: &mut Tokenizer, plan: &Plan) -> Result<(), TokenizerError> {
    let existing: Vec<_> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let mut add: Vec<_> = Vec::new();
    for token in &plan.tokens {
        let same = existing.iter().any(|known| {
            known == token
                && known.special == token.special
                && known.normalized == token.normalized
                && known.lstrip == token.lstrip
                && known.rstrip == token.rstrip
                && known.single_word == token.single_word
        });
        if !same {
            let mut token = token.clone();
            token.special |= plan.special.iter().any(|s| s.content == token.content);
            add.push(token);
        }
    }
    for token in &plan.special {
        let known = |other: &tokenizers::AddedToken| other.content == token.content;
        if !existing.iter().any(known) && !add.iter().any(known) {
            add.push(token.clone());
        }
    }
    tokenizer.add_tokens(add).map_err(unusable)?;
    Ok(())
}

/// The normalizer with lower-casing added at the front (`Some(true)`) or removed
/// (`Some(false)`).
fn normalizer(
    tokenizer: &Tokenizer,
    lower: Option<bool>,
) -> Result<Option<NormalizerWrapper>, TokenizerError> {
    let own = serde_json::to_value(tokenizer.get_normalizer()).map_err(unusable)?;
    let mut steps = Vec::new();
    flatten(own, &mut steps);
    if let Some(lower) = lower {
        steps.retain(|step| step["type"] != "Lowercase");
        if lower {
            steps.insert(0, json!({"type": "Lowercase"}));
        }
    }
    if steps.is_empty() {
        return Ok(None);
    }
    part(json!({"type": "Sequence", "normalizers": steps})).map(Some)
}

/// The steps of a normalizer, including nested sequences.
fn flatten(value: Value, steps: &mut Vec<Value>) {
    match value {
        Value::Null => {}
        Value::Object(mut object) if object.get("type") == Some(&json!("Sequence")) => {
            if let Some(Value::Array(parts)) = object.remove("normalizers") {
                for part in parts {
                    flatten(part, steps);
                }
            }
        }
        other => steps.push(other),
    }
}

/// How texts that have fewer tokens than a model reads are filled up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padding {
    /// The padding token.
    id: u32,
    /// Whether it stands before the text.
    is_left: bool,
}

impl Padding {
    /// These ids and as many of the padding token as make `length` of them.
    pub(super) fn fill<'i>(
        self,
        ids: &'i [u32],
        length: usize,
    ) -> impl Iterator<Item = u32> + use<'i> {
        let missing = length.saturating_sub(ids.len());
        let (before, behind) = if self.is_left {
            (missing, 0)
        } else {
            (0, missing)
        };
        let own = ids.iter().copied();
        repeat_n(self.id, before)
            .chain(own)
            .chain(repeat_n(self.id, behind))
    }
}

/// Truncates every encoding to `max_tokens`, and finds what shorter ones are padded with.
///
/// The tokenizer itself does not pad: it would make a string for every padding token.
pub(super) fn fix_length(
    tokenizer: &mut Tokenizer,
    plan: &Plan,
    max_tokens: usize,
) -> Result<Padding, TokenizerError> {
    let pad = plan.pad_token.as_ref();
    let id = pad
        .and_then(|token| tokenizer.token_to_id(token))
        .ok_or_else(|| TokenizerError::NoPadToken(plan.pad_token.clone()))?;
    let post_processor = tokenizer.get_post_processor();
    let special = post_processor.map_or(0, |processor| processor.added_tokens(false));
    if special >= max_tokens {
        return Err(TokenizerError::TooShort {
            special,
            max_tokens,
        });
    }
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(Some(TruncationParams {
            direction: if plan.truncate_left {
                TruncationDirection::Left
            } else {
                TruncationDirection::Right
            },
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        }))
        .map_err(unusable)?;
    Ok(Padding {
        id,
        is_left: plan.pad_left,
    })
}
