//! The files of a model that the service needs besides its engine. They come from a checkpoint
//! or from an engine directory, which has copies of them.

use std::borrow::Cow;
use std::error::Error;

use siglip2_model::files::ModelFiles;
use siglip2_model::text::{TextTokenizer, TokenizerError};

use crate::build_info::build_info;
use crate::checkpoint::{Checkpoint, Config, NaflexImages, Resolution, Source};
use crate::engine::EngineInfo;
use crate::image::Processor;
use crate::service::{Decode, Model, ModelInfo};
use crate::settings::Settings;

/// transformers' files, and the two numbers that turn cosines into probabilities.
pub(super) struct Files<'a> {
    config: Cow<'a, Config>,
    files: Cow<'a, ModelFiles>,
    logit_scale: f32,
    logit_bias: f32,
}

impl<'a> Files<'a> {
    /// The files of a checkpoint.
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            config: Cow::Borrowed(&checkpoint.config),
            files: Cow::Borrowed(&checkpoint.files),
            logit_scale: checkpoint.logit_scale()?,
            logit_bias: checkpoint.logit_bias()?,
        })
    }

    /// The files of an engine directory; `place` names it in errors.
    #[cfg(feature = "tensorrt")]
    pub(super) fn new(
        files: ModelFiles,
        place: &std::path::Path,
        logit_scale: f32,
        logit_bias: f32,
    ) -> Result<Self, Box<dyn Error>> {
        let name = place
            .join(siglip2_model::files::CONFIG)
            .display()
            .to_string();
        Ok(Self {
            config: Cow::Owned(files.config(&name)?),
            files: Cow::Owned(files),
            logit_scale,
            logit_bias,
        })
    }

    /// The checkpoint's image processor.
    pub(super) fn processor(&self, settings: &Settings) -> Result<Processor, Box<dyn Error>> {
        let (json, vision) = (&self.files.preprocessor, &self.config.vision);
        Ok(match vision.resolution {
            Resolution::Fixed => Processor::from_json(json, u32::try_from(vision.image_size)?)?,
            Resolution::Variable => {
                let images = NaflexImages::of(&self.files, vision, settings.max_num_patches)?;
                Processor::naflex(
                    json,
                    u32::try_from(images.patch_size)?,
                    u32::try_from(images.max_num_patches)?,
                )?
            }
        })
    }

    /// The tokenizer, which takes up to a second.
    pub(super) fn tokenizer(&self, settings: &Settings) -> Result<TextTokenizer, TokenizerError> {
        self.files.text_tokenizer(&self.config, settings.lower_case)
    }

    /// The model, as an engine will run it.
    pub(super) fn model(
        &self,
        settings: &Settings,
        engine: &EngineInfo,
        processor: &Processor,
        tokenizer: TextTokenizer,
        description: &str,
    ) -> Model {
        Model {
            info: ModelInfo {
                name: settings.named().1.to_owned(),
                source: settings.named().0.to_owned(),
                revision: matches!(settings.source(), Ok(Source::Hub(_)))
                    .then(|| settings.hub.revision.clone()),
                device: engine.device,
                engine: engine.name,
                precision: engine.precision,
                decode: Decode::Cpu,
                agreement: engine.agreement,
                dimensions: engine.dimensions,
                images: processor.target(),
                max_batch: engine.max_batch,
                text_tokens: self.config.text.positions,
                description: description.to_owned(),
                build: build_info(),
            },
            tokenizer,
            logit_scale: self.logit_scale,
            logit_bias: self.logit_bias,
        }
    }
}
