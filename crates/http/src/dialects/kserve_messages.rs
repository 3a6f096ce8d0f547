//! The requests and answers of KServe's protocol, as types.

use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::json_writer::Numbers;
use siglip2_service::Embeddings;

/// The server.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeServer)]
pub(crate) struct KServeServer {
    /// The program's name.
    pub(super) name: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The extensions that it supports.
    pub(super) extensions: [&'static str; 1],
}

/// Whether the server is alive.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeLive)]
pub(crate) struct KServeLive {
    /// Always true.
    pub(super) live: bool,
}

/// Whether the server can embed.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeReady)]
pub(crate) struct KServeReady {
    /// Always true: otherwise the request is refused (503).
    pub(super) ready: bool,
}

/// The inputs and outputs of a model.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeModel)]
pub(crate) struct KServeModel<'a> {
    /// The name that was asked for.
    pub(super) name: &'a str,
    /// The only version.
    pub(super) versions: [&'static str; 1],
    /// What runs it.
    pub(super) platform: &'static str,
    /// The inputs; one of the two is enough.
    pub(super) inputs: [TensorInfo; 2],
    /// The outputs.
    pub(super) outputs: [TensorInfo; 2],
}

/// A tensor.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeTensorInfo)]
pub(super) struct TensorInfo {
    /// Its name.
    pub(super) name: &'static str,
    /// `BYTES` or `FP32`.
    pub(super) datatype: &'static str,
    /// Its shape; -1 stands for any number.
    pub(super) shape: Vec<i64>,
}

/// Texts and images to embed.
#[derive(ToSchema)]
#[schema(as = KServeInferRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct KServeRequest {
    /// Sent back in the answer.
    pub(super) id: Option<String>,
    /// `normalize` and `truncate`, which are true by default, and `binary_data_output`.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
    /// `texts`, `images` or both.
    pub(super) inputs: Vec<InputTensor>,
    /// The outputs to return; by default all that can be made from the inputs.
    pub(super) outputs: Option<Vec<OutputWish>>,
}

/// An input.
#[derive(ToSchema)]
#[schema(as = KServeInput)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct InputTensor {
    /// `texts` or `images`.
    pub(super) name: String,
    /// Its shape.
    pub(super) shape: Vec<u64>,
    /// `BYTES`.
    pub(super) datatype: String,
    /// `binary_data_size`, if its elements follow the JSON.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
    /// Its elements: texts, or images as base64.
    pub(super) data: Option<Vec<String>>,
}

/// An output to return.
#[derive(ToSchema)]
#[schema(as = KServeOutputWish)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct OutputWish {
    /// `text_embeddings` or `image_embeddings`.
    pub(super) name: String,
    /// `binary_data`: whether its numbers follow the JSON.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
}

/// Vectors.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeInferResponse)]
pub(crate) struct KServeAnswer<'a> {
    /// The name that was asked for.
    pub(super) model_name: &'a str,
    /// The only version.
    pub(super) model_version: &'static str,
    /// The `id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) id: Option<&'a str>,
    /// The outputs that were asked for.
    pub(super) outputs: Vec<OutputTensor<'a>>,
}

/// An output.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeOutput)]
pub(super) struct OutputTensor<'a> {
    /// `text_embeddings` or `image_embeddings`.
    pub(super) name: &'static str,
    /// `FP32`.
    pub(super) datatype: &'static str,
    /// Rows, and floats in a row.
    pub(super) shape: [usize; 2],
    /// The bytes that its numbers take, if they follow the JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) parameters: Option<BinarySize>,
    /// Its numbers, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<f32>>)]
    pub(super) data: Option<Flat<'a>>,
}

/// How many bytes a tensor takes.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeBinarySize)]
pub(super) struct BinarySize {
    /// Bytes.
    pub(super) binary_data_size: usize,
}

pub(super) struct Flat<'a>(pub(super) &'a Embeddings);

impl Serialize for Flat<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut numbers = Vec::with_capacity(self.0.len() * self.0.dimensions());
        self.0.rows().for_each(|row| numbers.extend_from_slice(row));
        Numbers(&numbers).serialize(serializer)
    }
}
