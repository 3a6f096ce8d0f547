//! The body of `/classify`, a form or JSON.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::examples::{ClassifyExample, Example, examples, text_of, vectors};
use crate::answer::problem::Problem;
use crate::answer::row_error::RowError;
use crate::call::Call;
use crate::request::bodies::ClassifyForm;
use crate::request::body::off_thread;
use crate::request::form::{File, PARTIAL};
use crate::request::item_reader::{ItemReader, Items, Place};
use crate::request::json::{self, wrong};

/// The sentence that a label is put into where the request has none.
const TEMPLATE: &str = "This is a photo of {}.";

/// The most templates that a request may have.
const MAX_TEMPLATES: usize = 128;

/// Pictures or vectors, and classes: labels, examples or both; or the form of Hugging Face's endpoints.
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
    /// Classes that are shown by pictures of them, beside the labels or instead of any.
    examples: Option<Vec<ClassifyExample>>,
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
    /// Whether a bad picture costs only its own result, which is then empty, and a bad label or example only
    /// its own class, which is then in no result: described in `errors`, `label_errors` and `example_errors`.
    /// Hugging Face's form has no place for them, and `partial` changes nothing there.
    #[schema(default = false)]
    partial: Option<bool>,
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
    /// The labels to choose from, without those that are known to be bad.
    pub(super) labels: Vec<Label>,
    /// The templates that labels are put into.
    pub(super) templates: Vec<String>,
    /// Classes that are shown. Their pictures stand behind the labels' sentences among the items.
    pub(super) examples: Vec<Example>,
    /// How logits become scores.
    pub(super) activation: Activation,
    /// Whether a sentence that is too long is cut.
    pub(super) truncate: bool,
    /// With `partial`: the classes that are known to be bad.
    pub(super) bad: Option<BadClasses>,
    /// Vectors instead of pictures.
    pub(super) given: Option<Vec<Vec<f32>>>,
    /// File names, of a form.
    pub(super) names: Option<Vec<String>>,
    /// Whether the answer is to be in the form of Hugging Face's endpoints.
    pub(super) is_hugging_face: bool,
}

/// A label.
pub(super) struct Label {
    /// Its place in the request.
    pub(super) index: usize,
    /// The label itself.
    pub(super) text: String,
}

/// Classes that are in no result, by their places in the request.
#[derive(Default)]
pub(super) struct BadClasses {
    /// The labels.
    pub(super) labels: Vec<RowError>,
    /// The examples.
    pub(super) examples: Vec<RowError>,
}

impl BadClasses {
    /// Notes a class that is bad, once.
    pub(super) fn note(errors: &mut Vec<RowError>, error: RowError) {
        if errors.iter().all(|known| known.index != error.index) {
            errors.push(error);
        }
    }
}

impl Told {
    /// The items that stand before the pictures that are classified: sentences, and examples' pictures.
    pub(super) fn items_of_classes(&self) -> usize {
        let sentences = self.labels.len() * self.templates.len();
        sentences + self.examples.iter().map(|it| it.images).sum::<usize>()
    }
}

/// Reads a form.
pub(super) async fn of_form(call: &mut Call<'_>) -> Result<(Told, Items), Problem> {
    let form: ClassifyForm = call.form().await?;
    let lists = [&form.labels, &form.hypothesis_templates, &form.examples];
    let bytes: usize = lists.into_iter().flatten().map(String::len).sum();
    // The texts again, and what lists in lists would take.
    call.hold(4 * bytes)?;
    let mut reader = call.reader(bytes);
    let (told, mut items) = off_thread(bytes, move || {
        let raw = |field: &'static str, text: &'_ str| -> Result<Box<RawValue>, Problem> {
            serde_json::from_str(text)
                .map_err(|error| wrong(format!("{field} is not valid JSON: {error}.")))
        };
        let maybe_raw = |field, text: Option<&str>| text.map(|text| raw(field, text)).transpose();
        let several = maybe_raw("hypothesis_templates", form.hypothesis_templates.as_deref())?;
        let several = several.map(|raw| texts_of(&mut reader, "hypothesis_templates", &raw));
        let several = several.transpose()?;
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
        let mut told = Told {
            labels: Vec::new(),
            templates: templates(form.hypothesis_template, several)?,
            examples: Vec::new(),
            activation: activation.transpose()?.unwrap_or(Activation::Sigmoid),
            truncate: form.truncate,
            bad: form.partial.then(BadClasses::default),
            given: None,
            names: Some(names),
            is_hugging_face: false,
        };
        let labels = maybe_raw("labels", form.labels.as_deref())?;
        let shown = maybe_raw("examples", form.examples.as_deref())?;
        classes(&mut reader, &mut told, labels.as_deref(), shown.as_deref())?;
        for (index, file) in files.into_iter().enumerate() {
            reader.file(Place::at("files", index), file)?;
        }
        Ok((told, reader.finish()))
    })
    .await?;
    // Those of examples may be named by URLs.
    call.fetch(&mut items).await?;
    Ok((told, items))
}

/// Reads JSON, ours or that of Hugging Face's endpoints.
pub(super) fn of_json(raw: &RawValue, reader: &mut ItemReader) -> Result<Told, Problem> {
    let [
        inputs,
        parameters,
        images,
        embeddings,
        labels,
        shown,
        template,
        several,
        activation,
        truncate,
        partial,
    ] = json::fields(
        "The body",
        raw,
        [
            "inputs",
            "parameters",
            "images",
            "embeddings",
            "labels",
            "examples",
            "hypothesis_template",
            "hypothesis_templates",
            "activation",
            "truncate",
            PARTIAL,
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
    let labels = labels.or(candidates);
    let template = template.or(in_parameters);
    let place = Place::of("hypothesis_template");
    let template = template
        .map(|raw| text_of(reader, place, raw))
        .transpose()?;
    let several = several.map(|raw| texts_of(reader, "hypothesis_templates", raw));
    let several = several.transpose()?;
    // An answer in Hugging Face's form has no place for what is bad.
    let partial = json::boolean(PARTIAL, partial)?.unwrap_or(false) && inputs.is_none();
    let mut told = Told {
        labels: Vec::new(),
        templates: templates(template, several)?,
        examples: Vec::new(),
        activation: json::word("activation", activation, &ACTIVATIONS)?
            .unwrap_or(Activation::Sigmoid),
        truncate: json::boolean("truncate", truncate)?.unwrap_or(true),
        bad: partial.then(BadClasses::default),
        given: embeddings
            .map(|raw| vectors(reader, "embeddings", raw))
            .transpose()?,
        names: None,
        is_hugging_face: inputs.is_some(),
    };
    classes(reader, &mut told, labels, shown)?;
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

/// Adds what classes are made of: every label in every template, those of a label one after the other,
/// and then the pictures of examples. With `partial` all of it is for itself, and so is what follows.
fn classes(
    reader: &mut ItemReader,
    told: &mut Told,
    labels: Option<&RawValue>,
    shown: Option<&RawValue>,
) -> Result<(), Problem> {
    if told.bad.is_some() {
        reader.each_for_itself();
    }
    let labels = labels.map(|raw| json::list("labels", raw, reader.most()));
    let labels = labels.transpose()?.unwrap_or_default();
    let mut has_classes = !labels.is_empty();
    // Once for all labels: a template may be as long as a text, and there may be thousands of labels.
    let lengths: Vec<_> = told.templates.iter().map(|it| Length::of(it)).collect();
    for (index, raw) in labels.into_iter().enumerate() {
        label(reader, told, &lengths, index, raw)?;
    }
    if let Some(shown) = shown {
        let bad = told.bad.as_mut().map(|bad| &mut bad.examples);
        let (count, examples) = examples(reader, shown, bad)?;
        told.examples = examples;
        has_classes |= count > 0;
    }
    match has_classes {
        true => Ok(()),
        false => Err(wrong(
            "The request must have classes: labels (candidate_labels in parameters), a list of strings, or examples.",
        )),
    }
}

/// How long the sentences of a template are.
struct Length {
    /// Bytes without the holes.
    bytes: usize,
    /// Places where the label goes.
    holes: usize,
}

impl Length {
    fn of(template: &str) -> Self {
        let holes = template.matches("{}").count();
        let bytes = template.len() - 2 * holes;
        Self { bytes, holes }
    }

    /// That with a label of so many bytes.
    fn with(&self, label: usize) -> usize {
        self.bytes + self.holes * label
    }
}

/// Adds a label in every template, unless it is too long for one: then it is bad.
fn label(
    reader: &mut ItemReader,
    told: &mut Told,
    lengths: &[Length],
    index: usize,
    raw: &RawValue,
) -> Result<(), Problem> {
    let place = Place::at("labels", index);
    let text = json::text(place, raw)?;
    // Before a sentence is made: a template may name a label as often as it likes.
    let most = lengths.iter().map(|length| length.with(text.len()));
    let most = most.max().unwrap_or_default().max(text.len());
    if let Err(problem) = reader.room(place, most) {
        let Some(bad) = &mut told.bad else {
            return Err(problem);
        };
        BadClasses::note(&mut bad.labels, RowError::of(index, &problem));
        return Ok(());
    }
    reader.hold(text.len())?;
    for template in &told.templates {
        reader.text(place, template.replace("{}", &text).into())?;
    }
    let text = text.into_owned();
    told.labels.push(Label { index, text });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_sentence_is_known_before_it_is_made() {
        for template in ["{}", "a {} b", "{}{}", "{{}}", "{}{", "}{}{}{ }\u{e9}"] {
            for label in ["", "{}", "\u{1f600} x"] {
                let made = template.replace("{}", label);
                assert_eq!(Length::of(template).with(label.len()), made.len(), "{made}");
            }
        }
    }
}
