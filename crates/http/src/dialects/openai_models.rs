//! `/v1/models`, as OpenAI has it: there is one.

use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::problem::{Problem, printable};

/// The longest name of a model that is told back, in characters.
const MAX_NAME: usize = 120;

/// The models: there is one.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModels)]
pub(crate) struct ModelList<'a> {
    /// Always `list`.
    object: &'static str,
    /// One.
    data: [Model<'a>; 1],
}

/// A model.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub(crate) struct Model<'a> {
    /// Its name.
    id: &'a str,
    /// Always `model`.
    object: &'static str,
    /// Always 0: when it was made is not known.
    created: u64,
    /// What serves it.
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn named(id: &'a str) -> Self {
        Self {
            id,
            object: "model",
            created: 0,
            owned_by: crate::PROGRAM,
        }
    }
}

/// `GET /v1/models`
pub(crate) async fn openai_models(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let list = ModelList {
        object: "list",
        data: [Model::named(&call.shared.service.info().name)],
    };
    Ok(answer::respond(StatusCode::OK, answer::json(&list)))
}

/// `GET /v1/models/{model}`
pub(crate) async fn openai_model(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let name = call.path_name();
    let own = &call.shared.service.info().name;
    if name != *own {
        let shown = printable(&name, MAX_NAME);
        return Err(Problem::NoSuchModel(format!(
            "There is no model \"{shown}\" here; there is \"{own}\"."
        )));
    }
    Ok(answer::respond(
        StatusCode::OK,
        answer::json(&Model::named(own)),
    ))
}
