//! As much of the ONNX format as the towers need: a few message types of `onnx.proto` (ONNX 1.16,
//! IR version 10) in the protobuf wire format.
//!
//! Messages are written field by field, not as types of a protobuf crate, because exports that
//! others wrote are extended in the same way (`super::export`): what their messages have that this
//! does not know must stay in them, byte for byte.

/// A model with one graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) initializers: Vec<Initializer>,
    pub(super) inputs: Vec<ValueInfo>,
    pub(super) outputs: Vec<ValueInfo>,
    /// Operator domains other than ONNX's own, with their versions.
    pub(super) domains: Vec<(&'static str, i64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub name: String,
    pub op_type: &'static str,
    pub domain: &'static str,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    String(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Initializer {
    pub name: String,
    pub dims: Vec<i64>,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Int64(Vec<i64>),
    Float(Vec<f32>),
    /// Numbers of any type, as little-endian bytes.
    Raw {
        elements: ElementType,
        bytes: Vec<u8>,
    },
    External {
        elements: ElementType,
        location: String,
        offset: usize,
        length: usize,
    },
}

impl Data {
    pub fn elements(&self) -> ElementType {
        match self {
            Data::Int64(_) => ElementType::Int64,
            Data::Float(_) => ElementType::Float,
            Data::Raw { elements, .. } | Data::External { elements, .. } => *elements,
        }
    }
}

/// `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    Float = 1,
    Uint8 = 2,
    Int32 = 6,
    Int64 = 7,
    Float16 = 10,
    BFloat16 = 16,
    /// E4M3 without infinities (`FLOAT8E4M3FN`).
    Float8E4M3 = 17,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValueInfo {
    pub name: String,
    pub elements: ElementType,
    pub dims: Vec<Dim>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dim {
    Fixed(usize),
    Named(&'static str),
}

/// Opset 20 is the first with `Gelu`.
const OPSET: i64 = 20;
/// The IR version introduced with it.
const IR_VERSION: i64 = 10;
/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i64 = 1;

impl Graph {
    /// The bytes of a `.onnx` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut graph = Message::default();
        for node in &self.nodes {
            graph.message(1, node.encode());
        }
        graph.string(2, &self.name);
        for initializer in &self.initializers {
            graph.message(5, initializer.encode());
        }
        for input in &self.inputs {
            graph.message(11, input.encode());
        }
        for output in &self.outputs {
            graph.message(12, output.encode());
        }

        let mut model = Message::default();
        model.int(1, IR_VERSION);
        model.string(2, crate::PROGRAM);
        model.string(3, env!("CARGO_PKG_VERSION"));
        model.message(7, graph);
        for (domain, version) in [("", OPSET)].iter().chain(&self.domains) {
            let mut opset = Message::default();
            opset.string(1, domain);
            opset.int(2, *version);
            model.message(8, opset);
        }
        model.0
    }
}

impl Node {
    pub(super) fn encode(&self) -> Message {
        let mut node = Message::default();
        for input in &self.inputs {
            // An empty name is an optional input that is left out.
            node.string(1, input);
        }
        for output in &self.outputs {
            node.string(2, output);
        }
        node.string(3, &self.name);
        node.string(4, self.op_type);
        for (name, value) in &self.attributes {
            let mut attribute = Message::default();
            attribute.string(1, name);
            // Field 20 is AttributeProto.type.
            match value {
                Attribute::Float(value) => {
                    attribute.float(2, *value);
                    attribute.int(20, 1);
                }
                Attribute::Int(value) => {
                    attribute.int(3, *value);
                    attribute.int(20, 2);
                }
                Attribute::String(value) => {
                    attribute.string(4, value);
                    attribute.int(20, 3);
                }
                Attribute::Ints(values) => {
                    for value in values {
                        attribute.int(8, *value);
                    }
                    attribute.int(20, 7);
                }
            }
            node.message(5, attribute);
        }
        if !self.domain.is_empty() {
            node.string(7, self.domain);
        }
        node
    }
}

impl Initializer {
    fn encode(&self) -> Message {
        let mut tensor = Message::default();
        for dim in &self.dims {
            tensor.int(1, *dim);
        }
        tensor.int(2, self.data.elements() as i64);
        match &self.data {
            Data::Int64(values) => {
                let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensor.bytes(9, &raw);
            }
            Data::Float(values) => {
                let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensor.bytes(9, &raw);
            }
            Data::Raw { bytes, .. } => tensor.bytes(9, bytes),
            Data::External {
                location,
                offset,
                length,
                ..
            } => {
                for (key, value) in [
                    ("location", location.clone()),
                    ("offset", offset.to_string()),
                    ("length", length.to_string()),
                ] {
                    let mut entry = Message::default();
                    entry.string(1, key);
                    entry.string(2, &value);
                    tensor.message(13, entry);
                }
                tensor.int(14, EXTERNAL);
            }
        }
        tensor.string(8, &self.name);
        tensor
    }
}

impl ValueInfo {
    pub(super) fn encode(&self) -> Message {
        let mut shape = Message::default();
        for dim in &self.dims {
            let mut encoded = Message::default();
            match dim {
                Dim::Fixed(value) => encoded.int(1, *value as i64),
                Dim::Named(name) => encoded.string(2, name),
            }
            shape.message(1, encoded);
        }
        let mut tensor = Message::default();
        tensor.int(1, self.elements as i64);
        tensor.message(2, shape);
        let mut kind = Message::default();
        kind.message(1, tensor);
        let mut info = Message::default();
        info.string(1, &self.name);
        info.message(2, kind);
        info
    }
}

/// A protobuf message under construction: a sequence of fields, each preceded by a tag with
/// its number and wire type.
#[derive(Default)]
pub(super) struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    pub fn int(&mut self, field: u32, value: i64) {
        self.tag(field, 0);
        // Negative numbers are ten bytes long, as protobuf's int64 has them.
        self.varint(value as u64);
    }

    fn float(&mut self, field: u32, value: f32) {
        self.fixed32(field, value.to_bits());
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    pub fn string(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub fn message(&mut self, field: u32, message: Message) {
        self.bytes(field, &message.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_protobuf_says() {
        // The examples in protobuf's own encoding guide.
        let mut message = Message::default();
        message.int(1, 150);
        message.string(2, "testing");
        message.int(3, -2);
        assert_eq!(
            message.0,
            b"\x08\x96\x01\x12\x07testing\x18\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
    }
}
