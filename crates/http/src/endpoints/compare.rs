//! Images held against texts.

use bytes::Bytes;
use hyper::Response;

use super::names::{Names, is_json, split};
use super::sentences;
use crate::answer::messages::{RankAnswer, SimilarityAnswer};
use crate::answer::problem::{Named, Problem};
use crate::answer::row_error::{MAX_ROW_ERROR, RowError};
use crate::answer::{self, Answer, json_bytes};
use crate::call::{Call, reading};
use crate::request::bodies::{RankForm, RankRequest, SimilarityBody, SimilarityForm};
use crate::request::body::off_thread;
use crate::request::item_reader::Items;
use crate::request::text_limits::TextLimits;
use crate::request::text_list;
use siglip2_service::{Lease, PartialRanking, PartialSimilarity};

/// What is held against each other, however it came.
struct Compared {
    texts: Vec<String>,
    images: Vec<Bytes>,
    names: Names,
    details: bool,
    /// Where each image and text is for itself: images that are known to be bad.
    refused: Option<Vec<RowError>>,
    truncate: bool,
    /// The memory of texts that are no part of a form.
    memory: Option<Lease>,
}

impl Compared {
    /// What came as JSON, where images have places in a list and no names.
    fn of_list(mut items: Items, details: bool, partial: bool, truncate: bool) -> Self {
        let refused = std::mem::take(&mut items.refused);
        let (texts, images, memory) = items.apart();
        Self {
            texts,
            images,
            names: Names::List,
            details,
            refused: partial.then_some(refused),
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
        refused,
        truncate,
        memory: _texts,
    } = match is_json(call) {
        true => match call.items(SimilarityBody::read).await? {
            (SimilarityBody::Own(request), items) => {
                Compared::of_list(items, request.details, request.partial, request.truncate)
            }
            (SimilarityBody::Sentences(request), items) => {
                return sentences::scores(call, &request, items).await;
            }
        },
        false => {
            let form: SimilarityForm = call.form().await?;
            let limits = TextLimits::of(&call.shared.settings);
            let limits = limits.unless_each_for_itself(form.partial);
            let texts = form.texts;
            call.hold(texts.len())?;
            let memory = call.shared.models.memory().clone();
            let texts = off_thread(texts.len(), move || {
                let _reading = reading(&memory, texts.as_bytes())?;
                text_list::parse_field(&texts, limits)
            })
            .await?;
            let (names, images) = split(form.files);
            Compared {
                texts,
                images,
                names,
                details: form.details,
                refused: form.partial.then(Vec::new),
                truncate: form.truncate,
                memory: None,
            }
        }
    };
    let (rows, pairs) = (texts.len() + images.len(), texts.len() * images.len());
    // A cosine and a logit in full take as much as four floats.
    let pairs = if details { 5 * pairs } else { pairs };
    let floats = pairs + rows * call.model().info().dimensions;
    let mut memory = call.answer_memory(floats)?;
    let service = call.request_with_texts(true, truncate)?;
    let (similarity, errors) = match refused {
        Some(refused) => {
            memory.absorb(call.answer_bytes(MAX_ROW_ERROR * rows)?);
            let most = TextLimits::of(&call.shared.settings).bytes();
            let work = service.similarity_of_good(images, texts, most);
            let PartialSimilarity {
                similarity,
                bad_images,
                bad_texts,
            } = call.rows(work, |item| names.of(item)).await?;
            let of_images = RowError::of_images(&bad_images, refused, |index| names.part(index));
            let of_texts = RowError::of_texts(&bad_texts, |index| names.of(Named::Text(index)))?;
            (similarity, [Some(of_images), Some(of_texts)])
        }
        None => {
            let work = service.similarity(images, texts);
            let similarity = call.rows(work, |item| names.of(item)).await?;
            (similarity, [None, None])
        }
    };
    let bytes = json_bytes(floats);
    let truncated = call.cut_texts();
    let scores = details.then(|| call.model().clone());
    let body = off_thread(bytes, move || {
        let answer = SimilarityAnswer::of(&similarity, truncated, scores.as_ref(), errors)?;
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
        refused,
        truncate,
        memory: _texts,
    } = match is_json(call) {
        true => {
            let (request, items) = call.items(RankRequest::read).await?;
            Compared::of_list(items, request.details, request.partial, request.truncate)
        }
        false => {
            let form: RankForm = call.form().await?;
            let (names, images) = split(form.files);
            Compared {
                texts: vec![form.query],
                images,
                names,
                details: form.details,
                refused: form.partial.then(Vec::new),
                truncate: form.truncate,
                memory: None,
            }
        }
    };
    let query = texts.pop().unwrap_or_default();
    TextLimits::of(&call.shared.settings).check("query", &query)?;
    let count = images.len();
    // A character that JSON escapes takes up to six bytes.
    let told = query.len() + names.bytes(count);
    let errors = refused.as_ref().map_or(0, |_| MAX_ROW_ERROR * count);
    let bytes = 6 * told + 200 * (count + 1) + errors;
    let mut memory = call.answer_bytes(bytes)?;
    let service = call.request_with_texts(true, truncate)?;
    let part = |item: Named| match item {
        Named::Image(index) => names.part(index),
        Named::Text(_) => "query".to_owned(),
    };
    let (ranked, errors) = match refused {
        Some(refused) => {
            let work = service.rank_good(images, query.clone());
            let PartialRanking { ranked, bad } = call.rows(work, part).await?;
            let errors = RowError::of_images(&bad, refused, |index| names.part(index));
            (ranked, Some(errors))
        }
        None => {
            let work = service.rank(images, query.clone());
            (call.rows(work, part).await?, None)
        }
    };
    let cut = call.cut_texts();
    let names = names.told(count);
    let answer = RankAnswer::of(&query, &ranked, &names, cut, details, errors)?;
    let body = answer::sized(&answer, bytes);
    memory.shrink_to(body.len() as u64);
    Ok(answer::held_text(body, memory))
}
