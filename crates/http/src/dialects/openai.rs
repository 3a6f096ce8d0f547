//! OpenAI's `/v1/embeddings`, and what others have added to it: data URIs among the strings (NIM),
//! `modality` (infinity), objects (Jina, SGLang), `messages` (vLLM).

use hyper::Response;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::parts::{self, Message, Part};
use super::vectors::{FORMS, Form, Row, Vector};
use crate::answer::messages::finite;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, Kind, wrong};
use siglip2_service::Embeddings;

/// Texts and images, in `input` or in `messages`.
#[derive(ToSchema)]
#[schema(as = OpenAiEmbeddingsRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct OpenAiRequest {
    /// One item, or a list of them.
    input: Option<Input>,
    /// In place of `input`: messages with one text or one image, which becomes one vector.
    messages: Option<Vec<Message>>,
    /// Any name where one model is served; where there are several, one of theirs. The answer has
    /// the name of the model.
    model: Option<String>,
    /// `float`, the default; `base64` (little-endian f32); `int8`, `uint8`, `binary`, `ubinary`.
    /// `embedding_type` and `encoding_type` mean the same.
    encoding_format: Option<String>,
    /// Only the full size. 0 is as good as nothing: infinity's client sends it where its caller says nothing.
    dimensions: Option<u64>,
    /// `text` or `image`: every string is one. Without it a data URI is an image, and any other
    /// string a text.
    modality: Option<String>,
    /// Whether the embeddings are L2-normalized; `normalize` means the same.
    #[schema(default = true)]
    normalized: Option<bool>,
    /// Whether a text of more tokens than the model reads is cut, as a boolean or as `END`,
    /// `NONE`; if not, it is refused (413).
    #[schema(default = true)]
    truncate: Option<Truncate>,
    /// Ignored.
    user: Option<String>,
}

/// One item, or a list of them.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = OpenAiInput)]
#[allow(dead_code, reason = "it is only described")]
enum Input {
    /// A text, or a data URI with an image.
    Text(String),
    /// An object with a text or an image.
    Object(Part),
    /// Several of either, one at least.
    List(Vec<InputItem>),
}

/// A string or an object.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = OpenAiInputItem)]
#[allow(dead_code, reason = "it is only described")]
enum InputItem {
    /// A text, or a data URI with an image.
    Text(String),
    /// An object with a text or an image.
    Object(Part),
}

/// A boolean, or a word.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Truncate)]
#[allow(dead_code, reason = "it is only described")]
pub(super) enum Truncate {
    /// True or false.
    Bool(bool),
    /// `END` or `NONE`.
    Word(String),
}

/// Vectors, in the order of the input.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiEmbeddings)]
pub(crate) struct OpenAiAnswer<'a> {
    /// Always `list`.
    object: &'static str,
    /// One for each item.
    #[schema(value_type = Vec<Entry>)]
    data: Data<'a>,
    /// The model's name.
    model: &'a str,
    /// Tokens of the texts.
    usage: Usage,
}

/// The vector of one item.
#[derive(ToSchema)]
#[schema(as = OpenAiEmbedding)]
#[allow(dead_code, reason = "it is only described")]
struct Entry {
    /// Always `embedding`.
    object: String,
    /// The index of the item in the input.
    index: usize,
    /// The vector.
    embedding: Vector,
}

/// Tokens that the model read of the texts, without padding; an image has none.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiUsage)]
struct Usage {
    /// All of them.
    prompt_tokens: usize,
    /// The same.
    total_tokens: usize,
}

struct Data<'a> {
    rows: &'a Embeddings,
    form: Form,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            object: &'static str,
            index: usize,
            embedding: Row<'a>,
        }
        let mut entries = serializer.serialize_seq(Some(self.rows.len()))?;
        for (index, values) in self.rows.rows().enumerate() {
            let form = self.form;
            entries.serialize_element(&Written {
                object: "embedding",
                index,
                embedding: Row { values, form },
            })?;
        }
        entries.end()
    }
}

/// Everything in a request except its items.
struct Told {
    form: Form,
    how: Embed,
}

/// `POST /v1/embeddings`
pub(crate) async fn openai_embeddings(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let (told, items) = call.items(read).await?;
    let dimensions = call.model().info().dimensions;
    let bytes = (told.form.bytes() * dimensions + 64) * items.items.len() + 512;
    let (embedded, memory) = call.embed(items, told.how, bytes).await?;
    let model = call.model().info().name.clone();
    let body = off_thread(bytes, move || {
        embedded.embeddings.rows().try_for_each(finite)?;
        let tokens = embedded.usage.iter().map(|text| text.tokens).sum();
        let answer = OpenAiAnswer {
            object: "list",
            data: Data {
                rows: &embedded.embeddings,
                form: told.form,
            },
            model: &model,
            usage: Usage {
                prompt_tokens: tokens,
                total_tokens: tokens,
            },
        };
        Ok(answer::sized(&answer, bytes))
    });
    Ok(answer::held(body.await?, memory))
}

/// `POST /openai/deployments/{model}/embeddings`: the name of a deployment is one that its client chose, as that of
/// a model in a body is.
pub(crate) async fn azure_embeddings(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    if !call.choice.models().is_one() {
        let name = call.path_name();
        call.choice.name(&name)?;
    }
    openai_embeddings(call).await
}

fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Told, Problem> {
    let [
        input,
        messages,
        encoding_format,
        embedding_type,
        encoding_type,
        wanted,
        modality,
        normalized,
        normalize,
        truncate,
    ] = json::fields(
        "The body",
        raw,
        [
            "input",
            "messages",
            "encoding_format",
            "embedding_type",
            "encoding_type",
            "dimensions",
            "modality",
            "normalized",
            "normalize",
            "truncate",
        ],
    )?;
    let form = encoding_format.or(embedding_type).or(encoding_type);
    let form = json::word("encoding_format", form, &FORMS)?.unwrap_or(Form::Float);
    let wanted = wanted.filter(|wanted| wanted.get() != "0");
    full_size(wanted, reader.dimensions())?;
    let normalize = json::boolean("normalized", normalized.or(normalize))?;
    let told = Told {
        form,
        how: Embed {
            normalize: normalize.unwrap_or(true),
            truncate: may_cut(truncate)?,
        },
    };
    let modalities = [
        ("text", Modality::Text),
        ("image", Modality::Image),
        ("audio", Modality::Audio),
    ];
    let modality = json::word("modality", modality, &modalities)?.unwrap_or(Modality::Told);
    if modality == Modality::Audio {
        return Err(wrong(
            "modality must be text or image: this model does not take audio.",
        ));
    }
    match (input, messages) {
        // OpenAI refuses it as well. Its clients take an answer without vectors for a broken one.
        (Some(input), None) if json::is_empty_list(input) => {
            return Err(wrong("input must not be an empty list."));
        }
        (Some(input), None) => items(reader, "input", input, modality)?,
        (None, Some(messages)) => read_messages(reader, messages)?,
        (Some(_), Some(_)) => {
            return Err(wrong(
                "The body has both input and messages; send one of them.",
            ));
        }
        (None, None) => {
            return Err(wrong(
                "The body must have input: a string, an object, or a list of them.",
            ));
        }
    }
    Ok(told)
}

/// How strings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modality {
    /// Texts.
    Text,
    /// Images.
    Image,
    /// Something that this model does not take.
    Audio,
    /// Data URIs are images, and all other strings are texts.
    Told,
}

/// Adds the items of a field: one, or a list of them.
pub(super) fn items(
    reader: &mut ItemReader,
    field: &'static str,
    raw: &RawValue,
    modality: Modality,
) -> Result<(), Problem> {
    if json::kind(raw) != Kind::List {
        return item(reader, Place::of(field), raw, modality);
    }
    if json::first(raw).is_some_and(|byte| matches!(byte, b'[' | b'-' | b'0'..=b'9')) {
        return Err(token_ids(field));
    }
    for (index, raw) in json::list(field, raw, reader.most())?
        .into_iter()
        .enumerate()
    {
        item(reader, Place::at(field, index), raw, modality)?;
    }
    Ok(())
}

fn item(
    reader: &mut ItemReader,
    place: Place,
    raw: &RawValue,
    modality: Modality,
) -> Result<(), Problem> {
    match json::kind(raw) {
        Kind::Text => {
            let string = json::text(place, raw)?;
            match modality {
                Modality::Image => reader.image(place, &string),
                Modality::Text => reader.text(place, string),
                Modality::Told | Modality::Audio => reader.string(place, string),
            }
        }
        Kind::Object => parts::object(reader, place, raw),
        other => Err(wrong(format!(
            "{place} must be a string or an object with a text or an image, and is {other}."
        ))),
    }
}

fn token_ids(field: &str) -> Problem {
    wrong(format!(
        "{field} holds token ids, which are those of another model's tokenizer: send texts. \
         LangChain's OpenAIEmbeddings sends texts with check_embedding_ctx_length=False."
    ))
}

fn read_messages(reader: &mut ItemReader, raw: &RawValue) -> Result<(), Problem> {
    let place = Place::of("messages");
    let most = reader.most();
    let mut all = Vec::new();
    for message in json::list(place, raw, most)? {
        let [content] = json::fields(place, message, ["content"])?;
        if let Some(content) = content {
            all.extend(parts::of_content(place, content, most)?);
        }
        if all.len() > most {
            return Err(Problem::TooLarge(format!(
                "{place} has more than {most} parts."
            )));
        }
    }
    parts::single(reader, place, &all)
}

/// Refuses any size but the model's.
pub(super) fn full_size(wanted: Option<&RawValue>, dimensions: usize) -> Result<(), Problem> {
    match json::count("dimensions", wanted)? {
        Some(wanted) if wanted != dimensions as u64 => Err(wrong(format!(
            "dimensions must be {dimensions} or left out, and is {wanted}: this model was not trained for shortened vectors (Matryoshka), so a part of a vector is not an embedding."
        ))),
        _ => Ok(()),
    }
}

/// Whether a text that is too long may be cut, which is the default.
pub(super) fn may_cut(raw: Option<&RawValue>) -> Result<bool, Problem> {
    let words = [("END", Some(true)), ("NONE", Some(false)), ("START", None)];
    match raw.map(json::kind) {
        Some(Kind::Text) => match json::word("truncate", raw, &words)?.flatten() {
            Some(may) => Ok(may),
            None => Err(wrong(
                "truncate must be END or NONE: texts are never cut at the start.",
            )),
        },
        _ => Ok(json::boolean("truncate", raw)?.unwrap_or(true)),
    }
}
