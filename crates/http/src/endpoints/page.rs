//! The page, and what it loads.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::page_request::{self, Asked};
use crate::answer::problem::Problem;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::header::accept::coding_quality;

/// `GET /` of a browser, `GET /docs`, `GET /assets/...`
pub(crate) async fn page(call: &mut Call<'_>) -> Result<Response<Answer>, Problem> {
    let headers = call.headers;
    let asset = match Asked::at(call.path_value.unwrap_or_default(), headers) {
        Some(Asked::File(asset)) => asset,
        Some(Asked::Elsewhere(path)) => return Ok(elsewhere(path)),
        Some(Asked::Nothing) | None => return Err(Problem::NotFound),
    };
    let mut response = match page_request::is_known(headers, asset) {
        true => not_modified(),
        false => {
            let packed = asset.gzip.filter(|_| coding_quality(headers, "gzip") > 0.0);
            let body = Bytes::from_static(packed.unwrap_or(asset.bytes));
            let mut response = answer::respond(StatusCode::OK, body);
            let headers = response.headers_mut();
            let media_type = HeaderValue::from_static(asset.media_type);
            headers.insert(header::CONTENT_TYPE, media_type);
            if packed.is_some() {
                let gzip = HeaderValue::from_static("gzip");
                headers.insert(header::CONTENT_ENCODING, gzip);
            }
            response
        }
    };
    response.headers_mut().extend(page_request::headers(asset));
    Ok(response)
}

/// What the client has is still right.
fn not_modified() -> Response<Answer> {
    let mut response = answer::empty();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// It is at another path.
fn elsewhere(path: &'static str) -> Response<Answer> {
    let mut response = answer::empty();
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(path));
    response
}
