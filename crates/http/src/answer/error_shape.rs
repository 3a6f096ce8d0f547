//! How a refusal is written: each dialect's clients look for the sentence in their own place.
//!
//! In all of them `detail` has it too, so that who knows this service needs to know one field.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::answer;
use crate::content::{Schemas, reference};

/// Whose clients read the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// FastAPI's, which is this service's own.
    Detail,
    /// OpenAI's: an object in `error`.
    OpenAi,
    /// Cohere's: `message`.
    Cohere,
    /// That of text-embeddings-inference: `error` and `error_type`.
    Tei,
    /// A sentence in `error`, as Weaviate and KServe have it.
    Error,
}

/// What there is to say of a refusal.
pub(crate) struct Refusal<'a> {
    /// The status of the answer.
    pub(crate) status: u16,
    /// What was wrong, and where.
    pub(crate) detail: String,
    /// Of a 500: what the service's log has it under.
    pub(crate) id: Option<&'a str>,
}

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorAnswer<'a> {
    /// What was wrong, and where.
    pub(crate) detail: String,
    /// Of a 500: what the service's log has it under.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) id: Option<&'a str>,
}

/// Why a request was refused, as OpenAI's clients read it.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiError)]
struct OpenAiError<'a> {
    /// The refusal.
    error: OpenAiErrorBody<'a>,
    /// The sentence once more.
    detail: &'a str,
}

/// The refusal.
#[derive(Serialize, ToSchema)]
struct OpenAiErrorBody<'a> {
    /// What was wrong, and where.
    message: &'a str,
    /// What kind of refusal it is.
    r#type: &'static str,
    /// The field that it is about; never told, because the message names it.
    param: Option<&'a str>,
    /// A word for it, where there is one.
    code: Option<&'static str>,
}

/// Why a request was refused, as Cohere's clients read it.
#[derive(Serialize, ToSchema)]
#[schema(as = CohereError)]
struct CohereError<'a> {
    /// What was wrong, and where.
    message: &'a str,
    /// The sentence once more.
    detail: &'a str,
}

/// Why a request was refused, as clients of text-embeddings-inference read it.
#[derive(Serialize, ToSchema)]
#[schema(as = TeiError)]
struct TeiError<'a> {
    /// What was wrong, and where.
    error: &'a str,
    /// What kind of refusal it is: `validation`, `overloaded`, `unhealthy` or `backend`.
    error_type: &'static str,
    /// The sentence once more.
    detail: &'a str,
}

/// Why a request was refused, as clients of Weaviate's modules and of KServe read it.
#[derive(Serialize, ToSchema)]
#[schema(as = PlainError)]
struct PlainError<'a> {
    /// What was wrong, and where.
    error: &'a str,
    /// The sentence once more.
    detail: &'a str,
}

impl ErrorShape {
    /// The shape for a path that is not served.
    pub(crate) fn of_unknown(path: &str) -> Self {
        if path.starts_with("/v1/") || path.starts_with("/openai/") {
            Self::OpenAi
        } else if path == "/v2" || path.starts_with("/v2/") {
            Self::Error
        } else {
            Self::Detail
        }
    }

    /// The refusal as JSON.
    pub(crate) fn body(self, refusal: Refusal<'_>) -> Vec<u8> {
        let Refusal { status, detail, id } = refusal;
        match self {
            Self::Detail => answer::json(&ErrorAnswer { detail, id }),
            Self::OpenAi => {
                let (kind, code) = openai_kind(status);
                answer::json(&OpenAiError {
                    error: OpenAiErrorBody {
                        message: &detail,
                        r#type: kind,
                        param: None,
                        code,
                    },
                    detail: &detail,
                })
            }
            Self::Cohere => answer::json(&CohereError {
                message: &detail,
                detail: &detail,
            }),
            Self::Tei => answer::json(&TeiError {
                error: &detail,
                error_type: match status {
                    429 => "overloaded",
                    503 => "unhealthy",
                    500.. => "backend",
                    _ => "validation",
                },
                detail: &detail,
            }),
            Self::Error => answer::json(&PlainError {
                error: &detail,
                detail: &detail,
            }),
        }
    }

    /// The schema of it.
    pub(crate) fn schema(self, schemas: &mut Schemas) -> RefOr<Schema> {
        match self {
            Self::Detail => reference::<ErrorAnswer>(schemas),
            Self::OpenAi => reference::<OpenAiError>(schemas),
            Self::Cohere => reference::<CohereError>(schemas),
            Self::Tei => reference::<TeiError>(schemas),
            Self::Error => reference::<PlainError>(schemas),
        }
    }
}

/// The type and the code that OpenAI has for a status.
fn openai_kind(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("not_found")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}
