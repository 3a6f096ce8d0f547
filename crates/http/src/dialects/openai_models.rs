//! OpenAI's `/v1/models`, with what distinguishes the models.

use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use siglip2_service::Service;

/// The models.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModels)]
pub(crate) struct ModelList<'a> {
    /// Always `list`.
    object: &'static str,
    /// The first is used for requests that name none.
    data: Vec<Model<'a>>,
}

/// A model.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub(crate) struct Model<'a> {
    /// Its name.
    id: &'a str,
    /// Always `model`.
    object: &'static str,
    /// Always 0, because it is not known when it was made.
    created: u64,
    /// What serves it.
    owned_by: &'static str,
    /// Floats in a vector.
    dimensions: usize,
    /// The precision of its products.
    precision: &'a str,
    /// The vector space of its normalized vectors; null while it is loaded.
    fingerprint: Option<String>,
}

impl<'a> Model<'a> {
    fn of(service: &'a Service) -> Self {
        let info = service.info();
        let known = service.fingerprints();
        Self {
            id: &info.name,
            object: "model",
            created: 0,
            owned_by: crate::PROGRAM,
            dimensions: info.dimensions,
            precision: info.precision,
            fingerprint: known.map(|both| both.normalized.to_string()),
        }
    }
}

/// `GET /v1/models`
pub(crate) async fn openai_models(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let list = ModelList {
        object: "list",
        data: call.shared.models.iter().map(Model::of).collect(),
    };
    Ok(answer::respond(StatusCode::OK, answer::json(&list)))
}

/// `GET /v1/models/{model}`
pub(crate) async fn openai_model(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let name = call.path_name();
    let model = Model::of(call.choice.get(&name)?);
    Ok(answer::respond(StatusCode::OK, answer::json(&model)))
}
