//! One embedding for each text or image.

use bytes::Bytes;
use hyper::Response;

use super::names::{Names, is_json, split};
use crate::answer::messages::{EmbeddingsAnswer, RowError, RowsTold, TextsTold, finite};
use crate::answer::problem::{Problem, part_name};
use crate::answer::{self, Answer, json_bytes};
use crate::call::Call;
use crate::request::base64;
use crate::request::bodies::{ImageForm, ImageRequest, ImagesForm, ImagesRequest};
use crate::request::body::off_thread;
use crate::request::form::{File, PARTIAL};
use crate::request::ignored::Ignored;
use crate::request::json;
use crate::request::packed;
use crate::request::text_limits::TextLimits;
use crate::request::text_request;
use siglip2_service::{Embeddings, Lease};

/// What is told of a bad image takes no more bytes: a sentence and a name, escaped.
const MAX_ROW_ERROR: usize = 2048;

/// `POST /embed/text`
pub(crate) async fn embed_text(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let bytes = call.json_body().await?;
    call.hold(bytes.len() + json::nesting_bytes(&bytes))?;
    let limits = TextLimits::of(&call.shared.settings);
    let request = off_thread(bytes.len(), move || text_request::parse(&bytes, limits)).await?;
    call.choice.by_field(request.model.as_deref())?;
    let memory = answer_memory(call, request.texts.len())?;
    let service = call.request_with_texts(request.normalize, request.truncate)?;
    let rows = call
        .rows(
            service.embed_texts(request.texts, request.normalize),
            |item| Names::List.of(item),
        )
        .await?;
    let tokens = rows.usage.iter().map(|text| text.tokens);
    let texts = TextsTold {
        truncated: call.cut_texts(),
        tokens: request.tokens.then(|| tokens.collect()),
    };
    let told = RowsTold {
        texts: Some(texts),
        errors: None,
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
        return each(call, names, images, normalize, partial).await;
    }
    if is_json(call) {
        let (request, items) = call.items(ImagesRequest::read).await?;
        let (_, images, _) = items.apart();
        return each(
            call,
            Names::List,
            images,
            request.normalize,
            request.partial,
        )
        .await;
    }
    let form: ImagesForm = call.form().await?;
    let (names, images) = split(form.files);
    each(call, names, images, form.normalize, form.partial).await
}

async fn each(
    call: &mut Call<'_>,
    names: Names,
    images: Vec<Bytes>,
    normalize: bool,
    partial: bool,
) -> Result<Response<Answer>, Problem> {
    let mut memory = answer_memory(call, images.len())?;
    if partial {
        memory.absorb(call.answer_bytes(MAX_ROW_ERROR * images.len())?);
    }
    let service = call.request(normalize)?;
    if !partial {
        let rows = call
            .rows(service.embed_images(images, normalize), |item| {
                names.of(item)
            })
            .await?;
        return answer(call, rows, RowsTold::default(), memory).await;
    }
    let rows = call
        .rows(service.embed_good_images(images, normalize), |_| {
            String::new()
        })
        .await?;
    let errors = rows.bad.iter().map(|(index, error)| {
        let problem = Problem::image(&names.part(*index), error);
        RowError {
            index: *index,
            status: problem.status().as_u16(),
            detail: problem.to_string(),
        }
    });
    let told = RowsTold {
        texts: None,
        errors: Some(errors.collect()),
    };
    answer(call, rows.embeddings, told, memory).await
}

/// The memory for an answer of so many embeddings.
fn answer_memory(call: &Call<'_>, rows: usize) -> Result<Lease, Problem> {
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
    let encoding = call.encoding();
    off_thread(bytes, move || {
        rows.rows().try_for_each(finite)?;
        if let Some(encoded) = encoding.bytes(&rows, &model)? {
            return Ok(encoded.answer(memory));
        }
        let answer = EmbeddingsAnswer::of(&rows, &model, told);
        Ok(answer::held(answer::sized(&answer, bytes), memory))
    })
    .await
}
