//! Converts a `spiece.model`, the tokenizer file of SigLIP 1, to a tokenizer.json.
//!
//! The file is a protobuf message (sentencepiece's `sentencepiece_model.proto`): pieces with
//! their scores, and a table by which characters are normalized. What `SiglipTokenizer` does
//! before sentencepiece is the same for any tokenizer of that class and not part of this.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::TokenizerError;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(enumeration = "Kind", optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    /// 1 is unigram, the default.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// The bytes of a tokenizer.json that gives the same ids as sentencepiece.
pub(crate) fn from_sentencepiece(bytes: &[u8]) -> Result<Vec<u8>, TokenizerError> {
    let wrong = |reason: &str| TokenizerError::Sentencepiece(reason.to_owned());
    let model = Model::decode(bytes)
        .map_err(|error| TokenizerError::Sentencepiece(format!("it is damaged ({error})")))?;
    let trainer = model.trainer.unwrap_or_default();
    if trainer.model_type.is_some_and(|kind| kind != 1) {
        return Err(wrong("it is not a unigram model, as SigLIP 1 has"));
    }
    if trainer.treat_whitespace_as_suffix() {
        return Err(wrong("its pieces have their spaces behind them"));
    }
    let mut vocabulary = Vec::with_capacity(model.pieces.len());
    let mut unknown = None;
    for (id, piece) in model.pieces.iter().enumerate() {
        match Kind::try_from(piece.kind.unwrap_or(Kind::Normal as i32)) {
            Ok(Kind::Normal | Kind::Control) => {}
            Ok(Kind::Unknown) => unknown = Some((id, piece.piece())),
            Ok(Kind::UserDefined | Kind::Unused | Kind::Byte) | Err(_) => {
                return Err(wrong(
                    "it has pieces of kinds that no SigLIP model has; make a tokenizer.json \
                     of it",
                ));
            }
        }
        vocabulary.push(json!([piece.piece(), piece.score()]));
    }
    let (unknown, unknown_piece) = unknown.ok_or_else(|| wrong("it has no unknown piece"))?;
    let id = |content: &str| {
        let mut pieces = model.pieces.iter();
        pieces.position(|piece| piece.piece() == content)
    };
    let end = id("</s>").ok_or_else(|| wrong("it has no piece </s>"))?;
    let added = |content: &str, id: usize| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": true,
            "rstrip": true, "normalized": false, "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added("</s>", end), added(unknown_piece, unknown)],
        "normalizer": normalizer(model.normalizer.unwrap_or_default())?,
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "</s>", "type_id": 1}},
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [end], "tokens": ["</s>"]}},
        },
        "decoder": null,
        "model": {
            "type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": false,
        },
    });
    Ok(tokenizer.to_string().into_bytes())
}

/// Sentencepiece's normalization of characters.
fn normalizer(spec: Normalizer) -> Result<Value, TokenizerError> {
    if !spec.escape_whitespaces.unwrap_or(true) || !spec.remove_extra_whitespaces.unwrap_or(true) {
        return Err(TokenizerError::Sentencepiece(
            "it keeps spaces as no SigLIP model does".into(),
        ));
    }
    let table = spec.precompiled_charsmap.unwrap_or_default();
    if table.is_empty() {
        return Ok(Value::Null);
    }
    Ok(json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(table)}))
}
