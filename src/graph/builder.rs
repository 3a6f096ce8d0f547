//! Puts a graph together, one operator after the other.

use super::external_name;
use super::onnx::{Attribute, Data, Dim, ElementType, Graph, Initializer, Node, ValueInfo};
use crate::checkpoint::{CheckpointError, DType, Weights};

/// A value in the graph, by name.
pub(super) type Value = String;

/// A graph under construction over the weights of a checkpoint.
pub(super) struct Builder<'a> {
    weights: &'a Weights,
    graph: Graph,
}

impl<'a> Builder<'a> {
    pub fn new(name: &str, weights: &'a Weights) -> Self {
        Self {
            weights,
            graph: Graph {
                name: name.to_owned(),
                ..Graph::default()
            },
        }
    }

    /// The graph's one input, of shape `[batch, dims...]`.
    pub fn input(&mut self, name: &str, elements: ElementType, dims: &[usize]) -> Value {
        self.graph.inputs.push(batched(name, elements, dims));
        name.to_owned()
    }

    /// Ends the graph: `value` becomes its output, called `name`, of shape
    /// `[batch, width]`.
    pub fn finish(mut self, value: &Value, name: &str, width: usize) -> Graph {
        if let Some(output) = self
            .graph
            .nodes
            .iter_mut()
            .flat_map(|node| &mut node.outputs)
            .find(|output| *output == value)
        {
            *output = name.to_owned();
        }
        self.graph
            .outputs
            .push(batched(name, ElementType::Float, &[width]));
        self.graph
    }

    /// A whole tensor of the checkpoint, which must have this shape.
    pub fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Value, CheckpointError> {
        self.rows(name, shape, 0, shape.first().copied().unwrap_or(1), name)
    }

    /// Rows `first` to `first + count` of a tensor, in place; `shape` is that of the
    /// whole tensor, `value` the name of the part.
    pub fn rows(
        &mut self,
        name: &str,
        shape: &[usize],
        first: usize,
        count: usize,
        value: &str,
    ) -> Result<Value, CheckpointError> {
        let tensor = self.weights.get(name, shape)?;
        let row = tensor.length / shape.first().copied().unwrap_or(1).max(1);
        let mut dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        if let Some(dim) = dims.first_mut() {
            *dim = count as i64;
        }
        self.graph.initializers.push(Initializer {
            name: value.to_owned(),
            dims,
            data: Data::External {
                elements: match tensor.dtype {
                    DType::F32 => ElementType::Float,
                    DType::F16 => ElementType::Float16,
                    DType::BF16 => ElementType::BFloat16,
                },
                location: external_name(tensor.shard),
                offset: tensor.offset + first * row,
                length: count * row,
            },
        });
        Ok(value.to_owned())
    }

    /// A constant list of integers, for shapes and indices.
    pub fn ints(&mut self, name: &str, values: &[i64]) -> Value {
        self.constant(
            name,
            vec![values.len() as i64],
            Data::Int64(values.to_vec()),
        )
    }

    /// A constant float without dimensions.
    pub fn float(&mut self, name: &str, value: f32) -> Value {
        self.constant(name, Vec::new(), Data::Float(vec![value]))
    }

    fn constant(&mut self, name: &str, dims: Vec<i64>, data: Data) -> Value {
        let known = self.graph.initializers.iter().any(|it| it.name == name);
        if !known {
            self.graph.initializers.push(Initializer {
                name: name.to_owned(),
                dims,
                data,
            });
        }
        name.to_owned()
    }

    /// One operator with one output, which is named after it.
    pub fn op(
        &mut self,
        name: &str,
        op_type: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        self.graph.nodes.push(Node {
            name: name.to_owned(),
            op_type,
            domain: "",
            inputs: inputs.iter().map(|&input| input.clone()).collect(),
            outputs: vec![format!("{name}.out")],
            attributes,
        });
        format!("{name}.out")
    }

    /// `x * transpose(weight) + bias`, a torch `Linear`: `name.weight` is
    /// `[to, from]`. A runtime folds the transposition of a constant when it loads
    /// the graph.
    pub fn linear(
        &mut self,
        name: &str,
        x: &Value,
        from: usize,
        to: usize,
    ) -> Result<Value, CheckpointError> {
        let weight = self.weight(&format!("{name}.weight"), &[to, from])?;
        let bias = self.weight(&format!("{name}.bias"), &[to])?;
        Ok(self.product(name, x, &weight, &bias))
    }

    /// As [`Builder::linear`], with weights that are at hand.
    pub fn product(&mut self, name: &str, x: &Value, weight: &Value, bias: &Value) -> Value {
        let weight = self.transpose(&format!("{name}.transpose"), weight, &[1, 0]);
        let product = self.op(&format!("{name}.matmul"), "MatMul", &[x, &weight], vec![]);
        self.op(name, "Add", &[&product, bias], vec![])
    }

    pub fn transpose(&mut self, name: &str, x: &Value, order: &[i64]) -> Value {
        let order = Attribute::Ints(order.to_vec());
        self.op(name, "Transpose", &[x], vec![("perm", order)])
    }

    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[i64]) -> Value {
        let shape_name = shape
            .iter()
            .map(|dim| format!(".{dim}"))
            .collect::<String>();
        let shape = self.ints(&format!("shape{shape_name}"), shape);
        self.op(name, "Reshape", &[x, &shape], vec![])
    }

    /// Layer norm over the last dimension.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Value,
        width: usize,
        epsilon: f32,
    ) -> Result<Value, CheckpointError> {
        let scale = self.weight(&format!("{name}.weight"), &[width])?;
        let bias = self.weight(&format!("{name}.bias"), &[width])?;
        Ok(self.op(
            name,
            "LayerNormalization",
            &[x, &scale, &bias],
            vec![
                ("axis", Attribute::Int(-1)),
                ("epsilon", Attribute::Float(epsilon)),
            ],
        ))
    }
}

fn batched(name: &str, elements: ElementType, dims: &[usize]) -> ValueInfo {
    ValueInfo {
        name: name.to_owned(),
        elements,
        dims: std::iter::once(Dim::Named("batch"))
            .chain(dims.iter().map(|&dim| Dim::Fixed(dim)))
            .collect(),
    }
}
