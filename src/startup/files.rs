//! What the service must know of a model besides its engine, wherever it comes from: a
//! checkpoint, or an engine directory, which carries the same files.

use std::borrow::Cow;
use std::error::Error;

use crate::build_info::build_info;
use crate::checkpoint::{Checkpoint, Config};
use crate::engine::EngineInfo;
use crate::image::Processor;
use crate::service::{Model, ModelInfo};
use crate::settings::Settings;
use crate::text::{TextOptions, TextTokenizer, TokenizerFiles};

/// transformers' own files, and the two numbers that turn cosines into probabilities.
pub(super) struct Files<'a> {
    pub(super) config: Config,
    pub(super) config_json: Cow<'a, [u8]>,
    pub(super) tokenizer: Cow<'a, [u8]>,
    pub(super) tokenizer_config: Option<Cow<'a, [u8]>>,
    pub(super) special_tokens_map: Option<Cow<'a, [u8]>>,
    pub(super) preprocessor: Cow<'a, [u8]>,
    pub(super) logit_scale: f32,
    pub(super) logit_bias: f32,
}

impl<'a> Files<'a> {
    /// Those of a checkpoint.
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Result<Self, Box<dyn Error>> {
        let borrowed = |bytes: &'a Option<Cow<'static, [u8]>>| bytes.as_deref().map(Cow::Borrowed);
        Ok(Self {
            config: checkpoint.config.clone(),
            config_json: Cow::Borrowed(&checkpoint.config_json),
            tokenizer: Cow::Borrowed(&checkpoint.tokenizer),
            tokenizer_config: borrowed(&checkpoint.tokenizer_config),
            special_tokens_map: borrowed(&checkpoint.special_tokens_map),
            preprocessor: Cow::Borrowed(&checkpoint.preprocessor),
            logit_scale: checkpoint.logit_scale()?,
            logit_bias: checkpoint.logit_bias()?,
        })
    }

    /// The checkpoint's image processor.
    pub(super) fn processor(&self) -> Result<Processor, Box<dyn Error>> {
        let image_size = u32::try_from(self.config.vision.image_size)?;
        Ok(Processor::from_json(&self.preprocessor, image_size)?)
    }

    /// The model, as an engine will run it.
    pub(super) fn model(
        &self,
        settings: &Settings,
        engine: &EngineInfo,
        description: &str,
    ) -> Result<Model, Box<dyn Error>> {
        let tokenizer = TextTokenizer::new(
            TokenizerFiles {
                tokenizer: &self.tokenizer,
                tokenizer_config: self.tokenizer_config.as_deref(),
                special_tokens_map: self.special_tokens_map.as_deref(),
                config: Some(&self.config_json),
            },
            TextOptions {
                max_tokens: self.config.text.positions,
                vocab_size: self.config.text.vocab_size,
                lower_case: settings.lower_case,
            },
        )?;
        Ok(Model {
            info: ModelInfo {
                name: settings.model.clone(),
                device: engine.device,
                engine: engine.name,
                precision: engine.precision,
                agreement: engine.agreement,
                dimensions: engine.dimensions,
                image_size: u32::try_from(self.config.vision.image_size)?,
                max_batch: engine.max_batch,
                text_tokens: self.config.text.positions,
                description: description.to_owned(),
                build: build_info(),
            },
            tokenizer,
            logit_scale: self.logit_scale,
            logit_bias: self.logit_bias,
        })
    }
}
