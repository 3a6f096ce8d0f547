//! Other people's ONNX exports of a tower, made one that engines run.
//!
//! ```text
//! .onnx (Optimum's, onnx-community's) --read--> Export: inputs, outputs, types of weights
//!     --tower--> the same graph with the one output `embedding`, in FP32
//! ```
//!
//! Exports of transformers' SigLIP towers differ in the names of their outputs and in what
//! they give besides the embedding. Nothing is computed otherwise than the export says:
//! its own types decide the precision.

use std::collections::{BTreeMap, HashSet};

use super::onnx::{Attribute, Dim, ElementType, Message, Node, ValueInfo};
use super::{EMBEDDING, INPUT_IDS, PIXEL_VALUES, Precision};

mod wire;

use wire::{Field, Value, fields};

/// Outputs that hold the embedding, the best first: the pooled output, as it is, goes
/// before what some exports have normalized.
const OUTPUTS: [&str; 4] = ["pooler_output", "image_embeds", "text_embeds", EMBEDDING];

/// A `.onnx` file, read as far as it must be.
#[derive(Clone, Debug)]
pub struct Export<'a> {
    model: &'a [u8],
    graph: &'a [u8],
    /// What it is fed, less what it holds itself.
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// Every name that a value of the graph has.
    values: HashSet<String>,
    /// Numbers in the weights, by `TensorProto.DataType`.
    numbers: BTreeMap<u64, u64>,
    /// Files beside it that hold weights.
    external: Vec<String>,
}

/// A tower of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedTower {
    /// The bytes of its `.onnx` file.
    pub onnx: Vec<u8>,
    /// The files that it wants beside it, in the order in which it names them.
    pub external: Vec<String>,
    /// What most of its weights are in.
    pub precision: Precision,
}

impl<'a> Export<'a> {
    /// Reads a `.onnx` file.
    ///
    /// # Errors
    ///
    /// A sentence, when it is none, or names weights outside its directory.
    pub fn read(model: &'a [u8]) -> Result<Self, String> {
        let broken = || "it is no ONNX file, or was not copied whole".to_owned();
        let mut graph = None;
        for field in fields(model) {
            // ModelProto.graph
            if let Field {
                number: 7,
                value: Value::Bytes(bytes),
            } = field.ok_or_else(broken)?
            {
                graph = Some(bytes);
            }
        }
        let graph = graph.ok_or_else(broken)?;
        let mut export = Self {
            model,
            graph,
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: HashSet::new(),
            numbers: BTreeMap::new(),
            external: Vec::new(),
        };
        let mut own = HashSet::new();
        for field in fields(graph) {
            let Field { number, value } = field.ok_or_else(broken)?;
            let Value::Bytes(bytes) = value else { continue };
            match number {
                // GraphProto.node: its outputs
                1 => export.values.extend(strings(bytes, 2)),
                // GraphProto.initializer
                5 => own.extend(export.tensor(bytes).ok_or_else(broken)?),
                // GraphProto.input and .output: ValueInfoProto.name
                11 => export.inputs.extend(strings(bytes, 1)),
                12 => export.outputs.extend(strings(bytes, 1)),
                _ => {}
            }
        }
        // Old exports list their weights among their inputs.
        export.inputs.retain(|name| !own.contains(name));
        export.values.extend(own);
        if let Some(outside) = export.external.iter().find(|name| is_outside(name)) {
            return Err(format!(
                "it names {outside:?} for its weights, which is not a file beside it"
            ));
        }
        Ok(export)
    }

    /// Notes a `TensorProto`; its name.
    fn tensor(&mut self, bytes: &[u8]) -> Option<Option<String>> {
        let (mut name, mut kind, mut count) = (None, 0, 1_u64);
        for field in fields(bytes) {
            match field? {
                Field {
                    number: 1,
                    value: Value::Varint(dim),
                } => {
                    count = count.saturating_mul(dim);
                }
                // Packed, as protobuf 3 writes lists of numbers.
                Field {
                    number: 1,
                    value: Value::Bytes(dims),
                } => {
                    for dim in wire::varints(dims) {
                        count = count.saturating_mul(dim?);
                    }
                }
                Field {
                    number: 2,
                    value: Value::Varint(value),
                } => kind = value,
                Field {
                    number: 8,
                    value: Value::Bytes(value),
                } => {
                    name = Some(String::from_utf8_lossy(value).into_owned());
                }
                // StringStringEntryProto: key, value
                Field {
                    number: 13,
                    value: Value::Bytes(entry),
                } => {
                    let mut key = strings(entry, 1);
                    if key.next().as_deref() == Some("location")
                        && let Some(location) = strings(entry, 2).next()
                        && !self.external.contains(&location)
                    {
                        self.external.push(location);
                    }
                }
                _ => {}
            }
        }
        *self.numbers.entry(kind).or_default() += count;
        Some(name)
    }

    /// The vision tower, if that is what it is.
    ///
    /// # Errors
    ///
    /// A sentence, when it is fed or gives something else, or is quantized.
    pub fn vision(&self) -> Result<ExportedTower, String> {
        self.tower(PIXEL_VALUES)
    }

    /// The text tower, if that is what it is.
    ///
    /// # Errors
    ///
    /// As [`Export::vision`].
    pub fn text(&self) -> Result<ExportedTower, String> {
        self.tower(INPUT_IDS)
    }

    fn tower(&self, input: &str) -> Result<ExportedTower, String> {
        let list = |names: &[String]| names.join(", ");
        if self.inputs != [input] {
            return Err(match self.inputs.iter().any(|name| name == input) {
                true if self.inputs.iter().any(|name| name == "attention_mask") => {
                    "it wants an attention_mask, and SigLIP has none: texts are padded to all \
                     of their tokens; export the text tower of a SigLIP checkpoint"
                        .into()
                }
                true => format!(
                    "it is fed {}, and a tower is fed {input} alone; export the two towers \
                     apart, as vision_model.onnx and text_model.onnx",
                    list(&self.inputs)
                ),
                false => format!("it is fed {}, and not {input}", list(&self.inputs)),
            });
        }
        let Some(output) = OUTPUTS
            .iter()
            .find(|&&known| self.outputs.iter().any(|name| name == known))
        else {
            let only = match self.outputs.as_slice() {
                [only] if only == "last_hidden_state" => {
                    "it gives last_hidden_state alone, which is not the embedding yet: the \
                     pooling behind it is missing"
                        .to_owned()
                }
                outputs => format!("it gives {}", list(outputs)),
            };
            return Err(format!(
                "{only}; export it with one of the outputs {}",
                OUTPUTS.join(", ")
            ));
        };
        Ok(ExportedTower {
            onnx: self.with_output(output),
            external: self.external.clone(),
            precision: self.precision()?,
        })
    }

    /// What most numbers of the weights are.
    fn precision(&self) -> Result<Precision, String> {
        // TensorProto.DataType: FLOAT 1, FLOAT16 10, BFLOAT16 16; integers of shapes and
        // indices are few.
        let (kind, _) = self
            .numbers
            .iter()
            .max_by_key(|&(_, count)| count)
            .ok_or("it holds no weights")?;
        match kind {
            1 => Ok(Precision::Fp32),
            10 => Ok(Precision::Fp16),
            16 => Ok(Precision::Bf16),
            _ => Err(
                "its weights are quantized, which loses more than searches bear; take an export \
                 in FP16 or FP32, such as model_fp16.onnx or model.onnx"
                    .into(),
            ),
        }
    }

    /// The model with one output, which is `output` cast to FP32.
    fn with_output(&self, output: &str) -> Vec<u8> {
        let mut name = EMBEDDING.to_owned();
        while self.values.contains(&name) {
            name.push('_');
        }
        let mut graph = Message::default();
        for field in fields(self.graph)
            .flatten()
            .filter(|field| field.number != 12)
        {
            field.write(&mut graph);
        }
        let cast = Node {
            name: format!("{name}.cast"),
            op_type: "Cast",
            domain: "",
            inputs: vec![output.to_owned()],
            outputs: vec![name.clone()],
            attributes: vec![("to", Attribute::Int(ElementType::Float as i64))],
        };
        graph.message(1, cast.encode());
        let embedding = ValueInfo {
            name,
            elements: ElementType::Float,
            dims: vec![Dim::Named("batch"), Dim::Named("dimensions")],
        };
        graph.message(12, embedding.encode());

        let mut model = Message::default();
        for field in fields(self.model)
            .flatten()
            .filter(|field| field.number != 7)
        {
            field.write(&mut model);
        }
        model.message(7, graph);
        model.0
    }
}

/// The strings of one field of a message.
fn strings(message: &[u8], wanted: u32) -> impl Iterator<Item = String> {
    fields(message).filter_map(move |field| match field? {
        Field {
            number,
            value: Value::Bytes(bytes),
        } if number == wanted => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

/// Whether a file's name leads out of its directory.
fn is_outside(name: &str) -> bool {
    use std::path::{Component, Path};
    let normal = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    name.is_empty() || !Path::new(name).components().all(normal)
}

#[cfg(test)]
mod tests {
    use super::super::onnx::{Data, Graph, Initializer};
    use super::*;

    fn port(name: &str) -> ValueInfo {
        ValueInfo {
            name: name.into(),
            elements: ElementType::Float,
            dims: vec![Dim::Named("batch"), Dim::Fixed(4)],
        }
    }

    /// A graph with these inputs and outputs over weights in one file.
    fn graph(inputs: &[&str], outputs: &[&str], elements: ElementType) -> Graph {
        Graph {
            name: "other".into(),
            nodes: vec![Node {
                name: "n".into(),
                op_type: "Identity",
                domain: "",
                inputs: vec![inputs[0].into()],
                outputs: outputs.iter().map(|&name| name.into()).collect(),
                attributes: vec![],
            }],
            initializers: vec![
                Initializer {
                    name: "shape".into(),
                    dims: vec![2],
                    data: Data::Int64(vec![1, 2]),
                },
                Initializer {
                    name: "w".into(),
                    dims: vec![3, 5],
                    data: Data::External {
                        elements,
                        location: "model.onnx_data".into(),
                        offset: 0,
                        length: 60,
                    },
                },
            ],
            inputs: inputs.iter().map(|name| port(name)).collect(),
            outputs: outputs.iter().map(|name| port(name)).collect(),
            domains: vec![],
        }
    }

    #[test]
    fn a_tower_keeps_one_output_of_those_that_it_gives() {
        for (outputs, taken) in [
            (&["last_hidden_state", "pooler_output"][..], "pooler_output"),
            (&["image_embeds"], "image_embeds"),
            (&["embedding"], "embedding"),
        ] {
            let onnx = graph(&["pixel_values"], outputs, ElementType::Float16).encode();
            let tower = Export::read(&onnx).unwrap().vision().unwrap();
            assert_eq!(tower.precision, Precision::Fp16);
            assert_eq!(tower.external, ["model.onnx_data"]);

            let again = Export::read(&tower.onnx).unwrap();
            let name = if taken == "embedding" {
                "embedding_"
            } else {
                "embedding"
            };
            assert_eq!(again.inputs, ["pixel_values"]);
            assert_eq!(again.outputs, [name]);
            assert!(again.values.contains(taken) && again.values.contains(name));
            assert_eq!(again.numbers, Export::read(&onnx).unwrap().numbers);
        }
    }

    #[test]
    fn what_is_no_tower_is_refused_with_what_to_do() {
        let said = |inputs: &[&str], outputs: &[&str]| {
            let onnx = graph(inputs, outputs, ElementType::Float).encode();
            Export::read(&onnx).unwrap().text().unwrap_err()
        };
        let pooled = ["pooler_output"];
        assert!(said(&["input_ids", "attention_mask"], &pooled).contains("attention_mask"));
        assert!(said(&["input_ids", "pixel_values"], &pooled).contains("text_model.onnx"));
        assert!(said(&["pixel_values"], &pooled).contains("not input_ids"));
        let hidden = said(&["input_ids"], &["last_hidden_state"]);
        assert!(
            hidden.contains("pooling") && hidden.contains("pooler_output"),
            "{hidden}"
        );
        assert!(said(&["input_ids"], &["logits"]).contains("it gives logits"));
        let quantized = graph(&["input_ids"], &pooled, ElementType::Int64).encode();
        let said = Export::read(&quantized).unwrap().text().unwrap_err();
        assert!(said.contains("quantized"), "{said}");
    }

    #[test]
    fn what_is_no_onnx_or_looks_outside_is_refused() {
        let onnx = graph(&["input_ids"], &["embedding"], ElementType::Float).encode();
        for cut in 0..onnx.len() {
            // Some cuts leave a smaller model, none may panic.
            let _ = Export::read(&onnx[..cut]).map(|export| export.text());
        }
        assert!(Export::read(b"hello").is_err());
        assert!(Export::read(b"").is_err());
        let mut outside = graph(&["input_ids"], &["embedding"], ElementType::Float);
        for location in ["../weights", "/etc/passwd", ""] {
            if let Data::External { location: it, .. } = &mut outside.initializers[1].data {
                *it = location.into();
            }
            let error = Export::read(&outside.encode()).unwrap_err();
            assert!(error.contains("beside it"), "{location:?}: {error}");
        }
    }
}
