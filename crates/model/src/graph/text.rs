//! The text tower: `input_ids` to `embedding`.

use super::builder::Builder;
use super::encoder::{Encoder, Wanted};
use super::onnx::{Attribute, ElementType, Graph};
use super::{EMBEDDING, INPUT_IDS, Precision, Products};
use crate::checkpoint::{CheckpointError, TextConfig, Weights};

/// The graph of the text tower (transformers' `SiglipTextModel`). It has no attention mask:
/// SigLIP was trained to attend to the padding.
///
/// # Errors
///
/// If a tensor is missing or does not have the shape that `config` requires.
pub fn text<'a>(
    config: &TextConfig,
    weights: &'a Weights,
    products: impl Into<Products<'a>>,
) -> Result<Graph, CheckpointError> {
    let encoder = Encoder(&config.encoder, None);
    let width = config.encoder.hidden_size;
    let tokens = config.positions;
    let products = products.into();
    let precision = products.precision;
    let mut graph = Builder::new("siglip.text", weights, products);
    let index = match precision {
        Precision::Fp32 => ElementType::Int64,
        // The type that the service has, and TensorRT's own index type.
        Precision::Fp16 | Precision::Bf16 | Precision::Fp8 => ElementType::Int32,
    };
    let ids = graph.input(INPUT_IDS, index, &[tokens]);

    let vocabulary = graph.table(
        "text_model.embeddings.token_embedding.weight",
        &[config.vocab_size, width],
    )?;
    let x = graph.op(
        "text_model.embeddings.tokens",
        "Gather",
        &[&vocabulary, &ids],
        vec![("axis", Attribute::Int(0))],
    );
    let x = graph.widened("text_model.embeddings", &x);
    let name = "text_model.embeddings.position_embedding.weight";
    let positions = graph.rows(
        name,
        &[config.stored_positions, width],
        0..tokens,
        name,
        ElementType::Float,
    )?;
    let x = graph.op("text_model.embeddings", "Add", &[&x, &positions], vec![]);

    // The last token represents the text, whether it is padding or not.
    let x = encoder.build(&mut graph, "text_model.encoder", x, Wanted::One(tokens - 1))?;
    let x = encoder.layer_norm(&mut graph, "text_model.final_layer_norm", &x)?;
    let x = graph.reshape("text_model.pooled", &x, &[-1, width as i64]);
    let x = graph.linear("text_model.head", &x, width, config.projection_size)?;
    Ok(graph.finish(&x, EMBEDDING, config.projection_size))
}
