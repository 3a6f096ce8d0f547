//! The paths of the container for Weaviate's module multi2vec-clip: `/vectorize`, `/meta`, and the two
//! that Weaviate polls until it is ready.

use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::vectors::{Form, Row};
use crate::answer::messages::finite;
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::call::embed::Embed;
use crate::request::body::off_thread;
use crate::request::item_reader::{ItemReader, Place};
use crate::request::json;
use siglip2_service::{Embeddings, State};

/// Texts and images.
#[derive(ToSchema)]
#[schema(as = WeaviateVectorizeRequest)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct WeaviateRequest {
    /// Texts.
    texts: Option<Vec<String>>,
    /// Images, as base64.
    images: Option<Vec<String>>,
    /// Where several models are served, the name of one; the first is the default.
    model: Option<String>,
}

/// L2-normalized vectors.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WeaviateVectors)]
pub(crate) struct WeaviateAnswer<'a> {
    /// One for each text.
    #[schema(value_type = Vec<Vec<f32>>)]
    text_vectors: Rows<'a>,
    /// One for each image.
    #[schema(value_type = Vec<Vec<f32>>)]
    image_vectors: Rows<'a>,
}

struct Rows<'a>(&'a Embeddings);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = Form::Float;
        serializer.collect_seq(self.0.rows().map(|values| Row { values, form }))
    }
}

/// `POST /vectorize`
pub(crate) async fn weaviate_vectorize(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let (texts, items) = call.items(read).await?;
    let bytes = answer::json_bytes(items.items.len() * call.model().info().dimensions);
    let how = Embed {
        normalize: true,
        truncate: true,
    };
    let (embedded, memory) = call.embed(items, how, bytes).await?;
    let body = off_thread(bytes, move || {
        let mut texts_rows = embedded.embeddings;
        texts_rows.rows().try_for_each(finite)?;
        let images_rows = texts_rows.split_off(texts);
        let answer = WeaviateAnswer {
            text_vectors: Rows(&texts_rows),
            image_vectors: Rows(&images_rows),
        };
        Ok(answer::sized(&answer, bytes))
    });
    Ok(answer::held(body.await?, memory))
}

/// Reads texts first, then images, and returns the number of texts.
fn read(raw: &RawValue, reader: &mut ItemReader) -> Result<usize, Problem> {
    let [texts, images] = json::fields("The body", raw, ["texts", "images"])?;
    let most = reader.most();
    let mut count = 0;
    if let Some(texts) = texts {
        for (index, raw) in json::list("texts", texts, most)?.into_iter().enumerate() {
            let place = Place::at("texts", index);
            reader.text(place, json::text(place, raw)?)?;
            count += 1;
        }
    }
    if let Some(images) = images {
        for (index, raw) in json::list("images", images, most)?.into_iter().enumerate() {
            let place = Place::at("images", index);
            reader.image(place, &json::text(place, raw)?)?;
        }
    }
    Ok(count)
}

/// What is running.
#[derive(Serialize, ToSchema)]
#[schema(as = WeaviateMeta)]
pub(crate) struct WeaviateMeta<'a> {
    /// The model's name.
    model: &'a str,
    /// Floats in a vector.
    dimensions: usize,
    /// The program's name.
    name: &'static str,
    /// Its version.
    version: &'static str,
}

/// `GET /meta`
pub(crate) async fn weaviate_meta(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let info = call.model().info();
    let meta = WeaviateMeta {
        model: &info.name,
        dimensions: info.dimensions,
        name: crate::PROGRAM,
        version: info.build.version,
    };
    Ok(answer::respond(StatusCode::OK, answer::json(&meta)))
}

/// `GET /.well-known/live`
pub(crate) async fn weaviate_live(_: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    Ok(answer::empty())
}

/// `GET /.well-known/ready`: whether it can embed, without asking the device, because its client
/// waits only half a second.
pub(crate) async fn weaviate_ready(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    match call.choice.state() {
        State::Ready => Ok(answer::empty()),
        state => Err(Problem::Unavailable(state)),
    }
}
