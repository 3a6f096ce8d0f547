//! The transformer encoder that both towers have: pre-norm layers of self-attention
//! and a feed-forward network (transformers' `SiglipEncoderLayer`).
//!
//! ```text
//! residual stream --norm--> (half) q, k, v --> + bias, scale --> (half) attention --+
//!        ^  + <-- bias + <-- product (half) <---------------------------------------+
//!        |  +--norm--> (half) fc1 --> + bias, GELU --> (half) fc2 --> + bias --+
//!        +----------------------- + <------------------------------------------+
//! ```
//!
//! In half precision, the half-precision values are the inputs of products and what is between
//! the two products of attention. Everything else is FP32, above all the residual stream, a
//! few channels of which reach many thousands. docs/precision.md gives the reasons and
//! figures.

use super::builder::{Builder, Value};
use super::onnx::Attribute;
use crate::checkpoint::{Activation, CheckpointError, EncoderConfig};

/// Which tokens a tower needs from its last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// Only the token at this position. Nothing after the keys and values of the last layer
    /// depends on the other tokens, so computing them would be wasted: 7% of the work in a
    /// tower of 12 layers.
    One(usize),
}

/// Writes an encoder into a graph; the second is added to the scores of attention, if there is
/// one: `[batch, 1, 1, tokens]`, 0 where there is a token and far below all scores where there is
/// none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder<'a>(pub &'a EncoderConfig, pub Option<&'a Value>);

impl Encoder<'_> {
    /// Applies all layers to `x`, `[batch, tokens, width]`. With [`Wanted::One`] the result has
    /// a single token.
    pub fn build(
        &self,
        graph: &mut Builder,
        prefix: &str,
        mut x: Value,
        wanted: Wanted,
    ) -> Result<Value, CheckpointError> {
        for layer in 0..self.0.layers {
            let wanted = if layer + 1 == self.0.layers {
                wanted
            } else {
                Wanted::All
            };
            x = self.layer(graph, &format!("{prefix}.layers.{layer}"), &x, wanted)?;
        }
        Ok(x)
    }

    fn layer(
        &self,
        graph: &mut Builder,
        name: &str,
        x: &Value,
        wanted: Wanted,
    ) -> Result<Value, CheckpointError> {
        let attention = format!("{name}.self_attn");
        let normed = self.layer_norm(graph, &format!("{name}.layer_norm1"), x)?;
        let keys = graph.quantized(&format!("{attention}.qkv"), &normed);
        let (x, queries) = match wanted {
            Wanted::All => (x.clone(), keys.clone()),
            Wanted::One(position) => (
                pick(graph, &format!("{name}.residual.pick"), x, position),
                pick(graph, &format!("{name}.query.pick"), &normed, position),
            ),
        };
        let width = self.0.hidden_size;
        let [query, key, value] = match wanted {
            Wanted::All if graph.is_rounded(&keys) => {
                graph.projections(&attention, &keys, width)?
            }
            _ => [
                graph.linear(&format!("{attention}.q_proj"), &queries, width, width)?,
                graph.linear(&format!("{attention}.k_proj"), &keys, width, width)?,
                graph.linear(&format!("{attention}.v_proj"), &keys, width, width)?,
            ],
        };
        let mixed = self.attention(graph, &attention, &query, &key, &value);
        let mixed = graph.linear(&format!("{attention}.out_proj"), &mixed, width, width)?;
        let x = graph.op(&format!("{name}.residual1"), "Add", &[&x, &mixed], vec![]);

        let normed = self.layer_norm(graph, &format!("{name}.layer_norm2"), &x)?;
        let mixed = self.mlp(graph, &format!("{name}.mlp"), &normed)?;
        Ok(graph.op(&format!("{name}.residual2"), "Add", &[&x, &mixed], vec![]))
    }

    /// Layer norm of a residual stream of this width: FP32 in, half precision out.
    pub fn layer_norm(
        &self,
        graph: &mut Builder,
        name: &str,
        x: &Value,
    ) -> Result<Value, CheckpointError> {
        graph.layer_norm(name, x, self.0.hidden_size, self.0.layer_norm_eps)
    }

    /// Scaled dot-product attention of all heads. `query` is
    /// `[batch or 1, queries, width]`, `key` and `value` `[batch, tokens, width]`, FP32;
    /// the result is `[batch, queries, width]` in half precision.
    ///
    /// The queries are scaled before the product, not the scores after it: the scores are
    /// larger, and would be the first to leave the range of FP16. TensorRT's fused attention
    /// requires this form.
    pub fn attention(
        &self,
        graph: &mut Builder,
        name: &str,
        query: &Value,
        key: &Value,
        value: &Value,
    ) -> Value {
        let head_width = self.0.hidden_size / self.0.heads;
        let split = [0, -1, self.0.heads as i64, head_width as i64];
        let scale = graph.float(
            &format!("scale.{head_width}"),
            1.0 / (head_width as f32).sqrt(),
        );
        let query = graph.op(&format!("{name}.q_scaled"), "Mul", &[query, &scale], vec![]);
        let half = |graph: &mut Builder, part: &str, x: &Value| {
            let name = format!("{name}.{part}");
            let x = graph.narrowed(&name, x);
            graph.quantized(&name, &x)
        };
        let query = half(graph, "q", &query);
        let key = half(graph, "k", key);
        let value = half(graph, "v", value);
        let query = graph.reshape(&format!("{name}.q_split"), &query, &split);
        let query = graph.transpose(&format!("{name}.q_heads"), &query, &[0, 2, 1, 3]);
        let key = graph.reshape(&format!("{name}.k_split"), &key, &split);
        let key = graph.transpose(&format!("{name}.k_heads"), &key, &[0, 2, 3, 1]);
        let value = graph.reshape(&format!("{name}.v_split"), &value, &split);
        let value = graph.transpose(&format!("{name}.v_heads"), &value, &[0, 2, 1, 3]);

        let mut scores = graph.op(&format!("{name}.scores"), "MatMul", &[&query, &key], vec![]);
        if let Some(mask) = self.1 {
            scores = graph.op(&format!("{name}.masked"), "Add", &[&scores, mask], vec![]);
        }
        let shares = graph.op(
            &format!("{name}.softmax"),
            "Softmax",
            &[&scores],
            vec![("axis", Attribute::Int(-1))],
        );
        let shares = graph.quantized(&format!("{name}.softmax"), &shares);
        let mixed = graph.op(&format!("{name}.mix"), "MatMul", &[&shares, &value], vec![]);
        let mixed = graph.transpose(&format!("{name}.merge"), &mixed, &[0, 2, 1, 3]);
        graph.reshape(
            &format!("{name}.merged"),
            &mixed,
            &[0, -1, self.0.hidden_size as i64],
        )
    }

    /// Two products with an activation between them (transformers' `SiglipMLP`): half
    /// precision in, FP32 out.
    pub fn mlp(
        &self,
        graph: &mut Builder,
        name: &str,
        x: &Value,
    ) -> Result<Value, CheckpointError> {
        let (width, hidden) = (self.0.hidden_size, self.0.intermediate_size);
        let x = graph.linear(&format!("{name}.fc1"), x, width, hidden)?;
        let x = self.activation(graph, name, &x);
        let x = graph.narrowed(&format!("{name}.gelu"), &x);
        graph.linear(&format!("{name}.fc2"), &x, hidden, width)
    }
}

impl Encoder<'_> {
    /// The activation between the two products, in FP32.
    fn activation(&self, graph: &mut Builder, name: &str, x: &Value) -> Value {
        let gelu = |graph: &mut Builder, approximate| {
            let approximate = Attribute::String(approximate);
            let attributes = vec![("approximate", approximate)];
            graph.op(&format!("{name}.gelu"), "Gelu", &[x], attributes)
        };
        match self.0.activation {
            Activation::GeluTanh => gelu(graph, "tanh"),
            Activation::Gelu => gelu(graph, "none"),
            Activation::Relu => graph.op(&format!("{name}.relu"), "Relu", &[x], vec![]),
            Activation::Silu => gate(graph, name, x, x),
            Activation::QuickGelu => {
                // With 1.702 the sigmoid is closest to the error function (transformers'
                // `QuickGELUActivation`).
                let slope = graph.float("quick_gelu.slope", 1.702);
                let steep = graph.op(&format!("{name}.steep"), "Mul", &[x, &slope], vec![]);
                gate(graph, name, x, &steep)
            }
        }
    }
}

/// `x * sigmoid(by)`.
fn gate(graph: &mut Builder, name: &str, x: &Value, by: &Value) -> Value {
    let gate = graph.op(&format!("{name}.gate"), "Sigmoid", &[by], vec![]);
    graph.op(&format!("{name}.gated"), "Mul", &[x, &gate], vec![])
}

/// One token of `x`, `[batch, tokens, width]`, as `[batch, 1, width]`.
fn pick(graph: &mut Builder, name: &str, x: &Value, position: usize) -> Value {
    let index = graph.ints(&format!("position.{position}"), &[position as i64]);
    graph.op(
        name,
        "Gather",
        &[x, &index],
        vec![("axis", Attribute::Int(1))],
    )
}
