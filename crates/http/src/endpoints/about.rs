//! What asks nothing of the engine, and the check of readiness.

use hyper::{Response, StatusCode};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::messages::{Health, Info, Readiness, Root};
use crate::problem::{self, Problem};
use siglip2_service::State;

/// `GET /`
pub(crate) async fn root(_: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    Ok(answer::respond(StatusCode::OK, answer::json(&Root::THIS)))
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
    let service = &call.shared.service;
    let info = service.info();
    let state = service.state();
    let body = answer::json(&Health {
        status: state.as_str(),
        model: &info.name,
        device: info.device,
        dimensions: info.dimensions,
    });
    Ok(told_by_status(state == State::Ready, body))
}

/// `GET /ready`: whether requests should be sent here. A real embedding.
pub(crate) async fn ready(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let service = &call.shared.service;
    let state = service.state();
    let verdict = match state {
        State::Ready => service.check_canary().await,
        _ => Err(format!("the service is {}", state.as_str())),
    };
    let is_ready = verdict.is_ok();
    let body = answer::json(&Readiness {
        status: if is_ready { "ready" } else { state.as_str() },
        detail: verdict.err(),
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
    Ok(answer::metrics(call.shared.service.metrics().text()))
}

/// `GET /info`: the model, and the limits in force.
pub(crate) async fn info(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let info = call.shared.service.info();
    let body = answer::json(&Info {
        model: &info.name,
        device: info.device,
        text_dim: info.dimensions,
        vision_dim: info.dimensions,
        image_size: info.image_size,
        cross_modal: true,
        description: &info.description,
        engine: info.engine,
        precision: info.precision,
        max_batch: info.max_batch,
        text_tokens: info.text_tokens,
        version: env!("CARGO_PKG_VERSION"),
        limits: limits(call),
    });
    Ok(answer::respond(StatusCode::OK, body))
}

fn limits(call: &Call<'_>) -> serde_json::Map<String, serde_json::Value> {
    let settings = &call.shared.settings;
    let service = call.shared.service.settings();
    let limits = serde_json::json!({
        "max_body_bytes": settings.max_body_bytes,
        "max_text_body_bytes": settings.max_text_body_bytes,
        "max_text_bytes": settings.max_text_bytes,
        "max_texts_per_request": settings.max_texts_per_request,
        "max_images_per_request": settings.max_images_per_request,
        "max_other_parts": settings.max_other_parts,
        "max_image_pixels": service.image_limits.max_pixels,
        "max_jpeg_scans": service.image_limits.max_jpeg_scans,
        "max_queued_rows": service.max_queued_rows,
        "max_decoded_bytes": service.max_decoded_bytes,
        "text_cache_bytes": service.text_cache_bytes,
        "image_cache_bytes": service.image_cache_bytes,
        "max_buffered_bytes": settings.max_buffered_bytes,
        "max_concurrent_requests": settings.max_concurrent_requests,
        "max_connections": settings.max_connections,
        "header_timeout_seconds": settings.header_timeout.as_secs_f64(),
        "idle_timeout_seconds": settings.idle_timeout.as_secs_f64(),
        "body_timeout_seconds": settings.body_timeout.as_secs_f64(),
        "body_idle_timeout_seconds": settings.body_idle_timeout.as_secs_f64(),
        "min_body_rate": settings.min_body_rate,
        "request_timeout_seconds": settings.request_timeout.as_secs_f64(),
        "write_timeout_seconds": settings.write_timeout.as_secs_f64(),
        "drain_timeout_seconds": settings.drain_timeout.as_secs_f64(),
    });
    match limits {
        serde_json::Value::Object(limits) => limits,
        _ => serde_json::Map::new(),
    }
}
