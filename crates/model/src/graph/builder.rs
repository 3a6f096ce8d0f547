//! Builds a graph one operator at a time and tracks the element type of every value, so that
//! casts are added exactly where types differ.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::onnx::{Attribute, Data, Dim, ElementType, Graph, Initializer, Node, ValueInfo};
use super::{Precision, Products, external_name};
use crate::checkpoint::{CheckpointError, DType, Weights};

/// A value in the graph, by name.
pub(super) type Value = String;

/// A graph under construction over the weights of a checkpoint.
pub(super) struct Builder<'a> {
    weights: &'a Weights,
    graph: Graph,
    products: Products<'a>,
    types: HashMap<Value, ElementType>,
    /// Activations that are rounded to FP8.
    rounded: HashSet<Value>,
}

impl<'a> Builder<'a> {
    pub fn new(name: &str, weights: &'a Weights, products: Products<'a>) -> Self {
        Self {
            weights,
            graph: Graph {
                name: name.to_owned(),
                ..Graph::default()
            },
            products,
            types: HashMap::new(),
            rounded: HashSet::new(),
        }
    }

    /// The graph's one input, of shape `[batch, dims...]`.
    pub fn input(&mut self, name: &str, elements: ElementType, dims: &[usize]) -> Value {
        self.declare(batched(name, elements, dims))
    }

    /// The graph's one input where rows differ in length, of shape `[batch, many, width]`.
    pub fn ragged_input(
        &mut self,
        name: &str,
        elements: ElementType,
        many: &'static str,
        width: usize,
    ) -> Value {
        let mut input = batched(name, elements, &[width]);
        input.dims.insert(1, Dim::Named(many));
        self.declare(input)
    }

    fn declare(&mut self, input: ValueInfo) -> Value {
        let name = input.name.clone();
        self.types.insert(name.clone(), input.elements);
        self.graph.inputs.push(input);
        name
    }

    /// Ends the graph: `value` becomes its output, named `name`, of shape `[batch, width]`.
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

    /// The element type of the inputs of products.
    pub fn half(&self) -> ElementType {
        match self.products.precision {
            Precision::Fp32 => ElementType::Float,
            Precision::Fp16 | Precision::Fp8 => ElementType::Float16,
            Precision::Bf16 => ElementType::BFloat16,
        }
    }

    /// A whole tensor of the checkpoint, which must have this shape, as `elements`.
    pub fn weight(
        &mut self,
        name: &str,
        shape: &[usize],
        elements: ElementType,
    ) -> Result<Value, CheckpointError> {
        let all = 0..shape.first().copied().unwrap_or(1);
        self.rows(name, shape, all, name, elements)
    }

    /// A table for lookups. One that is stored in 16 bits keeps its type, whatever the
    /// precision: the looked-up rows are widened without loss.
    pub fn table(&mut self, name: &str, shape: &[usize]) -> Result<Value, CheckpointError> {
        let stored = element_type(self.weights.get(name, shape)?.dtype);
        let elements = match (self.products.precision, stored) {
            (Precision::Fp32, _) | (_, ElementType::Float) => self.half(),
            (_, stored) => stored,
        };
        self.weight(name, shape, elements)
    }

    /// Rows of a tensor, in place, as `elements`; `shape` is that of the whole tensor,
    /// `value` the name of the part.
    pub fn rows(
        &mut self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
        value: &str,
        elements: ElementType,
    ) -> Result<Value, CheckpointError> {
        let tensor = self.weights.get(name, shape)?;
        let row = tensor.length / shape.first().copied().unwrap_or(1).max(1);
        let mut dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        if let Some(dim) = dims.first_mut() {
            *dim = rows.len() as i64;
        }
        let stored = element_type(tensor.dtype);
        self.graph.initializers.push(Initializer {
            name: value.to_owned(),
            dims,
            data: Data::External {
                elements: stored,
                location: external_name(tensor.shard),
                offset: tensor.offset + rows.start * row,
                length: rows.len() * row,
            },
        });
        self.types.insert(value.to_owned(), stored);
        Ok(self.cast(&format!("{value}.cast"), &value.to_owned(), elements))
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

    /// A constant list of floats.
    pub fn floats(&mut self, name: &str, values: Vec<f32>) -> Value {
        let dims = vec![values.len() as i64];
        self.constant(name, dims, Data::Float(values))
    }

    pub(super) fn constant(&mut self, name: &str, dims: Vec<i64>, data: Data) -> Value {
        if !self.types.contains_key(name) {
            self.types.insert(name.to_owned(), data.elements());
            self.graph.initializers.push(Initializer {
                name: name.to_owned(),
                dims,
                data,
            });
        }
        name.to_owned()
    }

    /// `x` as `elements`; `x` itself if it has that type already.
    pub fn cast(&mut self, name: &str, x: &Value, elements: ElementType) -> Value {
        if self.types.get(x) == Some(&elements) {
            return x.clone();
        }
        let to = Attribute::Int(elements as i64);
        let output = self.op(name, "Cast", &[x], vec![("to", to)]);
        self.types.insert(output.clone(), elements);
        output
    }

    /// `x` as FP32, in which sums are computed.
    pub fn widened(&mut self, name: &str, x: &Value) -> Value {
        self.cast(&format!("{name}.widened"), x, ElementType::Float)
    }

    /// `x` in the type of a product's input.
    pub fn narrowed(&mut self, name: &str, x: &Value) -> Value {
        let half = self.half();
        self.cast(&format!("{name}.narrowed"), x, half)
    }

    /// The scale of an activation that enters `name`, if it is quantized.
    pub(super) fn scale_of(&self, name: &str) -> Option<f32> {
        self.products.scales?.get(name)
    }

    /// Whether the activation `x` is rounded to FP8.
    pub(super) fn is_rounded(&self, x: &Value) -> bool {
        self.rounded.contains(x)
    }

    /// The activation `x` is rounded to FP8.
    pub(super) fn note_rounded(&mut self, x: &Value) {
        self.rounded.insert(x.clone());
    }

    /// `x` has another type than the first input of its operator.
    pub(super) fn set_type(&mut self, x: &Value, elements: ElementType) {
        self.types.insert(x.clone(), elements);
    }

    /// The largest magnitude in each row of a tensor of the checkpoint.
    pub(super) fn largest_of_rows(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, CheckpointError> {
        self.weights.largest_of_rows(name, shape)
    }

    /// Adds an operator with one output, which is named after it and has the type of the first
    /// input.
    pub fn op(
        &mut self,
        name: &str,
        op_type: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let output = format!("{name}.out");
        if let Some(&elements) = inputs.first().and_then(|&first| self.types.get(first)) {
            self.types.insert(output.clone(), elements);
        }
        self.graph.nodes.push(Node {
            name: name.to_owned(),
            op_type,
            domain: "",
            inputs: inputs.iter().map(|&input| input.clone()).collect(),
            outputs: vec![output.clone()],
            attributes,
        });
        output
    }

    /// `x * transpose(weight) + bias`, a torch `Linear`: `name.weight` is
    /// `[to, from]`. Half precision in, FP32 out. A runtime folds the transposition of
    /// a constant when it loads the graph. In FP8, if `x` is rounded already or `name` has a
    /// scale for it, so is the weight.
    pub fn linear(
        &mut self,
        name: &str,
        x: &Value,
        from: usize,
        to: usize,
    ) -> Result<Value, CheckpointError> {
        let half = self.half();
        let mut weight = self.weight(&format!("{name}.weight"), &[to, from], half)?;
        let x = &self.quantized(name, x);
        if self.is_rounded(x) {
            weight = self.rounded_weight(name, &weight, &[name], [to, from])?;
        }
        let bias = self.weight(&format!("{name}.bias"), &[to], ElementType::Float)?;
        Ok(self.product(name, x, &weight, &bias))
    }

    /// Like [`Builder::linear`], with given weights.
    pub fn product(&mut self, name: &str, x: &Value, weight: &Value, bias: &Value) -> Value {
        let weight = self.transpose(&format!("{name}.transpose"), weight, &[1, 0]);
        let product = self.op(&format!("{name}.matmul"), "MatMul", &[x, &weight], vec![]);
        let product = self.widened(name, &product);
        self.op(name, "Add", &[&product, bias], vec![])
    }

    /// Parts of `x` along its last dimension, of these lengths.
    pub fn split(&mut self, name: &str, x: &Value, lengths: &[usize]) -> Vec<Value> {
        let lengths: Vec<i64> = lengths.iter().map(|&length| length as i64).collect();
        let sizes = self.ints(&format!("{name}.split.lengths"), &lengths);
        let name = format!("{name}.split");
        let parts: Vec<Value> = (0..lengths.len())
            .map(|part| format!("{name}.out.{part}"))
            .collect();
        if let Some(&elements) = self.types.get(x) {
            let typed = parts.iter().map(|part| (part.clone(), elements));
            self.types.extend(typed);
        }
        self.graph.nodes.push(Node {
            name,
            op_type: "Split",
            domain: "",
            inputs: vec![x.clone(), sizes],
            outputs: parts.clone(),
            attributes: vec![("axis", Attribute::Int(-1))],
        });
        parts
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

    /// Columns `range` of `x`, along its dimension `axis`.
    pub fn slice(&mut self, name: &str, x: &Value, axis: i64, range: Range<usize>) -> Value {
        let mut number = |value: i64| self.ints(&format!("number.{value}"), &[value]);
        let (start, end) = (number(range.start as i64), number(range.end as i64));
        let axis = number(axis);
        self.op(name, "Slice", &[x, &start, &end, &axis], vec![])
    }

    /// Layer norm over the last dimension: FP32 in, half precision out. Its sums of squares are
    /// the first thing to leave the range of FP16.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Value,
        width: usize,
        epsilon: f32,
    ) -> Result<Value, CheckpointError> {
        let scale = self.weight(&format!("{name}.weight"), &[width], ElementType::Float)?;
        let bias = self.weight(&format!("{name}.bias"), &[width], ElementType::Float)?;
        let normed = self.op(
            name,
            "LayerNormalization",
            &[x, &scale, &bias],
            vec![
                ("axis", Attribute::Int(-1)),
                ("epsilon", Attribute::Float(epsilon)),
            ],
        );
        Ok(self.narrowed(name, &normed))
    }
}

fn element_type(dtype: DType) -> ElementType {
    match dtype {
        DType::F32 => ElementType::Float,
        DType::F16 => ElementType::Float16,
        DType::BF16 => ElementType::BFloat16,
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
