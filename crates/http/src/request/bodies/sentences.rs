//! A sentence and others to compare it with, as text-embeddings-inference has it.

use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::problem::Problem;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, wrong};

/// A sentence and others to compare it with.
#[derive(ToSchema)]
#[schema(as = TeiSimilarityRequest)]
#[allow(dead_code, reason = "it is only described, but for one field")]
pub(crate) struct SentencesRequest {
    /// The sentences.
    inputs: SentencesInputs,
    /// How they are read.
    parameters: Option<SentencesParameters>,
    /// Where several models are served, the name of one.
    model: Option<String>,
}

/// The sentences.
#[derive(ToSchema)]
#[schema(as = TeiSimilarityInputs)]
#[allow(dead_code, reason = "it is only described")]
struct SentencesInputs {
    /// The one that the others are compared with.
    source_sentence: String,
    /// The others.
    #[schema(min_items = 1)]
    sentences: Vec<String>,
}

/// How sentences are read.
#[derive(ToSchema)]
#[schema(as = TeiSimilarityParameters)]
#[allow(dead_code, reason = "it is only described, but for one field")]
struct SentencesParameters {
    /// Whether a sentence of more tokens than the model reads is cut; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<bool>,
    /// Only `right`: a sentence is cut at its end.
    truncation_direction: Option<String>,
    /// Must be null: the model has no prompts.
    prompt_name: Option<String>,
}

impl SentencesRequest {
    /// Whether a sentence that is too long is cut.
    pub(crate) fn truncate(&self) -> bool {
        let parameters = self.parameters.as_ref();
        parameters.and_then(|it| it.truncate).unwrap_or(true)
    }

    /// Reads the body; the sentence and then the others go to the reader.
    pub(crate) fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Self, Problem> {
        let [inputs, parameters] = json::fields("The body", raw, ["inputs", "parameters"])?;
        let [source, sentences] = match inputs {
            Some(inputs) => json::fields("inputs", inputs, ["source_sentence", "sentences"])?,
            None => [None, None],
        };
        let (Some(source), Some(sentences)) = (source, sentences) else {
            return Err(wrong(
                "inputs must have source_sentence, a string, and sentences, a list of strings.",
            ));
        };
        let [truncate, direction, prompt] = match parameters {
            Some(raw) => json::fields(
                "parameters",
                raw,
                ["truncate", "truncation_direction", "prompt_name"],
            )?,
            None => [None; 3],
        };
        json::only_cut_at_the_end(direction)?;
        json::no_prompt(prompt)?;
        let place = Place::of("source_sentence");
        reader.text(place, json::text(place, source)?)?;
        let sentences = json::list("sentences", sentences, reader.most())?;
        if sentences.is_empty() {
            return Err(wrong("sentences must not be empty."));
        }
        for (index, raw) in sentences.into_iter().enumerate() {
            let place = Place::at("sentences", index);
            reader.text(place, json::text(place, raw)?)?;
        }
        Ok(Self {
            inputs: SentencesInputs {
                source_sentence: String::new(),
                sentences: Vec::new(),
            },
            parameters: Some(SentencesParameters {
                truncate: json::boolean("truncate", truncate)?,
                truncation_direction: None,
                prompt_name: None,
            }),
            model: None,
        })
    }
}
