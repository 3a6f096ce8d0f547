//! Images held against texts.

use bytes::Bytes;
use hyper::Response;

use super::names::{Names, is_json, split};
use crate::answer::messages::{RankAnswer, SimilarityAnswer};
use crate::answer::problem::{Named, Problem};
use crate::answer::{self, Answer, json_bytes};
use crate::call::Call;
use crate::request::bodies::{RankForm, RankRequest, SimilarityForm, SimilarityRequest};
use crate::request::body::off_thread;
use crate::request::item_reader::Items;
use crate::request::text_limits::TextLimits;
use crate::request::text_list;
use siglip2_service::Lease;

/// What is held against each other, however it came.
struct Compared {
    texts: Vec<String>,
    images: Vec<Bytes>,
    names: Names,
    details: bool,
    truncate: bool,
    /// The memory of texts that are no part of a form.
    memory: Option<Lease>,
}

impl Compared {
    /// What came as JSON, where images have places in a list and no names.
    fn of_list(items: Items, details: bool, truncate: bool) -> Self {
        let (texts, images, memory) = items.apart();
        Self {
            texts,
            images,
            names: Names::List,
            details,
            truncate,
            memory: Some(memory),
        }
    }
}

/// `POST /similarity`
pub(crate) async fn similarity(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let Compared {
        texts,
        images,
        names,
        details,
        truncate,
        memory: _texts,
    } = match is_json(call) {
        true => {
            let (request, items) = call.items(SimilarityRequest::read).await?;
            Compared::of_list(items, request.details, request.truncate)
        }
        false => {
            let form: SimilarityForm = call.form().await?;
            let limits = TextLimits::of(&call.shared.settings);
            let texts = form.texts;
            call.hold(texts.len())?;
            let texts =
                off_thread(texts.len(), move || text_list::parse_field(&texts, limits)).await?;
            let (names, images) = split(form.files);
            Compared {
                texts,
                images,
                names,
                details: form.details,
                truncate: form.truncate,
                memory: None,
            }
        }
    };
    let (rows, pairs) = (texts.len() + images.len(), texts.len() * images.len());
    // A cosine and a logit in full take as much as four floats.
    let pairs = if details { 5 * pairs } else { pairs };
    let floats = pairs + rows * call.model().info().dimensions;
    let memory = call.answer_memory(floats)?;
    let service = call.request_with_texts(true, truncate)?;
    let similarity = call
        .rows(service.similarity(images, texts), |item| names.of(item))
        .await?;
    let bytes = json_bytes(floats);
    let truncated = call.cut_texts();
    let scores = details.then(|| call.model().clone());
    let body = off_thread(bytes, move || {
        let answer = SimilarityAnswer::of(&similarity, truncated, scores.as_ref())?;
        Ok(answer::sized(&answer, bytes))
    });
    Ok(answer::held(body.await?, memory))
}

/// `POST /rank`
pub(crate) async fn rank(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let Compared {
        mut texts,
        images,
        names,
        details,
        truncate,
        memory: _texts,
    } = match is_json(call) {
        true => {
            let (request, items) = call.items(RankRequest::read).await?;
            Compared::of_list(items, request.details, request.truncate)
        }
        false => {
            let form: RankForm = call.form().await?;
            TextLimits::of(&call.shared.settings).check("query", &form.query)?;
            let (names, images) = split(form.files);
            Compared {
                texts: vec![form.query],
                images,
                names,
                details: form.details,
                truncate: form.truncate,
                memory: None,
            }
        }
    };
    let query = texts.pop().unwrap_or_default();
    let count = images.len();
    // A character that JSON escapes takes up to six bytes.
    let told = query.len() + names.bytes(count);
    let bytes = 6 * told + 200 * (count + 1);
    let mut memory = call.answer_bytes(bytes)?;
    let service = call.request_with_texts(true, truncate)?;
    let ranked = call
        .rows(service.rank(images, query.clone()), |item| match item {
            Named::Image(index) => names.part(index),
            Named::Text(_) => "query".to_owned(),
        })
        .await?;
    let cut = call.cut_texts();
    let names = names.told(count);
    let answer = RankAnswer::of(&query, &ranked, &names, cut, details)?;
    let body = answer::sized(&answer, bytes);
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}
