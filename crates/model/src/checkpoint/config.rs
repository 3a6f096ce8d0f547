//! What `config.json` says of a SigLIP model, with transformers' defaults for what
//! it leaves out.

use serde::Deserialize;

use super::CheckpointError;

/// A SigLIP model of fixed resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The text tower.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
}

/// The shape of the transformer encoder that either tower has.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads; they divide `hidden_size`.
    pub heads: usize,
    /// What stands between the two feed-forward products.
    pub activation: Activation,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f32,
}

/// The shape of a text tower (transformers' `SiglipTextConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Its layers.
    pub encoder: EncoderConfig,
    /// Token ids are below this.
    pub vocab_size: usize,
    /// Token ids per text: SigLIP always fills all of them.
    pub positions: usize,
    /// Floats per embedding: the output width of the head.
    pub projection_size: usize,
}

/// The shape of a vision tower (transformers' `SiglipVisionConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Its layers. The width of their residual stream is also that of the embedding.
    pub encoder: EncoderConfig,
    /// Side of the input square, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels. What the patches leave over of the square at its
    /// right and bottom is not seen.
    pub patch_size: usize,
}

impl VisionConfig {
    /// Patches per image.
    pub fn patches(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }
}

/// The activations that SigLIP checkpoints use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu_pytorch_tanh`: GELU by its tanh approximation.
    GeluTanh,
    /// `gelu`: GELU by the error function.
    Gelu,
}

impl Config {
    /// Reads a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// When it is no JSON, describes another architecture, or contradicts itself.
    pub fn parse(json: &[u8], file: &str) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Config {
            file: file.to_owned(),
            reason,
        };
        let kind: Kind = serde_json::from_slice(json)
            .map_err(|error| wrong(format!("it is no model configuration: {error}")))?;
        match kind.model_type.as_deref() {
            Some("siglip") => {}
            Some("siglip2") => {
                return Err(wrong(
                    "model_type is \"siglip2\", a model of variable resolution (NaFlex); \
                     take a checkpoint of fixed resolution such as \
                     google/siglip2-base-patch16-224, whose model_type is \"siglip\""
                        .into(),
                ));
            }
            Some(other) => {
                return Err(wrong(format!(
                    "model_type is {other:?}; only \"siglip\" can be run"
                )));
            }
            None => return Err(wrong("it has no model_type; \"siglip\" is expected".into())),
        }
        let raw: Raw = serde_json::from_slice(json)
            .map_err(|error| wrong(format!("it is no SigLIP configuration: {error}")))?;
        let config = raw.resolve().map_err(wrong)?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    /// Floats per embedding, of both towers.
    pub fn dimensions(&self) -> usize {
        self.vision.encoder.hidden_size
    }

    fn check(&self) -> Result<(), String> {
        let Self { text, vision } = self;
        for (name, value) in [
            ("text_config.vocab_size", text.vocab_size),
            ("text_config.hidden_size", text.encoder.hidden_size),
            (
                "text_config.intermediate_size",
                text.encoder.intermediate_size,
            ),
            ("text_config.num_hidden_layers", text.encoder.layers),
            ("text_config.num_attention_heads", text.encoder.heads),
            ("text_config.max_position_embeddings", text.positions),
            ("text_config.projection_size", text.projection_size),
            ("vision_config.hidden_size", vision.encoder.hidden_size),
            (
                "vision_config.intermediate_size",
                vision.encoder.intermediate_size,
            ),
            ("vision_config.num_hidden_layers", vision.encoder.layers),
            ("vision_config.num_attention_heads", vision.encoder.heads),
            ("vision_config.image_size", vision.image_size),
            ("vision_config.patch_size", vision.patch_size),
        ] {
            // The upper bound is far above any model and keeps every product of two
            // or three of these within 64 bits.
            if value == 0 || value > 1 << 24 {
                return Err(format!("{name} is {value}"));
            }
        }
        for (tower, encoder) in [
            ("text_config", &text.encoder),
            ("vision_config", &vision.encoder),
        ] {
            let (width, heads) = (encoder.hidden_size, encoder.heads);
            if !width.is_multiple_of(heads) {
                return Err(format!(
                    "{tower}.hidden_size is {width}, which {heads} attention heads do not divide"
                ));
            }
        }
        if vision.patch_size > vision.image_size {
            return Err(format!(
                "vision_config.patch_size is {}, more than image_size, {}",
                vision.patch_size, vision.image_size
            ));
        }
        if text.projection_size != self.dimensions() {
            return Err(format!(
                "texts become {} floats and images {}: they share no vector space",
                text.projection_size,
                self.dimensions()
            ));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    text_config: RawText,
    #[serde(default)]
    vision_config: RawVision,
}

/// Defaults: transformers 5.23, which has the same for both towers.
#[derive(Default, Deserialize)]
struct RawEncoder {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
}

/// Defaults: transformers 5.23, `SiglipTextConfig`.
#[derive(Default, Deserialize)]
struct RawText {
    #[serde(flatten)]
    encoder: RawEncoder,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    projection_size: Option<usize>,
}

/// Defaults: transformers 5.23, `SiglipVisionConfig`.
#[derive(Default, Deserialize)]
struct RawVision {
    #[serde(flatten)]
    encoder: RawEncoder,
    num_channels: Option<usize>,
    image_size: Option<Side>,
    patch_size: Option<Side>,
    vision_use_head: Option<bool>,
}

/// A length, or height and width.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Side {
    Square(usize),
    Rectangle([usize; 2]),
}

impl Side {
    fn square(self, name: &str) -> Result<usize, String> {
        match self {
            Side::Square(side) => Ok(side),
            Side::Rectangle([height, width]) if height == width => Ok(height),
            Side::Rectangle([height, width]) => Err(format!(
                "vision_config.{name} is {height} by {width}; only squares can be run"
            )),
        }
    }
}

impl Raw {
    fn resolve(self) -> Result<Config, String> {
        let Self {
            text_config: text,
            vision_config: vision,
        } = self;
        if vision.num_channels.is_some_and(|channels| channels != 3) {
            return Err("vision_config.num_channels is not 3; images are RGB".into());
        }
        if vision.vision_use_head == Some(false) {
            return Err(
                "vision_config.vision_use_head is false; without its pooling head \
                        the tower gives no embedding"
                    .into(),
            );
        }
        let encoder = text.encoder.resolve("text_config")?;
        Ok(Config {
            text: TextConfig {
                vocab_size: text.vocab_size.unwrap_or(32_000),
                positions: text.max_position_embeddings.unwrap_or(64),
                projection_size: text.projection_size.unwrap_or(encoder.hidden_size),
                encoder,
            },
            vision: VisionConfig {
                encoder: vision.encoder.resolve("vision_config")?,
                image_size: vision
                    .image_size
                    .unwrap_or(Side::Square(224))
                    .square("image_size")?,
                patch_size: vision
                    .patch_size
                    .unwrap_or(Side::Square(16))
                    .square("patch_size")?,
            },
        })
    }
}

impl RawEncoder {
    fn resolve(self, tower: &str) -> Result<EncoderConfig, String> {
        Ok(EncoderConfig {
            hidden_size: self.hidden_size.unwrap_or(768),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            layers: self.num_hidden_layers.unwrap_or(12),
            heads: self.num_attention_heads.unwrap_or(12),
            activation: activation(self.hidden_act.as_deref(), tower)?,
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-6),
        })
    }
}

fn activation(name: Option<&str>, tower: &str) -> Result<Activation, String> {
    match name.unwrap_or("gelu_pytorch_tanh") {
        // transformers has the tanh approximation under three names.
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Ok(Activation::GeluTanh),
        "gelu" => Ok(Activation::Gelu),
        other => Err(format!(
            "{tower}.hidden_act is {other:?}; gelu_pytorch_tanh and gelu can be run"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(json: &str) -> String {
        Config::parse(json.as_bytes(), "config.json")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_left_out_is_as_transformers_has_it() {
        let config = Config::parse(br#"{"model_type": "siglip"}"#, "config.json").unwrap();
        assert_eq!(config.dimensions(), 768);
        assert_eq!(config.vision.patches(), 196);
        assert_eq!(config.text.positions, 64);
        assert_eq!(config.text.projection_size, 768);
        assert_eq!(config.vision.encoder.activation, Activation::GeluTanh);
    }

    #[test]
    fn patches_that_do_not_fill_the_square_leave_a_margin() {
        // siglip2-so400m-patch14-224 has 16 of them in a row; 378 = 27 * 14.
        let config = Config::parse(
            br#"{"model_type": "siglip", "vision_config": {"image_size": 384, "patch_size": 14}}"#,
            "config.json",
        )
        .unwrap();
        assert_eq!(config.vision.patches(), 27 * 27);
    }

    #[test]
    fn other_architectures_are_named() {
        assert!(reason(r#"{"model_type": "clip"}"#).contains("\"clip\""));
        assert!(reason(r#"{"model_type": "siglip2"}"#).contains("NaFlex"));
        assert!(reason("{}").contains("model_type"));
        assert!(reason("[").contains("config.json"));
    }

    #[test]
    fn contradictions_are_named() {
        for (vision, said) in [
            (r#"{"num_attention_heads": 7}"#, "do not divide"),
            (
                r#"{"hidden_size": 96, "num_attention_heads": 8}"#,
                "no vector space",
            ),
            (r#"{"patch_size": 0}"#, "vision_config.patch_size is 0"),
            (r#"{"image_size": [224, 384]}"#, "only squares"),
            (r#"{"vision_use_head": false}"#, "pooling head"),
            (r#"{"num_channels": 1}"#, "RGB"),
            (r#"{"hidden_act": "relu"}"#, "relu"),
        ] {
            let reason = reason(&format!(
                r#"{{"model_type": "siglip", "vision_config": {vision}}}"#
            ));
            assert!(reason.contains(said), "{reason}");
        }
    }
}
