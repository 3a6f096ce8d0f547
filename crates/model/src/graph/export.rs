//! ONNX exports of a tower made by other tools, adapted so that engines can run them.
//!
//! ```text
//! .onnx (Optimum's, onnx-community's) --read--> Export: inputs, outputs, types of weights
//!     --tower--> the same graph with the one output `embedding`, in FP32
//! ```
//!
//! Exports of transformers' SigLIP towers differ in the names of their outputs and in what
//! they return besides the embedding. The computation is left as exported; the export's own
//! types decide the precision.

use std::collections::{BTreeMap, HashSet};

use super::onnx::{Attribute, Dim, ElementType, Message, Node, ValueInfo};
use super::{EMBEDDING, INPUT_IDS, PIXEL_VALUES, Precision};

mod wire;

use wire::{Field, Value, fields};

/// Names of outputs with the embedding, best first: the pooled output comes before what some
/// exports have normalized.
const OUTPUTS: [&str; 4] = ["pooler_output", "image_embeds", "text_embeds", EMBEDDING];

/// A `.onnx` file, parsed as far as needed.
#[derive(Clone, Debug)]
pub struct Export<'a> {
    model: &'a [u8],
    graph: &'a [u8],
    /// Its inputs, without those that are weights.
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// The names of all values in the graph.
    values: HashSet<String>,
    /// How many numbers the weights have of each `TensorProto.DataType`.
    numbers: BTreeMap<u64, u64>,
    /// Names of separate files with weights.
    external: Vec<String>,
}

/// Why an export cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Not an ONNX file.
    #[error("it is not an ONNX file, or was not copied whole")]
    Damaged,
    /// Weights outside its directory.
    #[error("it names {0:?} for its weights, which is not a file beside it")]
    Outside(String),
    /// The text tower of another kind of model.
    #[error(
        "it takes an attention_mask, which SigLIP does not: its texts are always padded to \
         full length; export the text tower of a SigLIP checkpoint"
    )]
    Masked,
    /// Both towers in one graph.
    #[error(
        "its inputs are {inputs}, but a tower takes only {expected}; export the two towers \
         separately, as vision_model.onnx and text_model.onnx"
    )]
    Together {
        /// Its inputs.
        inputs: String,
        /// The expected inputs.
        expected: &'static str,
    },
    /// The other tower, or neither.
    #[error("its inputs are {inputs}, not {expected}")]
    OtherInput {
        /// Its inputs.
        inputs: String,
        /// The expected inputs.
        expected: &'static str,
    },
    /// The pooling is missing.
    #[error(
        "its only output is last_hidden_state, which is not the embedding yet: the pooling \
         after it is missing; export it with one of the outputs {}",
        OUTPUTS.join(", ")
    )]
    NotPooled,
    /// None of the outputs is an embedding.
    #[error("its outputs are {outputs}; export it with one of the outputs {}", OUTPUTS.join(", "))]
    OtherOutput {
        /// Its outputs.
        outputs: String,
    },
    /// The graph has no weights.
    #[error("it holds no weights")]
    Empty,
    /// The weights are integers.
    #[error(
        "its weights are quantized, which loses too much for searches; take an export in FP16 \
         or FP32, such as model_fp16.onnx or model.onnx"
    )]
    Quantized,
}

/// A tower of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedTower {
    /// The bytes of its `.onnx` file.
    pub onnx: Vec<u8>,
    /// The separate files it needs, in the order in which it names them.
    pub external: Vec<String>,
    /// The type of most of its weights.
    pub precision: Precision,
}

impl<'a> Export<'a> {
    /// Reads a `.onnx` file.
    ///
    /// # Errors
    ///
    /// If it is not an ONNX file, or names weights outside its directory.
    pub fn read(model: &'a [u8]) -> Result<Self, ExportError> {
        let broken = || ExportError::Damaged;
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
            return Err(ExportError::Outside(outside.clone()));
        }
        Ok(export)
    }

    /// Records a `TensorProto`, and returns its name.
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

    /// The vision tower, if this is one.
    ///
    /// # Errors
    ///
    /// If its inputs or outputs are those of something else, or it is quantized.
    pub fn vision(&self) -> Result<ExportedTower, ExportError> {
        self.tower(PIXEL_VALUES)
    }

    /// The text tower, if this is one.
    ///
    /// # Errors
    ///
    /// The same as for [`Export::vision`].
    pub fn text(&self) -> Result<ExportedTower, ExportError> {
        self.tower(INPUT_IDS)
    }

    fn tower(&self, expected: &'static str) -> Result<ExportedTower, ExportError> {
        if self.inputs != [expected] {
            let inputs = self.inputs.join(", ");
            let has = |wanted: &str| self.inputs.iter().any(|name| name == wanted);
            return Err(match has(expected) {
                true if has("attention_mask") => ExportError::Masked,
                true => ExportError::Together { inputs, expected },
                false => ExportError::OtherInput { inputs, expected },
            });
        }
        let Some(output) = OUTPUTS
            .iter()
            .find(|&&known| self.outputs.iter().any(|name| name == known))
        else {
            return Err(match self.outputs.as_slice() {
                [only] if only == "last_hidden_state" => ExportError::NotPooled,
                outputs => ExportError::OtherOutput {
                    outputs: outputs.join(", "),
                },
            });
        };
        Ok(ExportedTower {
            onnx: self.with_output(output),
            external: self.external.clone(),
            precision: self.precision()?,
        })
    }

    /// The type of most numbers in the weights.
    fn precision(&self) -> Result<Precision, ExportError> {
        // TensorProto.DataType: FLOAT 1, FLOAT16 10, BFLOAT16 16; integers of shapes and
        // indices are few.
        let most = self.numbers.iter().max_by_key(|&(_, count)| count);
        match most.map(|(kind, _)| kind) {
            Some(1) => Ok(Precision::Fp32),
            Some(10) => Ok(Precision::Fp16),
            Some(16) => Ok(Precision::Bf16),
            Some(_) => Err(ExportError::Quantized),
            None => Err(ExportError::Empty),
        }
    }

    /// The model with a single output, which is `output` cast to FP32.
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

/// Whether a file name leads out of its directory.
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
            Export::read(&onnx).unwrap().text().unwrap_err().to_string()
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
        assert!(said(&["input_ids"], &["logits"]).contains("its outputs are logits"));
        let quantized = graph(&["input_ids"], &pooled, ElementType::Int64).encode();
        let said = Export::read(&quantized).unwrap().text().unwrap_err();
        assert_eq!(said, ExportError::Quantized);
    }

    #[test]
    fn what_is_no_onnx_or_looks_outside_is_refused() {
        let onnx = graph(&["input_ids"], &["embedding"], ElementType::Float).encode();
        for cut in 0..onnx.len() {
            // Some of the truncated files are smaller models; none may panic.
            let _ = Export::read(&onnx[..cut]).map(|export| export.text());
        }
        assert!(Export::read(b"hello").is_err());
        assert!(Export::read(b"").is_err());
        let mut outside = graph(&["input_ids"], &["embedding"], ElementType::Float);
        for location in ["../weights", "/etc/passwd", ""] {
            if let Data::External { location: it, .. } = &mut outside.initializers[1].data {
                *it = location.into();
            }
            let error = Export::read(&outside.encode()).unwrap_err().to_string();
            assert!(error.contains("beside it"), "{location:?}: {error}");
        }
    }
}
