//! Cohere's `/v2/embed`: several forms of each vector in one answer.

use hyper::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::openai::{full_size, may_cut};
use super::parts::{self, ContentInput};
use super::vectors::{FORMS, Form, Row};
use crate::answer::messages::finite;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json::{self, Kind, wrong};
use siglip2_service::{Embeddings, Item};

/// Texts, images or inputs: one of the three.
#[derive(ToSchema)]
#[schema(as = CohereEmbedRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct CohereRequest {
    /// Texts.
    texts: Option<Vec<String>>,
    /// Images, as data URIs or base64.
    images: Option<Vec<String>>,
    /// Texts and images, each the content of an input.
    inputs: Option<Vec<ContentInput>>,
    /// Any name where one model is served; where there are several, one of theirs.
    model: Option<String>,
    /// Ignored: queries and documents are embedded alike.
    input_type: Option<String>,
    /// `float`, the default; `int8`, `uint8`, `binary`, `ubinary`, `base64`.
    embedding_types: Option<Vec<String>>,
    /// Only the full size.
    output_dimension: Option<u64>,
    /// `END`, the default, or `NONE`: a text that is too long is refused (413).
    truncate: Option<String>,
}

/// The vectors, by form.
#[derive(Serialize, ToSchema)]
#[schema(as = CohereEmbeddings)]
pub(crate) struct CohereAnswer<'a> {
    /// Always empty: the request's id is in the header X-Request-Id.
    id: &'static str,
    /// Always `embeddings_by_type`.
    response_type: &'static str,
    /// The vectors, in each form that was asked for.
    #[schema(value_type = ByType)]
    embeddings: Typed<'a>,
    /// The texts, where `texts` were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    texts: Option<&'a [String]>,
    /// What the request is billed for.
    meta: Meta,
}

/// The vectors, by form.
#[derive(ToSchema)]
#[schema(as = CohereByType)]
#[allow(dead_code, reason = "it is only described")]
struct ByType {
    /// L2-normalized.
    #[schema(nullable = false)]
    float: Option<Vec<Vec<f32>>>,
    /// See docs/vectors.md.
    #[schema(nullable = false)]
    int8: Option<Vec<Vec<i8>>>,
    /// See docs/vectors.md.
    #[schema(nullable = false)]
    uint8: Option<Vec<Vec<u16>>>,
    /// See docs/vectors.md.
    #[schema(nullable = false)]
    binary: Option<Vec<Vec<i8>>>,
    /// See docs/vectors.md.
    #[schema(nullable = false)]
    ubinary: Option<Vec<Vec<u16>>>,
    /// Little-endian f32.
    #[schema(nullable = false)]
    base64: Option<Vec<String>>,
}

/// What the request is billed for.
#[derive(Serialize, ToSchema)]
#[schema(as = CohereMeta)]
struct Meta {
    /// The version.
    api_version: ApiVersion,
    /// How much was embedded.
    billed_units: BilledUnits,
}

/// The version.
#[derive(Serialize, ToSchema)]
#[schema(as = CohereApiVersion)]
struct ApiVersion {
    /// Always 2.
    version: &'static str,
}

/// How much was embedded.
#[derive(Serialize, ToSchema)]
#[schema(as = CohereBilledUnits)]
struct BilledUnits {
    /// The tokens that the model read of the texts.
    input_tokens: usize,
    /// Images.
    images: usize,
}

struct Typed<'a> {
    rows: &'a Embeddings,
    forms: &'a [Form],
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Rows<'a>(&'a Embeddings, Form);
        impl Serialize for Rows<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let form = self.1;
                serializer.collect_seq(self.0.rows().map(|values| Row { values, form }))
            }
        }
        let mut map = serializer.serialize_map(Some(self.forms.len()))?;
        for &form in self.forms {
            map.serialize_entry(&form.to_string(), &Rows(self.rows, form))?;
        }
        map.end()
    }
}

/// Everything in a request except its items.
struct Told {
    forms: Vec<Form>,
    truncate: bool,
    tells_texts: bool,
}

/// `POST /v2/embed`
pub(crate) async fn cohere_embed(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let (told, items) = call.items(read).await?;
    let dimensions = call.model().info().dimensions;
    let text = |item: &Item| match item {
        Item::Text(text) => Some(text.clone()),
        Item::Image(_) => None,
    };
    // The answer repeats them, so they count as part of it before they are copied.
    let told_back = items.items.iter().map(|item| match item {
        Item::Text(text) if told.tells_texts => 7 * text.len() + 3,
        _ => 0,
    });
    let forms = told.forms.iter().map(|form| form.bytes()).sum::<usize>();
    let rows = items.items.len();
    let bytes = (forms * dimensions + 8 * told.forms.len()) * rows + 512;
    let told_back: usize = told_back.sum();
    let text_memory = call.answer_bytes(told_back)?;
    let texts: Option<Vec<String>> = told
        .tells_texts
        .then(|| items.items.iter().filter_map(text).collect());
    let images = items.items.iter().filter(|item| text_is_none(item)).count();
    let how = Embed {
        normalize: true,
        truncate: told.truncate,
    };
    let (embedded, mut memory) = call.embed(items, how, bytes).await?;
    memory.absorb(text_memory);
    let body = off_thread(bytes, move || {
        embedded.embeddings.rows().try_for_each(finite)?;
        let answer = CohereAnswer {
            id: "",
            response_type: "embeddings_by_type",
            embeddings: Typed {
                rows: &embedded.embeddings,
                forms: &told.forms,
            },
            texts: texts.as_deref(),
            meta: Meta {
                api_version: ApiVersion { version: "2" },
                billed_units: BilledUnits {
                    input_tokens: embedded.usage.iter().map(|text| text.tokens).sum(),
                    images,
                },
            },
        };
        Ok(answer::sized(&answer, bytes + told_back))
    });
    Ok(answer::held(body.await?, memory))
}

fn text_is_none(item: &Item) -> bool {
    matches!(item, Item::Image(_))
}

fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<Told, Problem> {
    let [texts, images, inputs, types, wanted, truncate] = json::fields(
        "The body",
        raw,
        [
            "texts",
            "images",
            "inputs",
            "embedding_types",
            "output_dimension",
            "truncate",
        ],
    )?;
    full_size(wanted, reader.dimensions())?;
    let told = Told {
        forms: forms(types)?,
        truncate: may_cut(truncate)?,
        tells_texts: texts.is_some(),
    };
    let most = reader.most();
    match (texts, images, inputs) {
        (Some(texts), None, None) => {
            for (index, raw) in json::list("texts", texts, most)?.into_iter().enumerate() {
                let place = Place::at("texts", index);
                reader.text(place, json::text(place, raw)?)?;
            }
        }
        (None, Some(images), None) => {
            for (index, raw) in json::list("images", images, most)?.into_iter().enumerate() {
                let place = Place::at("images", index);
                reader.image(place, &json::text(place, raw)?)?;
            }
        }
        (None, None, Some(inputs)) => {
            for (index, raw) in json::list("inputs", inputs, most)?.into_iter().enumerate() {
                let place = Place::at("inputs", index);
                let [content] = json::fields(place, raw, ["content"])?;
                let content = content.ok_or_else(|| wrong(format!("{place} has no content.")))?;
                let parts = parts::of_content(place, content, most)?;
                parts::single(reader, place, &parts)?;
            }
        }
        _ => {
            return Err(wrong("The body must have one of: texts, images, inputs."));
        }
    }
    Ok(told)
}

/// The forms that are asked for, each once.
fn forms(raw: Option<&RawValue>) -> Result<Vec<Form>, Problem> {
    let Some(raw) = raw else {
        return Ok(vec![Form::Float]);
    };
    let named = match json::kind(raw) {
        Kind::Text => vec![raw],
        _ => json::list("embedding_types", raw, 64)?,
    };
    let mut forms = Vec::new();
    for raw in named {
        if let Some(form) = json::word("embedding_types", Some(raw), &FORMS)?
            && !forms.contains(&form)
        {
            forms.push(form);
        }
    }
    match forms.is_empty() {
        true => Ok(vec![Form::Float]),
        false => Ok(forms),
    }
}
