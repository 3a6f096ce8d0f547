//! Images held against texts.

use hyper::{Response, StatusCode};

use super::{json_bytes, named, split};
use crate::answer::{self, Answer};
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
    let texts = off_thread(texts.len(), move || {
        text_request::parse_field(&texts, limits)
    })
    .await?;
    let (names, images) = split(form.files);
    let similarity = call
        .rows(call.request().similarity(images, texts), |index| {
            named(&names, index)
        })
        .await?;
    let (texts, images) = (&similarity.texts, &similarity.images);
    let bytes = json_bytes(
        texts.len() * images.len()
            + texts.len() * texts.dimensions()
            + images.len() * images.dimensions(),
    );
    let body = off_thread(bytes, move || {
        Ok(answer::sized(&SimilarityAnswer::of(&similarity)?, bytes))
    });
    Ok(answer::respond(StatusCode::OK, body.await?))
}

/// `POST /rank`
pub(crate) async fn rank(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let form: RankForm = call.form().await?;
    let query = form.query;
    TextLimits::of(&call.shared.settings).check("query", &query)?;
    let (names, images) = split(form.files);
    let ranked = call
        .rows(call.request().rank(images, query.clone()), |index| {
            named(&names, index)
        })
        .await?;
    let body = answer::json(&RankAnswer::of(&query, &ranked, &names)?);
    Ok(answer::respond(StatusCode::OK, body))
}
