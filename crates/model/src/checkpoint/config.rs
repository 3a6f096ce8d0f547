//! Reads `config.json` of a SigLIP model, with transformers' defaults for what it leaves out.

use serde::Deserialize;

use super::CheckpointError;

/// A SigLIP model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The text tower.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
}

/// The shape of the transformer encoder that both towers have.
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
    /// The activation between the two feed-forward products.
    pub activation: Activation,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f32,
}

/// The shape of a text tower (transformers' `SiglipTextConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Its layers.
    pub encoder: EncoderConfig,
    /// All token ids are below this.
    pub vocab_size: usize,
    /// Token ids per text. SigLIP always uses all of them.
    pub positions: usize,
    /// Rows of the position table in the checkpoint, of which the first `positions` are
    /// used.
    pub stored_positions: usize,
    /// Floats per embedding: the output width of the head.
    pub projection_size: usize,
}

/// The shape of a vision tower (transformers' `SiglipVisionConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Its layers. The width of their residual stream is also that of the embedding.
    pub encoder: EncoderConfig,
    /// Whether all images are resized to the same square.
    pub resolution: Resolution,
    /// Side of the input square, in pixels. With [`Resolution::Variable`], that of the square
    /// with as many patches as the position table has rows.
    pub image_size: usize,
    /// Side of a patch, in pixels. If it does not divide the side of the square, the remainder
    /// at the right and bottom is ignored.
    pub patch_size: usize,
}

/// What kind of pictures a vision tower takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Squares of one size (`model_type` "siglip").
    Fixed,
    /// Any grid of patches; the table of positions is resized to it (NaFlex, `model_type`
    /// "siglip2").
    Variable,
}

impl VisionConfig {
    /// Patches per image; with [`Resolution::Variable`] rows of the position table.
    pub fn patches(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }
}

/// The activation between the two products of a feed-forward layer. transformers has several
/// names for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU by its tanh approximation: `gelu_pytorch_tanh`, `gelu_python_tanh`,
    /// `gelu_new`, `gelu_fast`, `gelu_accurate`.
    GeluTanh,
    /// GELU by the error function: `gelu`, `gelu_python`.
    Gelu,
    /// x * sigmoid(1.702 x): `quick_gelu`.
    QuickGelu,
    /// `relu`.
    Relu,
    /// x * sigmoid(x): `silu`, `swish`.
    Silu,
}

/// What is wrong with a `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a value of the wrong type.
    #[error("it is not a model configuration: {0}")]
    Json(String),
    /// Another architecture.
    #[error("model_type is {0:?}; only \"siglip\" and \"siglip2\" can be run")]
    Architecture(String),
    /// No architecture.
    #[error("it has no model_type; \"siglip\" or \"siglip2\" is expected")]
    NoArchitecture,
    /// A size that no model has.
    #[error("{name} is {value}")]
    Size {
        /// Which size.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// The width is not a multiple of the number of heads.
    #[error("{tower}.hidden_size is {width}, which {heads} attention heads do not divide")]
    Heads {
        /// Which tower's configuration.
        tower: &'static str,
        /// Width of the residual stream.
        width: usize,
        /// Attention heads.
        heads: usize,
    },
    /// The patch is larger than the picture.
    #[error("vision_config.patch_size is {patch}, more than image_size, {image}")]
    Patch {
        /// Side of a patch.
        patch: usize,
        /// Side of the square.
        image: usize,
    },
    /// The table of positions is not square.
    #[error("vision_config.num_patches is {0}, which is not a square number")]
    Positions(usize),
    /// The two embeddings differ in length, so they cannot be compared.
    #[error(
        "texts become vectors of {text} floats and images of {image}, which cannot be compared"
    )]
    Spaces {
        /// Floats of a text's embedding.
        text: usize,
        /// Floats of an image's embedding.
        image: usize,
    },
    /// Not square.
    #[error("vision_config.{name} is {height} by {width}; only squares can be run")]
    Rectangle {
        /// What is not square.
        name: &'static str,
        /// Its height.
        height: usize,
        /// Its width.
        width: usize,
    },
    /// The images do not have three channels.
    #[error("vision_config.num_channels is {0}, not 3; images are RGB")]
    Channels(usize),
    /// The vision tower has no pooling head.
    #[error(
        "vision_config.vision_use_head is false; without its pooling head the tower gives no \
         embedding"
    )]
    NoHead,
    /// An activation that the graphs do not support.
    #[error(
        "{tower}.hidden_act is {name:?}; gelu_pytorch_tanh, gelu, quick_gelu, relu and silu \
         can be run"
    )]
    Activation {
        /// Which tower's configuration.
        tower: &'static str,
        /// The activation it names.
        name: String,
    },
}

impl EncoderConfig {
    /// See [`Config::identity`].
    fn identity(&self) -> String {
        let Self {
            hidden_size,
            intermediate_size,
            layers,
            heads,
            activation,
            layer_norm_eps,
        } = self;
        let activation = match activation {
            Activation::GeluTanh => "gelu_tanh",
            Activation::Gelu => "gelu",
            Activation::QuickGelu => "quick_gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        };
        let eps = layer_norm_eps.to_bits();
        format!("{hidden_size} {intermediate_size} {layers} {heads} {activation} {eps:08x}")
    }
}

impl Config {
    /// All that it says of how vectors are computed, written so that equal computations are equal
    /// text. What texts and pictures become before is not in it.
    pub fn identity(&self) -> String {
        let (text, vision) = (&self.text, &self.vision);
        let resolution = match vision.resolution {
            Resolution::Fixed => "fixed",
            Resolution::Variable => "variable",
        };
        format!(
            "text {} {}; vision {} {resolution} {} {}",
            text.encoder.identity(),
            text.projection_size,
            vision.encoder.identity(),
            vision.image_size,
            vision.patch_size,
        )
    }

    /// Reads a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, describes another architecture, or contradicts itself.
    pub fn parse(json: &[u8], file: &str) -> Result<Self, CheckpointError> {
        read(json).map_err(|reason| CheckpointError::Config {
            file: file.to_owned(),
            reason,
        })
    }

    /// Floats per embedding, of both towers.
    pub fn dimensions(&self) -> usize {
        self.vision.encoder.hidden_size
    }

    fn check(&self) -> Result<(), ConfigError> {
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
            ("text_config.max_position_embeddings", text.stored_positions),
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
            // The upper limit is far above any model and keeps every product of two or three of
            // these within 64 bits.
            if value == 0 || value > 1 << 24 {
                return Err(ConfigError::Size { name, value });
            }
        }
        for (tower, encoder) in [
            ("text_config", &text.encoder),
            ("vision_config", &vision.encoder),
        ] {
            let (width, heads) = (encoder.hidden_size, encoder.heads);
            if !width.is_multiple_of(heads) {
                return Err(ConfigError::Heads {
                    tower,
                    width,
                    heads,
                });
            }
        }
        if vision.patch_size > vision.image_size {
            return Err(ConfigError::Patch {
                patch: vision.patch_size,
                image: vision.image_size,
            });
        }
        if text.projection_size != self.dimensions() {
            return Err(ConfigError::Spaces {
                text: text.projection_size,
                image: self.dimensions(),
            });
        }
        Ok(())
    }
}

fn read(json: &[u8]) -> Result<Config, ConfigError> {
    let parse = |error: serde_json::Error| ConfigError::Json(error.to_string());
    let kind: Kind = serde_json::from_slice(json).map_err(parse)?;
    let resolution = match kind.model_type.as_deref() {
        Some("siglip") => Resolution::Fixed,
        Some("siglip2") => Resolution::Variable,
        Some(other) => return Err(ConfigError::Architecture(other.to_owned())),
        None => return Err(ConfigError::NoArchitecture),
    };
    let raw: Raw = serde_json::from_slice(json).map_err(parse)?;
    let config = raw.resolve(resolution)?;
    config.check()?;
    Ok(config)
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
    num_patches: Option<usize>,
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
    fn square(self, name: &'static str) -> Result<usize, ConfigError> {
        match self {
            Side::Square(side) => Ok(side),
            Side::Rectangle([height, width]) if height == width => Ok(height),
            Side::Rectangle([height, width]) => Err(ConfigError::Rectangle {
                name,
                height,
                width,
            }),
        }
    }
}

impl Raw {
    fn resolve(self, resolution: Resolution) -> Result<Config, ConfigError> {
        let Self {
            text_config: text,
            vision_config: vision,
        } = self;
        if let Some(channels) = vision.num_channels.filter(|&channels| channels != 3) {
            return Err(ConfigError::Channels(channels));
        }
        if vision.vision_use_head == Some(false) {
            return Err(ConfigError::NoHead);
        }
        let encoder = text.encoder.resolve("text_config")?;
        let positions = text.max_position_embeddings.unwrap_or(64);
        let patch_size = vision
            .patch_size
            .unwrap_or(Side::Square(16))
            .square("patch_size")?;
        let image_size = match resolution {
            Resolution::Fixed => vision
                .image_size
                .unwrap_or(Side::Square(224))
                .square("image_size")?,
            Resolution::Variable => {
                let patches = vision.num_patches.unwrap_or(256);
                let side = patches.isqrt();
                if side * side != patches {
                    return Err(ConfigError::Positions(patches));
                }
                side.saturating_mul(patch_size)
            }
        };
        Ok(Config {
            text: TextConfig {
                vocab_size: text.vocab_size.unwrap_or(32_000),
                positions,
                stored_positions: positions,
                projection_size: text.projection_size.unwrap_or(encoder.hidden_size),
                encoder,
            },
            vision: VisionConfig {
                encoder: vision.encoder.resolve("vision_config")?,
                resolution,
                image_size,
                patch_size,
            },
        })
    }
}

impl RawEncoder {
    fn resolve(self, tower: &'static str) -> Result<EncoderConfig, ConfigError> {
        Ok(EncoderConfig {
            hidden_size: self.hidden_size.unwrap_or(768),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            layers: self.num_hidden_layers.unwrap_or(12),
            heads: self.num_attention_heads.unwrap_or(12),
            activation: activation(self.hidden_act, tower)?,
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-6),
        })
    }
}

fn activation(name: Option<String>, tower: &'static str) -> Result<Activation, ConfigError> {
    let Some(name) = name else {
        return Ok(Activation::GeluTanh);
    };
    match name.as_str() {
        "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new" | "gelu_fast" | "gelu_accurate" => {
            Ok(Activation::GeluTanh)
        }
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "quick_gelu" => Ok(Activation::QuickGelu),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        _ => Err(ConfigError::Activation { tower, name }),
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
        // siglip2-so400m-patch14-224 has 16 patches in a row; 378 = 27 * 14.
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
        assert!(reason("{}").contains("model_type"));
        assert!(reason("[").contains("config.json"));
    }

    #[test]
    fn contradictions_are_named() {
        for (vision, said) in [
            (r#"{"num_attention_heads": 7}"#, "do not divide"),
            (
                r#"{"hidden_size": 96, "num_attention_heads": 8}"#,
                "cannot be compared",
            ),
            (r#"{"patch_size": 0}"#, "vision_config.patch_size is 0"),
            (r#"{"image_size": [224, 384]}"#, "only squares"),
            (r#"{"vision_use_head": false}"#, "pooling head"),
            (r#"{"num_channels": 1}"#, "RGB"),
            (r#"{"hidden_act": "prelu"}"#, "prelu"),
        ] {
            let reason = reason(&format!(
                r#"{{"model_type": "siglip", "vision_config": {vision}}}"#
            ));
            assert!(reason.contains(said), "{reason}");
        }
    }

    /// The parts of config.json that google/siglip2-base-patch16-naflex sets.
    #[test]
    fn a_model_of_variable_resolution_is_read() {
        let json = br#"{"model_type": "siglip2", "vision_config": {"num_patches": 256}}"#;
        let config = Config::parse(json, "config.json").unwrap();
        assert_eq!(config.vision.resolution, Resolution::Variable);
        assert_eq!(config.vision.patches(), 256);
        assert_eq!(config.vision.image_size, 256);
        let odd = r#"{"model_type": "siglip2", "vision_config": {"num_patches": 200}}"#;
        assert!(reason(odd).contains("not a square"));
    }

    /// Names and formulas: `ACT2CLS` in transformers' activations.py.
    #[test]
    fn activations_have_the_names_of_transformers() {
        for (name, activation) in [
            ("gelu_pytorch_tanh", Activation::GeluTanh),
            ("gelu_python_tanh", Activation::GeluTanh),
            ("gelu_accurate", Activation::GeluTanh),
            ("gelu_new", Activation::GeluTanh),
            ("gelu_fast", Activation::GeluTanh),
            ("gelu", Activation::Gelu),
            ("gelu_python", Activation::Gelu),
            ("quick_gelu", Activation::QuickGelu),
            ("relu", Activation::Relu),
            ("silu", Activation::Silu),
            ("swish", Activation::Silu),
        ] {
            let json =
                format!(r#"{{"model_type": "siglip", "text_config": {{"hidden_act": {name:?}}}}}"#);
            let config = Config::parse(json.as_bytes(), "config.json").unwrap();
            assert_eq!(config.text.encoder.activation, activation, "{name}");
        }
    }
}
