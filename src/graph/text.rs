//! The text tower: `input_ids` to `embedding`.

use super::builder::Builder;
use super::encoder::{Encoder, Wanted};
use super::onnx::{Attribute, ElementType, Graph};
use super::{EMBEDDING, INPUT_IDS};
use crate::checkpoint::{CheckpointError, TextConfig, Weights};

/// The graph of the text tower (transformers' `SiglipTextModel`). It has no attention
/// mask: SigLIP was trained to see the padding.
///
/// # Errors
///
/// When a tensor is missing or has another shape than `config` calls for.
pub fn text(config: &TextConfig, weights: &Weights) -> Result<Graph, CheckpointError> {
    let width = config.hidden_size;
    let tokens = config.positions;
    let encoder = Encoder {
        width,
        feed_forward: config.intermediate_size,
        layers: config.layers,
        heads: config.heads,
        activation: config.activation,
        epsilon: config.layer_norm_eps,
    };
    let mut graph = Builder::new("siglip.text", weights);
    let ids = graph.input(INPUT_IDS, ElementType::Int64, &[tokens]);

    let vocabulary = graph.weight(
        "text_model.embeddings.token_embedding.weight",
        &[config.vocab_size, width],
    )?;
    let x = graph.op(
        "text_model.embeddings.tokens",
        "Gather",
        &[&vocabulary, &ids],
        vec![("axis", Attribute::Int(0))],
    );
    let positions = graph.weight(
        "text_model.embeddings.position_embedding.weight",
        &[tokens, width],
    )?;
    let x = graph.op("text_model.embeddings", "Add", &[&x, &positions], vec![]);

    // The last token stands for the text, be it padding or not.
    let x = encoder.build(&mut graph, "text_model.encoder", x, Wanted::One(tokens - 1))?;
    let x = graph.layer_norm(
        "text_model.final_layer_norm",
        &x,
        width,
        config.layer_norm_eps,
    )?;
    let x = graph.reshape("text_model.pooled", &x, &[-1, width as i64]);
    let x = graph.linear("text_model.head", &x, width, config.projection_size)?;
    Ok(graph.finish(&x, EMBEDDING, config.projection_size))
}
