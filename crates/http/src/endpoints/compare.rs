//! Images held against texts.

use hyper::Response;

use super::{named, split};
use crate::answer::{self, Answer, json_bytes};
use crate::body::off_thread;
use crate::call::Call;
use crate::forms::{RankForm, SimilarityForm};
use crate::messages::{RankAnswer, SimilarityAnswer};
use crate::problem::Problem;
use crate::text_request::{self, TextLimits};

/// `POST /similarity`
pub(crate) async fn similarity(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: SimilarityForm = call.form().await?;
    let limits = TextLimits::of(&call.shared.settings);
    let texts = form.texts;
    call.hold(texts.len())?;
    let texts = off_thread(texts.len(), move || {
        text_request::parse_field(&texts, limits)
    })
    .await?;
    let (names, images) = split(form.files);
    let (rows, pairs) = (texts.len() + images.len(), texts.len() * images.len());
    // A cosine and a logit in full take as much as four floats.
    let pairs = if form.details { 5 * pairs } else { pairs };
    let floats = pairs + rows * call.shared.service.info().dimensions;
    let memory = call.answer_memory(floats)?;
    let service = call.request_with_texts(true, form.truncate)?;
    let similarity = call
        .rows(service.similarity(images, texts), |index| {
            named(&names, index)
        })
        .await?;
    let bytes = json_bytes(floats);
    let truncated = call.cut_texts();
    let scores = form.details.then(|| call.shared.service.clone());
    let body = off_thread(bytes, move || {
        let answer = SimilarityAnswer::of(&similarity, truncated, scores.as_ref())?;
        Ok(answer::sized(&answer, bytes))
    });
    Ok(answer::held(body.await?, memory))
}

/// `POST /rank`
pub(crate) async fn rank(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: RankForm = call.form().await?;
    let query = form.query;
    TextLimits::of(&call.shared.settings).check("query", &query)?;
    let (names, images) = split(form.files);
    // A character that JSON escapes takes up to six bytes.
    let told = query.len() + names.iter().map(String::len).sum::<usize>();
    let bytes = 6 * told + 200 * (names.len() + 1);
    let mut memory = call.answer_bytes(bytes)?;
    let service = call.request_with_texts(true, form.truncate)?;
    let ranked = call
        .rows(service.rank(images, query.clone()), |index| {
            named(&names, index)
        })
        .await?;
    let cut = call.cut_texts();
    let answer = RankAnswer::of(&query, &ranked, &names, cut, form.details)?;
    let body = answer::sized(&answer, bytes);
    memory.shrink_to(body.len() as u64);
    Ok(answer::held(body, memory))
}
