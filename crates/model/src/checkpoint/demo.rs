//! The small model in `models/demo/`, built into the binary so that it runs from
//! anywhere with nothing beside it.

use std::borrow::Cow;

use super::{Checkpoint, CheckpointError, Config, Weights};

/// Bytes that start where a float may.
#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized>(Bytes);

static WEIGHTS: &Aligned<[u8]> =
    &Aligned(*include_bytes!("../../../../models/demo/model.safetensors"));

const CONFIG: &[u8] = include_bytes!("../../../../models/demo/config.json");
const TOKENIZER: &[u8] = include_bytes!("../../../../models/demo/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../../../../models/demo/tokenizer_config.json");
const PREPROCESSOR: &[u8] = include_bytes!("../../../../models/demo/preprocessor_config.json");

pub(super) fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    Ok(Checkpoint {
        config: Config::parse(CONFIG, "models/demo/config.json")?,
        config_json: Cow::Borrowed(CONFIG),
        weights: Weights::of("models/demo/model.safetensors", &WEIGHTS.0)?,
        tokenizer: Cow::Borrowed(TOKENIZER),
        tokenizer_config: Some(Cow::Borrowed(TOKENIZER_CONFIG)),
        special_tokens_map: None,
        preprocessor: Cow::Borrowed(PREPROCESSOR),
        is_demo: true,
    })
}
