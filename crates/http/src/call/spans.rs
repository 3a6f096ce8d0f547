//! What each request took, as spans for an OpenTelemetry collector.
//!
//! ```text
//! traceparent of the client --+
//! Record (one request) -------+--> span, a child for each stage --> queue --> OTLP over HTTP
//!                                                          (bounded)   (a thread of its own)
//! ```
//!
//! A request continues the trace that its client names (W3C Trace Context), and follows the
//! client's word on whether it is sampled; without one it is a trace of its own, sampled as
//! `OTEL_TRACES_SAMPLER` says, by default always. Spans are made when a request is over: a
//! request costs nothing but a read of its headers before that. A collector that is down or
//! slow holds nothing up: the queue has 2,048 spans at most, what finds no room in it is
//! dropped, and `siglip2_spans_total` tells recorded, exported and failed apart.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

use siglip2_service::metrics::{Metrics, SpanFate, StageTiming};

/// The longest that one batch of spans may take to be taken by the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the spans of requests go. Cheap to clone.
#[derive(Clone)]
pub struct Spans(Arc<Inner>);

struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans(..)")
    }
}

/// What a request continues.
pub(crate) struct Parent(Context);

/// A request that is over.
pub(crate) struct Finished<'a> {
    pub(crate) parent: &'a Parent,
    pub(crate) endpoint: &'static str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The model that it was for, where there are several.
    pub(crate) model: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) id: &'a str,
    pub(crate) began: Instant,
    pub(crate) stages: Vec<StageTiming>,
}

/// Spans cannot be sent to an address.
#[derive(Debug, thiserror::Error)]
#[error(
    "--otlp-endpoint (OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT) is {endpoint:?}, and must be a \
     URL such as http://localhost:4318: {error}"
)]
pub struct UnusableCollector {
    endpoint: String,
    #[source]
    error: Box<dyn Error + Send + Sync>,
}

impl Spans {
    /// Sends spans to the collector at `endpoint`, an `http` or `https` URL, to which
    /// `/v1/traces` is added if it does not end so (OTLP 1.x, "OTLP/HTTP Request").
    ///
    /// # Errors
    ///
    /// When it is no such URL.
    pub fn to(
        endpoint: &str,
        service_name: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, UnusableCollector> {
        let known = ["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme));
        let unusable = |error| UnusableCollector {
            endpoint: endpoint.to_owned(),
            error,
        };
        if !known {
            return Err(unusable(
                "it begins with neither http:// nor https://".into(),
            ));
        }
        let url = match endpoint.trim_end_matches('/') {
            whole if whole.ends_with("/v1/traces") => whole.to_owned(),
            base => format!("{base}/v1/traces"),
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(EXPORT_TIMEOUT))
            .http_status_as_error(false)
            .build();
        let exporter = OtlpExporter::builder()
            .with_http()
            .with_http_client(Client(agent.into()))
            .with_endpoint(url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| unusable(error.into()))?;
        let exporter = Counted {
            exporter,
            metrics: Arc::clone(&metrics),
            failing: AtomicBool::new(false),
        };
        let resource = Resource::builder()
            .with_service_name(service_name.to_owned())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        // Its queue, its batches and its thread are the SDK's.
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self(Arc::new(Inner {
            tracer: provider.tracer(crate::PROGRAM),
            provider,
            propagator: TraceContextPropagator::new(),
            metrics,
        })))
    }

    /// What the headers of a request say that it continues.
    pub(crate) fn parent(&self, headers: &HeaderMap) -> Parent {
        let extractor = HeaderExtractor(headers);
        Parent(
            self.0
                .propagator
                .extract_with_context(&Context::new(), &extractor),
        )
    }

    /// Takes down a request that is over. Never waits.
    pub(crate) fn record(&self, request: Finished<'_>) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let at = |instant: Instant| {
            clock
                .checked_sub(now.saturating_duration_since(instant))
                .unwrap_or(clock)
        };
        let Inner {
            tracer, metrics, ..
        } = &*self.0;
        let builder = tracer
            .span_builder(request.endpoint)
            .with_kind(SpanKind::Server)
            .with_start_time(at(request.began))
            .with_attributes(
                [
                    KeyValue::new("http.request.method", request.method.to_owned()),
                    KeyValue::new("url.path", request.path.to_owned()),
                    KeyValue::new("http.response.status_code", i64::from(request.status)),
                    KeyValue::new("siglip2.request_id", request.id.to_owned()),
                ]
                .into_iter()
                .chain(
                    request
                        .model
                        .map(|name| KeyValue::new("siglip2.model", name.to_owned())),
                ),
            );
        let span = tracer.build_with_context(builder, &request.parent.0);
        let context = request.parent.0.with_span(span);
        let span = context.span();
        if !span.span_context().is_sampled() {
            return;
        }
        for stage in &request.stages {
            // A row that is shared may have been begun by another request, before this one.
            let end = stage.began + stage.took;
            let builder = tracer
                .span_builder(stage.stage.as_str())
                .with_start_time(at(stage.began.max(request.began)));
            let mut child = tracer.build_with_context(builder, &context);
            opentelemetry::trace::Span::end_with_timestamp(&mut child, at(end));
        }
        if request.status >= 500 {
            span.set_status(Status::error(request.status.to_string()));
        }
        span.end_with_timestamp(clock);
        metrics.spans(SpanFate::Recorded, 1 + request.stages.len());
    }

    /// Sends what is left, within this time. It blocks its thread.
    pub fn flush(&self, within: Duration) {
        if let Err(error) = self.0.provider.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Counts what becomes of spans, and says once when it goes wrong and once when it is well
/// again.
#[derive(Debug)]
struct Counted {
    exporter: OtlpExporter,
    metrics: Arc<Metrics>,
    failing: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => {
                self.metrics.spans(SpanFate::Exported, count);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.metrics.spans(SpanFate::Failed, count);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the collector does not take spans; they are dropped");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// ureq, on the thread of the exporter: there it may block.
#[derive(Debug)]
struct Client(ureq::Agent);

/// The longest answer of a collector that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let boxed = |error: ureq::Error| Box::new(error) as Box<dyn Error + Send + Sync>;
        let answer = self
            .0
            .run(Request::from_parts(head, body.as_ref()))
            .map_err(boxed)?;
        let (head, mut body) = answer.into_parts();
        let bytes = body
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .map_err(boxed)?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}
