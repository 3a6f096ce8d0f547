//! The vision tower of a model of variable resolution (NaFlex): `patches` to `embedding`.
//!
//! ```text
//! patches (bytes) --> pixels --normalize--> linear ----------------------------+
//!        |--> row, column of height, width --> weights of positions --> table -+--> + --> tower
//!        +--> 1 or 0 --> 0 or far below all scores: added to the scores -----------------------^
//! ```
//!
//! The position vectors are resized in the graph. Resizing a table of `side * side` vectors to a
//! picture's grid is a weighted sum for each patch, and its weights are a product of those of its
//! row and of its column; both follow from four numbers, which come with the patch
//! ([`super::patches`]). It costs as much as a third of the patches' own product, and saves the
//! host from computing and uploading a vector for each patch.

use super::builder::{Builder, Value};
use super::onnx::{Attribute, ElementType, Graph};
use super::patches::{self, PLACE};
use super::vision::tower;
use super::{PATCHES, Products};
use crate::checkpoint::{CheckpointError, VisionConfig, Weights};

/// What is added to the scores of padding: far enough below those of patches for a share of
/// exactly 0, and finite in FP16 also when a score is added to it.
const FAR_BELOW: f32 = -32_768.0;

/// The graph of the vision tower of a model of variable resolution (transformers'
/// `Siglip2VisionModel`), for pictures of up to any number of patches, packed as
/// [`super::patches`] says and padded with zeros to the same number of patches in a batch.
/// `normalization` is what a byte of each channel becomes; it must be a line.
///
/// # Errors
///
/// If a tensor is missing or does not have the shape that `config` requires.
pub fn naflex<'a>(
    config: &VisionConfig,
    weights: &'a Weights,
    products: impl Into<Products<'a>>,
    normalization: &[[f32; 256]; 3],
) -> Result<Graph, CheckpointError> {
    let width = config.encoder.hidden_size;
    let pixels = 3 * config.patch_size * config.patch_size;
    let mut graph = Builder::new("siglip.vision", weights, products.into());
    let bytes = patches::bytes(config.patch_size);
    let input = graph.ragged_input(PATCHES, ElementType::Uint8, PATCHES, bytes);
    let all = graph.cast("vision_model.embeddings.bytes", &input, ElementType::Float);

    let values = graph.slice("vision_model.embeddings.pixels", &all, 2, 0..pixels);
    let values = normalized(&mut graph, &values, normalization, pixels as i64);
    let values = graph.narrowed("vision_model.embeddings.pixels", &values);
    let name = "vision_model.embeddings.patch_embedding";
    let x = graph.linear(name, &values, pixels, width)?;

    let place = graph.slice(
        "vision_model.embeddings.place",
        &all,
        2,
        pixels..pixels + PLACE,
    );
    let positions = positions(&mut graph, config, &place)?;
    let x = graph.op("vision_model.embeddings", "Add", &[&x, &positions], vec![]);
    let mask = mask(&mut graph, &place);
    tower(graph, config, x, Some(&mask))
}

/// `(byte - mean) / deviation`, with the mean and deviation that the table was made from.
fn normalized(
    graph: &mut Builder<'_>,
    bytes: &Value,
    table: &[[f32; 256]; 3],
    values: i64,
) -> Value {
    let deviations = table.map(|of| 255.0 / (of[255] - of[0]));
    let means = [0, 1, 2].map(|channel| -table[channel][0] * deviations[channel]);
    let means = graph.floats("mean", means.to_vec());
    let deviations = graph.floats("deviation", deviations.to_vec());
    let named = |what: &str| format!("vision_model.embeddings.{what}");
    let colours = graph.reshape(&named("colours"), bytes, &[0, -1, values / 3, 3]);
    let centred = graph.op(&named("centred"), "Sub", &[&colours, &means], vec![]);
    let normal = graph.op(&named("normal"), "Div", &[&centred, &deviations], vec![]);
    graph.reshape(&named("normalized"), &normal, &[0, -1, values])
}

/// The position vector of every patch, `[batch, patches, width]`, in FP32: torch's
/// `interpolate(mode="bilinear", align_corners=False, antialias=True)` of the table, which is what
/// `resize_positional_embeddings` of transformers' `Siglip2VisionEmbeddings` calls. A place of the
/// coarser grid on either side weighs as a triangle has it, and the weights sum to 1.
fn positions(
    graph: &mut Builder<'_>,
    config: &VisionConfig,
    place: &Value,
) -> Result<Value, CheckpointError> {
    let side = config.image_size / config.patch_size;
    let named = |what: &str| format!("vision_model.embeddings.position.{what}");
    let float = |graph: &mut Builder<'_>, value: f32| graph.float(&format!("float.{value}"), value);

    // Row, column, height and width: [batch, patches, 4].
    let low = graph.slice(&named("low"), place, 2, 0..4);
    let high = graph.slice(&named("high"), place, 2, 4..8);
    let upper = float(graph, 256.0);
    let high = graph.op(&named("upper"), "Mul", &[&high, &upper], vec![]);
    let numbers = graph.op(&named("numbers"), "Add", &[&low, &high], vec![]);
    // From here on both directions at once: [batch, patches, 2], down and across.
    let at = graph.slice(&named("at"), &numbers, 2, 0..2);
    let length = graph.slice(&named("length"), &numbers, 2, 2..4);
    // Padding says 0, by which nothing can be divided.
    let one = float(graph, 1.0);
    let length = graph.op(&named("at_least_1"), "Max", &[&length, &one], vec![]);

    let half = float(graph, 0.5);
    let sides = float(graph, side as f32);
    let scale = graph.op(&named("scale"), "Div", &[&sides, &length], vec![]);
    let middle = graph.op(&named("middle"), "Add", &[&at, &half], vec![]);
    let centre = graph.op(&named("centre"), "Mul", &[&scale, &middle], vec![]);
    let support = graph.op(&named("support"), "Max", &[&scale, &one], vec![]);
    let centre = graph.reshape(&named("centre_of"), &centre, &[0, -1, 2, 1]);
    let support = graph.reshape(&named("support_of"), &support, &[0, -1, 2, 1]);

    // The weights of every line of the table: [batch, patches, 2, side].
    let lines = graph.floats("lines", (0..side).map(|line| line as f32 + 0.5).collect());
    let apart = graph.op(&named("apart"), "Sub", &[&lines, &centre], vec![]);
    let apart = graph.op(&named("distance"), "Abs", &[&apart], vec![]);
    let share = graph.op(&named("share"), "Div", &[&apart, &support], vec![]);
    let left = graph.op(&named("left"), "Sub", &[&one, &share], vec![]);
    let triangle = graph.op(&named("triangle"), "Relu", &[&left], vec![]);
    let last = graph.ints("number.-1", &[-1]);
    let sum = graph.op(
        &named("sum"),
        "ReduceSum",
        &[&triangle, &last],
        vec![("keepdims", Attribute::Int(1))],
    );
    let weights = graph.op(&named("weights"), "Div", &[&triangle, &sum], vec![]);

    // Their products, one for each vector of the table.
    let lines = side as i64;
    let down = graph.slice(&named("down"), &weights, 2, 0..1);
    let down = graph.reshape(&named("down_of"), &down, &[0, -1, lines, 1]);
    let across = graph.slice(&named("across"), &weights, 2, 1..2);
    let both = graph.op(&named("both"), "Mul", &[&down, &across], vec![]);
    let both = graph.reshape(&named("both_of"), &both, &[0, -1, lines * lines]);
    let table = graph.weight(
        "vision_model.embeddings.position_embedding.weight",
        &[side * side, config.encoder.hidden_size],
        ElementType::Float,
    )?;
    Ok(graph.op(&named("vectors"), "MatMul", &[&both, &table], vec![]))
}

/// What is added to the scores of attention, `[batch, 1, 1, patches]`: 0 for a patch and
/// [`FAR_BELOW`] for padding. TensorRT for RTX 1.7 fuses an attention with such a sum, and not one
/// with a `Where`.
fn mask(graph: &mut Builder<'_>, place: &Value) -> Value {
    let name = "vision_model.mask";
    let is_patch = graph.slice(&format!("{name}.is_patch"), place, 2, PLACE - 1..PLACE);
    let one = graph.float("float.1", 1.0);
    let missing = graph.op(
        &format!("{name}.missing"),
        "Sub",
        &[&one, &is_patch],
        vec![],
    );
    let far = graph.float("far_below", FAR_BELOW);
    let mask = graph.op(name, "Mul", &[&missing, &far], vec![]);
    let mask = graph.narrowed(name, &mask);
    graph.reshape(&format!("{name}.of_scores"), &mask, &[0, 1, 1, -1])
}
