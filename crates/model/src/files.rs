//! The small files of a model; the only place that knows their names.
//!
//! ```text
//! checkpoint directory, engine directory, binary --read--> ModelFiles
//!     --config-----> Config
//!     --tokenizer--> TextTokenizer
//!     --processor--> what describes the image processor
//! ```
//!
//! transformers has stored the image processor in two ways: in a file of its own,
//! `preprocessor_config.json`, and since version 5 inside `processor_config.json`. If both
//! exist and differ, it reads the second, and so does this module.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::checkpoint::{CheckpointError, Config, Resolution};
use crate::text::{self, TextOptions, TextTokenizer, TokenizerError, TokenizerFiles};

/// The model's architecture.
pub const CONFIG: &str = "config.json";
/// The image processor in a file of its own.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// The image processor as transformers 5 writes it.
pub const PROCESSOR: &str = "processor_config.json";
/// Vocabulary, merges and what goes with them.
pub const TOKENIZER: &str = "tokenizer.json";
/// The vocabulary of SigLIP 1 as sentencepiece has it.
pub const SENTENCEPIECE: &str = "spiece.model";
/// The tokenizer's class, its special tokens and its maximum length.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Tokens that were added to a vocabulary, as written by old versions of transformers.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// Special tokens, as written by older versions of transformers.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// The weights of a checkpoint in a single file.
pub const WEIGHTS: &str = "model.safetensors";
/// The index of weights in several files.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// The weights in PyTorch's own format. It is a pickle, which can run code, so it is not read.
pub const PYTORCH_WEIGHTS: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Largest size of a small file, in bytes. The largest known, the tokenizer.json of SigLIP 2,
/// has 34 MB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// The small files of a model, as bytes: those that transformers would read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFiles {
    /// `config.json`.
    pub config: Cow<'static, [u8]>,
    /// `tokenizer.json`, or a replacement for it if there is only `spiece.model`.
    pub tokenizer: Cow<'static, [u8]>,
    /// `tokenizer_config.json`, if it exists.
    pub tokenizer_config: Option<Cow<'static, [u8]>>,
    /// `special_tokens_map.json`, if it exists.
    pub special_tokens_map: Option<Cow<'static, [u8]>>,
    /// The image processor, as `preprocessor_config.json` has it.
    pub preprocessor: Cow<'static, [u8]>,
}

/// The part of `processor_config.json` that matters.
#[derive(Deserialize)]
struct ProcessorConfig<'a> {
    #[serde(borrow)]
    image_processor: Option<&'a RawValue>,
}

/// The part of `tokenizer_config.json` that says how long a text is.
#[derive(Default, Deserialize)]
struct Length {
    max_length: Option<Value>,
    model_max_length: Option<Value>,
    max_len: Option<Value>,
}

impl ModelFiles {
    /// Reads the files by their names; `read` returns nothing for a file that does not exist.
    /// `place` names the directory in errors.
    ///
    /// # Errors
    ///
    /// Those of `read`, and if a required file is missing or damaged.
    pub fn read<E: From<CheckpointError>>(
        place: &Path,
        mut read: impl FnMut(&'static str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let missing = |file: &str| CheckpointError::MissingFile {
            directory: place.to_owned(),
            file: file.to_owned(),
        };
        let config = read(CONFIG)?.ok_or_else(|| missing(CONFIG))?;
        let preprocessor = match read(PROCESSOR)?
            .map(|bytes| nested(&bytes, place))
            .transpose()?
            .flatten()
        {
            Some(nested) => nested,
            None => read(PREPROCESSOR)?.ok_or_else(|| missing(PREPROCESSOR))?,
        };
        let tokenizer_config = read(TOKENIZER_CONFIG)?;
        let first = vocabularies(tokenizer_config.as_deref(), Some(&config));
        let mut tokenizer = None;
        for &file in first {
            if tokenizer.is_none() {
                tokenizer = read(file)?.map(|bytes| (file, bytes));
            }
        }
        let tokenizer = match tokenizer {
            Some((SENTENCEPIECE, model)) => {
                text::from_sentencepiece(&model).map_err(CheckpointError::from)?
            }
            Some((_, json)) => json,
            None => {
                let error = match first.contains(&SENTENCEPIECE) {
                    true => TokenizerError::NoVocabulary,
                    false => TokenizerError::NoTokenizerJson,
                };
                return Err(CheckpointError::from(error).into());
            }
        };
        // Written by versions of transformers before 4.34, beside a tokenizer that lacks its tokens.
        if let Some(added) = read(ADDED_TOKENS)? {
            let decoder = tokenizer_config.as_deref().and_then(|bytes| {
                let settings: Value = serde_json::from_slice(bytes).ok()?;
                settings.get("added_tokens_decoder").cloned()
            });
            let added: Option<serde_json::Map<String, Value>> = serde_json::from_slice(&added).ok();
            if decoder.is_none() && added.is_none_or(|tokens| !tokens.is_empty()) {
                return Err(CheckpointError::from(TokenizerError::AddedTokensJson).into());
            }
        }
        Ok(Self {
            config: config.into(),
            tokenizer: tokenizer.into(),
            tokenizer_config: tokenizer_config.map(Into::into),
            special_tokens_map: read(SPECIAL_TOKENS_MAP)?.map(Into::into),
            preprocessor: preprocessor.into(),
        })
    }

    /// Each existing file, under the name by which it will be read again.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let some = |name, bytes| Some((name, bytes));
        [
            some(CONFIG, &*self.config),
            some(PREPROCESSOR, &*self.preprocessor),
            some(TOKENIZER, &*self.tokenizer),
            self.tokenizer_config
                .as_deref()
                .map(|bytes| (TOKENIZER_CONFIG, bytes)),
            self.special_tokens_map
                .as_deref()
                .map(|bytes| (SPECIAL_TOKENS_MAP, bytes)),
        ]
        .into_iter()
        .flatten()
    }

    /// Parses `config.json`, with as many ids per text as the tokenizer pads to. `file` is its
    /// name for errors.
    ///
    /// # Errors
    ///
    /// The same as for [`Config::parse`].
    pub fn config(&self, file: &str) -> Result<Config, CheckpointError> {
        let mut config = Config::parse(&self.config, file)?;
        if let Some(length) = self.text_length(config.vision.resolution) {
            config.text.positions = config.text.positions.min(length);
        }
        Ok(config)
    }

    /// The length to which transformers' processor pads a text, if the files say so: what a call of the
    /// tokenizer would have been given (`max_length`, or the truncation or padding of
    /// tokenizer.json), else 64 for NaFlex models, else the tokenizer's `model_max_length`, which is 64
    /// for `SiglipTokenizer` and a huge number for all others where nothing is said.
    fn text_length(&self, resolution: Resolution) -> Option<usize> {
        let settings = self.tokenizer_config.as_deref();
        let settings: Length = settings
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let number = |value: Option<Value>| {
            let length = value?.as_f64()?;
            let fits = (1.0..=f64::from(1_u32 << 24)).contains(&length);
            fits.then_some(length as usize)
        };
        let called_with = number(settings.max_length).or_else(|| text::length(&self.tokenizer));
        called_with.or_else(|| match resolution {
            Resolution::Variable => Some(64),
            Resolution::Fixed => match settings.model_max_length.or(settings.max_len) {
                Some(length) => number(Some(length)),
                None => (text::is_siglip1(&self.tokenizer_files()) == Some(true)).then_some(64),
            },
        })
    }

    /// The files that make up a tokenizer.
    pub fn tokenizer_files(&self) -> TokenizerFiles<'_> {
        TokenizerFiles {
            tokenizer: &self.tokenizer,
            tokenizer_config: self.tokenizer_config.as_deref(),
            special_tokens_map: self.special_tokens_map.as_deref(),
            config: Some(&self.config),
        }
    }

    /// The tokenizer, for the text tower of `config`; `lower_case` as in [`TextOptions`].
    ///
    /// # Errors
    ///
    /// The same as for [`TextTokenizer::new`].
    pub fn text_tokenizer(
        &self,
        config: &Config,
        lower_case: Option<bool>,
    ) -> Result<TextTokenizer, TokenizerError> {
        TextTokenizer::new(
            self.tokenizer_files(),
            TextOptions {
                max_tokens: config.text.positions,
                vocab_size: config.text.vocab_size,
                lower_case,
            },
        )
    }
}

/// The files that may have the vocabulary of a model with these files, the one that is taken first
/// in front. transformers makes a `SiglipTokenizer` of `spiece.model`, whatever tokenizer.json lies
/// beside it, and makes nothing that could be used of `spiece.model` for any other class.
pub(crate) fn vocabularies(
    tokenizer_config: Option<&[u8]>,
    config: Option<&[u8]>,
) -> &'static [&'static str] {
    match text::is_siglip1(&TokenizerFiles {
        tokenizer_config,
        config,
        ..TokenizerFiles::default()
    }) {
        Some(true) => &[SENTENCEPIECE, TOKENIZER],
        Some(false) => &[TOKENIZER],
        // A file is damaged, or its class is refused: either is said when the tokenizer is made.
        None => &[TOKENIZER, SENTENCEPIECE],
    }
}

/// The image processor in a `processor_config.json`, if there is one.
pub(crate) fn nested(bytes: &[u8], place: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    let config: ProcessorConfig<'_> =
        serde_json::from_slice(bytes).map_err(|error| CheckpointError::Json {
            file: place.join(PROCESSOR),
            reason: error.to_string(),
        })?;
    Ok(config
        .image_processor
        .map(|nested| nested.get().as_bytes().to_owned()))
}

/// Whether `name`, which came from a file or a server, names a file within its directory: a
/// relative path of plain names, on every system.
pub fn is_inside(name: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.contains(['\\', ':', '\0'])
            && !part.chars().any(char::is_control)
    };
    name.len() <= 512 && name.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_directory() {
        for name in [
            "model.safetensors",
            "weights/a/model-00001-of-00002.safetensors",
            "..a",
            "a..b/c",
        ] {
            assert!(is_inside(name), "{name:?}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/./b",
            "a//b",
            "a/",
            r"..\a",
            r"C:\a",
            "C:a",
            "a\0b",
            "a\nb",
            &"a".repeat(513),
        ] {
            assert!(!is_inside(name), "{name:?}");
        }
    }

    fn read(files: &[(&'static str, &str)]) -> Result<ModelFiles, CheckpointError> {
        ModelFiles::read(Path::new("model"), |name| {
            let found = files.iter().find(|(file, _)| *file == name);
            Ok(found.map(|(_, text)| text.as_bytes().to_vec()))
        })
    }

    /// transformers 5.24: `get_image_processor_config`.
    #[test]
    fn a_nested_image_processor_goes_first() {
        let base = [(CONFIG, "{}"), (TOKENIZER, "{}")];
        for (files, expected) in [
            (vec![(PREPROCESSOR, "1")], "1"),
            (
                vec![(PROCESSOR, r#"{"image_processor": {"a": 2}}"#)],
                r#"{"a": 2}"#,
            ),
            (
                vec![
                    (PREPROCESSOR, "1"),
                    (PROCESSOR, r#"{"image_processor": {"a": 2}}"#),
                ],
                r#"{"a": 2}"#,
            ),
            (vec![(PREPROCESSOR, "1"), (PROCESSOR, "{}")], "1"),
            (
                vec![
                    (PREPROCESSOR, "1"),
                    (PROCESSOR, r#"{"image_processor": null}"#),
                ],
                "1",
            ),
        ] {
            let found = read(&[&base[..], &files].concat()).unwrap();
            assert_eq!(found.preprocessor, expected.as_bytes(), "{files:?}");
        }
        let error = read(&base).unwrap_err().to_string();
        assert!(
            error.contains(PREPROCESSOR) && error.contains(PROCESSOR),
            "{error}"
        );
        let damaged = [&base[..], &[(PROCESSOR, "{")]].concat();
        assert!(read(&damaged).unwrap_err().to_string().contains(PROCESSOR));
    }

    /// transformers 5.24: `_merge_kwargs` of a processor, and the tokenizers' own defaults.
    #[test]
    fn texts_are_as_long_as_the_tokenizer_pads_them() {
        let positions = |model_type: &str, settings: &str, json: &str| {
            let config = format!(
                r#"{{"model_type": {model_type:?}, "text_config": {{"max_position_embeddings": 128}}}}"#
            );
            let files = [
                (CONFIG, config.as_str()),
                (TOKENIZER, json),
                (PREPROCESSOR, ""),
                (TOKENIZER_CONFIG, settings),
            ];
            let without = files.len() - usize::from(settings.is_empty());
            let text = read(&files[..without]).unwrap();
            let text = text.config("config.json").unwrap().text;
            assert_eq!(text.stored_positions, 128);
            text.positions
        };
        let gemma = |more: &str| format!(r#"{{"tokenizer_class": "GemmaTokenizer"{more}}}"#);
        let cut =
            r#"{"version": "1.0", "truncation": {"max_length": 48}, "padding": null, "model": 1}"#;
        let padded = r#"{"truncation": null, "padding": {"strategy": {"Fixed": 40}}, "model": {"#;
        for (settings, json, fixed, naflex) in [
            (gemma(r#", "model_max_length": 64"#), "", 64, 64),
            (gemma(r#", "model_max_length": 200"#), "", 128, 64),
            (gemma(r#", "model_max_length": 1e30"#), "", 128, 64),
            (
                gemma(r#", "model_max_length": 1000000000000000019884624838656"#),
                "",
                128,
                64,
            ),
            (gemma(r#", "model_max_length": "64""#), "", 128, 64),
            (gemma(r#", "max_len": 32"#), "", 32, 64),
            (gemma(""), "{}", 128, 64),
            // What the tokenizer would have been called with goes first.
            (gemma(r#", "max_length": 32"#), "", 32, 32),
            (
                gemma(r#", "max_length": 32, "model_max_length": 64"#),
                cut,
                32,
                32,
            ),
            (gemma(r#", "model_max_length": 32"#), cut, 48, 48),
            (gemma(r#", "model_max_length": 32"#), padded, 40, 40),
            (gemma(r#", "max_length": null"#), cut, 48, 48),
            (gemma(r#", "max_length": 0"#), "", 128, 64),
            // `SiglipTokenizer` has a length of its own.
            (
                r#"{"tokenizer_class": "SiglipTokenizer"}"#.into(),
                "",
                64,
                64,
            ),
            (r#"{"model_max_length": 100}"#.into(), "", 100, 64),
            ("{}".into(), "", 64, 64),
            (String::new(), "", 64, 64),
        ] {
            assert_eq!(
                positions("siglip", &settings, json),
                fixed,
                "{settings} {json}"
            );
            assert_eq!(
                positions("siglip2", &settings, json),
                naflex,
                "{settings} {json}"
            );
        }
    }

    #[test]
    fn siglip1_is_read_from_its_spiece_model_and_added_tokens_are_not_left_out() {
        let base = [
            (CONFIG, r#"{"model_type": "siglip"}"#),
            (PREPROCESSOR, ""),
            (TOKENIZER, "{}"),
        ];
        // What lies beside it is not looked at; it is damaged itself.
        let both = [&base[..], &[(SENTENCEPIECE, "no model")]].concat();
        let error = read(&both).unwrap_err().to_string();
        assert!(error.contains(SENTENCEPIECE), "{error}");
        let gemma = (TOKENIZER_CONFIG, r#"{"tokenizer_class": "GemmaTokenizer"}"#);
        assert!(read(&[&both[..], &[gemma]].concat()).is_ok());

        // transformers 5.24 refuses these files, or makes one unknown token of every text.
        let alone = [base[0], base[1], (SENTENCEPIECE, "no model")];
        let plain = (
            TOKENIZER_CONFIG,
            r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#,
        );
        for class in [gemma, plain] {
            let error = read(&[&alone[..], &[class]].concat())
                .unwrap_err()
                .to_string();
            assert!(error.contains("no tokenizer.json"), "{error}");
        }
        let error = read(&base[..2]).unwrap_err().to_string();
        assert!(error.contains("neither"), "{error}");

        for (added, is_read) in [("{}", true), (r#"{"<a>": 7}"#, false), ("[", false)] {
            let files = [&base[..], &[gemma, (ADDED_TOKENS, added)]].concat();
            match read(&files) {
                Ok(_) => assert!(is_read, "{added}"),
                Err(error) => assert!(
                    !is_read && error.to_string().contains(ADDED_TOKENS),
                    "{error}"
                ),
            }
        }
        let decoder = r#"{"tokenizer_class": "GemmaTokenizer", "added_tokens_decoder": {}}"#;
        let files = [(TOKENIZER_CONFIG, decoder), (ADDED_TOKENS, r#"{"<a>": 7}"#)];
        assert!(read(&[&base[..], &files].concat()).is_ok());
    }
}
