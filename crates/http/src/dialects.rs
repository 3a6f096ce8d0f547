//! The paths of other services, so that their clients work here unchanged.
//!
//! Each dialect is a module that reads its own JSON or form into items, lets the service embed
//! them, and writes its own answer; what is taken and what is refused is in docs/dialects.md.
//!
//! * `openai`: `/v1/embeddings` in the shapes of OpenAI, NIM, infinity, Jina and vLLM.
//! * `cohere`: `/v2/embed`. `tei`: `/embed` of text-embeddings-inference.
//! * `classify`: `/classify`, ours and that of Hugging Face's endpoints.
//! * `kserve`, `kserve_tensor`: `/v2/models`. `immich`: `/predict`.
//! * `weaviate`: the container of its module multi2vec-clip.
//! * `parts`: items that are objects. `vectors`: how a row is written.

mod classify;
mod cohere;
mod immich;
mod kserve;
mod kserve_tensor;
mod openai;
mod parts;
mod tei;
mod vectors;
mod weaviate;

pub(super) use classify::{ClassifyAnswer, ClassifyRequest, classify};
pub(super) use cohere::{CohereAnswer, CohereRequest, cohere_embed};
pub(super) use immich::{ImmichAnswer, immich_ping, immich_predict};
pub(super) use kserve::{
    JSON_LENGTH, KServeAnswer, KServeLive, KServeModel, KServeReady, KServeRequest, KServeServer,
    kserve_infer, kserve_live, kserve_model, kserve_model_ready, kserve_ready, kserve_server,
};
pub(super) use openai::{
    Model, ModelList, OpenAiAnswer, OpenAiRequest, openai_embeddings, openai_model, openai_models,
};
pub(super) use tei::{TeiAnswer, TeiRequest, tei_embed};
pub(super) use weaviate::{
    WeaviateAnswer, WeaviateMeta, WeaviateRequest, weaviate_live, weaviate_meta, weaviate_ready,
    weaviate_vectorize,
};
