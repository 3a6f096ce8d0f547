//! The transformer encoder that both towers have: pre-norm layers of self-attention
//! and a feed-forward network (transformers' `SiglipEncoderLayer`).

use super::builder::{Builder, Value};
use super::onnx::Attribute;
use crate::checkpoint::{Activation, CheckpointError};

/// The shape of an encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    pub width: usize,
    pub feed_forward: usize,
    pub layers: usize,
    pub heads: usize,
    pub activation: Activation,
    pub epsilon: f32,
}

/// Which tokens of its last layer a tower goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// The token at this position alone. Nothing after the keys and values of the
    /// last layer looks at the others, so what is computed for them there would be
    /// thrown away: in a tower of 12 layers that is 7% of the work.
    One(usize),
}

impl Encoder {
    /// Runs `x`, `[batch, tokens, width]`, through all layers. With
    /// [`Wanted::One`] the result has a single token.
    pub fn build(
        &self,
        graph: &mut Builder,
        prefix: &str,
        mut x: Value,
        wanted: Wanted,
    ) -> Result<Value, CheckpointError> {
        for layer in 0..self.layers {
            let wanted = if layer + 1 == self.layers {
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
        let keys = graph.layer_norm(&format!("{name}.layer_norm1"), x, self.width, self.epsilon)?;
        let (x, queries) = match wanted {
            Wanted::All => (x.clone(), keys.clone()),
            Wanted::One(position) => (
                pick(graph, &format!("{name}.residual.pick"), x, position),
                pick(graph, &format!("{name}.query.pick"), &keys, position),
            ),
        };
        let attention = format!("{name}.self_attn");
        let query = graph.linear(
            &format!("{attention}.q_proj"),
            &queries,
            self.width,
            self.width,
        )?;
        let key = graph.linear(
            &format!("{attention}.k_proj"),
            &keys,
            self.width,
            self.width,
        )?;
        let value = graph.linear(
            &format!("{attention}.v_proj"),
            &keys,
            self.width,
            self.width,
        )?;
        let mixed = self.attention(graph, &attention, &query, &key, &value);
        let mixed = graph.linear(
            &format!("{attention}.out_proj"),
            &mixed,
            self.width,
            self.width,
        )?;
        let x = graph.op(&format!("{name}.residual1"), "Add", &[&x, &mixed], vec![]);

        let normed =
            graph.layer_norm(&format!("{name}.layer_norm2"), &x, self.width, self.epsilon)?;
        let mixed = self.mlp(graph, &format!("{name}.mlp"), &normed)?;
        Ok(graph.op(&format!("{name}.residual2"), "Add", &[&x, &mixed], vec![]))
    }

    /// Scaled dot-product attention of all heads, without a mask. `query` is
    /// `[batch or 1, queries, width]`, `key` and `value` `[batch, tokens, width]`; the
    /// result is `[batch, queries, width]`.
    ///
    /// The queries are scaled before the product, not the scores after it: the
    /// scores are the larger numbers, and the first to leave the range of FP16.
    pub fn attention(
        &self,
        graph: &mut Builder,
        name: &str,
        query: &Value,
        key: &Value,
        value: &Value,
    ) -> Value {
        let head_width = self.width / self.heads;
        let split = [0, -1, self.heads as i64, head_width as i64];
        let scale = graph.float(
            &format!("scale.{head_width}"),
            1.0 / (head_width as f32).sqrt(),
        );
        let query = graph.op(&format!("{name}.q_scaled"), "Mul", &[query, &scale], vec![]);
        let query = graph.reshape(&format!("{name}.q_split"), &query, &split);
        let query = graph.transpose(&format!("{name}.q_heads"), &query, &[0, 2, 1, 3]);
        let key = graph.reshape(&format!("{name}.k_split"), key, &split);
        let key = graph.transpose(&format!("{name}.k_heads"), &key, &[0, 2, 3, 1]);
        let value = graph.reshape(&format!("{name}.v_split"), value, &split);
        let value = graph.transpose(&format!("{name}.v_heads"), &value, &[0, 2, 1, 3]);

        let scores = graph.op(&format!("{name}.scores"), "MatMul", &[&query, &key], vec![]);
        let shares = graph.op(
            &format!("{name}.softmax"),
            "Softmax",
            &[&scores],
            vec![("axis", Attribute::Int(-1))],
        );
        let mixed = graph.op(&format!("{name}.mix"), "MatMul", &[&shares, &value], vec![]);
        let mixed = graph.transpose(&format!("{name}.merge"), &mixed, &[0, 2, 1, 3]);
        graph.reshape(
            &format!("{name}.merged"),
            &mixed,
            &[0, -1, self.width as i64],
        )
    }

    /// Two products with an activation between them (transformers' `SiglipMLP`).
    pub fn mlp(
        &self,
        graph: &mut Builder,
        name: &str,
        x: &Value,
    ) -> Result<Value, CheckpointError> {
        let hidden = graph.linear(&format!("{name}.fc1"), x, self.width, self.feed_forward)?;
        let approximate = match self.activation {
            Activation::GeluTanh => "tanh",
            Activation::Gelu => "none",
        };
        let active = graph.op(
            &format!("{name}.gelu"),
            "Gelu",
            &[&hidden],
            vec![("approximate", Attribute::String(approximate))],
        );
        graph.linear(
            &format!("{name}.fc2"),
            &active,
            self.feed_forward,
            self.width,
        )
    }
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
