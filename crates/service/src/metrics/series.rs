//! The series of a process: what each is called, and what it counts.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{
    EndpointLabels, EngineLabels, RequestLabels, ResultLabels, StageLabels, TowerLabels,
};
use super::memory::MemoryMetrics;
use super::model_label::PerModel;

pub(super) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The series of a process.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) registry: Registry,
    pub(super) requests: Family<RequestLabels, Counter>,
    pub(super) request_seconds: Histograms<EndpointLabels>,
    pub(super) stage_seconds: Histograms<StageLabels>,
    pub(super) batch_rows: Histograms<TowerLabels>,
    pub(super) queued: Family<TowerLabels, Gauge>,
    pub(super) expired: Family<TowerLabels, Counter>,
    pub(super) dropped: Family<TowerLabels, Counter>,
    pub(super) failed_batches: Family<TowerLabels, Counter>,
    pub(super) engine_busy: Family<EngineLabels, Counter<f64, AtomicU64>>,
    pub(super) in_flight: Gauge<i64, AtomicI64>,
    pub(super) text_lookups: Family<ResultLabels, Counter>,
    pub(super) image_lookups: Family<ResultLabels, Counter>,
    pub(super) spans: Family<ResultLabels, Counter>,
    pub(super) memory: MemoryMetrics,
    pub(super) dropped_log_lines: Counter,
    pub(super) of_models: OfModels,
}

/// The series that have no label but that of the model.
#[derive(Debug, Default)]
pub(super) struct OfModels {
    pub(super) engine_up: PerModel<Gauge>,
    pub(super) rebuilds: PerModel<Counter>,
    pub(super) cut_texts: PerModel<Counter>,
    pub(super) index_rows: PerModel<Gauge>,
    pub(super) searches: PerModel<Counter>,
    pub(super) searched_rows: PerModel<Counter>,
    pub(super) search_seconds: PerModel<Histogram>,
}

/// The same series of one model.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) engine_up: Gauge,
    pub(super) rebuilds: Counter,
    pub(super) cut_texts: Counter,
    pub(super) index_rows: Gauge,
    pub(super) searches: Counter,
    pub(super) searched_rows: Counter,
    pub(super) search_seconds: Histogram,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            engine_up: Gauge::default(),
            rebuilds: Counter::default(),
            cut_texts: Counter::default(),
            index_rows: Gauge::default(),
            searches: Counter::default(),
            searched_rows: Counter::default(),
            search_seconds: seconds(),
        }
    }
}

impl Series {
    /// All at 0, in the registry that `/metrics` is written from.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("siglip2");
        let memory = MemoryMetrics::register(&mut registry);
        let mut series = Self {
            registry,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            stage_seconds: Family::new_with_constructor(seconds),
            batch_rows: Family::new_with_constructor(rows),
            queued: Family::default(),
            expired: Family::default(),
            dropped: Family::default(),
            failed_batches: Family::default(),
            engine_busy: Family::default(),
            in_flight: Gauge::default(),
            text_lookups: Family::default(),
            image_lookups: Family::default(),
            spans: Family::default(),
            memory,
            dropped_log_lines: Counter::default(),
            of_models: OfModels::default(),
        };
        series.register();
        series
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
            "Seconds that each stage took: receive, search and write per request, the others per row",
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
            "Rows whose last client left while they waited; they were not computed",
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
            self.of_models.engine_up.clone(),
        );
        registry.register(
            "engine_busy_seconds",
            "Seconds in which an engine had work: its rate is the share of the time",
            self.engine_busy.clone(),
        );
        registry.register(
            "engine_rebuilds",
            "Engines that were rebuilt after a failure",
            self.of_models.rebuilds.clone(),
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
            "Texts whose end was cut off because they have too many tokens",
            self.of_models.cut_texts.clone(),
        );
        registry.register(
            "index_rows",
            "Rows of the index that is searched",
            self.of_models.index_rows.clone(),
        );
        registry.register(
            "searches",
            "Searches of the index that finished",
            self.of_models.searches.clone(),
        );
        registry.register(
            "searched_rows",
            "Rows that these searches looked at",
            self.of_models.searched_rows.clone(),
        );
        registry.register(
            "search_seconds",
            "Seconds that the searches took, without the wait for those before them",
            self.of_models.search_seconds.clone(),
        );
        registry.register(
            "spans",
            "Spans for the collector: recorded, and of these exported and failed; the rest are queued or were dropped",
            self.spans.clone(),
        );
        registry.register(
            "dropped_log_lines",
            "Log lines that were dropped because the reader of the log did not keep up",
            self.dropped_log_lines.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Accepted requests without their answer",
            self.in_flight.clone(),
        );
    }
}

/// From 0.1 ms, which is less than any batch takes, to 2 minutes, doubling each time.
fn seconds() -> Histogram {
    Histogram::new((0..21).map(|power| 1e-4 * f64::from(1_u32 << power)))
}

fn rows() -> Histogram {
    Histogram::new((0..11).map(|power| f64::from(1_u32 << power)))
}
