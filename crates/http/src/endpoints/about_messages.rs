//! What the endpoints that tell of the service answer, as types.

use serde::Serialize;
use utoipa::ToSchema;

use crate::settings::HttpSettings;
use siglip2_service::{BuildInfo, IndexInfo, Service, ServiceSettings};

/// What this service is, and where it is described.
#[derive(Serialize, ToSchema)]
pub(crate) struct Root {
    /// The program's name.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// Where this document is.
    openapi: &'static str,
}

impl Root {
    /// What a program of this build says.
    pub(crate) fn of(build: &BuildInfo) -> Self {
        Self {
            name: crate::PROGRAM,
            version: build.version,
            openapi: "/openapi.json",
        }
    }
}

/// Whether the service can embed, and what runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health<'a> {
    /// `ok`, `starting`, `draining`, `restarting` or `failed`.
    pub(crate) status: &'static str,
    /// What requests call the model: the name that `--model` gives it, or where it is from.
    pub(crate) model: &'a str,
    /// `cpu` or `cuda`.
    pub(crate) device: &'a str,
    /// Floats in an embedding.
    pub(crate) dimensions: usize,
    /// Where several models are served: those that cannot embed, and their states.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) detail: Option<String>,
}

/// Whether requests should be sent here.
#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
pub(crate) struct Readiness {
    /// `ready`, or the state of the service.
    pub(crate) status: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) detail: Option<String>,
}

/// The model, and the limits in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Info<'a> {
    /// What requests call the model: the name that `--model` gives it, or where it is from.
    pub(crate) model: &'a str,
    /// Its branch, tag or commit on the hub, as it was asked for; null where it is not from the hub.
    pub(crate) revision: Option<&'a str>,
    /// `cpu` or `cuda`.
    pub(crate) device: &'a str,
    /// Floats in the embedding of a text.
    pub(crate) text_dim: usize,
    /// Floats in the embedding of an image.
    pub(crate) vision_dim: usize,
    /// Side of the square that images are resized to, in pixels; of a model of variable
    /// resolution (NaFlex) that of the largest square that one is resized to.
    pub(crate) image_size: u32,
    /// Side of a patch in pixels, where images keep their aspect, in whole patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) patch_size: Option<u32>,
    /// The most patches of an image that keeps its aspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) max_num_patches: Option<u32>,
    /// Whether images and texts can be compared with each other.
    pub(crate) cross_modal: bool,
    /// What the model is for, in a sentence.
    pub(crate) description: &'a str,
    /// `siglip2-cpu` or `tensorrt`.
    pub(crate) engine: &'a str,
    /// What the products are computed in: `fp32`, `fp16`, `bf16`, `int8` or `fp8`.
    pub(crate) precision: &'a str,
    /// What decodes photos: `cpu`, or `gpu` for the JPEG files that nvJPEG is fast at.
    pub(crate) decode: &'static str,
    /// Which vector space normalized vectors are in: a short hash over weights, tokenizer,
    /// preparation of images and precision, to be kept beside vectors that outlive the
    /// process. Null while the model is loaded.
    pub(crate) fingerprint: Option<String>,
    /// The same for vectors that are not normalized.
    pub(crate) fingerprint_pooled: Option<String>,
    /// The worst cosine to FP32's vectors that was found at the start. Null where FP32 was asked
    /// for; where FP32 was taken because another precision was too far from it, that one's.
    pub(crate) cosine_to_fp32: Option<f64>,
    /// Rows in the engine's largest batch.
    pub(crate) max_batch: usize,
    /// Tokens of a text that are read; what is beyond them is cut off.
    pub(crate) text_tokens: usize,
    /// The model's `logit_scale`, a natural logarithm, with which a client that keeps vectors has
    /// the same scores: `sigmoid(exp(logit_scale) * cosine + logit_bias)`.
    pub(crate) logit_scale: f32,
    /// The model's `logit_bias`.
    pub(crate) logit_bias: f32,
    /// The version of the service.
    pub(crate) version: &'static str,
    /// What can be searched at `/search`, if anything can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) index: Option<IndexTold<'a>>,
    /// All models that are served; the first is that of requests that name none.
    pub(crate) models: Vec<ModelTold<'a>>,
    /// What the program was built from and for.
    pub(crate) build: Build<'a>,
    // What follows is what clients of text-embeddings-inference look for.
    /// Where the model is from: a directory or a name on the hub.
    pub(crate) model_id: &'a str,
    /// The commit of the model; not known.
    pub(crate) model_sha: Option<&'a str>,
    /// What the products are computed in.
    pub(crate) model_dtype: &'a str,
    /// What requests call it.
    pub(crate) served_model_name: &'a str,
    /// What kind of model it is.
    pub(crate) model_type: ModelType,
    /// Requests that are answered at the same time.
    pub(crate) max_concurrent_requests: usize,
    /// Tokens of a text that are read.
    pub(crate) max_input_length: usize,
    /// Tokens in the engine's largest batch.
    pub(crate) max_batch_tokens: usize,
    /// Rows in it.
    pub(crate) max_batch_requests: usize,
    /// Texts that one request may hold.
    pub(crate) max_client_batch_size: usize,
    /// Whether a text that is too long is cut, where the request does not say.
    pub(crate) auto_truncate: bool,
    /// Threads that tokenize.
    pub(crate) tokenization_workers: usize,
    /// The commit that the program was built from, where it is known.
    pub(crate) sha: Option<&'static str>,
    /// Always null.
    pub(crate) docker_label: Option<&'static str>,
    /// The limits in force, each under the name of its flag; durations in seconds.
    #[schema(value_type = HashMap<String, serde_json::Value>)]
    pub(crate) limits: Limits<'a>,
}

/// A model that is served.
#[derive(Serialize, ToSchema)]
#[schema(as = ServedModel)]
pub(crate) struct ModelTold<'a> {
    /// What requests call it: in the path `/models/NAME/...`, in the header `X-Model`, or in the
    /// field `model`.
    name: &'a str,
    /// `ok`, `starting`, `draining`, `restarting` or `failed`.
    status: &'static str,
    /// Its branch, tag or commit on the hub, as it was asked for; null where it is not from the hub.
    revision: Option<&'a str>,
    /// `cpu` or `cuda`.
    device: &'a str,
    /// What the products are computed in.
    precision: &'a str,
    /// Floats in an embedding.
    dimensions: usize,
    /// The vector space of its normalized vectors; null while it is loaded.
    fingerprint: Option<String>,
    /// The same for vectors that are not normalized.
    fingerprint_pooled: Option<String>,
    /// Rows of its index; null where it has none.
    index_rows: Option<u64>,
}

impl<'a> ModelTold<'a> {
    /// What is known of a model.
    pub(crate) fn of(service: &'a Service) -> Self {
        let (info, known) = (service.info(), service.fingerprints());
        Self {
            name: &info.name,
            status: service.state().as_str(),
            revision: info.revision.as_deref(),
            device: info.device,
            precision: info.precision,
            dimensions: info.dimensions,
            fingerprint: known.map(|both| both.normalized.to_string()),
            fingerprint_pooled: known.map(|both| both.pooled.to_string()),
            index_rows: service.index().map(|index| index.rows),
        }
    }
}

/// What can be searched.
#[derive(Serialize, ToSchema)]
#[schema(as = Index)]
pub(crate) struct IndexTold<'a> {
    /// Rows, with those that have no vector.
    rows: u64,
    /// Floats in a vector.
    dimensions: usize,
    /// Where the vectors were read from.
    files: &'a [String],
    /// Which vector space they are in; null where the files do not say.
    fingerprint: Option<String>,
    /// The model that made them; null where the files do not say.
    model: Option<&'a str>,
    /// The columns that rows have besides their names.
    columns: &'a [String],
}

impl<'a> IndexTold<'a> {
    /// What is known of an index.
    pub(crate) fn of(index: &'a IndexInfo) -> Self {
        Self {
            rows: index.rows,
            dimensions: index.dimensions,
            files: &index.files,
            fingerprint: index.fingerprint.map(|it| it.to_string()),
            model: index.model.as_deref(),
            columns: &index.columns,
        }
    }
}

/// What kind of model it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelType {
    /// It embeds.
    embedding: Pooling,
}

/// What becomes of the tokens.
#[derive(Serialize, ToSchema)]
struct Pooling {
    /// The last one is the embedding of a text.
    pooling: &'static str,
}

impl ModelType {
    /// SigLIP's text tower pools the last token.
    pub(crate) const LAST_TOKEN: Self = Self {
        embedding: Pooling {
            pooling: "last_token",
        },
    };
}

/// The limits in force.
#[derive(Serialize)]
pub(crate) struct Limits<'a> {
    #[serde(flatten)]
    pub(crate) http: &'a HttpSettings,
    #[serde(flatten)]
    pub(crate) service: &'a ServiceSettings,
}

/// What the program was built from and for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Build<'a> {
    /// Its version.
    version: &'static str,
    /// The commit that it was built from, where that is known.
    commit: Option<&'static str>,
    /// What it was built for, as Rust names it.
    target: &'static str,
    /// The Cargo features that are in it.
    features: &'a [&'static str],
    /// Whether libjpeg has its vector code; it decodes the JPEGs that are not plain.
    jpeg_vector_code: bool,
}

impl<'a> Build<'a> {
    /// What is known of the program.
    pub(crate) fn of(build: &'a BuildInfo) -> Self {
        let BuildInfo {
            version,
            commit,
            target,
            ref features,
            jpeg_vector_code,
        } = *build;
        Self {
            version,
            commit,
            target,
            features,
            jpeg_vector_code,
        }
    }
}

/// An OpenAPI document.
#[derive(ToSchema)]
#[schema(value_type = Object)]
#[allow(dead_code)] // It is only described.
pub(crate) struct Document(serde_json::Value);
