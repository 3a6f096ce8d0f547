//! `/embed`, as text-embeddings-inference has it.

use hyper::Response;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::openai::{Modality, full_size, items};
use super::vectors::{Form, Row};
use crate::answer::messages::finite;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Items};
use crate::request::json::{self, wrong};
use siglip2_service::Embeddings;

/// Texts.
#[derive(ToSchema)]
#[schema(as = TeiEmbedRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct TeiRequest {
    /// One, or a list of them; a data URI is an image.
    inputs: Inputs,
    /// Whether the embeddings are L2-normalized.
    #[schema(default = true)]
    normalize: Option<bool>,
    /// Whether a text of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<bool>,
    /// Only `right`: a text is cut at its end.
    truncation_direction: Option<String>,
    /// Must be null: the model has no prompts.
    prompt_name: Option<String>,
    /// Only the full size.
    dimensions: Option<u64>,
    /// Where several models are served, the name of one; the first is the default.
    model: Option<String>,
}

/// One text, or a list of them.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = TeiInputs)]
#[allow(dead_code, reason = "it is only described")]
enum Inputs {
    /// One.
    One(String),
    /// Several.
    List(Vec<String>),
}

/// One row for each input, in their order.
#[derive(ToSchema)]
#[schema(as = TeiEmbeddings)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct TeiAnswer(Vec<Vec<f32>>);

struct Rows<'a>(&'a Embeddings);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = Form::Float;
        serializer.collect_seq(self.0.rows().map(|values| Row { values, form }))
    }
}

/// `POST /embed`
pub(crate) async fn tei_embed(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let (how, items) = call.items(read).await?;
    embedded(call, how, items).await
}

/// The row of each item.
pub(super) async fn embedded(
    call: &mut Call<'_>,
    how: Embed,
    items: Items,
) -> Result<Response<Answer>, Problem> {
    let dimensions = call.model().info().dimensions;
    let bytes = answer::json_bytes(items.items.len() * dimensions);
    let (embedded, memory) = call.embed(items, how, bytes).await?;
    let body = off_thread(bytes, move || {
        embedded.embeddings.rows().try_for_each(finite)?;
        Ok(answer::sized(&Rows(&embedded.embeddings), bytes))
    });
    Ok(answer::held(body.await?, memory))
}

/// Reads the body; its items go to the reader.
pub(super) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Embed, Problem> {
    let [inputs, normalize, truncate, direction, prompt, wanted] = json::fields(
        "The body",
        raw,
        [
            "inputs",
            "normalize",
            "truncate",
            "truncation_direction",
            "prompt_name",
            "dimensions",
        ],
    )?;
    json::no_prompt(prompt)?;
    json::only_cut_at_the_end(direction)?;
    full_size(wanted, reader.dimensions())?;
    let how = Embed {
        normalize: json::boolean("normalize", normalize)?.unwrap_or(true),
        truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
    };
    let inputs = inputs
        .ok_or_else(|| wrong("The body must have inputs: a string, or a list of strings."))?;
    items(reader, "inputs", inputs, Modality::Told)?;
    Ok(how)
}
