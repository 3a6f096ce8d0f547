//! Zero-shot classification: pictures, or vectors of them, against labels and examples.
//!
//! A label is put into each template, the vectors of its sentences are averaged, and the mean is
//! held against a picture as a text is. Without a template it is "This is a photo of {}.", as in
//! transformers' pipeline. The class of an example is the mean of the vectors of its pictures.

use std::collections::HashSet;

use hyper::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::classify_request::{Activation, BadClasses, Told, of_form, of_json};
use super::examples;
use crate::answer::problem::Problem;
use crate::answer::row_error::{MAX_ROW_ERROR, RowError};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::{BadItems, Embed};
use crate::request::body::off_thread;
use crate::request::item_reader::Items;
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
    /// With `partial`: the bad pictures, whose results have no scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<RowError>>,
    /// With `partial`: the bad labels, which are in no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label_errors: Option<Vec<RowError>>,
    /// With `partial`: the bad examples, which are in no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    example_errors: Option<Vec<RowError>>,
}

/// What is bad in a request in which each is for itself.
struct Bad {
    pictures: Vec<RowError>,
    classes: BadClasses,
}

/// One picture.
#[derive(Serialize, ToSchema)]
#[schema(as = ClassifiedPicture)]
struct Classified<'a> {
    /// The file name that its client gave it, of a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    filename: Option<&'a str>,
    /// The labels and the examples, the one that fits best first.
    scores: Vec<Scored<'a>>,
}

/// How well a label fits.
#[derive(Serialize, ToSchema)]
#[schema(as = ClassifiedLabel)]
struct Scored<'a> {
    /// The label, of an example too.
    label: &'a str,
    /// 0 to 1.
    score: f64,
    /// The cosine between the vectors of the class and of the picture.
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
    let (told, items) = match is_form {
        true => of_form(call).await?,
        false => call.items(of_json).await?,
    };
    classified(call, told, items).await
}

/// The scores of the pictures of a request.
pub(super) async fn classified(
    call: &mut Call<'_>,
    mut told: Told,
    items: Items,
) -> Result<Response<Answer>, Problem> {
    let dimensions = call.model().info().dimensions;
    let sentences = told.labels.len() * told.templates.len();
    let of_classes = told.items_of_classes();
    let pictures = match &told.given {
        Some(given) => given.len(),
        None => items.items.len() - of_classes,
    };
    // A character that JSON escapes takes up to six bytes.
    let labels: usize = told.class_names().map(|label| 6 * label.len() + 160).sum();
    let other = told.templates.iter().chain(told.names.iter().flatten());
    let other: usize = other.map(|text| 6 * text.len() + 64).sum();
    let known = told.bad.as_ref();
    let known = known.map_or(0, |bad| bad.labels.len() + bad.examples.len());
    let other = other + MAX_ROW_ERROR * known + 512;
    let bytes = labels.saturating_mul(pictures).saturating_add(other);
    let how = Embed {
        normalize: true,
        truncate: told.truncate,
    };
    // Means of templates and examples, and how well each class matches each picture.
    let classes = told.class_names().count() + 1;
    let products = (items.items.len() + classes * pictures) * dimensions;
    let (embedded, bad_items, mut memory) = call.embed_each(items, how, bytes).await?;
    let bad = told.apart(bad_items, of_classes);
    let service = call.model().clone();
    let truncated = call.cut_texts();
    let given = told.given.take();
    let body = off_thread(bytes.max(products), move || {
        let mut texts = embedded.embeddings;
        let of_pictures = texts.split_off(of_classes);
        let pictures = match given {
            Some(rows) => Embeddings::given(dimensions, rows),
            None => of_pictures,
        };
        let of_examples = texts.split_off(sentences);
        let labels = texts.means(told.templates.len());
        let shown = examples::means(&mut told.examples, &of_examples);
        let classes = [labels, shown];
        let scored = told.scored(&service, &classes, &pictures, (truncated, bad));
        Ok(answer::sized(&scored, bytes))
    })
    .await?;
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}

impl Told {
    /// What the classes are called: labels, then examples.
    fn class_names(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter().map(|label| &label.text);
        let examples = self.examples.iter().map(|example| &example.label);
        labels.chain(examples).map(String::as_str)
    }

    /// Tells the pictures that are bad from classes of which an item is, whose items are the first
    /// `of_classes`; none where the request is bad as soon as one is.
    fn apart(&mut self, items: BadItems, of_classes: usize) -> Option<Bad> {
        let mut classes = self.bad.take()?;
        for mut error in items.texts {
            if let Some(label) = self.labels.get(error.index / self.templates.len()) {
                error.index = label.index;
                BadClasses::note(&mut classes.labels, error);
            }
        }
        let sentences = self.labels.len() * self.templates.len();
        let of_items = self.examples.iter();
        let of_items = of_items.flat_map(|it| std::iter::repeat_n(it.index, it.images));
        let of_items: Vec<usize> = of_items.collect();
        let mut pictures = Vec::new();
        for mut error in items.images {
            match error.index.checked_sub(of_classes) {
                Some(index) => {
                    error.index = index;
                    pictures.push(error);
                }
                None => {
                    if let Some(index) = of_items.get(error.index - sentences) {
                        error.index = *index;
                        BadClasses::note(&mut classes.examples, error);
                    }
                }
            }
        }
        // Those that were found while the request was read came first.
        classes.labels.sort_unstable_by_key(|it| it.index);
        classes.examples.sort_unstable_by_key(|it| it.index);
        Some(Bad { pictures, classes })
    }

    /// `classes` has those of labels and those of examples.
    fn scored<'a>(
        &'a self,
        service: &'a Service,
        classes: &[Embeddings; 2],
        pictures: &Embeddings,
        (truncated, bad): (u64, Option<Bad>),
    ) -> ClassifyAnswer<'a> {
        let is_good = self.good_classes(bad.as_ref());
        let names = self.names.as_deref().unwrap_or_default();
        let classified = pictures.rows().enumerate().map(|(at, picture)| {
            let classes = classes.iter().flat_map(Embeddings::rows);
            let classes = classes.zip(self.class_names()).zip(&is_good);
            // A bad picture has no row, and so no scores.
            let good = classes.filter(|(_, is_good)| **is_good && !picture.is_empty());
            let scores = good.map(|((class, label), _)| {
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
        let (errors, classes) = bad.map(|bad| (bad.pictures, bad.classes)).unzip();
        let classes = classes.map(|bad| (bad.labels, bad.examples));
        let (label_errors, example_errors) = classes.unzip();
        ClassifyAnswer::Own(OwnAnswer {
            results: classified.collect(),
            activation: match self.activation {
                Activation::Sigmoid => "sigmoid",
                Activation::Softmax => "softmax",
            },
            hypothesis_templates: &self.templates,
            model: &service.info().name,
            truncated,
            errors,
            label_errors,
            example_errors,
        })
    }

    /// Whether each class is in the results.
    fn good_classes(&self, bad: Option<&Bad>) -> Vec<bool> {
        let places = |errors: &[RowError]| -> HashSet<usize> {
            errors.iter().map(|error| error.index).collect()
        };
        let bad = bad.map(|bad| (places(&bad.classes.labels), places(&bad.classes.examples)));
        let (labels, examples) = bad.unwrap_or_default();
        let of_labels = self.labels.iter().map(|it| !labels.contains(&it.index));
        let of_examples = self.examples.iter().map(|it| !examples.contains(&it.index));
        of_labels.chain(of_examples).collect()
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
