//! One embedding for each text or image.

use bytes::Bytes;
use hyper::Response;

use super::names::{Names, is_json, split};
use crate::answer::encoding::Encoding;
use crate::answer::messages::{EmbeddingsAnswer, RowsTold, TextsTold, finite};
use crate::answer::problem::{Named, Problem, part_name};
use crate::answer::row_error::{MAX_ROW_ERROR, RowError};
use crate::answer::{self, Answer, json_bytes};
use crate::call::{Call, reading};
use crate::request::base64;
use crate::request::bodies::{ImageForm, ImageRequest, ImagesForm, ImagesRequest};
use crate::request::body::off_thread;
use crate::request::form::{File, PARTIAL};
use crate::request::ignored::Ignored;
use crate::request::json_text;
use crate::request::packed;
use crate::request::text_limits::TextLimits;
use crate::request::text_request::{self, TextRequest};
use siglip2_service::{Embeddings, Lease, TokenUsage};

/// `POST /embed/text`
pub(crate) async fn embed_text(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let bytes = call.json_body().await?;
    call.hold(json_text::decoded_bytes(&bytes) + json_text::text_bytes(&bytes))?;
    let limits = TextLimits::of(&call.shared.settings);
    let memory = call.shared.models.memory().clone();
    let request = off_thread(bytes.len(), move || {
        let _reading = reading(&memory, &bytes)?;
        text_request::parse(&bytes, limits)
    })
    .await?;
    call.choice.by_field(request.model.as_deref())?;
    let memory = answer_memory(call, request.texts.len())?;
    if request.partial {
        return each_text(call, request, memory).await;
    }
    let service = call.request_with_texts(request.normalize, request.truncate)?;
    let rows = call
        .rows(
            service.embed_texts(request.texts, request.normalize),
            |item| Names::List.of(item),
        )
        .await?;
    let told = RowsTold {
        texts: Some(texts_told(call, &rows.usage, request.tokens)),
        errors: None,
    };
    answer(call, rows.embeddings, told, memory).await
}

/// What is said of texts beside their rows: how many were cut, and, if asked for, how many tokens each
/// has.
fn texts_told(call: &Call<'_>, usage: &[TokenUsage], tokens: bool) -> TextsTold {
    TextsTold {
        truncated: call.cut_texts(),
        tokens: tokens.then(|| usage.iter().map(|text| text.tokens).collect()),
    }
}

/// The answer where a text that is too long costs its own row only.
async fn each_text(
    call: &mut Call<'_>,
    request: TextRequest,
    mut memory: Lease,
) -> Result<Response<Answer>, Problem> {
    memory.absorb(call.answer_bytes(MAX_ROW_ERROR * request.texts.len())?);
    let most_bytes = TextLimits::of(&call.shared.settings).bytes();
    let service = call.request_with_texts(request.normalize, request.truncate)?;
    let work = service.embed_good_texts(request.texts, most_bytes, request.normalize);
    let rows = call.rows(work, |item| Names::List.of(item)).await?;
    let told = RowsTold {
        texts: Some(texts_told(call, &rows.usage, request.tokens)),
        errors: Some(RowError::of_texts(&rows.bad, |index| {
            Names::List.of(Named::Text(index))
        })?),
    };
    answer(call, rows.embeddings, told, memory).await
}

/// `POST /embed/image`
pub(crate) async fn embed_image(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let kind = call.content_type().unwrap_or_default();
    if kind.starts_with("image/") || kind == answer::BYTES {
        return embed_file(call).await;
    }
    if is_json(call) {
        let (request, items) = call.items(ImageRequest::read).await?;
        let (_, images, _) = items.apart();
        let part = || "image_base64".to_owned();
        return one(call, images, request.normalize, part).await;
    }
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
    one(call, vec![bytes], form.normalize, || part)
        .await
        .map_err(hinted)
}

/// The body is the file of one image.
async fn embed_file(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let normalize = call.option("normalize", true)?;
    let file = call.bytes().await?;
    let part = || "The body".to_owned();
    call.inspect(&part(), &file)?;
    one(call, vec![file], normalize, part).await
}

/// The answer to one image, of which `part` is the name.
async fn one(
    call: &mut Call<'_>,
    image: Vec<Bytes>,
    normalize: bool,
    part: impl FnOnce() -> String,
) -> Result<Response<Answer>, Problem> {
    let memory = answer_memory(call, 1)?;
    let service = call.request(normalize)?;
    let rows = call
        .rows(service.embed_images(image, normalize), |_| part())
        .await?;
    answer(call, rows, RowsTold::default(), memory).await
}

/// `POST /embed/images`
pub(crate) async fn embed_images(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let kind = call.content_type().unwrap_or_default();
    if [answer::BYTES, packed::TAR].contains(&kind.as_str()) {
        let (partial, normalize) = (
            call.option(PARTIAL, false)?,
            call.option("normalize", true)?,
        );
        let body = call.bytes().await?;
        let most = call.shared.settings.max_images_per_request;
        let (names, images) = match kind == packed::TAR {
            // Its heads are read one after the other, and folders cost a head and are no file.
            true => split(off_thread(body.len(), move || packed::tar(&body, most)).await?),
            false => (
                Names::Files(Vec::new()),
                packed::length_prefixed(body, most)?,
            ),
        };
        let refused = partial.then(Vec::new);
        return each(call, names, images, normalize, refused).await;
    }
    if is_json(call) {
        let (request, mut items) = call.items(ImagesRequest::read).await?;
        let refused = std::mem::take(&mut items.refused);
        let (_, images, _) = items.apart();
        let refused = request.partial.then_some(refused);
        return each(call, Names::List, images, request.normalize, refused).await;
    }
    let form: ImagesForm = call.form().await?;
    let (names, images) = split(form.files);
    let refused = form.partial.then(Vec::new);
    each(call, names, images, form.normalize, refused).await
}

/// The answer to several images. With `refused` each is for itself, and some may be known to be bad.
async fn each(
    call: &mut Call<'_>,
    names: Names,
    images: Vec<Bytes>,
    normalize: bool,
    refused: Option<Vec<RowError>>,
) -> Result<Response<Answer>, Problem> {
    let mut memory = answer_memory(call, images.len())?;
    if refused.is_some() {
        memory.absorb(call.answer_bytes(MAX_ROW_ERROR * images.len())?);
    }
    let service = call.request(normalize)?;
    let Some(refused) = refused else {
        let rows = call
            .rows(service.embed_images(images, normalize), |item| {
                names.of(item)
            })
            .await?;
        return answer(call, rows, RowsTold::default(), memory).await;
    };
    let rows = call
        .rows(service.embed_good_images(images, normalize), |_| {
            String::new()
        })
        .await?;
    let errors = RowError::of_images(&rows.bad, refused, |index| names.part(index));
    let told = RowsTold {
        texts: None,
        errors: Some(errors),
    };
    answer(call, rows.embeddings, told, memory).await
}

/// The memory for an answer of so many embeddings, in a form that exists.
fn answer_memory(call: &Call<'_>, rows: usize) -> Result<Lease, Problem> {
    call.encoding()?;
    call.answer_memory(rows * call.model().info().dimensions)
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
    told: RowsTold,
    memory: Lease,
) -> Result<Response<Answer>, Problem> {
    let bytes = json_bytes(rows.len() * rows.dimensions());
    let model = call.model().info().name.clone();
    let encoding = call.encoding()?;
    let written = match encoding {
        Encoding::Json => bytes,
        _ => rows.len() * rows.dimensions() * size_of::<f32>(),
    };
    off_thread(written, move || {
        rows.rows().try_for_each(finite)?;
        if let Some(encoded) = encoding.bytes(&rows, &model)? {
            return Ok(encoded.answer(memory));
        }
        let answer = EmbeddingsAnswer::of(&rows, &model, told);
        Ok(answer::held(answer::sized(&answer, bytes), memory))
    })
    .await
}
