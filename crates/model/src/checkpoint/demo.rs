//! The small model in `models/demo/`, compiled into the binary so that it runs without any
//! other file.

use std::borrow::Cow;

use super::{Checkpoint, CheckpointError, Weights};
use crate::files::ModelFiles;

/// Bytes aligned as floats must be.
#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized>(Bytes);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../demo/model.safetensors"));

const CONFIG: &[u8] = include_bytes!("../../demo/config.json");
const TOKENIZER: &[u8] = include_bytes!("../../demo/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../../demo/tokenizer_config.json");
const PREPROCESSOR: &[u8] = include_bytes!("../../demo/preprocessor_config.json");

pub(super) fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    let files = ModelFiles {
        config: Cow::Borrowed(CONFIG),
        tokenizer: Cow::Borrowed(TOKENIZER),
        tokenizer_config: Some(Cow::Borrowed(TOKENIZER_CONFIG)),
        special_tokens_map: None,
        preprocessor: Cow::Borrowed(PREPROCESSOR),
    };
    Ok(Checkpoint {
        config: files.config("models/demo/config.json")?,
        files,
        weights: Weights::of("models/demo/model.safetensors", &WEIGHTS.0)?,
        is_demo: true,
    })
}
