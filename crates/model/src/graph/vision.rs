//! The vision tower: `pixel_values` to `embedding`.

use super::builder::{Builder, Value};
use super::encoder::{Encoder, Wanted};
use super::onnx::{Attribute, ElementType, Graph};
use super::{EMBEDDING, PIXEL_VALUES, Precision, Products};
use crate::checkpoint::{CheckpointError, VisionConfig, Weights};

/// The graph of the vision tower of a model of fixed resolution (transformers'
/// `SiglipVisionModel`). [`super::naflex()`] is that of the others.
///
/// # Errors
///
/// If a tensor is missing or does not have the shape that `config` requires.
pub fn vision<'a>(
    config: &VisionConfig,
    weights: &'a Weights,
    products: impl Into<Products<'a>>,
) -> Result<Graph, CheckpointError> {
    let width = config.encoder.hidden_size;
    let patch = config.patch_size;
    let side = config.image_size;
    let patches = config.patches();
    let products = products.into();
    let precision = products.precision;
    let mut graph = Builder::new("siglip.vision", weights, products);
    // ONNX has no BF16 convolution before opset 22; for patches, FP16 is as good.
    let (input, fine) = match precision {
        Precision::Fp32 => (ElementType::Float, ElementType::Float),
        Precision::Fp16 | Precision::Fp8 => (ElementType::Float16, ElementType::Float16),
        Precision::Bf16 => (ElementType::Float, ElementType::Float16),
    };
    let pixels = graph.input(PIXEL_VALUES, input, &[3, side, side]);
    // A convolution whose stride is its width.
    let pixels = graph.cast("vision_model.embeddings.pixels", &pixels, fine);
    let name = "vision_model.embeddings.patch_embedding";
    let kernel = graph.weight(&format!("{name}.weight"), &[width, 3, patch, patch], fine)?;
    let bias = graph.weight(&format!("{name}.bias"), &[width], fine)?;
    let size = Attribute::Ints(vec![patch as i64; 2]);
    let x = graph.op(
        name,
        "Conv",
        &[&pixels, &kernel, &bias],
        vec![("kernel_shape", size.clone()), ("strides", size)],
    );
    let x = graph.reshape(
        "vision_model.embeddings.flat",
        &x,
        &[0, width as i64, patches as i64],
    );
    let x = graph.transpose("vision_model.embeddings.tokens", &x, &[0, 2, 1]);
    let x = graph.widened("vision_model.embeddings", &x);
    let positions = graph.weight(
        "vision_model.embeddings.position_embedding.weight",
        &[patches, width],
        ElementType::Float,
    )?;
    let x = graph.op("vision_model.embeddings", "Add", &[&x, &positions], vec![]);
    tower(graph, config, x, None)
}

/// The rest of the tower, from patches that know their places, `[batch, patches, width]`, to
/// embeddings; `mask` as for [`Encoder`].
pub(super) fn tower(
    mut graph: Builder<'_>,
    config: &VisionConfig,
    x: Value,
    mask: Option<&Value>,
) -> Result<Graph, CheckpointError> {
    let encoder = Encoder(&config.encoder, mask);
    let width = config.encoder.hidden_size;
    let half = graph.half();
    let x = encoder.build(&mut graph, "vision_model.encoder", x, Wanted::All)?;
    let x = encoder.layer_norm(&mut graph, "vision_model.post_layernorm", &x)?;

    // Pooling: one learned query, the probe, attends to all patches. Torch stores the three
    // projections of this attention in one tensor, query first.
    let name = "vision_model.head.attention";
    let mut projections = Vec::new();
    for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
        let weight = graph.rows(
            &format!("{name}.in_proj_weight"),
            &[3 * width, width],
            index * width..(index + 1) * width,
            &format!("{name}.{part}.weight"),
            half,
        )?;
        let bias = graph.rows(
            &format!("{name}.in_proj_bias"),
            &[3 * width],
            index * width..(index + 1) * width,
            &format!("{name}.{part}.bias"),
            ElementType::Float,
        )?;
        projections.push((format!("{name}.{part}"), weight, bias));
    }
    let probe = graph.weight("vision_model.head.probe", &[1, 1, width], half)?;
    let mut inputs = Vec::new();
    for ((name, weight, bias), source) in projections.iter().zip([&probe, &x, &x]) {
        inputs.push(graph.product(name, source, weight, bias));
    }
    let pooled = encoder.attention(&mut graph, name, &inputs[0], &inputs[1], &inputs[2]);
    let pooled = graph.linear(&format!("{name}.out_proj"), &pooled, width, width)?;

    let normed = encoder.layer_norm(&mut graph, "vision_model.head.layernorm", &pooled)?;
    let mixed = encoder.mlp(&mut graph, "vision_model.head.mlp", &normed)?;
    let x = graph.op("vision_model.head", "Add", &[&pooled, &mixed], vec![]);
    let x = graph.reshape("vision_model.pooled", &x, &[-1, width as i64]);
    Ok(graph.finish(&x, EMBEDDING, width))
}
