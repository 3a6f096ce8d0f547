//! The body of `/classify`, a form or JSON.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::call::Call;
use crate::request::bodies::ClassifyForm;
use crate::request::body::off_thread;
use crate::request::form::File;
use crate::request::item_reader::{ItemReader, Items, Place};
use crate::request::json::{self, Kind, wrong};

const TEMPLATE: &str = "This is a photo of {}.";

/// The most templates that a request may have.
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
    /// The labels to choose from.
    labels: Option<Vec<String>>,
    /// The sentence that a label is put into, at `{}`.
    #[schema(default = "This is a photo of {}.")]
    hypothesis_template: Option<String>,
    /// Several sentences, whose vectors are averaged.
    hypothesis_templates: Option<Vec<String>>,
    /// `sigmoid`: each label is scored on its own; `softmax`: the scores of all labels add up to 1.
    #[schema(default = "sigmoid")]
    activation: Option<String>,
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<bool>,
    /// Hugging Face's: one picture, as base64.
    inputs: Option<String>,
    /// Hugging Face's: the labels to choose from.
    parameters: Option<Parameters>,
    /// Where several models are served, the name of one.
    model: Option<String>,
}

/// What Hugging Face's clients send besides the picture.
#[derive(ToSchema)]
#[schema(as = ClassifyParameters)]
#[allow(dead_code, reason = "it is only described")]
struct Parameters {
    /// The labels to choose from.
    candidate_labels: Vec<String>,
    /// The sentence that a label is put into, at `{}`.
    #[schema(default = "This is a photo of {}.")]
    hypothesis_template: Option<String>,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// Each label on its own.
    Sigmoid,
    /// The scores of all labels add up to 1.
    Softmax,
}

const ACTIVATIONS: [(&str, Activation); 2] = [
    ("sigmoid", Activation::Sigmoid),
    ("softmax", Activation::Softmax),
];

/// Everything in a request except its items.
pub(super) struct Told {
    /// The labels to choose from.
    pub(super) labels: Vec<String>,
    /// The templates that labels are put into.
    pub(super) templates: Vec<String>,
    /// How logits become scores.
    pub(super) activation: Activation,
    /// Whether a sentence that is too long is cut.
    pub(super) truncate: bool,
    /// Vectors instead of pictures.
    pub(super) given: Option<Vec<Vec<f32>>>,
    /// File names, of a form.
    pub(super) names: Option<Vec<String>>,
    /// Whether the answer is to be in the form of Hugging Face's endpoints.
    pub(super) is_hugging_face: bool,
}

/// Reads a form.
pub(super) async fn of_form(call: &mut Call<'_>) -> Result<(Told, Items), Problem> {
    let form: ClassifyForm = call.form().await?;
    let texts = [Some(&form.labels), form.hypothesis_templates.as_ref()];
    let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
    // The texts again, and what lists in lists would take.
    call.hold(4 * bytes)?;
    let mut reader = call.reader(bytes);
    off_thread(bytes, move || {
        let mut list = |field: &'static str, text: &str| {
            let raw = serde_json::from_str::<&RawValue>(text)
                .map_err(|error| wrong(format!("{field} is not valid JSON: {error}.")))?;
            texts_of(&mut reader, field, raw)
        };
        let several = form.hypothesis_templates.as_deref();
        let several = several.map(|text| list("hypothesis_templates", text));
        let labels = list("labels", &form.labels)?;
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
            labels,
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

/// Reads JSON, ours or that of Hugging Face's endpoints.
pub(super) fn of_json(raw: &RawValue, reader: &mut ItemReader) -> Result<Told, Problem> {
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
    let place = Place::of("hypothesis_template");
    let template = template
        .map(|raw| text_of(reader, place, raw))
        .transpose()?;
    let several = several.map(|raw| texts_of(reader, "hypothesis_templates", raw));
    let several = several.transpose()?;
    let told = Told {
        labels: texts_of(reader, "labels", labels)?,
        templates: templates(template, several)?,
        activation: json::word("activation", activation, &ACTIVATIONS)?
            .unwrap_or(Activation::Sigmoid),
        truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
        given: embeddings.map(|raw| vectors(reader, raw)).transpose()?,
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

fn texts_of(
    reader: &mut ItemReader,
    field: &'static str,
    raw: &RawValue,
) -> Result<Vec<String>, Problem> {
    let list = json::list(field, raw, reader.most())?.into_iter();
    list.enumerate()
        .map(|(index, raw)| text_of(reader, Place::at(field, index), raw))
        .collect()
}

/// A text that is a copy for as long as the request takes.
fn text_of(reader: &mut ItemReader, place: Place, raw: &RawValue) -> Result<String, Problem> {
    let text = json::text(place, raw)?;
    reader.room(place, text.len())?;
    reader.hold(text.len())?;
    Ok(text.into_owned())
}

/// The templates; there is always at least one.
fn templates(one: Option<String>, several: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let templates = match (one, several) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "The request has both hypothesis_template and hypothesis_templates; send one of them.",
            ));
        }
        (Some(one), None) => vec![one],
        (None, Some(several)) if !several.is_empty() => several,
        _ => vec![TEMPLATE.to_owned()],
    };
    if templates.len() > MAX_TEMPLATES {
        return Err(Problem::TooLarge(format!(
            "hypothesis_templates may have at most {MAX_TEMPLATES} templates."
        )));
    }
    match templates
        .iter()
        .position(|template| !template.contains("{}"))
    {
        Some(index) => Err(wrong(format!(
            "Template {index} has no {{}}, which is where the label goes."
        ))),
        None => Ok(templates),
    }
}

/// Vectors that the client has.
fn vectors(reader: &mut ItemReader, raw: &RawValue) -> Result<Vec<Vec<f32>>, Problem> {
    let dimensions = reader.dimensions();
    let rows = json::list("embeddings", raw, reader.most_images())?;
    // As they are, and normalized.
    reader.hold(2 * rows.len() * dimensions * size_of::<f32>())?;
    let rows = rows.into_iter().enumerate();
    rows.map(|(index, raw)| {
        let place = Place::at("embeddings", index);
        let values = json::list(place, raw, dimensions)
            .map_err(|_| wrong(format!("{place} must be a list of {dimensions} numbers.")))?;
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
