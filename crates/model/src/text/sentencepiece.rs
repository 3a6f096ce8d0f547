//! stub
use super::TokenizerError;
pub(crate) fn from_sentencepiece(_model: &[u8]) -> Result<Vec<u8>, TokenizerError> {
    Err(TokenizerError::Sentencepiece("not yet".into()))
}
