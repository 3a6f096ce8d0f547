//! The vision tower: `pixel_values` to `embedding`.

use super::builder::Builder;
use super::encoder::{Encoder, Wanted};
use super::onnx::{Attribute, ElementType, Graph};
use super::{EMBEDDING, PIXEL_VALUES};
use crate::checkpoint::{CheckpointError, VisionConfig, Weights};

/// The graph of the vision tower (transformers' `SiglipVisionModel`).
///
/// # Errors
///
/// When a tensor is missing or has another shape than `config` calls for.
pub fn vision(config: &VisionConfig, weights: &Weights) -> Result<Graph, CheckpointError> {
    let width = config.hidden_size;
    let patch = config.patch_size;
    let side = config.image_size;
    let patches = config.patches();
    let encoder = Encoder {
        width,
        feed_forward: config.intermediate_size,
        layers: config.layers,
        heads: config.heads,
        activation: config.activation,
        epsilon: config.layer_norm_eps,
    };
    let mut graph = Builder::new("siglip.vision", weights);
    let pixels = graph.input(PIXEL_VALUES, ElementType::Float, &[3, side, side]);

    // Patches: a convolution whose stride is its width.
    let name = "vision_model.embeddings.patch_embedding";
    let kernel = graph.weight(&format!("{name}.weight"), &[width, 3, patch, patch])?;
    let bias = graph.weight(&format!("{name}.bias"), &[width])?;
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
    let positions = graph.weight(
        "vision_model.embeddings.position_embedding.weight",
        &[patches, width],
    )?;
    let x = graph.op("vision_model.embeddings", "Add", &[&x, &positions], vec![]);

    let x = encoder.build(&mut graph, "vision_model.encoder", x, Wanted::All)?;
    let x = graph.layer_norm(
        "vision_model.post_layernorm",
        &x,
        width,
        config.layer_norm_eps,
    )?;

    // Pooling: one learned query, the probe, attends to all patches. Torch keeps the
    // three projections of this attention in one tensor, query first.
    let name = "vision_model.head.attention";
    let mut projections = Vec::new();
    for (index, part) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
        let weight = graph.rows(
            &format!("{name}.in_proj_weight"),
            &[3 * width, width],
            index * width,
            width,
            &format!("{name}.{part}.weight"),
        )?;
        let bias = graph.rows(
            &format!("{name}.in_proj_bias"),
            &[3 * width],
            index * width,
            width,
            &format!("{name}.{part}.bias"),
        )?;
        projections.push((format!("{name}.{part}"), weight, bias));
    }
    let probe = graph.weight("vision_model.head.probe", &[1, 1, width])?;
    let mut inputs = Vec::new();
    for ((name, weight, bias), source) in projections.iter().zip([&probe, &x, &x]) {
        inputs.push(graph.product(name, source, weight, bias));
    }
    let pooled = encoder.attention(&mut graph, name, &inputs[0], &inputs[1], &inputs[2]);
    let pooled = graph.linear(&format!("{name}.out_proj"), &pooled, width, width)?;

    let normed = graph.layer_norm(
        "vision_model.head.layernorm",
        &pooled,
        width,
        config.layer_norm_eps,
    )?;
    let mixed = encoder.mlp(&mut graph, "vision_model.head.mlp", &normed)?;
    let x = graph.op("vision_model.head", "Add", &[&pooled, &mixed], vec![]);
    let x = graph.reshape("vision_model.pooled", &x, &[-1, width as i64]);
    Ok(graph.finish(&x, EMBEDDING, width))
}
