//! What asks nothing of the engine, and the check of readiness.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::about_messages::{
    Build, Health, IndexTold, Info, Limits, ModelTold, ModelType, Readiness, Root,
};
use crate::answer::problem::{self, Problem};
use crate::answer::{self, Answer};
use crate::call::Call;
use siglip2_service::{Models, Service, State};

/// `GET /`
pub(crate) async fn root(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let body = answer::json(&Root::of(&call.shared.models.first().info().build));
    let mut response = answer::respond(StatusCode::OK, body);
    // Those who ask for HTML get the page.
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// `GET /openapi.json`
pub(crate) async fn openapi(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    Ok(answer::respond(
        StatusCode::OK,
        call.shared.document.clone(),
    ))
}

/// `GET /health`: whether the process lives, and in what state. Never asks the device.
pub(crate) async fn health(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let models = &call.shared.models;
    let named = call.choice.outside();
    let state = named.map_or_else(|| models.state(), Service::state);
    let detail = match named {
        None => models.not_ready(),
        Some(_) => None,
    };
    let info = call.model().info();
    let body = answer::json(&Health {
        status: state.as_str(),
        model: &info.name,
        device: info.device,
        dimensions: info.dimensions,
        detail,
    });
    Ok(told_by_status(state == State::Ready, body))
}

/// `GET /ready`: whether requests should be sent here. A real embedding by every model, or by
/// the one that is named.
pub(crate) async fn ready(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let models = &call.shared.models;
    let (state, verdict) = match call.choice.outside() {
        Some(model) => (
            model.state(),
            Models::from(model.clone()).check_readiness().await,
        ),
        None => (models.state(), models.check_readiness().await),
    };
    let is_ready = verdict.is_ok();
    let body = answer::json(&Readiness {
        status: if is_ready { "ready" } else { state.as_str() },
        detail: verdict.err().map(|error| error.to_string()),
    });
    Ok(told_by_status(is_ready, body))
}

/// 200, or 503 with when to come again.
fn told_by_status(well: bool, body: Vec<u8>) -> Response<Answer> {
    if well {
        return answer::respond(StatusCode::OK, body);
    }
    let mut response = answer::respond(StatusCode::SERVICE_UNAVAILABLE, body);
    response
        .headers_mut()
        .extend([problem::unavailable_retry()]);
    response
}

/// `GET /metrics`
pub(crate) async fn metrics(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    Ok(answer::metrics(call.shared.models.metrics().text()))
}

/// `GET /info`: the first model or the one that is named, all models, and the limits in force.
pub(crate) async fn info(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let info = call.model().info();
    let (logit_scale, logit_bias) = call.model().logit_scale_and_bias();
    let fingerprints = call.model().fingerprints();
    let patches = info.images.patches();
    let body = answer::json(&Info {
        model: &info.name,
        revision: info.revision.as_deref(),
        device: info.device,
        text_dim: info.dimensions,
        vision_dim: info.dimensions,
        image_size: info.images.square(),
        patch_size: patches.map(|(patch, _)| patch),
        max_num_patches: patches.map(|(_, most)| most),
        cross_modal: true,
        description: &info.description,
        engine: info.engine,
        precision: info.precision,
        decode: info.decode.name(),
        fingerprint: fingerprints.map(|both| both.normalized.to_string()),
        fingerprint_pooled: fingerprints.map(|both| both.pooled.to_string()),
        cosine_to_fp32: info.agreement,
        max_batch: info.max_batch,
        text_tokens: info.text_tokens,
        logit_scale,
        logit_bias,
        version: info.build.version,
        index: call.model().index().map(IndexTold::of),
        models: call.shared.models.iter().map(ModelTold::of).collect(),
        build: Build::of(&info.build),
        model_id: &info.source,
        model_sha: None,
        model_dtype: match info.precision {
            "fp32" => "float32",
            "fp16" => "float16",
            "bf16" => "bfloat16",
            other => other,
        },
        served_model_name: &info.name,
        model_type: ModelType::LAST_TOKEN,
        max_concurrent_requests: call.shared.settings.max_concurrent_requests,
        max_input_length: info.text_tokens,
        max_batch_tokens: info.max_batch * info.text_tokens,
        max_batch_requests: info.max_batch,
        max_client_batch_size: call.shared.settings.max_texts_per_request,
        auto_truncate: true,
        tokenization_workers: call.shared.models.settings().tokenize_threads,
        sha: info.build.commit,
        docker_label: None,
        limits: Limits {
            http: &call.shared.settings,
            service: call.shared.models.settings(),
        },
    });
    Ok(answer::respond(StatusCode::OK, body))
}
