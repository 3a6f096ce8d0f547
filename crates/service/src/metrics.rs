//! What the service counts and times, for `/metrics` and `Server-Timing`.
//!
//! ```text
//! http, service, batcher --observe--> Metrics --encode--> /metrics (Prometheus text)
//!                                 +-> Timings (one request) --> Server-Timing, log line
//! ```
//!
//! Every series exists from the start with the value 0, so that a rate or an alert on it needs
//! no special case for an event that has not happened yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use siglip2_model::Tower;

mod memory;
mod timings;

pub(crate) use memory::MemoryMetrics;
pub use timings::{Lookup, Stage, StageTiming, Timings};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TowerLabels {
    tower: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EngineLabels {
    engine: u64,
}

fn tower_labels(tower: Tower) -> TowerLabels {
    TowerLabels {
        tower: match tower {
            Tower::Image => "image",
            Tower::Text => "text",
        },
    }
}

/// From 0.1 ms, which is less than any batch takes, to 2 minutes, doubling each time.
fn seconds() -> Histogram {
    Histogram::new((0..21).map(|power| 1e-4 * f64::from(1_u32 << power)))
}

fn rows() -> Histogram {
    Histogram::new((0..11).map(|power| f64::from(1_u32 << power)))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// What happened to a span of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFate {
    /// It was recorded.
    Recorded,
    /// The collector accepted it.
    Exported,
    /// The collector did not accept it.
    Failed,
}

impl SpanFate {
    const ALL: [Self; 3] = [SpanFate::Recorded, SpanFate::Exported, SpanFate::Failed];

    fn as_str(self) -> &'static str {
        match self {
            SpanFate::Recorded => "recorded",
            SpanFate::Exported => "exported",
            SpanFate::Failed => "failed",
        }
    }
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds<EndpointLabels>,
    stage_seconds: Seconds<StageLabels>,
    batch_rows: Seconds<TowerLabels>,
    queued: Family<TowerLabels, Gauge>,
    expired: Family<TowerLabels, Counter>,
    dropped: Family<TowerLabels, Counter>,
    failed_batches: Family<TowerLabels, Counter>,
    engine_up: Gauge,
    engine_busy: Family<EngineLabels, Counter<f64, AtomicU64>>,
    rebuilds: Counter,
    in_flight: Gauge<i64, AtomicI64>,
    text_lookups: Family<ResultLabels, Counter>,
    image_lookups: Family<ResultLabels, Counter>,
    spans: Family<ResultLabels, Counter>,
    cut_texts: Counter,
    index_rows: Gauge,
    searches: Counter,
    searched_rows: Counter,
    search_seconds: Histogram,
    pub(crate) memory: MemoryMetrics,
    dropped_log_lines: Counter,
}

impl Metrics {
    /// All counters at 0.
    pub fn new() -> Arc<Self> {
        let requests = Family::<RequestLabels, Counter>::default();
        let request_seconds: Seconds<EndpointLabels> = Family::new_with_constructor(seconds);
        let stage_seconds: Seconds<StageLabels> = Family::new_with_constructor(seconds);
        let batch_rows: Seconds<TowerLabels> = Family::new_with_constructor(rows);
        let queued = Family::<TowerLabels, Gauge>::default();
        let expired = Family::<TowerLabels, Counter>::default();
        let dropped = Family::<TowerLabels, Counter>::default();
        let failed_batches = Family::<TowerLabels, Counter>::default();
        for stage in Stage::ALL {
            let stage = stage.as_str();
            drop(stage_seconds.get_or_create(&StageLabels { stage }));
        }
        for tower in [Tower::Image, Tower::Text] {
            let labels = tower_labels(tower);
            drop(batch_rows.get_or_create(&labels));
            drop(queued.get_or_create(&labels));
            drop(expired.get_or_create(&labels));
            drop(dropped.get_or_create(&labels));
            drop(failed_batches.get_or_create(&labels));
        }
        let text_lookups = Family::<ResultLabels, Counter>::default();
        let image_lookups = Family::<ResultLabels, Counter>::default();
        for result in Lookup::ALL.map(Lookup::as_str) {
            drop(text_lookups.get_or_create(&ResultLabels { result }));
            drop(image_lookups.get_or_create(&ResultLabels { result }));
        }
        let spans = Family::<ResultLabels, Counter>::default();
        for result in SpanFate::ALL.map(SpanFate::as_str) {
            drop(spans.get_or_create(&ResultLabels { result }));
        }
        let mut registry = Registry::with_prefix("siglip2");
        let memory = MemoryMetrics::register(&mut registry);
        let mut metrics = Self {
            spans,
            text_lookups,
            image_lookups,
            cut_texts: Counter::default(),
            index_rows: Gauge::default(),
            searches: Counter::default(),
            searched_rows: Counter::default(),
            search_seconds: seconds(),
            memory,
            registry,
            requests,
            request_seconds,
            stage_seconds,
            batch_rows,
            queued,
            expired,
            dropped,
            failed_batches,
            engine_up: Gauge::default(),
            engine_busy: Family::default(),
            rebuilds: Counter::default(),
            dropped_log_lines: Counter::default(),
            in_flight: Gauge::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    /// Creates the series of an endpoint before its first request: one for each status that it
    /// may answer.
    pub fn declare_endpoint(&self, endpoint: &'static str, statuses: &[u16]) {
        for &status in statuses {
            drop(
                self.requests
                    .get_or_create(&RequestLabels { endpoint, status }),
            );
        }
        drop(
            self.request_seconds
                .get_or_create(&EndpointLabels { endpoint }),
        );
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests answered, by endpoint and status; 499 is a client that has gone",
            self.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "From a request's head to its answer",
            self.request_seconds.clone(),
        );
        registry.register(
            "stage_seconds",
            "What each stage took: receive, search and write per request, the others per row",
            self.stage_seconds.clone(),
        );
        registry.register(
            "batch_rows",
            "Rows in a batch when it began",
            self.batch_rows.clone(),
        );
        registry.register(
            "queue_rows",
            "Rows that wait for a batch",
            self.queued.clone(),
        );
        registry.register(
            "expired_rows",
            "Rows whose last deadline passed while they waited; they were not computed",
            self.expired.clone(),
        );
        registry.register(
            "dropped_rows",
            "Rows whose last client went while they waited; they were not computed",
            self.dropped.clone(),
        );
        registry.register(
            "failed_batches",
            "Batches that the engine failed",
            self.failed_batches.clone(),
        );
        registry.register(
            "engine_up",
            "1 while the engine embeds, else 0",
            self.engine_up.clone(),
        );
        registry.register(
            "engine_busy_seconds",
            "Seconds in which an engine had work: its rate is the share of the time",
            self.engine_busy.clone(),
        );
        registry.register(
            "engine_rebuilds",
            "Engines that were built anew after a failure",
            self.rebuilds.clone(),
        );
        registry.register(
            "text_cache",
            "Texts looked up: in the cache, being computed already, or to be computed",
            self.text_lookups.clone(),
        );
        registry.register(
            "image_cache",
            "Images looked up: in the cache, being computed already, or to be computed",
            self.image_lookups.clone(),
        );
        registry.register(
            "cut_texts",
            "Texts of which the model did not read the end, because they have too many tokens",
            self.cut_texts.clone(),
        );
        registry.register(
            "index_rows",
            "Rows of the index that is searched",
            self.index_rows.clone(),
        );
        registry.register(
            "searches",
            "Searches of the index that came to their end",
            self.searches.clone(),
        );
        registry.register(
            "searched_rows",
            "Rows that these searches looked at",
            self.searched_rows.clone(),
        );
        registry.register(
            "search_seconds",
            "What the searches took, without the wait for those before them",
            self.search_seconds.clone(),
        );
        registry.register(
            "spans",
            "Spans for the collector: recorded, and of these exported and failed; the rest waits or found no room",
            self.spans.clone(),
        );
        registry.register(
            "dropped_log_lines",
            "Lines that the log lacks, because whoever reads it did not keep up",
            self.dropped_log_lines.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Accepted requests without their answer",
            self.in_flight.clone(),
        );
    }

    /// Counts the result of looking up a text's or an image's row.
    pub fn looked_up(&self, tower: Tower, what: Lookup) {
        let result = what.as_str();
        let lookups = match tower {
            Tower::Image => &self.image_lookups,
            Tower::Text => &self.text_lookups,
        };
        lookups.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts texts whose end was cut off.
    pub fn cut(&self, texts: usize) {
        self.cut_texts.inc_by(texts as u64);
    }

    /// Records how many rows the index has.
    pub(crate) fn index_rows(&self, rows: u64) {
        self.index_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Counts a search, with the rows it scanned unless it was interrupted.
    pub(crate) fn searched(&self, rows: Option<u64>, took: Duration) {
        if let Some(rows) = rows {
            self.searches.inc();
            self.searched_rows.inc_by(rows);
            self.search_seconds.observe(took.as_secs_f64());
        }
    }

    /// Counts what happened to spans.
    pub fn spans(&self, fate: SpanFate, count: usize) {
        let result = fate.as_str();
        self.spans
            .get_or_create(&ResultLabels { result })
            .inc_by(count as u64);
    }

    /// All series in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(32 << 10);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts an answered request.
    pub fn answered(&self, endpoint: &'static str, status: u16, took: Duration) {
        self.requests
            .get_or_create(&RequestLabels { endpoint, status })
            .inc();
        self.request_seconds
            .get_or_create(&EndpointLabels { endpoint })
            .observe(took.as_secs_f64());
    }

    /// Records how long a stage took, for a request or for one of its rows.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let stage = stage.as_str();
        self.stage_seconds
            .get_or_create(&StageLabels { stage })
            .observe(took.as_secs_f64());
    }

    /// Counts a batch of this many rows that has started.
    pub fn batch(&self, tower: Tower, rows: usize) {
        self.batch_rows
            .get_or_create(&tower_labels(tower))
            .observe(rows as f64);
    }

    /// Records how many rows wait.
    pub fn queued(&self, tower: Tower, rows: usize) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.queued.get_or_create(&tower_labels(tower)).set(rows);
    }

    /// Counts a row whose last deadline passed while it waited.
    pub fn expired(&self, tower: Tower) {
        self.expired.get_or_create(&tower_labels(tower)).inc();
    }

    /// Counts a row whose last client left while it waited.
    pub fn dropped(&self, tower: Tower) {
        self.dropped.get_or_create(&tower_labels(tower)).inc();
    }

    /// Counts a failed batch.
    pub fn failed_batch(&self, tower: Tower) {
        self.failed_batches
            .get_or_create(&tower_labels(tower))
            .inc();
    }

    /// Records whether the engine embeds.
    pub fn engine_up(&self, up: bool) {
        self.engine_up.set(i64::from(up));
    }

    /// Announces how many engines will be reported to [`Metrics::engine_busy`].
    pub fn declare_engines(&self, engines: usize) {
        for engine in 0..engines {
            self.engine_busy(engine, Duration::ZERO);
        }
    }

    /// Adds how long an engine has had work since the last call for it.
    pub fn engine_busy(&self, engine: usize, took: Duration) {
        let engine = engine as u64;
        self.engine_busy
            .get_or_create(&EngineLabels { engine })
            .inc_by(took.as_secs_f64());
    }

    /// Counts an engine that was rebuilt.
    pub fn rebuilt(&self) {
        self.rebuilds.inc();
    }

    /// Records how many log lines have been dropped since the start.
    pub fn dropped_log_lines(&self, lines: u64) {
        self.dropped_log_lines
            .inner()
            .fetch_max(lines, Ordering::Relaxed);
    }

    /// How many requests have been accepted and not answered yet.
    pub fn in_flight(&self, requests: usize) {
        self.in_flight
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_series_are_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.declare_endpoint("embed_text", &[200, 429]);
        let text = metrics.text();
        for series in [
            "siglip2_requests_total{endpoint=\"embed_text\",status=\"429\"} 0",
            "siglip2_stage_seconds_count{stage=\"decode\"} 0",
            "siglip2_batch_rows_count{tower=\"image\"} 0",
            "siglip2_queue_rows{tower=\"text\"} 0",
            "siglip2_text_cache_total{result=\"hit\"} 0",
            "siglip2_image_cache_total{result=\"shared\"} 0",
            "siglip2_engine_up 0",
            "siglip2_searches_total 0",
            "siglip2_stage_seconds_count{stage=\"search\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }
}
