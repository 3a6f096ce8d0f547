//! Which tokenizer class transformers uses for a checkpoint, and with which tokens:
//! `AutoTokenizer.from_pretrained` and `_from_pretrained` of transformers 5.24.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::json::TokenizerJson;
use super::{TokenizerError, TokenizerFiles};

/// The classes, as far as they build different tokenizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `Siglip2Tokenizer`: a Gemma tokenizer with lower-casing before it.
    Siglip2,
    /// `GemmaTokenizer`: vocabulary, merges and post-processor of tokenizer.json, the rest
    /// rebuilt.
    Gemma,
    /// `SiglipTokenizer` of SigLIP 1: lower case, no punctuation, single spaces; then a
    /// sentencepiece unigram, which is read from tokenizer.json here.
    Siglip1,
    /// Any other class: tokenizer.json as it is.
    AsIs,
}

/// The special tokens that a class has names for, in transformers' order.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The contents of the files, interpreted as transformers does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) class: Class,
    /// Tokens to add to those of tokenizer.json, in this order; existing ones keep their id.
    pub(super) tokens: Vec<AddedToken>,
    /// The named and extra special tokens, to be added unless a token with that content exists.
    pub(super) special: Vec<AddedToken>,
    /// The padding token.
    pub(super) pad_token: Option<String>,
    /// Whether padding goes before the text.
    pub(super) pad_left: bool,
    /// Whether long texts are truncated at their beginning.
    pub(super) truncate_left: bool,
    /// SigLIP 1's `do_lower_case`.
    pub(super) do_lower_case: bool,
    /// Whether special tokens in a text are read as any other characters.
    pub(super) split_special_tokens: bool,
}

/// Parses a file that must hold a JSON object.
fn object<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|error| TokenizerError::Unreadable {
        file,
        reason: error.to_string(),
    })
}

/// A token: its content alone, or an object with its properties.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let special = flag("special").unwrap_or(special);
    Some(
        AddedToken::from(content, special)
            .normalized(flag("normalized").unwrap_or(!special))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false)),
    )
}

impl Plan {
    /// Reads the files.
    pub(super) fn read(
        files: &TokenizerFiles<'_>,
        json: &TokenizerJson,
    ) -> Result<Self, TokenizerError> {
        let read = |file, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => object::<Map<String, Value>>(file, bytes),
            None => Ok(Map::new()),
        };
        let mut settings = read("tokenizer_config.json", files.tokenizer_config)?;
        let map = read("special_tokens_map.json", files.special_tokens_map)?;
        let config = read("config.json", files.config)?;
        let class = class(&settings, &config)?;

        // Tokens by id, from tokenizer_config.json or from the older files.
        let mut by_id: Vec<(u64, AddedToken)> = Vec::new();
        if let Some(Value::Object(decoder)) = settings.get("added_tokens_decoder") {
            for (id, value) in decoder {
                by_id.extend(id.parse().ok().zip(token(value, false)));
            }
        } else {
            for (key, value) in map {
                settings.insert(key, value);
            }
            let added = json.part("added_tokens").and_then(Value::as_array);
            for value in added.into_iter().flatten() {
                let id = value.get("id").and_then(Value::as_u64);
                by_id.extend(id.zip(token(value, false)));
            }
        }
        by_id.sort_by_key(|&(id, _)| id);
        let tokens: Vec<AddedToken> = by_id.into_iter().map(|(_, token)| token).collect();

        let named = |name: &str| -> Option<AddedToken> {
            let default = || class.default_token(name);
            let value = match settings.get(name) {
                Some(Value::Null) => return None,
                Some(value) => token(value, true)?,
                None => default()?,
            };
            // If a token with that content exists, its properties win.
            let known = tokens.iter().find(|known| known.content == value.content);
            let mut value = known.cloned().unwrap_or(value);
            value.special = true;
            Some(value)
        };
        let mut special: Vec<AddedToken> = NAMED.iter().filter_map(|name| named(name)).collect();
        let extra = ["extra_special_tokens", "additional_special_tokens"]
            .iter()
            .find_map(|key| settings.get(*key).filter(|value| !value.is_null()));
        match extra {
            Some(Value::Array(values)) => {
                special.extend(values.iter().filter_map(|value| token(value, true)));
            }
            Some(Value::Object(values)) => {
                special.extend(values.values().filter_map(|value| token(value, true)));
            }
            _ => {}
        }

        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_lowercase);
        let in_json = |part: &str, key: &str| json.part(part)?.get(key).cloned();
        let side = |setting: &str, part: &str| {
            text(settings.get(setting)).or_else(|| text(in_json(part, "direction").as_ref()))
        };
        let pad_side = side("padding_side", "padding");
        let no_pad_token = settings.get("pad_token") == Some(&Value::Null);
        let pad_token = named("pad_token").map(|token| token.content).or_else(|| {
            // Said to have none, it has none, whatever tokenizer.json pads with.
            if no_pad_token {
                return None;
            }
            let value = in_json("padding", "pad_token")?;
            value.as_str().map(str::to_owned)
        });
        Ok(Self {
            class,
            tokens,
            special,
            pad_token,
            pad_left: match pad_side {
                Some(side) => side == "left",
                // These two classes have another default than all others.
                None => matches!(class, Class::Siglip2 | Class::Gemma),
            },
            truncate_left: side("truncation_side", "truncation").as_deref() == Some("left"),
            do_lower_case: settings.get("do_lower_case") != Some(&Value::Bool(false)),
            split_special_tokens: settings.get("split_special_tokens") == Some(&Value::Bool(true)),
        })
    }

    /// The class of these files, if it can be told.
    pub(super) fn class(files: &TokenizerFiles<'_>) -> Option<Class> {
        let read = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => serde_json::from_slice(bytes).ok(),
            None => Some(Map::new()),
        };
        class(&read(files.tokenizer_config)?, &read(files.config)?).ok()
    }
}

impl Class {
    /// The class's own default for a named special token.
    fn default_token(self, name: &str) -> Option<AddedToken> {
        let content = match (self, name) {
            (Self::Siglip2 | Self::Gemma, "bos_token") => "<bos>",
            (Self::Siglip2 | Self::Gemma, "eos_token") => "<eos>",
            (Self::Siglip2 | Self::Gemma, "pad_token") => "<pad>",
            (Self::Siglip2 | Self::Gemma, "mask_token") => "<mask>",
            (Self::Siglip2 | Self::Gemma | Self::Siglip1, "unk_token") => "<unk>",
            (Self::Siglip1, "eos_token" | "pad_token") => "</s>",
            _ => return None,
        };
        Some(AddedToken::from(content, true))
    }
}

/// The class: `model_type` "siglip2" always means `Siglip2Tokenizer` (transformers lists it
/// among the models with an incorrect class on the hub); otherwise the class that
/// tokenizer_config.json or config.json names, and the model's default if neither does.
fn class(
    settings: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Result<Class, TokenizerError> {
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).map(str::to_owned)
    };
    let model_type = text(config, "model_type");
    let named = text(settings, "tokenizer_class").or_else(|| text(config, "tokenizer_class"));
    let named = named
        .as_deref()
        .map(|name| name.strip_suffix("Fast").unwrap_or(name));
    Ok(match (model_type.as_deref(), named) {
        (Some("siglip2"), _) | (_, Some("Siglip2Tokenizer")) => Class::Siglip2,
        (_, Some("GemmaTokenizer")) => Class::Gemma,
        (_, Some("SiglipTokenizer")) | (Some("siglip"), None) => Class::Siglip1,
        (_, None | Some("PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend")) => {
            Class::AsIs
        }
        // transformers makes something of its own of the vocabulary, with other ids.
        (_, Some(other)) => {
            return Err(TokenizerError::OtherClass(other.chars().take(80).collect()));
        }
    })
}
