//! A type checker for the graphs, for tests: infers element types from inputs, weights and
//! casts, by the rules of ONNX and TensorRT's strongly typed networks. It shares no code with
//! the builder.

use std::collections::HashMap;

use super::onnx::{Attribute, Data, Dim, ElementType, Graph, Node};
use super::{
    EMBEDDING, INPUT_IDS, PATCHES, PIXEL_VALUES, Precision, Products, Scales, naflex, text, vision,
};
use crate::checkpoint::Checkpoint;

type Types = HashMap<String, ElementType>;

/// The element type of every value of a graph. Panics if an operator's inputs do not agree by
/// the ONNX specification (opset 20).
fn infer(graph: &Graph) -> Types {
    let mut types = Types::new();
    for initializer in &graph.initializers {
        let elements = match &initializer.data {
            Data::Int64(_) => ElementType::Int64,
            Data::Float(_) => ElementType::Float,
            Data::Raw { elements, bytes } => {
                let count: i64 = initializer.dims.iter().product();
                assert_eq!(count as usize * width(*elements), bytes.len());
                *elements
            }
            Data::External {
                elements, length, ..
            } => {
                let count: i64 = initializer.dims.iter().product();
                let bytes = count as usize * width(*elements);
                assert_eq!(bytes, *length, "{}", initializer.name);
                *elements
            }
        };
        define(&mut types, &initializer.name, elements);
    }
    for input in &graph.inputs {
        define(&mut types, &input.name, input.elements);
    }
    for node in &graph.nodes {
        let inputs: Vec<ElementType> = node
            .inputs
            .iter()
            .map(|name| {
                *types
                    .get(name)
                    .unwrap_or_else(|| panic!("{} reads {name} before it is there", node.name))
            })
            .collect();
        let output = match (node.op_type, inputs.as_slice()) {
            ("Cast", [from]) => {
                let to = cast_to(node);
                assert_ne!(*from, to, "{} casts nothing", node.name);
                to
            }
            ("QuantizeLinear", [data, scale, zero]) => {
                assert_eq!((data, *zero), (scale, ElementType::Float8E4M3));
                *zero
            }
            ("DequantizeLinear", [data, scale, zero]) => {
                assert_eq!((*data, data), (ElementType::Float8E4M3, zero));
                *scale
            }
            ("Reshape" | "Split", [data, ElementType::Int64]) => *data,
            ("Gather", [data, ElementType::Int32 | ElementType::Int64]) => *data,
            (
                "Slice",
                [
                    data,
                    ElementType::Int64,
                    ElementType::Int64,
                    ElementType::Int64,
                ],
            ) => *data,
            ("ReduceSum", [data, ElementType::Int64]) => *data,
            (
                "Abs" | "Add" | "Div" | "Max" | "Mul" | "Sub" | "MatMul" | "Concat" | "Conv"
                | "LayerNormalization" | "Gelu" | "Relu" | "Sigmoid" | "Softmax" | "Transpose",
                [first, rest @ ..],
            ) => {
                assert!(
                    rest.iter().all(|other| other == first),
                    "{} mixes {inputs:?}",
                    node.name
                );
                *first
            }
            _ => panic!("{} is {} of {inputs:?}", node.name, node.op_type),
        };
        for name in &node.outputs {
            define(&mut types, name, output);
        }
    }
    for output in &graph.outputs {
        assert_eq!(types.get(&output.name), Some(&output.elements));
    }
    types
}

/// Bytes of a number.
fn width(elements: ElementType) -> usize {
    match elements {
        ElementType::Float8E4M3 | ElementType::Uint8 => 1,
        ElementType::Float16 | ElementType::BFloat16 => 2,
        ElementType::Float | ElementType::Int32 => 4,
        ElementType::Int64 => 8,
    }
}

fn define(types: &mut Types, name: &str, elements: ElementType) {
    let before = types.insert(name.to_owned(), elements);
    assert!(before.is_none(), "{name} is there twice");
}

fn cast_to(node: &Node) -> ElementType {
    let Some(("to", Attribute::Int(to))) = node.attributes.first() else {
        panic!("{} does not say what to cast to", node.name)
    };
    [
        ElementType::Float,
        ElementType::Float16,
        ElementType::BFloat16,
    ]
    .into_iter()
    .find(|&elements| elements as i64 == *to)
    .unwrap_or_else(|| panic!("{} casts to {to}", node.name))
}

/// The towers of the demo model (FP32 weights) and of a checkpoint whose weights are
/// BF16, and the vision tower of one of variable resolution.
fn towers<'a>(products: impl Into<Products<'a>>) -> Vec<Graph> {
    let products = products.into();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden/patch14"
    );
    let mut graphs = Vec::new();
    for checkpoint in [
        Checkpoint::demo().unwrap(),
        Checkpoint::open(fixture.as_ref()).unwrap(),
    ] {
        let Checkpoint {
            config, weights, ..
        } = checkpoint;
        graphs.push(vision(&config.vision, &weights, products).unwrap());
        graphs.push(text(&config.text, &weights, products).unwrap());
    }
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden/naflex14"
    );
    let Checkpoint {
        config, weights, ..
    } = Checkpoint::open(fixture.as_ref()).unwrap();
    let line = [std::array::from_fn(|byte| byte as f32); 3];
    graphs.push(naflex(&config.vision, &weights, products, &line).unwrap());
    graphs
}

fn nodes<'a>(graph: &'a Graph, op_type: &'a str) -> impl Iterator<Item = &'a Node> {
    graph
        .nodes
        .iter()
        .filter(move |node| node.op_type == op_type)
}

#[test]
fn types_agree_in_every_precision() {
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Bf16] {
        for graph in towers(precision) {
            infer(&graph);
        }
    }
}

#[test]
fn fp32_computes_in_fp32_alone() {
    for graph in towers(Precision::Fp32) {
        let types = infer(&graph);
        for node in graph.nodes.iter() {
            // Weights that are BF16 in their file are widened, and nothing else is cast.
            assert_eq!(types[&node.outputs[0]], ElementType::Float, "{}", node.name);
        }
    }
    let demo = &towers(Precision::Fp32)[..2];
    assert!(demo.iter().all(|graph| nodes(graph, "Cast").count() == 0));
}

#[test]
fn products_are_half_and_all_between_them_is_fp32() {
    for (precision, half) in [
        (Precision::Fp16, ElementType::Float16),
        (Precision::Bf16, ElementType::BFloat16),
    ] {
        for graph in towers(precision) {
            let types = infer(&graph);
            let of = |name: &String| types[name];
            assert!(nodes(&graph, "MatMul").count() > 0);
            for node in nodes(&graph, "Conv") {
                // BF16 has no place there before opset 22.
                assert_eq!(of(&node.outputs[0]), ElementType::Float16, "{}", node.name);
            }
            for op_type in ["MatMul", "Softmax"] {
                // Position vectors are sums of vectors, and not products with activations.
                let positions = "vision_model.embeddings.position.vectors";
                for node in nodes(&graph, op_type).filter(|node| node.name != positions) {
                    assert_eq!(of(&node.outputs[0]), half, "{}", node.name);
                }
            }
            for op_type in ["LayerNormalization", "Add", "Mul", "Gelu"] {
                assert!(nodes(&graph, op_type).count() > 0, "{op_type}");
                // The mask is added between the two products of an attention.
                for node in nodes(&graph, op_type).filter(|node| !node.name.ends_with(".masked")) {
                    assert_eq!(of(&node.outputs[0]), ElementType::Float, "{}", node.name);
                }
            }
            assert_eq!(of(&EMBEDDING.to_owned()), ElementType::Float);
        }
    }
}

/// The input types must be those that the programs fill in.
#[test]
fn inputs_have_the_types_that_the_precision_says() {
    for (precision, pixels, ids) in [
        (Precision::Fp32, ElementType::Float, ElementType::Int64),
        (Precision::Fp16, ElementType::Float16, ElementType::Int32),
        (Precision::Bf16, ElementType::Float, ElementType::Int32),
    ] {
        for graph in towers(precision) {
            let [input] = &graph.inputs[..] else {
                panic!("one input")
            };
            match input.name.as_str() {
                PIXEL_VALUES => assert_eq!(input.elements, pixels),
                PATCHES => {
                    assert_eq!(input.elements, ElementType::Uint8);
                    assert_eq!(input.dims[1], Dim::Named("patches"));
                }
                INPUT_IDS => assert_eq!(input.elements, ids),
                other => panic!("an input {other}"),
            }
            assert_eq!(input.dims[0], Dim::Named("batch"));
        }
    }
}

/// The queries are scaled before the first product, and only the softmax is between the two
/// products of an attention, and the sum with a mask where there is one: the form that TensorRT
/// fuses.
#[test]
fn attention_has_the_form_that_is_fused() {
    for graph in towers(Precision::Fp16) {
        let made_by: HashMap<&String, &Node> = graph
            .nodes
            .iter()
            .flat_map(|node| node.outputs.iter().map(move |name| (name, node)))
            .collect();
        let source = |node: &Node, input: usize| made_by[&node.inputs[input]];
        let mut softmaxes = 0;
        for mix in nodes(&graph, "MatMul").filter(|node| node.name.ends_with(".mix")) {
            let softmax = source(mix, 0);
            assert_eq!(softmax.op_type, "Softmax");
            let mut scores = source(softmax, 0);
            if scores.name.ends_with(".masked") {
                assert_eq!(graph.inputs[0].name, PATCHES);
                scores = source(scores, 0);
            }
            assert_eq!(scores.op_type, "MatMul");
            let mut query = source(scores, 0);
            while ["Transpose", "Reshape", "Cast"].contains(&query.op_type) {
                query = source(query, 0);
            }
            assert_eq!(query.op_type, "Mul", "{}", query.name);
            softmaxes += 1;
        }
        assert_eq!(softmaxes, nodes(&graph, "Softmax").count());
    }
}

/// No weight is copied into a graph, and none that is BF16 already is cast for a BF16 product.
#[test]
fn weights_stay_in_their_file_and_are_cast_only_where_types_differ() {
    for precision in [Precision::Fp16, Precision::Bf16] {
        for graph in towers(precision) {
            let inline: usize = graph
                .initializers
                .iter()
                .map(|initializer| match &initializer.data {
                    Data::Int64(values) => values.len() * 8,
                    Data::Float(values) => values.len() * 4,
                    Data::Raw { bytes, .. } => bytes.len(),
                    Data::External { .. } => 0,
                })
                .sum();
            assert!(inline < 1024, "{inline} bytes of constants");
        }
    }
    let [demo, bf16] = [0, 2].map(|tower| {
        let graph = &towers(Precision::Bf16)[tower];
        let types = infer(graph);
        // Weights used in a product through a transposition.
        let direct = nodes(graph, "Transpose")
            .filter(|node| node.name.ends_with(".transpose"))
            .filter(|node| !node.inputs[0].ends_with(".cast.out"));
        direct
            .inspect(|node| assert_eq!(types[&node.inputs[0]], ElementType::BFloat16))
            .count()
    });
    assert_eq!(demo, 0);
    // Six to a layer, of which there are two, and six in the head.
    assert_eq!(bf16, 6 * 2 + 6);
}

/// Scales of some activations of layer 0 of both towers.
fn scales(attention: bool) -> Scales {
    let mut names = vec!["self_attn.qkv", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"];
    if attention {
        names.extend([
            "self_attn.q",
            "self_attn.k",
            "self_attn.v",
            "self_attn.softmax",
        ]);
    }
    let towers = ["vision_model", "text_model"];
    let largest = towers.iter().flat_map(|tower| {
        let named = move |name| (format!("{tower}.encoder.layers.0.{name}"), 3.0);
        names.iter().map(named)
    });
    Scales::of(largest).unwrap()
}

/// Whether a side of a product is rounded to E4M3 before it is moved around.
fn is_rounded(graph: &Graph, name: &String) -> bool {
    let makes = |node: &&Node| node.outputs.contains(name);
    match graph.nodes.iter().find(makes) {
        Some(node) if ["Transpose", "Reshape"].contains(&node.op_type) => {
            is_rounded(graph, &node.inputs[0])
        }
        Some(node) => node.op_type == "DequantizeLinear",
        None => false,
    }
}

/// What has a scale is rounded to E4M3 on both sides of its product, and nothing else; without
/// the rounding, the graph is that of FP16.
#[test]
fn fp8_rounds_what_has_a_scale_and_is_fp16_otherwise() {
    for attention in [false, true] {
        let scales = scales(attention);
        for (graph, plain) in towers(&scales).into_iter().zip(towers(Precision::Fp16)) {
            infer(&graph);
            for node in nodes(&graph, "MatMul") {
                let sides = [0, 1].map(|side| is_rounded(&graph, &node.inputs[side]));
                let product = node.name.trim_end_matches(".matmul");
                let wanted = product.contains(".layers.0.")
                    && (attention || !product.ends_with(".scores") && !product.ends_with(".mix"));
                assert_eq!(sides, [wanted; 2], "{}", node.name);
            }
            // Four activations and four weights, of which one has three projections.
            let rounded = nodes(&graph, "QuantizeLinear").count();
            assert_eq!(rounded, 8 + if attention { 4 } else { 0 });

            let mut renamed: HashMap<&String, &String> = HashMap::new();
            let mut left = Vec::new();
            for node in &graph.nodes {
                if ["QuantizeLinear", "DequantizeLinear"].contains(&node.op_type) {
                    let from = renamed.get(&node.inputs[0]).copied();
                    renamed.insert(&node.outputs[0], from.unwrap_or(&node.inputs[0]));
                    continue;
                }
                let mut node = node.clone();
                for input in &mut node.inputs {
                    if let Some(&from) = renamed.get(input) {
                        *input = from.clone();
                    }
                }
                left.push(node);
            }
            // The three projections are one product.
            let joined = |node: &Node| {
                let of = |part: &str| node.name.contains(&format!(".layers.0.self_attn.{part}"));
                ["q_proj", "k_proj", "v_proj", "qkv"].into_iter().any(of)
            };
            left.retain(|node| !joined(node));
            let mut plain = plain.nodes;
            plain.retain(|node| !joined(node));
            assert_eq!(left, plain);
        }
    }
}

/// A weight has a scale for each of its outputs, which its largest number fits; an activation
/// has one.
#[test]
fn weights_are_scaled_for_each_output() {
    let graph = &towers(&scales(false))[0];
    let of = |name: &str| {
        let found = graph.initializers.iter().find(|it| it.name == name);
        let Data::Raw { elements, bytes } = &found.unwrap().data else {
            panic!("{name} is not there as bytes")
        };
        assert_eq!(*elements, ElementType::Float16);
        let (numbers, _) = bytes.as_chunks();
        let floats = numbers
            .iter()
            .map(|&it| half::f16::from_le_bytes(it).to_f32());
        floats.collect::<Vec<f32>>()
    };
    let name = "vision_model.encoder.layers.0.mlp.fc1";
    assert_eq!(of(&format!("{name}.fp8.scale")), [1.0 / 64.0]);
    let weights = Checkpoint::demo().unwrap().weights;
    let largest = weights
        .largest_of_rows(&format!("{name}.weight"), &[256, 96])
        .unwrap();
    let scales = of(&format!("{name}.weight.fp8.scale"));
    assert_eq!(scales.len(), 256);
    for (largest, scale) in largest.into_iter().zip(scales) {
        assert!(
            (224.0..=448.0).contains(&(largest / scale)),
            "{largest} {scale}"
        );
    }
}
