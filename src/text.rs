//! Text to token ids (interface).

/// The tokenizer files of a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerFiles<'a> {
    /// tokenizer.json.
    pub tokenizer: &'a [u8],
    /// tokenizer_config.json.
    pub tokenizer_config: Option<&'a [u8]>,
    /// special_tokens_map.json.
    pub special_tokens_map: Option<&'a [u8]>,
    /// config.json: its `model_type` decides which tokenizer class transformers takes.
    pub config: Option<&'a [u8]>,
}

/// How texts are tokenized.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// Ids per text, 64 for SigLIP.
    pub max_tokens: usize,
    /// Rows of the text tower's embedding table; every id is below it.
    pub vocab_size: usize,
    /// Lower-case texts or not; `None`: as the checkpoint's tokenizer class does.
    pub lower_case: Option<bool>,
}

/// Why a tokenizer cannot be used, or a text cannot be tokenized.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// tokenizer.json or one of its companions cannot be read.
    #[error("{file} cannot be read: {reason}")]
    Unreadable {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Texts to token ids.
pub struct TextTokenizer {
    tokenizer: tokenizers::Tokenizer,
}

impl TextTokenizer {
    /// Reads the files.
    pub fn new(files: TokenizerFiles<'_>, options: TextOptions) -> Result<Self, TokenizerError> {
        let _ = options;
        Ok(Self {
            tokenizer: tokenizers::Tokenizer::from_bytes(files.tokenizer).map_err(|error| {
                TokenizerError::Unreadable {
                    file: "tokenizer.json",
                    reason: error.to_string(),
                }
            })?,
        })
    }

    /// Exactly `max_tokens` ids.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        let encoding =
            self.tokenizer
                .encode_fast(text, true)
                .map_err(|error| TokenizerError::Unreadable {
                    file: "tokenizer.json",
                    reason: error.to_string(),
                })?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }
}
