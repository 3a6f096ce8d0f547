//! Text to token ids, equal to what transformers' `AutoTokenizer` makes of it with
//! `padding="max_length", max_length=64, truncation=True`.
//!
//! ```text
//! files --class----> which tokenizer class transformers takes for them
//!       --assemble-> a `tokenizers::Tokenizer` as that class builds it
//! text  --cut------> as much of a long text as can matter
//!       --words----> ids, word by word where that gives the same
//!       --encode---> or all at once; cut to the length with the end token kept, padded
//! ```
//!
//! transformers does not simply load tokenizer.json. For the classes of SigLIP 2 it takes
//! vocabulary, merges and post-processor from it and rebuilds the rest, with the tokens of
//! tokenizer_config.json; which class it uses depends on config.json too. A checkpoint of
//! `model_type` "siglip2" is lower-cased whatever its files say, one of "siglip" with the
//! class GemmaTokenizer is not.

mod assemble;
mod charsmap;
mod class;
mod cut;
mod json;
mod known;
mod pairs;
mod sentencepiece;
mod siglip1;
mod words;

use tokenizers::Tokenizer;

use assemble::Padding;
use cut::Cutter;
pub(crate) use sentencepiece::from_sentencepiece;
use siglip1::Siglip1;
use words::Words;

/// The tokenizer files of a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerFiles<'a> {
    /// tokenizer.json.
    pub tokenizer: &'a [u8],
    /// tokenizer_config.json.
    pub tokenizer_config: Option<&'a [u8]>,
    /// special_tokens_map.json.
    pub special_tokens_map: Option<&'a [u8]>,
    /// config.json: its `model_type` decides which tokenizer class transformers uses.
    pub config: Option<&'a [u8]>,
}

/// How texts are tokenized.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// Ids per text, 64 for SigLIP.
    pub max_tokens: usize,
    /// Rows of the text tower's embedding table; every id is below it.
    pub vocab_size: usize,
    /// Whether to lower-case texts; `None` follows the checkpoint's tokenizer class.
    pub lower_case: Option<bool>,
}

/// Why a tokenizer cannot be used, or a text cannot be tokenized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// There are no tokenizer files.
    #[error(
        "the model has neither tokenizer.json nor spiece.model; copy the one that belongs to \
         it into its directory"
    )]
    NoVocabulary,
    /// There is no tokenizer.json, and no other file would do.
    #[error(
        "the model has no tokenizer.json, and its tokenizer's class takes no other file; copy the \
         one that belongs to it into its directory"
    )]
    NoTokenizerJson,
    /// SigLIP 2's vocabulary, without the file that says how to use it.
    #[error(
        "tokenizer.json has a byte-pair vocabulary, as SigLIP 2 has, and nothing names the \
         class that uses it, so it is not known whether texts are lower-cased; copy the \
         model's tokenizer_config.json beside it (transformers refuses these files, too)"
    )]
    UnknownClass,
    /// What is wrong with a spiece.model.
    #[error("spiece.model cannot be used: {0}")]
    Sentencepiece(String),
    /// transformers builds another tokenizer of the files than this service would.
    #[error(
        "tokenizer_config.json names the class {0}, of which this service does not know what \
         tokenizer it makes; if tokenizer.json is to be used as it stands, set tokenizer_class to \
         PreTrainedTokenizerFast"
    )]
    OtherClass(String),
    /// A file of old versions of transformers that is not read here.
    #[error(
        "added_tokens.json has tokens, and this service does not read it; load the tokenizer with \
         transformers and save it again (save_pretrained), which puts them into tokenizer.json"
    )]
    AddedTokensJson,
    /// A setting that SigLIP 1's preparation of texts does not have here.
    #[error(
        "tokenizer_config.json sets split_special_tokens, which this service does not do for \
         SigLIP 1; remove it"
    )]
    SplitSpecialTokens,
    /// A file cannot be read or is not what it should be.
    #[error("{file} cannot be used: {reason}")]
    Unreadable {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no padding token.
    #[error("the tokenizer has no pad token ({0:?}); set pad_token in tokenizer_config.json")]
    NoPadToken(Option<String>),
    /// More special tokens than ids per text.
    #[error("the tokenizer adds {special} tokens to each text, but a text has only {max_tokens}")]
    TooShort {
        /// Tokens that are put around a text.
        special: usize,
        /// Ids per text.
        max_tokens: usize,
    },
    /// The tokenizer does not belong to the model.
    #[error(
        "token {token:?} has the id {id}, but the text model knows only {vocab_size} tokens: \
         the tokenizer belongs to another checkpoint"
    )]
    OutsideVocabulary {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// How many ids the model has.
        vocab_size: usize,
    },
    /// The tokenizer failed on a text.
    #[error("the text cannot be tokenized: {0}")]
    Failed(String),
    /// A text too long to tokenize that cannot be cut anywhere.
    #[error(
        "the text has {bytes} bytes and no place where it can be cut without changing its \
         tokens; at most {max_bytes} bytes of such text are allowed"
    )]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
}

/// Turns texts into token ids. Can be used by many threads at once.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    cutter: Option<Cutter>,
    words: Option<Words>,
    padding: Padding,
    options: TextOptions,
    /// How SigLIP 1 prepares texts.
    siglip1: Option<Siglip1>,
    /// A hash over everything that determines the ids of a text.
    digest: [u8; 32],
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A text as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenized {
    /// The ids: exactly `max_tokens`, each at least 0 and below `vocab_size`.
    pub ids: Vec<i32>,
    /// How many of them are not padding.
    pub tokens: usize,
    /// Whether the text has more tokens, so that its end was cut off (or its beginning, if the
    /// checkpoint's tokenizer truncates there).
    pub is_cut: bool,
}

/// The ids of a text with those around it, as many as the model reads, and whether it has more.
struct Ids {
    ids: Vec<u32>,
    is_cut: bool,
}

/// The longest text that is tokenized in one piece, in bytes. A text is cut to the part that
/// determines its first ids, where that part can be found. This limit is for texts where it
/// cannot, such as a megabyte of a single letter, which take about a second and 240 MB per
/// megabyte.
pub const MAX_UNCUT_BYTES: usize = 256 << 10;

impl TextTokenizer {
    /// Reads the files and checks that all their ids are in the model's vocabulary.
    pub fn new(files: TokenizerFiles<'_>, options: TextOptions) -> Result<Self, TokenizerError> {
        let json = json::TokenizerJson::read(files.tokenizer)?;
        let plan = class::Plan::read(&files, &json)?;
        let assemble::Assembled {
            mut tokenizer,
            siglip1,
            highest,
            pairs,
            is_lower_cased,
        } = assemble::assemble(&files, json, &plan, options.lower_case)?;
        let max_tokens = options.max_tokens;
        let padding = assemble::fix_length(&mut tokenizer, &plan, max_tokens)?;
        if let Some((token, id)) = highest
            && id as usize >= options.vocab_size
        {
            return Err(TokenizerError::OutsideVocabulary {
                token,
                id,
                vocab_size: options.vocab_size,
            });
        }
        let cutter = Cutter::new(&tokenizer, &plan, pairs);
        let words = match cutter {
            Some(_) => Words::new(&tokenizer, is_lower_cased, max_tokens),
            None => None,
        };
        let tokenizer = Self {
            cutter,
            words,
            siglip1,
            digest: digest(files.tokenizer, &plan, options),
            tokenizer,
            padding,
            options,
        };
        // The ids of padding and of the tokens that are put around every text.
        tokenizer.encode("")?;
        Ok(tokenizer)
    }

    /// A hash over everything that determines the ids of a text: tokenizer.json, the class and
    /// its tokens, the length of texts, and lower-casing.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Ids per text.
    pub fn max_tokens(&self) -> usize {
        self.options.max_tokens
    }

    /// The ids of a text: exactly `max_tokens`, each at least 0 and below `vocab_size`.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        self.tokenize(text).map(|tokenized| tokenized.ids)
    }

    /// The ids of a text, and whether it was cut.
    pub fn tokenize(&self, text: &str) -> Result<Tokenized, TokenizerError> {
        let max_tokens = self.options.max_tokens;
        if let Some(cutter) = &self.cutter {
            // Most texts have 64 tokens well within their first 1,000 bytes.
            let mut wish = max_tokens * 16;
            while wish < text.len() {
                let part = cutter.cut(text, wish);
                let Some(part) = part.filter(|part| part.len() <= MAX_UNCUT_BYTES) else {
                    break;
                };
                let tokenized = self.encode_part(part)?;
                if tokenized.tokens == max_tokens {
                    // What follows this part has at least one token.
                    let is_cut = true;
                    return Ok(Tokenized {
                        is_cut,
                        ..tokenized
                    });
                }
                // Grows even if the only places to cut are far at the beginning.
                wish = wish.max(part.len()) * 4;
            }
        }
        if text.len() > MAX_UNCUT_BYTES {
            return Err(TokenizerError::TooLong {
                bytes: text.len(),
                max_bytes: MAX_UNCUT_BYTES,
            });
        }
        self.encode_part(text)
    }

    /// Like [`TextTokenizer::encode`], but neither cut nor word by word; for the fuzz target that compares
    /// the two.
    #[cfg(fuzzing)]
    pub fn encode_whole(&self, text: &str) -> Result<Vec<i32>, TokenizerError> {
        self.checked(self.encode_at_once(text)?)
            .map(|tokenized| tokenized.ids)
    }

    /// Tokenizes a text of which all counts.
    fn encode_part(&self, text: &str) -> Result<Tokenized, TokenizerError> {
        let by_word = match (&self.words, &self.cutter) {
            (Some(words), Some(cutter)) => words.encode(&self.tokenizer, cutter.pairs(), text),
            _ => None,
        };
        self.checked(match by_word {
            Some(ids) => ids,
            None => self.encode_at_once(text)?,
        })
    }

    /// What the tokenizer makes of a text.
    fn encode_at_once(&self, text: &str) -> Result<Ids, TokenizerError> {
        let encoding = match &self.siglip1 {
            Some(siglip1) => self
                .tokenizer
                .post_process(siglip1.encode(text)?, None, true),
            None => self.tokenizer.encode_fast(text, true),
        }
        .map_err(|error| TokenizerError::Failed(error.to_string()))?;
        Ok(Ids {
            ids: encoding.get_ids().to_vec(),
            is_cut: !encoding.get_overflowing().is_empty(),
        })
    }

    /// Ids of a text, as many as the model reads and each one that it has.
    fn checked(&self, Ids { ids, is_cut }: Ids) -> Result<Tokenized, TokenizerError> {
        let TextOptions {
            max_tokens,
            vocab_size,
            ..
        } = self.options;
        let tokens = ids.len();
        if tokens > max_tokens {
            return Err(TokenizerError::Failed(format!(
                "{tokens} ids instead of at most {max_tokens}"
            )));
        }
        let mut out = Vec::with_capacity(max_tokens);
        for id in self.padding.fill(&ids, max_tokens) {
            match i32::try_from(id) {
                Ok(small) if (id as usize) < vocab_size => out.push(small),
                _ => {
                    return Err(TokenizerError::OutsideVocabulary {
                        token: self.tokenizer.id_to_token(id).unwrap_or_default(),
                        id,
                        vocab_size,
                    });
                }
            }
        }
        Ok(Tokenized {
            ids: out,
            tokens,
            is_cut,
        })
    }
}

/// Whether transformers makes a `SiglipTokenizer`, SigLIP 1's, of these files; `None` if they cannot
/// be read.
pub(crate) fn is_siglip1(files: &TokenizerFiles<'_>) -> Option<bool> {
    class::Plan::class(files).map(|class| class == class::Class::Siglip1)
}

/// To how many tokens tokenizer.json cuts or pads every text, if it does: all that it has before its
/// model is read.
pub(crate) fn length(json: &[u8]) -> Option<usize> {
    json::length(json)
}

fn digest(json: &[u8], plan: &class::Plan, options: TextOptions) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(blake3::hash(json).as_bytes());
    // The vocabulary's size limits the ids but determines none.
    let form = format!("{plan:?} {} {:?}", options.max_tokens, options.lower_case);
    hasher.update(form.as_bytes());
    *hasher.finalize().as_bytes()
}
