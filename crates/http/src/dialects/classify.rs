//! Zero-shot classification: pictures, or vectors of them, against labels.
//!
//! A label is put into each template, the vectors of its sentences are averaged, and the mean is
//! held against a picture as a text is. Without a template it is "This is a photo of {}.", which
//! is what transformers' pipeline says and what the model was evaluated with.

use hyper::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::{self, Answer};
use crate::body::off_thread;
use crate::call::{Call, Embed};
use crate::form::File;
use crate::forms::ClassifyForm;
use crate::item_reader::{ItemReader, Items, Place};
use crate::json::{self, Kind, wrong};
use crate::problem::Problem;
use siglip2_service::{Embeddings, Service};

const TEMPLATE: &str = "This is a photo of {}.";

/// So many templates there may be.
const MAX_TEMPLATES: usize = 128;

/// Pictures or vectors, and labels; or the form of Hugging Face's endpoints.
#[derive(ToSchema)]
#[schema(as = ClassifyRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct ClassifyRequest {
    /// Pictures, as base64 or as data URIs.
    images: Option<Vec<String>>,
    /// Instead of pictures: vectors of some.
    embeddings: Option<Vec<Vec<f32>>>,
    /// What they may show.
    labels: Option<Vec<String>>,
    /// The sentence that a label is put into, at `{}`.
    #[schema(default = "This is a photo of {}.")]
    hypothesis_template: Option<String>,
    /// Several sentences, whose vectors are averaged.
    hypothesis_templates: Option<Vec<String>>,
    /// `sigmoid`, each label for itself, or `softmax`, all labels together 1.
    #[schema(default = "sigmoid")]
    activation: Option<String>,
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<bool>,
    /// Hugging Face's: one picture, as base64.
    inputs: Option<String>,
    /// Hugging Face's: what it may show.
    parameters: Option<Parameters>,
}

/// What Hugging Face's form says besides the picture.
#[derive(ToSchema)]
#[schema(as = ClassifyParameters)]
#[allow(dead_code, reason = "it is only described")]
struct Parameters {
    /// What the picture may show.
    candidate_labels: Vec<String>,
    /// The sentence that a label is put into, at `{}`.
    #[schema(default = "This is a photo of {}.")]
    hypothesis_template: Option<String>,
}

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
    /// What became of the logits: `sigmoid` or `softmax`.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    Sigmoid,
    Softmax,
}

const ACTIVATIONS: [(&str, Activation); 2] = [
    ("sigmoid", Activation::Sigmoid),
    ("softmax", Activation::Softmax),
];

/// What a request says besides its items.
struct Told {
    labels: Vec<String>,
    templates: Vec<String>,
    activation: Activation,
    truncate: bool,
    /// Vectors instead of pictures.
    given: Option<Vec<Vec<f32>>>,
    /// File names, of a form.
    names: Option<Vec<String>>,
    is_hugging_face: bool,
}

/// `POST /classify`
pub(crate) async fn classify(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let dimensions = call.shared.service.info().dimensions;
    let is_form = call
        .content_type()
        .is_some_and(|kind| kind.starts_with("multipart/"));
    let (told, items) = match is_form {
        true => of_form(call).await?,
        false => {
            call.items(move |raw, reader| of_json(raw, reader, dimensions))
                .await?
        }
    };
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
    let service = call.shared.service.clone();
    let truncated = call.cut_texts();
    let body = off_thread(bytes, move || {
        let mut texts = embedded.embeddings;
        let of_pictures = texts.split_off(sentences);
        let pictures = match told.given.as_ref() {
            Some(rows) => &Embeddings::given(dimensions, rows.clone()),
            None => &of_pictures,
        };
        Ok(answer::json(
            &told.scored(&service, &texts, pictures, truncated),
        ))
    })
    .await?;
    memory.shrink_to(body.len() as u64);
    Ok(answer::held(body, memory))
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

async fn of_form(call: &mut Call<'_>) -> Result<(Told, Items), Problem> {
    let form: ClassifyForm = call.form().await?;
    let texts = [Some(&form.labels), form.hypothesis_templates.as_ref()];
    let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
    call.hold(bytes)?;
    let mut reader = call.reader(bytes);
    off_thread(bytes, move || {
        let most = reader.most();
        let list = |field: &'static str, text: &str| {
            let raw = serde_json::from_str::<&RawValue>(text)
                .map_err(|error| wrong(format!("{field} is not valid JSON: {error}.")))?;
            texts_of(field, raw, most)
        };
        let several = form.hypothesis_templates.as_deref();
        let several = several.map(|text| list("hypothesis_templates", text));
        let activation = form.activation.as_deref().map(|said| {
            let known = ACTIVATIONS
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(said));
            known
                .map(|(_, activation)| *activation)
                .ok_or_else(|| wrong("activation must be one of: sigmoid, softmax."))
        });
        let (names, files): (Vec<_>, Vec<_>) = form
            .files
            .into_iter()
            .map(|File { filename, bytes }| (filename, bytes))
            .unzip();
        let told = Told {
            labels: list("labels", &form.labels)?,
            templates: templates(form.hypothesis_template, several.transpose()?)?,
            activation: activation.transpose()?.unwrap_or(Activation::Sigmoid),
            truncate: form.truncate,
            given: None,
            names: Some(names),
            is_hugging_face: false,
        };
        sentences(&mut reader, &told)?;
        for (index, file) in files.into_iter().enumerate() {
            reader.file(Place::at("files", index), file)?;
        }
        Ok((told, reader.finish()))
    })
    .await
}

fn of_json(raw: &RawValue, reader: &mut ItemReader, dimensions: usize) -> Result<Told, Problem> {
    let [
        inputs,
        parameters,
        images,
        embeddings,
        labels,
        template,
        several,
        activation,
        truncate,
    ] = json::fields(
        "The body",
        raw,
        [
            "inputs",
            "parameters",
            "images",
            "embeddings",
            "labels",
            "hypothesis_template",
            "hypothesis_templates",
            "activation",
            "truncate",
        ],
    )?;
    let most = reader.most();
    let [candidates, in_parameters] = match parameters {
        Some(raw) => json::fields(
            "parameters",
            raw,
            ["candidate_labels", "hypothesis_template"],
        )?,
        None => [None, None],
    };
    let labels = labels.or(candidates).ok_or_else(|| {
        wrong("The body must have labels, or candidate_labels in parameters: a list of strings.")
    })?;
    let template = template.or(in_parameters);
    let template = template.map(|raw| json::text("hypothesis_template", raw));
    let several = several.map(|raw| texts_of("hypothesis_templates", raw, most));
    let told = Told {
        labels: texts_of("labels", labels, most)?,
        templates: templates(
            template.transpose()?.map(std::borrow::Cow::into_owned),
            several.transpose()?,
        )?,
        activation: json::word("activation", activation, &ACTIVATIONS)?
            .unwrap_or(Activation::Sigmoid),
        truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
        given: embeddings
            .map(|raw| vectors(reader, raw, dimensions))
            .transpose()?,
        names: None,
        is_hugging_face: inputs.is_some(),
    };
    sentences(reader, &told)?;
    match (inputs, images, embeddings) {
        (Some(raw), None, None) => {
            let place = Place::of("inputs");
            reader.image(place, &json::text(place, raw)?)?;
        }
        (None, Some(raw), None) => {
            for (index, raw) in json::list("images", raw, most)?.into_iter().enumerate() {
                let place = Place::at("images", index);
                reader.image(place, &json::text(place, raw)?)?;
            }
        }
        (None, None, Some(_)) => {}
        _ => {
            return Err(wrong(
                "The body must have one of: images, embeddings, inputs (one picture as base64).",
            ));
        }
    }
    Ok(told)
}

/// Adds every label in every template: those of a label follow each other.
fn sentences(reader: &mut ItemReader, told: &Told) -> Result<(), Problem> {
    if told.labels.is_empty() {
        return Err(wrong("labels must not be empty."));
    }
    for (index, label) in told.labels.iter().enumerate() {
        let place = Place::at("labels", index);
        for template in &told.templates {
            let holes = template.matches("{}").count();
            // Before it is made: a template may name a label as often as it likes.
            let bytes = template.len() + holes * label.len();
            reader.room(place, bytes.saturating_sub(2 * holes))?;
            reader.text(place, template.replace("{}", label).into())?;
        }
    }
    Ok(())
}

fn texts_of(field: &'static str, raw: &RawValue, most: usize) -> Result<Vec<String>, Problem> {
    let list = json::list(field, raw, most)?.into_iter().enumerate();
    list.map(|(index, raw)| Ok(json::text(Place::at(field, index), raw)?.into_owned()))
        .collect()
}

/// The templates, of which there is at least one.
fn templates(one: Option<String>, several: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let templates = match (one, several) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "There are both hypothesis_template and hypothesis_templates; send one of them.",
            ));
        }
        (Some(one), None) => vec![one],
        (None, Some(several)) if !several.is_empty() => several,
        _ => vec![TEMPLATE.to_owned()],
    };
    if templates.len() > MAX_TEMPLATES {
        return Err(Problem::TooLarge(format!(
            "hypothesis_templates has more than the {MAX_TEMPLATES} that there may be."
        )));
    }
    match templates
        .iter()
        .position(|template| !template.contains("{}"))
    {
        Some(index) => Err(wrong(format!(
            "Template {index} has no {{}}, where the label is to stand."
        ))),
        None => Ok(templates),
    }
}

/// Vectors that the client has.
fn vectors(
    reader: &mut ItemReader,
    raw: &RawValue,
    dimensions: usize,
) -> Result<Vec<Vec<f32>>, Problem> {
    let rows = json::list("embeddings", raw, reader.most_images())?;
    // As they are, and normalized.
    reader.hold(2 * rows.len() * dimensions * size_of::<f32>())?;
    let rows = rows.into_iter().enumerate();
    rows.map(|(index, raw)| {
        let place = Place::at("embeddings", index);
        let values = json::list(place, raw, dimensions)?;
        let number = |raw: &&RawValue| {
            let value = match json::kind(raw) {
                Kind::Number => serde_json::from_str::<f32>(raw.get()).ok(),
                _ => None,
            };
            value.filter(|value| value.is_finite())
        };
        let row: Option<Vec<f32>> = values.iter().map(number).collect();
        row.filter(|row| row.len() == dimensions)
            .ok_or_else(|| wrong(format!("{place} must be a list of {dimensions} numbers.")))
    })
    .collect()
}
