//! The requests and answers of KServe's protocol, as types.

use serde::Serialize;
use utoipa::ToSchema;

use siglip2_service::Embeddings;

/// What the server is.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeServer)]
pub(crate) struct KServeServer {
    /// The program's name.
    pub(super) name: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The extensions that it has.
    pub(super) extensions: [&'static str; 1],
}

/// Whether it lives.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeLive)]
pub(crate) struct KServeLive {
    /// Always true.
    pub(super) live: bool,
}

/// Whether it can embed.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeReady)]
pub(crate) struct KServeReady {
    /// Always true: otherwise the request is refused (503).
    pub(super) ready: bool,
}

/// What the model takes and gives.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeModel)]
pub(crate) struct KServeModel<'a> {
    /// The name that was asked for.
    pub(super) name: &'a str,
    /// There is one.
    pub(super) versions: [&'static str; 1],
    /// What runs it.
    pub(super) platform: &'static str,
    /// What it takes; one of the two is enough.
    pub(super) inputs: [TensorInfo; 2],
    /// What it gives.
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
    /// Its shape; -1 is any number.
    pub(super) shape: Vec<i64>,
}

/// What is to be embedded.
#[derive(ToSchema)]
#[schema(as = KServeInferRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct KServeRequest {
    /// Sent back in the answer.
    pub(super) id: Option<String>,
    /// `normalize`, `truncate` (both true unless something else is said), `binary_data_output`.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
    /// `texts`, `images` or both.
    pub(super) inputs: Vec<InputTensor>,
    /// The outputs that are wanted; by default all that can be made from the inputs.
    pub(super) outputs: Option<Vec<OutputWish>>,
}

/// A tensor that is sent.
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
    /// `binary_data_size`, where its elements are behind the JSON.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
    /// Its elements: texts, or images as base64.
    pub(super) data: Option<Vec<String>>,
}

/// An output that is wanted.
#[derive(ToSchema)]
#[schema(as = KServeOutputWish)]
#[allow(dead_code, reason = "it is only described")]
pub(super) struct OutputWish {
    /// `text_embeddings` or `image_embeddings`.
    pub(super) name: String,
    /// `binary_data`: whether its numbers are to be behind the JSON.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<()>,
}

/// Vectors.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeInferResponse)]
pub(crate) struct KServeAnswer<'a> {
    /// The name that was asked for.
    pub(super) model_name: &'a str,
    /// There is one.
    pub(super) model_version: &'static str,
    /// That of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) id: Option<&'a str>,
    /// The outputs that were asked for.
    pub(super) outputs: Vec<OutputTensor<'a>>,
}

/// A tensor that is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = KServeOutput)]
pub(super) struct OutputTensor<'a> {
    /// `text_embeddings` or `image_embeddings`.
    pub(super) name: &'static str,
    /// `FP32`.
    pub(super) datatype: &'static str,
    /// Rows, and floats in a row.
    pub(super) shape: [usize; 2],
    /// Where its numbers are behind the JSON: how many bytes they take.
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
        serializer.collect_seq(self.0.rows().flatten())
    }
}
