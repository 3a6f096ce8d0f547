//! One embedding for each text or image.

use bytes::Bytes;
use hyper::{Response, StatusCode};

use super::{json_bytes, named, split};
use crate::answer::{self, Answer};
use crate::base64;
use crate::body::off_thread;
use crate::call::Call;
use crate::form::File;
use crate::forms::{ImageForm, ImagesForm};
use crate::messages::EmbeddingsAnswer;
use crate::problem::{Problem, part_name};
use crate::text_request::{self, TextLimits};
use siglip2_service::Embeddings;

/// `POST /embed/text`
pub(crate) async fn embed_text(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let bytes = call.json_body().await?;
    let limits = TextLimits::of(&call.shared.settings);
    let request = off_thread(bytes.len(), move || text_request::parse(&bytes, limits)).await?;
    let rows = call
        .rows(
            call.request().embed_texts(request.texts, request.normalize),
            |_| String::new(),
        )
        .await?;
    answer(call, rows.embeddings).await
}

/// `POST /embed/image`
pub(crate) async fn embed_image(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: ImageForm = call.form().await?;
    let (part, bytes) = match (form.file, form.image_base64) {
        (Some(File { filename, bytes }), _) => (part_name("file", None, &filename), bytes),
        (None, Some(encoded)) => ("image_base64".to_owned(), decoded(encoded).await?),
        (None, None) => return Err(Problem::BadRequest("No image provided".into())),
    };
    call.inspect(&part, &bytes)?;
    let rows = call
        .rows(
            call.request().embed_images(vec![bytes], form.normalize),
            |_| part,
        )
        .await?;
    answer(call, rows).await
}

/// `POST /embed/images`
pub(crate) async fn embed_images(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: ImagesForm = call.form().await?;
    let (names, images) = split(form.files);
    let rows = call
        .rows(
            call.request().embed_images(images, form.normalize),
            |index| named(&names, index),
        )
        .await?;
    answer(call, rows).await
}

async fn decoded(encoded: String) -> Result<Bytes, Problem> {
    off_thread(encoded.len(), move || {
        base64::decode(&encoded).map(Bytes::from).map_err(|error| {
            Problem::BadRequest(format!("image_base64 is not valid base64: {error}.").into())
        })
    })
    .await
}

async fn answer(call: &Call<'_>, rows: Embeddings) -> Result<Response<Answer>, Problem> {
    let bytes = json_bytes(rows.len() * rows.dimensions());
    let model = call.shared.service.info().name.clone();
    let body = off_thread(bytes, move || {
        Ok(answer::sized(&EmbeddingsAnswer::of(&rows, &model)?, bytes))
    });
    Ok(answer::respond(StatusCode::OK, body.await?))
}
