//! One embedding for each text or image.

use bytes::Bytes;
use hyper::Response;

use super::{named, split};
use crate::answer::{self, Answer, json_bytes};
use crate::base64;
use crate::body::off_thread;
use crate::call::Call;
use crate::form::File;
use crate::forms::{ImageForm, ImagesForm};
use crate::ignored::Ignored;
use crate::messages::{EmbeddingsAnswer, TextsTold};
use crate::problem::{Problem, part_name};
use crate::text_request::{self, TextLimits};
use siglip2_service::{Embeddings, Lease};

/// `POST /embed/text`
pub(crate) async fn embed_text(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let bytes = call.json_body().await?;
    call.hold(bytes.len())?;
    let limits = TextLimits::of(&call.shared.settings);
    let request = off_thread(bytes.len(), move || text_request::parse(&bytes, limits)).await?;
    let memory = answer_memory(call, request.texts.len())?;
    let service = call.request_with_texts(request.normalize, request.truncate)?;
    let rows = call
        .rows(
            service.embed_texts(request.texts, request.normalize),
            |_| String::new(),
        )
        .await?;
    let tokens = rows.usage.iter().map(|text| text.tokens);
    let told = TextsTold {
        truncated: call.cut_texts(),
        tokens: request.tokens.then(|| tokens.collect()),
    };
    answer(call, rows.embeddings, Some(told), memory).await
}

/// `POST /embed/image`
pub(crate) async fn embed_image(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: ImageForm = call.form().await?;
    let mut mistake = None;
    let (part, bytes) = match (form.file, form.image_base64) {
        (Some(File { filename, bytes }), _) => (part_name("file", None, &filename), bytes),
        (None, Some(encoded)) => {
            mistake = base64::mistake(&encoded);
            call.hold(encoded.len() / 4 * 3 + 3)?;
            ("image_base64".to_owned(), decoded(encoded).await?)
        }
        (None, None) => return Err(no_image(call.ignored)),
    };
    let hinted = |problem: Problem| problem.because(mistake);
    call.inspect(&part, &bytes).map_err(hinted)?;
    let memory = answer_memory(call, 1)?;
    let service = call.request(form.normalize)?;
    let rows = call
        .rows(service.embed_images(vec![bytes], form.normalize), |_| part)
        .await
        .map_err(hinted)?;
    answer(call, rows, None, memory).await
}

/// `POST /embed/images`
pub(crate) async fn embed_images(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: ImagesForm = call.form().await?;
    let (names, images) = split(form.files);
    let memory = answer_memory(call, images.len())?;
    let service = call.request(form.normalize)?;
    let rows = call
        .rows(service.embed_images(images, form.normalize), |index| {
            named(&names, index)
        })
        .await?;
    answer(call, rows, None, memory).await
}

/// The memory for an answer of so many embeddings.
fn answer_memory(call: &Call<'_>, rows: usize) -> Result<Lease, Problem> {
    call.answer_memory(rows * call.shared.service.info().dimensions)
}

/// The contract's words, and behind them what came instead, if anything did.
fn no_image(ignored: &Ignored) -> Problem {
    const NONE: &str = "No image provided";
    match ignored.fields() {
        None => Problem::BadRequest(NONE.into()),
        Some(fields) => Problem::BadRequest(
            format!(
                "{NONE}: send it as the part \"file\" of a multipart form, with a file name, or \
                 as the field \"image_base64\"; this request has {fields}."
            )
            .into(),
        ),
    }
}

async fn decoded(encoded: String) -> Result<Bytes, Problem> {
    off_thread(encoded.len(), move || {
        base64::decode(&encoded).map(Bytes::from).map_err(|error| {
            let problem = format!("image_base64 is not valid base64: {error}.");
            Problem::BadRequest(problem.into()).because(base64::mistake(&encoded))
        })
    })
    .await
}

async fn answer(
    call: &Call<'_>,
    rows: Embeddings,
    texts: Option<TextsTold>,
    memory: Lease,
) -> Result<Response<Answer>, Problem> {
    let bytes = json_bytes(rows.len() * rows.dimensions());
    let model = call.shared.service.info().name.clone();
    let body = off_thread(bytes, move || {
        Ok(answer::sized(
            &EmbeddingsAnswer::of(&rows, &model, texts)?,
            bytes,
        ))
    });
    Ok(answer::held(body.await?, memory))
}
