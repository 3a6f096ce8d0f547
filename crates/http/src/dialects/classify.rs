//! Zero-shot classification: pictures, or vectors of them, against labels.
//!
//! A label is put into each template, the vectors of its sentences are averaged, and the mean is
//! held against a picture as a text is. Without a template it is "This is a photo of {}.", as in
//! transformers' pipeline.

use hyper::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::classify_request::{Activation, Told, of_form, of_json};
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::{Call, Embed};
use crate::request::body::off_thread;
use siglip2_service::{Embeddings, Service};

/// Scores of every picture; or those of one, in Hugging Face's form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Classification)]
pub(crate) enum ClassifyAnswer<'a> {
    /// The service's own.
    Own(OwnAnswer<'a>),
    /// Hugging Face's.
    HuggingFace(Vec<LabelScore<'a>>),
}

/// Scores of every picture.
#[derive(Serialize, ToSchema)]
#[schema(as = ClassifiedPictures)]
pub(crate) struct OwnAnswer<'a> {
    /// One for each picture, in their order.
    results: Vec<Classified<'a>>,
    /// How the logits became scores: `sigmoid` or `softmax`.
    activation: &'static str,
    /// The sentences that the labels were put into.
    hypothesis_templates: &'a [String],
    /// The model's name.
    model: &'a str,
    /// Sentences whose end was cut off.
    truncated: u64,
}

/// One picture.
#[derive(Serialize, ToSchema)]
#[schema(as = ClassifiedPicture)]
struct Classified<'a> {
    /// The file name that its client gave it, of a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    filename: Option<&'a str>,
    /// The labels, the one that fits best first.
    scores: Vec<Scored<'a>>,
}

/// How well a label fits.
#[derive(Serialize, ToSchema)]
#[schema(as = ClassifiedLabel)]
struct Scored<'a> {
    /// The label.
    label: &'a str,
    /// 0 to 1.
    score: f64,
    /// The cosine between the vectors of the label and of the picture.
    cosine: f64,
    /// `exp(logit_scale) * cosine + logit_bias`.
    logit: f64,
}

/// How well a label fits, in Hugging Face's form.
#[derive(Serialize, ToSchema)]
#[schema(as = LabelScore)]
pub(crate) struct LabelScore<'a> {
    /// The label.
    label: &'a str,
    /// 0 to 1.
    score: f64,
}

/// `POST /classify`
pub(crate) async fn classify(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let is_form = call
        .content_type()
        .is_some_and(|kind| kind.starts_with("multipart/"));
    let (mut told, items) = match is_form {
        true => of_form(call).await?,
        false => call.items(of_json).await?,
    };
    let dimensions = call.model().info().dimensions;
    let sentences = told.labels.len() * told.templates.len();
    let pictures = match &told.given {
        Some(given) => given.len(),
        None => items.items.len() - sentences,
    };
    // A character that JSON escapes takes up to six bytes.
    let labels: usize = told.labels.iter().map(|label| 6 * label.len() + 160).sum();
    let other = told.templates.iter().chain(told.names.iter().flatten());
    let other: usize = other.map(|text| 6 * text.len() + 64).sum();
    let bytes = labels.saturating_mul(pictures).saturating_add(other + 512);
    let how = Embed {
        normalize: true,
        truncate: told.truncate,
    };
    let (embedded, mut memory) = call.embed(items, how, bytes).await?;
    let service = call.model().clone();
    let truncated = call.cut_texts();
    let given = told.given.take();
    let body = off_thread(bytes, move || {
        let mut texts = embedded.embeddings;
        let of_pictures = texts.split_off(sentences);
        let pictures = match given {
            Some(rows) => Embeddings::given(dimensions, rows),
            None => of_pictures,
        };
        let scored = told.scored(&service, &texts, &pictures, truncated);
        Ok(answer::sized(&scored, bytes))
    })
    .await?;
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}

impl Told {
    fn scored<'a>(
        &'a self,
        service: &'a Service,
        sentences: &Embeddings,
        pictures: &Embeddings,
        truncated: u64,
    ) -> ClassifyAnswer<'a> {
        let classes = sentences.means(self.templates.len());
        let names = self.names.as_deref().unwrap_or_default();
        let classified = pictures.rows().enumerate().map(|(at, picture)| {
            let scores = classes.rows().zip(&self.labels).map(|(class, label)| {
                let score = service.score(class, picture);
                Scored {
                    label,
                    score: score.probability,
                    cosine: score.cosine,
                    logit: score.logit,
                }
            });
            let mut scores: Vec<Scored<'_>> = scores.collect();
            if self.activation == Activation::Softmax {
                softmax(&mut scores);
            }
            scores.sort_by(|a, b| b.logit.total_cmp(&a.logit));
            Classified {
                filename: names.get(at).map(String::as_str),
                scores,
            }
        });
        if self.is_hugging_face {
            let scores = classified.flat_map(|picture| picture.scores);
            return ClassifyAnswer::HuggingFace(
                scores
                    .map(|Scored { label, score, .. }| LabelScore { label, score })
                    .collect(),
            );
        }
        ClassifyAnswer::Own(OwnAnswer {
            results: classified.collect(),
            activation: match self.activation {
                Activation::Sigmoid => "sigmoid",
                Activation::Softmax => "softmax",
            },
            hypothesis_templates: &self.templates,
            model: &service.info().name,
            truncated,
        })
    }
}

fn softmax(scores: &mut [Scored<'_>]) {
    let most = scores
        .iter()
        .map(|it| it.logit)
        .fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|it| (it.logit - most).exp()).sum();
    for it in scores {
        it.score = (it.logit - most).exp() / sum;
    }
}
