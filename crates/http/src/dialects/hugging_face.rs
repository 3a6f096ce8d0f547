//! `POST /`, where Hugging Face's clients send everything if they are given the bare address: the task is that
//! of the model behind it there. Here the body tells the task: a picture with `candidate_labels` is
//! classified, a `source_sentence` is compared with others, and anything else is embedded.

use hyper::Response;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::classify::{LabelScore, classified};
use super::classify_request::{Told, of_json};
use super::tei;
use crate::answer::Answer;
use crate::answer::problem::Problem;
use crate::call::Call;
use crate::call::embed::Embed;
use crate::endpoints::sentence_scores;
use crate::request::bodies::SentencesRequest;
use crate::request::item_reader::ItemReader;
use crate::request::json::{self, Kind};

/// Texts to embed, as `/embed` takes them; a picture and labels, as `/classify`; or a sentence and others,
/// as `/similarity`.
#[derive(ToSchema)]
#[schema(as = HuggingFaceRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct RootRequest {
    /// What the task is about.
    inputs: RootInputs,
    /// What belongs to a picture or to sentences.
    parameters: Option<RootParameters>,
    /// Whether embeddings are L2-normalized.
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

/// What a task is about.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = HuggingFaceInputs)]
#[allow(dead_code, reason = "it is only described")]
enum RootInputs {
    /// A text; where there are labels, a picture as base64.
    One(String),
    /// Texts; a data URI is an image.
    List(Vec<String>),
    /// Sentences.
    Sentences(Sentences),
}

/// A sentence, and others that it is compared with.
#[derive(ToSchema)]
#[schema(as = HuggingFaceSentences)]
#[allow(dead_code, reason = "it is only described")]
struct Sentences {
    /// The one that the others are compared with.
    source_sentence: String,
    /// The others.
    #[schema(min_items = 1)]
    sentences: Vec<String>,
}

/// What belongs to a picture or to sentences.
#[derive(ToSchema)]
#[schema(as = HuggingFaceParameters)]
#[allow(dead_code, reason = "it is only described")]
struct RootParameters {
    /// The labels to choose from.
    candidate_labels: Option<Vec<String>>,
    /// The sentence that a label is put into, at `{}`.
    #[schema(default = "This is a photo of {}.")]
    hypothesis_template: Option<String>,
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<bool>,
}

/// A row for each text; a score for each label, the best first; or a cosine for each sentence.
#[derive(ToSchema)]
#[schema(as = HuggingFaceAnswer)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct RootAnswer(Vec<RootItem>);

/// What one of the inputs, labels or sentences has got.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = HuggingFaceItem)]
#[allow(dead_code, reason = "it is only described")]
enum RootItem {
    /// An embedding.
    Row(Vec<f32>),
    /// A label and its score.
    Label(LabelScore<'static>),
    /// A cosine.
    Cosine(f32),
}

/// Everything in a request except its items.
enum Task {
    Embed(Embed),
    Classify(Box<Told>),
    Compare(SentencesRequest),
}

/// `POST /`
pub(crate) async fn tei_root(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let (task, items) = call.items(read).await?;
    match task {
        Task::Embed(how) => tei::embedded(call, how, items).await,
        Task::Classify(told) => classified(call, *told, items).await,
        Task::Compare(request) => sentence_scores(call, &request, items).await,
    }
}

fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Task, Problem> {
    let [inputs, parameters] = json::fields("The body", raw, ["inputs", "parameters"])?;
    let has = |of: Option<&RawValue>, what: &str, field: &'static str| match of {
        Some(of) if json::kind(of) == Kind::Object => {
            json::fields(what, of, [field]).map(|[found]| found.is_some())
        }
        _ => Ok(false),
    };
    if inputs.is_some() && has(parameters, "parameters", "candidate_labels")? {
        return Ok(Task::Classify(Box::new(of_json(raw, reader)?)));
    }
    if has(inputs, "inputs", "source_sentence")? {
        return Ok(Task::Compare(SentencesRequest::read(raw, reader)?));
    }
    Ok(Task::Embed(tei::read(raw, reader)?))
}
