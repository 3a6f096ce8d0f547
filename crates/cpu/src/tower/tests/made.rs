//! Checkpoints of random numbers, and what their towers embed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::shape::{Activation, EncoderShape, Positions, TextShape, VisionShape, normalization};
use crate::source::{Dtype, Source, Tensor};
use crate::testing::Random;

pub(super) fn shared(source: &Arc<Made>) -> Arc<dyn Source> {
    Arc::clone(source) as Arc<dyn Source>
}

/// A checkpoint in memory, whose tensors have random numbers.
pub(super) struct Made {
    pub tensors: HashMap<String, (Vec<usize>, Vec<u8>)>,
    random: Random,
    pub released: AtomicUsize,
}

impl Source for Made {
    fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let (shape, bytes) = self.tensors.get(name)?;
        Some(Tensor {
            dtype: Dtype::F32,
            shape,
            bytes,
        })
    }
    fn release(&self) {
        self.released.fetch_add(1, Ordering::Relaxed);
    }
}

impl Made {
    fn add(&mut self, name: &str, shape: &[usize], centre: f32, spread: f32) {
        let count: usize = shape.iter().product();
        let bytes = (0..count)
            .flat_map(|_| (centre + spread * self.random.normal()).to_le_bytes())
            .collect();
        self.tensors
            .insert(name.to_owned(), (shape.to_vec(), bytes));
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        let spread = 1.0 / (inputs as f32).sqrt();
        self.add(&format!("{name}.weight"), &[outputs, inputs], 0.0, spread);
        self.add(&format!("{name}.bias"), &[outputs], 0.0, 0.1);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], 1.0, 0.1);
        self.add(&format!("{name}.bias"), &[width], 0.0, 0.1);
    }

    fn mlp(&mut self, name: &str, shape: &EncoderShape) {
        self.linear(&format!("{name}.fc1"), shape.hidden, shape.width);
        self.linear(&format!("{name}.fc2"), shape.width, shape.hidden);
    }

    fn encoder(&mut self, name: &str, shape: &EncoderShape) {
        for layer in 0..shape.layers {
            let at = format!("{name}.encoder.layers.{layer}");
            self.norm(&format!("{at}.layer_norm1"), shape.width);
            self.norm(&format!("{at}.layer_norm2"), shape.width);
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{at}.self_attn.{part}"), shape.width, shape.width);
            }
            self.mlp(&format!("{at}.mlp"), shape);
        }
    }

    pub fn new(vision: &VisionShape, text: &TextShape) -> Self {
        let mut made = Self {
            tensors: HashMap::new(),
            random: Random::new(7),
            released: AtomicUsize::new(0),
        };
        let width = vision.encoder.width;
        let patch = vision.patch;
        let embeddings = "vision_model.embeddings";
        let (dimensions, places) = match vision.positions {
            Positions::Square { side } => (vec![width, 3, patch, patch], (side / patch).pow(2)),
            Positions::Resized { side } => (vec![width, 3 * patch * patch], side * side),
        };
        made.add(
            &format!("{embeddings}.patch_embedding.weight"),
            &dimensions,
            0.0,
            0.05,
        );
        made.add(
            &format!("{embeddings}.patch_embedding.bias"),
            &[width],
            0.0,
            0.1,
        );
        made.add(
            &format!("{embeddings}.position_embedding.weight"),
            &[places, width],
            0.0,
            0.5,
        );
        made.encoder("vision_model", &vision.encoder);
        made.norm("vision_model.post_layernorm", width);
        let head = "vision_model.head";
        made.add(&format!("{head}.probe"), &[1, 1, width], 0.0, 1.0);
        made.add(
            &format!("{head}.attention.in_proj_weight"),
            &[3 * width, width],
            0.0,
            0.1,
        );
        made.add(
            &format!("{head}.attention.in_proj_bias"),
            &[3 * width],
            0.0,
            0.1,
        );
        made.linear(&format!("{head}.attention.out_proj"), width, width);
        made.norm(&format!("{head}.layernorm"), width);
        made.mlp(&format!("{head}.mlp"), &vision.encoder);

        let width = text.encoder.width;
        made.add(
            "text_model.embeddings.token_embedding.weight",
            &[text.vocabulary, width],
            0.0,
            0.5,
        );
        made.add(
            "text_model.embeddings.position_embedding.weight",
            &[text.stored_positions, width],
            0.0,
            0.5,
        );
        made.encoder("text_model", &text.encoder);
        made.norm("text_model.final_layer_norm", width);
        made.linear("text_model.head", text.projection, width);
        made
    }
}

fn encoder(
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    activation: Activation,
) -> EncoderShape {
    EncoderShape {
        width,
        hidden,
        layers,
        heads,
        activation,
        epsilon: 1e-6,
    }
}

/// Shapes that differ where kernels do: widths that no panel divides, heads of 24, 10, 64, 72
/// and 16, hidden widths of more than a chunk, both kinds of GELU.
pub(super) fn shapes() -> Vec<(VisionShape, TextShape)> {
    use Activation::{GeluErf, GeluTanh};
    let made = |vision: EncoderShape, patch, side, text: EncoderShape, positions| {
        (
            VisionShape {
                encoder: vision,
                patch,
                positions: Positions::Square { side },
                normalization: normalization([0.5, 0.4, 0.3], [0.5, 0.6, 0.7]),
            },
            TextShape {
                encoder: text,
                vocabulary: 50,
                positions,
                stored_positions: positions + 3,
                projection: vision.width,
            },
        )
    };
    if cfg!(miri) {
        // Minutes for each test all the same.
        let (vision, text) = (
            encoder(10, 12, 2, 2, GeluTanh),
            encoder(6, 7, 2, 2, GeluErf),
        );
        return vec![made(vision, 2, 5, text, 4)];
    }
    vec![
        made(
            encoder(48, 70, 2, 2, GeluTanh),
            7,
            30,
            encoder(20, 35, 2, 2, GeluErf),
            9,
        ),
        // Heads of 64, as in base and large, and small enough for emulated tiles.
        made(
            encoder(128, 96, 1, 2, GeluTanh),
            7,
            30,
            encoder(128, 96, 2, 2, GeluTanh),
            9,
        ),
        made(
            encoder(144, 215, 2, 2, GeluTanh),
            14,
            60,
            encoder(96, 130, 2, 4, GeluTanh),
            64,
        ),
        made(
            encoder(64, 1600, 1, 1, GeluErf),
            8,
            72,
            encoder(64, 1540, 2, 4, GeluTanh),
            33,
        ),
    ]
}

pub(super) fn pictures(count: usize, side: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(8);
    (0..count)
        .map(|_| {
            (0..3 * side * side)
                .map(|_| random.below(256) as u8)
                .collect()
        })
        .collect()
}

pub(super) fn texts(count: usize, shape: &TextShape) -> Vec<Vec<i32>> {
    let mut random = Random::new(9);
    (0..count)
        .map(|_| {
            (0..shape.positions)
                .map(|_| random.below(shape.vocabulary as u64) as i32)
                .collect()
        })
        .collect()
}

pub(super) fn side(shape: &VisionShape) -> usize {
    match shape.positions {
        Positions::Square { side } | Positions::Resized { side } => side,
    }
}
