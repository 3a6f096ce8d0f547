//! The paths of other services, so that their clients work here unchanged.
//!
//! Each dialect is a module that reads its own JSON or form into items, lets the service embed
//! them, and writes its own answer; what is taken and what is refused is in docs/dialects.md.
//!
//! * `openai`: `/v1/embeddings` in the shapes of OpenAI, NIM, infinity, Jina and vLLM; Azure's path to it.
//!   `openai_models`: `/v1/models`.
//! * `cohere`: `/v2/embed`. `tei`: `/embed` of text-embeddings-inference. `hugging_face`: `POST /`.
//! * `classify`, `classify_request`: `/classify`, ours and that of Hugging Face's endpoints.
//!   `examples`: classes that are shown by pictures.
//! * `kserve`, `kserve_messages`, `kserve_tensor`: `/v2/models`. `immich`: `/predict`.
//! * `weaviate`: the container of its module multi2vec-clip.
//! * `parts`: items that are objects. `vectors`: how a row is written.

mod classify;
mod classify_request;
mod cohere;
mod examples;
mod hugging_face;
mod immich;
mod kserve;
mod kserve_messages;
mod kserve_tensor;
mod openai;
mod openai_models;
mod parts;
mod tei;
mod vectors;
mod weaviate;

pub(crate) use classify::{ClassifyAnswer, classify};
pub(crate) use classify_request::ClassifyRequest;
pub(crate) use cohere::{CohereAnswer, CohereRequest, cohere_embed};
pub(crate) use hugging_face::{RootAnswer, RootRequest, tei_root};
pub(crate) use immich::{ImmichAnswer, immich_ping, immich_predict};
#[cfg(fuzzing)]
pub(crate) use kserve::tensors;
pub(crate) use kserve::{
    JSON_LENGTH, kserve_infer, kserve_live, kserve_model, kserve_model_ready, kserve_ready,
    kserve_server,
};
pub(crate) use kserve_messages::{
    KServeAnswer, KServeLive, KServeModel, KServeReady, KServeRequest, KServeServer,
};
pub(crate) use openai::{OpenAiAnswer, OpenAiRequest, azure_embeddings, openai_embeddings};
pub(crate) use openai_models::{Model, ModelList, openai_model, openai_models};
pub(crate) use tei::{TeiAnswer, TeiRequest, tei_embed};
pub(crate) use weaviate::{
    WeaviateAnswer, WeaviateMeta, WeaviateRequest, weaviate_live, weaviate_meta, weaviate_ready,
    weaviate_vectorize,
};
