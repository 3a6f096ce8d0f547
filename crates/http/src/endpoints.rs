//! What each path takes, asks of the service, and answers.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout_at;

use super::accepted::Accepted;
use super::answer::{self, Answer};
use super::app::App;
use super::base64;
use super::body::off_thread;
use super::call::Call;
use super::form::{Fields, File, Form, FormKind};
use super::openapi;
use super::parameters::Parameters;
use super::problem::{self, Problem, part_name, printable};
use super::settings::HttpSettings;
use super::text_request::{self, TextLimits};
use super::validation::Issues;
use siglip2_service::{ServiceError, ServiceSettings, State};

/// When to come back after there were too many requests.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The fields of the forms.
const IMAGE: Fields = Fields {
    image: "file",
    many: false,
    texts: &["image_base64", "normalize"],
    long_text: Some("image_base64"),
};
const IMAGES: Fields = Fields {
    image: "files",
    many: true,
    texts: &["normalize"],
    long_text: None,
};
const SIMILARITY: Fields = Fields {
    image: "files",
    many: true,
    texts: &["texts"],
    long_text: None,
};
const RANK: Fields = Fields {
    image: "files",
    many: true,
    texts: &["query"],
    long_text: None,
};

/// What requests are counted under; `unknown` is a path that is not served.
pub(super) const NAMES: [&str; 12] = [
    "root",
    "openapi",
    "health",
    "ready",
    "metrics",
    "info",
    "embed_text",
    "embed_image",
    "embed_images",
    "similarity",
    "rank",
    "unknown",
];

/// A path that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/`
    Root,
    /// `/openapi.json`
    OpenApi,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/info`
    Info,
    /// `/embed/text`
    EmbedText,
    /// `/embed/image`
    EmbedImage,
    /// `/embed/images`
    EmbedImages,
    /// `/similarity`
    Similarity,
    /// `/rank`
    Rank,
}

impl Endpoint {
    /// The endpoint at a path. A slash at its end makes no difference: FastAPI sent
    /// clients that wrote one to the path without it.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "" => Some(Endpoint::Root),
            "/openapi.json" => Some(Endpoint::OpenApi),
            "/health" => Some(Endpoint::Health),
            "/ready" => Some(Endpoint::Ready),
            "/metrics" => Some(Endpoint::Metrics),
            "/info" => Some(Endpoint::Info),
            "/embed/text" => Some(Endpoint::EmbedText),
            "/embed/image" => Some(Endpoint::EmbedImage),
            "/embed/images" => Some(Endpoint::EmbedImages),
            "/similarity" => Some(Endpoint::Similarity),
            "/rank" => Some(Endpoint::Rank),
            _ => None,
        }
    }

    /// What its requests are counted under; one of [`NAMES`].
    pub(super) fn name(self) -> &'static str {
        match self {
            Endpoint::Root => "root",
            Endpoint::OpenApi => "openapi",
            Endpoint::Health => "health",
            Endpoint::Ready => "ready",
            Endpoint::Metrics => "metrics",
            Endpoint::Info => "info",
            Endpoint::EmbedText => "embed_text",
            Endpoint::EmbedImage => "embed_image",
            Endpoint::EmbedImages => "embed_images",
            Endpoint::Similarity => "similarity",
            Endpoint::Rank => "rank",
        }
    }

    /// Refuses a method that the endpoint does not have.
    pub(super) fn takes(self, method: &Method) -> Result<(), Problem> {
        let reads = matches!(
            self,
            Endpoint::Root
                | Endpoint::OpenApi
                | Endpoint::Health
                | Endpoint::Ready
                | Endpoint::Metrics
                | Endpoint::Info
        );
        let allow = if reads { "GET, HEAD" } else { "POST" };
        let allowed = if reads {
            matches!(*method, Method::GET | Method::HEAD)
        } else {
            *method == Method::POST
        };
        if allowed {
            Ok(())
        } else {
            Err(Problem::MethodNotAllowed(allow))
        }
    }
}

impl App {
    /// Answers a request to an endpoint, by a method that it has.
    pub(super) async fn endpoint(
        &self,
        endpoint: Endpoint,
        call: &mut Call<'_>,
    ) -> Result<Response<Answer>, Problem> {
        let written = match endpoint {
            Endpoint::Root => answer::json(&json!({
                "name": crate::PROGRAM,
                "version": self.0.service.info().build.version,
                "openapi": "/openapi.json",
            })),
            Endpoint::OpenApi => answer::json(openapi::description()),
            Endpoint::Health => return Ok(self.health()),
            Endpoint::Ready => return Ok(self.ready().await),
            Endpoint::Metrics => return Ok(answer::metrics(self.0.service.metrics().text())),
            Endpoint::Info => self.info(),
            Endpoint::EmbedText => self.embed_text(call).await?,
            Endpoint::EmbedImage => self.embed_image(call).await?,
            Endpoint::EmbedImages => self.embed_images(call).await?,
            Endpoint::Similarity => self.similarity(call).await?,
            Endpoint::Rank => self.rank(call).await?,
        };
        Ok(answer::respond(StatusCode::OK, written))
    }

    /// Whether requests should be sent here: the state, and the canary.
    async fn ready(&self) -> Response<Answer> {
        let state = self.0.service.state();
        let verdict = match state {
            State::Ready => self.0.service.check_canary().await,
            _ => Err(format!("the service is {}", state.as_str())),
        };
        match verdict {
            Ok(()) => answer::respond(StatusCode::OK, answer::json(&json!({"status": "ready"}))),
            Err(detail) => {
                let body = answer::json(&json!({"status": state.as_str(), "detail": detail}));
                let mut response = answer::respond(StatusCode::SERVICE_UNAVAILABLE, body);
                response
                    .headers_mut()
                    .extend([problem::unavailable_retry()]);
                response
            }
        }
    }

    fn health(&self) -> Response<Answer> {
        let info = self.0.service.info();
        let state = self.0.service.state();
        let body = answer::json(&json!({
            "status": state.as_str(),
            "model": info.name,
            "device": info.device,
            "dimensions": info.dimensions,
        }));
        if state == State::Ready {
            return answer::respond(StatusCode::OK, body);
        }
        let mut response = answer::respond(StatusCode::SERVICE_UNAVAILABLE, body);
        response
            .headers_mut()
            .extend([problem::unavailable_retry()]);
        response
    }

    fn info(&self) -> Vec<u8> {
        let info = self.0.service.info();
        let limits = Limits {
            http: &self.0.settings,
            service: self.0.service.settings(),
        };
        answer::json(&json!({
            "model": info.name,
            "device": info.device,
            "text_dim": info.dimensions,
            "vision_dim": info.dimensions,
            "image_size": info.image_size,
            "cross_modal": true,
            "description": info.description,
            "engine": info.engine,
            "precision": info.precision,
            "cosine_to_fp32": info.agreement,
            "max_batch": info.max_batch,
            "text_tokens": info.text_tokens,
            "version": info.build.version,
            "build": info.build,
            "limits": limits,
        }))
    }

    async fn embed_text(&self, call: &mut Call<'_>) -> Result<Vec<u8>, Problem> {
        takes_json(call.headers)?;
        call.body
            .limit(self.0.settings.max_text_body_bytes as u64)?;
        let _accepted = self.accept()?;
        let bytes = call.body.whole().await?;
        call.received();
        let limits = TextLimits::of(&self.0.settings);
        let request = off_thread(bytes.len(), move || text_request::parse(&bytes, limits)).await?;
        let rows = self
            .in_time(
                call,
                call.service.embed_texts(request.texts, request.normalize),
                |_| String::new(),
            )
            .await?;
        answer::embeddings(&rows, &self.0.service.info().name).await
    }

    async fn embed_image(&self, call: &mut Call<'_>) -> Result<Vec<u8>, Problem> {
        let _accepted = self.accept()?;
        let mut form = self.form(call, IMAGE).await?;
        let mut issues = Issues::default();
        let file = form.image("file", &mut issues);
        let encoded = form.text("image_base64", &mut issues);
        let normalize = form.normalize(&mut issues);
        issues.or(())?;
        let (part, bytes) = match (file, encoded) {
            (Some(File { filename, bytes }), _) => (part_name("file", None, &filename), bytes),
            (None, Some(encoded)) => ("image_base64".to_owned(), self.decoded(encoded).await?),
            (None, None) => return Err(Problem::BadRequest("No image provided".into())),
        };
        self.0
            .service
            .inspect_image(&bytes)
            .map_err(|error| Problem::image(&part, &error))?;
        let rows = self
            .in_time(
                call,
                call.service.embed_images(vec![bytes], normalize),
                |_| part,
            )
            .await?;
        answer::embeddings(&rows, &self.0.service.info().name).await
    }

    async fn embed_images(&self, call: &mut Call<'_>) -> Result<Vec<u8>, Problem> {
        let _accepted = self.accept()?;
        let form = self.form(call, IMAGES).await?;
        let mut issues = Issues::default();
        let files = form.images("files", &mut issues);
        let normalize = form.normalize(&mut issues);
        issues.or(())?;
        let (names, images) = split(files);
        let rows = self
            .in_time(
                call,
                call.service.embed_images(images, normalize),
                |index| named(&names, index),
            )
            .await?;
        answer::embeddings(&rows, &self.0.service.info().name).await
    }

    async fn similarity(&self, call: &mut Call<'_>) -> Result<Vec<u8>, Problem> {
        let _accepted = self.accept()?;
        let mut form = self.form(call, SIMILARITY).await?;
        let mut issues = Issues::default();
        let files = form.images("files", &mut issues);
        let texts = form.required_text("texts", &mut issues);
        issues.or(())?;
        let limits = TextLimits::of(&self.0.settings);
        let texts = off_thread(texts.len(), move || {
            text_request::parse_field(&texts, limits)
        })
        .await?;
        let (names, images) = split(files);
        let similarity = self
            .in_time(call, call.service.similarity(images, texts), |index| {
                named(&names, index)
            })
            .await?;
        answer::similarity(&similarity).await
    }

    async fn rank(&self, call: &mut Call<'_>) -> Result<Vec<u8>, Problem> {
        let _accepted = self.accept()?;
        let mut form = self.form(call, RANK).await?;
        let mut issues = Issues::default();
        let files = form.images("files", &mut issues);
        let query = form.required_text("query", &mut issues);
        issues.or(())?;
        TextLimits::of(&self.0.settings).check("query", &query)?;
        let (names, images) = split(files);
        let ranked = self
            .in_time(call, call.service.rank(images, query.clone()), |index| {
                named(&names, index)
            })
            .await?;
        answer::rankings(&query, &ranked, |index| {
            names.get(index).map_or("", String::as_str)
        })
    }

    /// Reads a form. An image that may come with others is looked at as soon as it is
    /// here, so that a bad one ends the reading.
    async fn form(&self, call: &mut Call<'_>, fields: Fields) -> Result<Form, Problem> {
        let kind = FormKind::of(call.headers, call.body)?;
        call.body.limit(self.0.settings.payload_limit)?;
        let service = &self.0.service;
        let inspect = |index: usize, filename: &str, bytes: &[u8]| {
            service.inspect_image(bytes).map_err(|error| {
                Problem::image(&part_name(fields.image, Some(index), filename), &error)
            })
        };
        let form = Form::read(call.body, kind, fields, &self.0.settings, &inspect).await?;
        call.received();
        Ok(form)
    }

    async fn decoded(&self, encoded: String) -> Result<Bytes, Problem> {
        off_thread(encoded.len(), move || {
            base64::decode(&encoded).map(Bytes::from).map_err(|error| {
                Problem::BadRequest(format!("image_base64 is not valid base64: {error}.").into())
            })
        })
        .await
    }

    /// Takes a request that embeds, before its body is read, or refuses it. Who is
    /// accepted is answered even if the service drains from the next moment on:
    /// hence the order, first counted and then asked.
    fn accept(&self) -> Result<Accepted, Problem> {
        let most = self.0.settings.max_concurrent_requests;
        let accepted = self.0.accepted.enter(most);
        match (self.0.service.state(), accepted) {
            (State::Ready, Some(accepted)) => Ok(accepted),
            (State::Ready, None) => Err(Problem::Busy {
                what: format!("The service answers {most} requests already."),
                retry_after: RETRY_AFTER,
            }),
            (state, _) => Err(Problem::Unavailable(state)),
        }
    }

    /// Waits for the service as long as the request may take; giving up drops its
    /// work.
    async fn in_time<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, ServiceError>>,
        part: impl FnOnce(usize) -> String,
    ) -> Result<T, Problem> {
        let deadline = call
            .deadline
            .min(Instant::now() + self.0.settings.request_timeout);
        match timeout_at(deadline.into(), work).await {
            Err(_) | Ok(Err(ServiceError::Late)) => Err(Problem::Deadline),
            Ok(result) => {
                call.computed();
                result.map_err(|error| Problem::service(error, part))
            }
        }
    }
}

/// The file names and the contents of images, apart.
fn split(files: Vec<File>) -> (Vec<String>, Vec<Bytes>) {
    files
        .into_iter()
        .map(|File { filename, bytes }| (filename, bytes))
        .unzip()
}

fn named(names: &[String], index: usize) -> String {
    part_name(
        "files",
        Some(index),
        names.get(index).map_or("", String::as_str),
    )
}

/// JSON, by any of its names; nothing at all is taken for JSON, as FastAPI long did.
fn takes_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let content_type = Parameters::parse(content_type.as_bytes()).value;
    match content_type.strip_prefix("application/") {
        Some(subtype) if subtype == "json" || subtype.ends_with("+json") => Ok(()),
        _ => Err(Problem::Unsupported(format!(
            "This endpoint takes application/json; the Content-Type is {}.",
            printable(&content_type, 80)
        ))),
    }
}

/// The bounds in force, each under the name of its flag; durations in seconds.
#[derive(Serialize)]
struct Limits<'a> {
    #[serde(flatten)]
    http: &'a HttpSettings,
    #[serde(flatten)]
    service: &'a ServiceSettings,
}
