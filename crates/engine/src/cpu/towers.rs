//! Both towers with the shapes that a checkpoint gives them, and what they take.

use std::sync::Arc;

use siglip2_cpu::{
    Activation, EncoderShape, Isa, Keep, Patches, Positions, Source, Team, Text, TextShape, Vision,
    VisionShape,
};
use siglip2_image::{Processor, RgbImage};
use siglip2_model::checkpoint::{self, Config, EncoderConfig, Resolution};

use crate::{EngineError, Tower};

/// The shapes of both towers.
pub(super) struct Shapes {
    pub(super) vision: VisionShape,
    pub(super) text: TextShape,
}

impl Shapes {
    pub(super) fn of(config: &Config, processor: &Processor) -> Self {
        Self {
            vision: VisionShape {
                encoder: encoder(&config.vision.encoder),
                patch: config.vision.patch_size,
                positions: match config.vision.resolution {
                    Resolution::Fixed => Positions::Square {
                        side: config.vision.image_size,
                    },
                    Resolution::Variable => Positions::Resized {
                        side: config.vision.image_size / config.vision.patch_size,
                    },
                },
                normalization: *processor.normalization(),
            },
            text: TextShape {
                encoder: encoder(&config.text.encoder),
                vocabulary: config.text.vocab_size,
                positions: config.text.positions,
                stored_positions: config.text.stored_positions,
                projection: config.text.projection_size,
            },
        }
    }
}

fn encoder(config: &EncoderConfig) -> EncoderShape {
    EncoderShape {
        width: config.hidden_size,
        hidden: config.intermediate_size,
        layers: config.layers,
        heads: config.heads,
        activation: match config.activation {
            checkpoint::Activation::GeluTanh => Activation::GeluTanh,
            checkpoint::Activation::Gelu => Activation::GeluErf,
            checkpoint::Activation::QuickGelu => Activation::QuickGelu,
            checkpoint::Activation::Relu => Activation::Relu,
            checkpoint::Activation::Silu => Activation::Silu,
        },
        epsilon: config.layer_norm_eps,
    }
}

/// Both towers on one kernel.
pub(super) struct Towers {
    pub(super) vision: Vision,
    pub(super) text: Text,
    /// Side of a patch, in pixels, where pictures are grids of patches.
    patch: Option<usize>,
}

impl Towers {
    /// Packs the weights of both.
    pub(super) fn load(
        isa: Isa,
        team: &Team,
        source: &Arc<dyn Source>,
        shapes: &Shapes,
        keep: Keep,
    ) -> Result<Self, EngineError> {
        let failed = |tower| {
            move |error: siglip2_cpu::Error| EngineError::Load {
                tower,
                reason: error.to_string(),
            }
        };
        let vision = Vision::load(isa, team, source, &shapes.vision, keep);
        let text = Text::load(isa, team, source, &shapes.text, keep);
        Ok(Self {
            vision: vision.map_err(failed(Tower::Image))?,
            text: text.map_err(failed(Tower::Text))?,
            patch: match shapes.vision.positions {
                Positions::Square { .. } => None,
                Positions::Resized { .. } => Some(shapes.vision.patch),
            },
        })
    }

    /// Embeds pictures as the processor of the checkpoint resizes them.
    pub(super) fn images(
        &self,
        team: &Team,
        images: &[&RgbImage],
        between: &mut dyn FnMut(),
        out: &mut [f32],
    ) -> Result<(), siglip2_cpu::Error> {
        let Some(patch) = self.patch else {
            let pictures: Vec<&[u8]> = images.iter().map(|image| image.pixels()).collect();
            return self.vision.run(team, &pictures, between, out);
        };
        let patches = |length: u32| length as usize / patch;
        let pictures: Vec<Patches<'_>> = images
            .iter()
            .map(|image| Patches {
                pixels: image.pixels(),
                height: patches(image.height()),
                width: patches(image.width()),
            })
            .collect();
        self.vision.run_patches(team, &pictures, between, out)
    }
}
